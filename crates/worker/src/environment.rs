//! The environment that an action's process is given: what every child inherits, and what it is told about itself.

use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path};

use attune_common::models::action::{OutputFormat, ParameterDelivery, ParameterFormat};
use attune_common::process::InheritedEnvironment;
pub use attune_common::process::{PACK_DIR, PrivateVariable};
use attune_runtime::environments::BuildEnvironment;

use crate::orphans::RUN;

/// Begins every variable that a parameter is delivered in.
pub const PARAMETER_PREFIX: &str = "ATTUNE_ACTION_";
/// Names the file that parameters are delivered in.
pub const PARAMETERS_FILE: &str = "ATTUNE_PARAMETERS_FILE";
pub const EXECUTION_ID: &str = "ATTUNE_EXECUTION_ID";
pub const PACK_REF: &str = "ATTUNE_PACK_REF";
pub const ACTION_REF: &str = "ATTUNE_ACTION_REF";
pub const ATTEMPT: &str = "ATTUNE_ATTEMPT";
/// How parameters are delivered and the result is read, as the action declares it.
pub const PARAMETER_DELIVERY: &str = "ATTUNE_PARAMETER_DELIVERY";
pub const PARAMETER_FORMAT: &str = "ATTUNE_PARAMETER_FORMAT";
pub const OUTPUT_FORMAT: &str = "ATTUNE_OUTPUT_FORMAT";
/// Where Python finds the SDK.
pub const PYTHONPATH: &str = attune_common::python_sdk::PYTHONPATH;
/// Where the process finds the API.
pub const API_URL: &str = attune_common::environment::API_URL;
/// What it signs in there with, while this attempt runs.
pub const API_TOKEN: &str = attune_common::environment::API_TOKEN;
/// The values of the keys that the action names: one JSON object, by ref, null for one that is not set.
pub const KEYS: &str = "ATTUNE_KEYS";
/// The directory whose files become artifacts when the process has ended.
pub const ARTIFACTS: &str = "ATTUNE_ARTIFACTS";
/// W3C trace context, as OpenTelemetry carries it from process to process.
pub const TRACEPARENT: &str = "TRACEPARENT";

/// What a child is told about itself.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub execution: i64,
    pub attempt: i32,
    pub action_ref: &'a str,
    /// Marks its processes: [`crate::orphans::mark`].
    pub run: &'a str,
    /// None when the action has no files.
    pub pack_dir: Option<&'a Path>,
    pub traceparent: Option<&'a str>,
    pub api: Option<&'a ApiAccess>,
    /// Where it leaves files.
    pub artifacts: Option<&'a Path>,
}

/// Where a child finds the API, and what it signs in there with.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiAccess {
    pub url: String,
    pub token: String,
}

impl fmt::Debug for ApiAccess {
    // The token is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiAccess").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What every child of this worker inherits.
#[derive(Debug, Clone)]
pub struct ChildEnvironment {
    inherited: InheritedEnvironment,
}

impl ChildEnvironment {
    /// From the environment of this process. `pass_on` names more variables to inherit, such as those of a proxy.
    pub fn of_this_process(pass_on: &[String]) -> Result<Self, PrivateVariable> {
        Ok(Self { inherited: InheritedEnvironment::of_this_process(pass_on)? })
    }

    /// From these variables instead.
    pub fn of(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        pass_on: &[String],
    ) -> Result<Self, PrivateVariable> {
        Ok(Self { inherited: InheritedEnvironment::of(variables, pass_on)? })
    }

    /// The environment of programs that install what packs need: what every child inherits, and how this worker reaches
    /// packages.
    pub fn for_builds(&self) -> BuildEnvironment {
        BuildEnvironment::of(&self.inherited)
    }

    /// The environment of one attempt's process, to which parameters may be added.
    pub fn for_attempt(&self, attempt: &Attempt<'_>) -> BTreeMap<OsString, OsString> {
        let mut environment = self.inherited.variables();
        environment.insert(EXECUTION_ID.into(), attempt.execution.to_string().into());
        environment.insert(ACTION_REF.into(), attempt.action_ref.into());
        if let Some((pack_ref, _)) = attempt.action_ref.split_once('.') {
            environment.insert(PACK_REF.into(), pack_ref.into());
        }
        environment.insert(RUN.into(), attempt.run.into());
        environment.insert(ATTEMPT.into(), attempt.attempt.to_string().into());
        if let Some(directory) = attempt.pack_dir {
            environment.insert(PACK_DIR.into(), directory.into());
        }
        if let Some(traceparent) = attempt.traceparent {
            environment.insert(TRACEPARENT.into(), traceparent.into());
        }
        if let Some(api) = attempt.api {
            environment.insert(API_URL.into(), api.url.as_str().into());
            environment.insert(API_TOKEN.into(), api.token.as_str().into());
        }
        if let Some(directory) = attempt.artifacts {
            environment.insert(ARTIFACTS.into(), directory.into());
        }
        environment
    }
}

/// Tells a child how it is spoken to and what is read from it, so that a library can do both for it.
pub(crate) fn dialect(
    delivery: ParameterDelivery,
    format: ParameterFormat,
    output: OutputFormat,
) -> [(OsString, OsString); 3] {
    [
        (PARAMETER_DELIVERY.into(), delivery.as_str().into()),
        (PARAMETER_FORMAT.into(), format.as_str().into()),
        (OUTPUT_FORMAT.into(), output.as_str().into()),
    ]
}
