//! A pack as its files define it.

use std::collections::BTreeMap;
use std::time::Duration;

use attune_rules::RuleDefinition;
use semver::{Version, VersionReq};
use serde_json::{Map, Value};

use crate::case::TestFile;
use crate::finding::Located;
use crate::isolation::Isolation;
use crate::retry::Retry;
use crate::version::VersionConstraint;

/// An enum whose values have names in pack files.
macro_rules! named_values {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            /// Every value.
            $vis const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in pack files.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        crate::value::chosen!($name);
    };
}

pub(crate) use named_values;

/// Everything a pack defines.
#[derive(Debug, Clone, PartialEq)]
pub struct PackDefinition {
    /// What `pack.yaml` says.
    pub manifest: Manifest,
    /// `runtimes/*.yaml`.
    pub runtimes: Vec<RuntimeDefinition>,
    /// `actions/*.yaml`.
    pub actions: Vec<ActionDefinition>,
    /// `triggers/*.yaml`.
    pub triggers: Vec<TriggerDefinition>,
    /// `sensors/*.yaml`.
    pub sensors: Vec<SensorDefinition>,
    /// `rules/*.yaml`.
    pub rules: Vec<RuleEntry>,
    /// `permissions/*.yaml`.
    pub permission_sets: Vec<PermissionSetDefinition>,
    /// `policies/*.yaml`.
    pub policies: Vec<PolicyDefinition>,
    /// `queues/*.yaml`.
    pub queues: Vec<QueueDefinition>,
    /// `keys/*.yaml`.
    pub keys: Vec<KeyDefinition>,
    /// `tests/*.yaml`.
    pub tests: Vec<TestFile>,
    /// `config/*.yaml`: values of its configuration by the environment that they are for.
    pub environments: BTreeMap<String, Map<String, Value>>,
    /// SHA-256 over paths, modes and contents of all files, in hexadecimal digits.
    pub checksum: String,
}

/// What a pack says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The ref of the pack, before the dot in the refs of its components.
    pub r#ref: String,
    /// The semantic version.
    pub version: Version,
    /// The name for people.
    pub label: Option<String>,
    /// What the pack is for.
    pub description: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// Where its author can be reached.
    pub email: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Which interpreters its actions and sensors can use.
    pub interpreters: Vec<(RuntimeLanguage, VersionConstraint)>,
    /// Anything else its author wants to keep with it.
    pub meta: Map<String, Value>,
    /// The packs that it needs, each with the versions that will do.
    pub dependencies: BTreeMap<String, Located<VersionReq>>,
    /// JSON schema of its configuration; null for a pack without one.
    pub config_schema: Value,
}

/// How entrypoints are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Program and arguments before the entrypoint; empty: the entrypoint itself is executed.
    pub interpreter: Vec<String>,
    /// Whether the worker runs it itself, without a process.
    pub native: bool,
    /// The language whose packs get an environment with what they need; None: the interpreter alone runs the entrypoint.
    pub environment: Option<RuntimeLanguage>,
    /// Which versions of the interpreter will do; only with an environment.
    pub version: Option<VersionConstraint>,
}

named_values! {
    /// A language whose packs can say what they need.
    pub RuntimeLanguage {
        /// `requirements.txt` or `pyproject.toml`.
        Python = "python",
        /// `package.json`, with its lock.
        Node = "node",
    }
}

/// Something that can be done.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// Whether it may be run.
    pub enabled: bool,
    /// The runtime that runs it.
    pub runtime: Located<String>,
    /// Path relative to the pack's `actions/`; the name of the handler for a native runtime.
    pub entrypoint: String,
    /// JSON schema of the parameters.
    pub parameters: Value,
    /// How the parameters reach the process.
    pub parameter_delivery: ParameterDelivery,
    /// How the parameters are written.
    pub parameter_format: ParameterFormat,
    /// How standard output becomes the result.
    pub output_format: OutputFormat,
    /// JSON schema of the result; `{}` where it says nothing.
    pub out_schema: Value,
    /// How long a run may take.
    pub timeout: Duration,
    /// What becomes of a run whose worker vanished.
    pub on_worker_loss: OnWorkerLoss,
    /// When and how a run is tried again; None: never.
    pub retry: Option<Retry>,
    /// Labels or capabilities that the worker has to have.
    pub worker_selector: BTreeMap<String, String>,
    /// Taints of the worker that do no harm.
    pub tolerations: Vec<String>,
    /// How its process is kept apart.
    pub isolation: Isolation,
    /// What its runs may ask of the API besides what is about themselves.
    pub permissions: Vec<GrantDefinition>,
    /// What its runs leave under which name.
    pub artifacts: Vec<ArtifactDefinition>,
    /// The keys whose values its runs get.
    pub keys: Vec<UsedKeyDefinition>,
}

/// A key whose value the runs of an action get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKeyDefinition {
    /// The ref of the key.
    pub r#ref: Located<String>,
    /// Whether nothing runs without it.
    pub required: bool,
}

/// Something that the runs of an action leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactDefinition {
    /// Under which name: the last part of the artifact's ref.
    pub name: String,
    /// What it holds.
    pub artifact_type: ArtifactType,
    /// What it is.
    pub description: Option<String>,
    /// Whose contents become versions of one another.
    pub scope: ArtifactScope,
    /// How many of the newest versions are kept; None: all.
    pub keep_versions: Option<u32>,
    /// For how many days versions are kept; None: for ever, or for a month where each execution has its own.
    pub keep_days: Option<u32>,
}

named_values! {
    /// Whose contents become versions of one another.
    pub ArtifactScope {
        /// Those of all runs of the action.
        Action = "action",
        /// Those of one execution.
        Execution = "execution",
    }
}

named_values! {
    /// What an artifact holds.
    pub ArtifactType {
        /// Any bytes.
        File = "file",
        /// Rows with columns, as JSON.
        Table = "table",
        /// An address, as JSON.
        Link = "link",
    }
}

named_values! {
    /// How the parameters of an action reach its process.
    pub ParameterDelivery {
        /// On standard input.
        Stdin = "stdin",
        /// Each in an environment variable.
        Env = "env",
        /// In a file whose path the process is told.
        File = "file",
    }
}

named_values! {
    /// How parameters on standard input or in a file are written.
    pub ParameterFormat {
        /// One JSON object.
        Json = "json",
        /// One YAML mapping.
        Yaml = "yaml",
        /// `NAME=value` lines.
        Dotenv = "dotenv",
    }
}

named_values! {
    /// How the standard output of an action becomes its result.
    pub OutputFormat {
        /// As it is.
        Text = "text",
        /// One JSON value.
        Json = "json",
        /// One YAML document.
        Yaml = "yaml",
        /// One JSON value a line.
        Jsonl = "jsonl",
    }
}

named_values! {
    /// What becomes of a run whose worker vanished.
    pub OnWorkerLoss {
        /// It ends as `abandoned`.
        Abandon = "abandon",
        /// Another worker begins a new attempt: running it twice is safe.
        Retry = "retry",
    }
}

/// A kind of thing that can happen.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// What it stands for.
    pub description: Option<String>,
    /// Whether its events are accepted.
    pub enabled: bool,
    /// JSON schema of what a rule may give as `trigger_params`.
    pub parameters: Value,
    /// JSON schema of the payload of its events; `{}` where it says nothing.
    pub out_schema: Value,
    /// How the webhook takes its requests, for a trigger that has one.
    pub webhook: Option<WebhookDefinition>,
}

/// The webhook of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDefinition {
    /// How the sender proves itself; without it whoever knows the address may send.
    pub signature: Option<WebhookSignature>,
    /// The header, in lower case, that names the delivery.
    pub delivery_id_header: Option<String>,
}

/// How the sender of a webhook proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSignature {
    /// The way of signing.
    pub scheme: SignatureScheme,
    /// Ref of the key that holds the shared secret.
    pub secret: Located<String>,
    /// The header, in lower case, with the signature; only and always for [`SignatureScheme::HmacSha256`].
    pub header: Option<String>,
}

named_values! {
    /// A way of signing a request body.
    pub SignatureScheme {
        /// GitHub's: `X-Hub-Signature-256`.
        Github = "github",
        /// Hexadecimal HMAC-SHA256 in a header of one's choice.
        HmacSha256 = "hmac_sha256",
    }
}

/// A process that watches something and reports events.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// What it watches.
    pub description: Option<String>,
    /// Whether it is started.
    pub enabled: bool,
    /// The runtime that runs it.
    pub runtime: Located<String>,
    /// Path relative to the pack's `sensors/`.
    pub entrypoint: String,
    /// The triggers it may report.
    pub triggers: Vec<Located<String>>,
    /// Its settings.
    pub config: Map<String, Value>,
    /// What its process may ask of the API.
    pub permissions: Vec<GrantDefinition>,
}

/// A rule with what surrounds it.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleEntry {
    /// The name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it judges events at all.
    pub enabled: bool,
    /// Whether it acts on them, or only records what it would have done.
    pub mode: RuleMode,
    /// The trigger it listens to, as in the definition.
    pub trigger: Located<String>,
    /// The action it runs, as in the definition.
    pub action: Located<String>,
    /// How its executions are tried again; None: as the action says.
    pub retry: Option<Retry>,
    /// The rule itself; it compiles.
    pub definition: RuleDefinition,
}

named_values! {
    /// Whether a rule acts.
    pub RuleMode {
        /// It runs its action.
        Active = "active",
        /// It is judged and recorded, and runs nothing.
        Shadow = "shadow",
    }
}

/// A named list of grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionSetDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// Whom it is for.
    pub description: Option<String>,
    /// What it allows.
    pub grants: Vec<GrantDefinition>,
}

/// These actions on this resource; `*` stands for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantDefinition {
    /// The resource.
    pub resource: Located<String>,
    /// What may be done with it.
    pub actions: Vec<Located<String>>,
    /// What it is limited to.
    pub constraints: ConstraintsDefinition,
}

/// What a grant is limited to; nothing that is empty limits anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConstraintsDefinition {
    /// Patterns of refs, in which `*` stands for any characters.
    pub refs: Vec<String>,
    /// Packs.
    pub packs: Vec<String>,
    /// Whether it is only about what belongs to whom the grant is of.
    pub own: bool,
}

/// A limit on the runs of an action, or of all actions of the pack together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// Whether it limits anything.
    pub enabled: bool,
    /// The action that is limited; without one every action of the pack.
    pub action: Option<Located<String>>,
    /// How many may run at once.
    pub concurrency: Option<u32>,
    /// The parameters whose values the concurrency is counted by.
    pub parameters: Vec<String>,
    /// How many may start in a period.
    pub rate: Option<RateDefinition>,
    /// What becomes of what is more.
    pub method: PolicyMethod,
}

/// So many starts in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateDefinition {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

named_values! {
    /// What becomes of a run that a policy does not admit.
    pub PolicyMethod {
        /// It waits.
        Enqueue = "enqueue",
        /// It is cancelled.
        Cancel = "cancel",
    }
}

/// `keys/*.yaml`: a key that the pack needs. Its value is set on the server; that of a secret stands in no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// What it is for, and where to get it.
    pub description: Option<String>,
    /// Whether the pack is no good without it.
    pub required: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// The value that it has where none is set; never of a secret.
    pub default: Option<String>,
}

/// A queue of items that an action works off.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueDefinition {
    /// `pack.name`.
    pub r#ref: String,
    /// The name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether items are handed out.
    pub enabled: bool,
    /// The action that works on the items.
    pub action: Located<String>,
    /// JSON schema of an item.
    pub item_schema: Value,
    /// How many items an execution gets.
    pub batch_size: u32,
    /// How many executions work on the queue at once.
    pub concurrency: u32,
    /// How often an item is handed out at most.
    pub max_attempts: u32,
    /// How long an item waits after its first failure; twice as long after each further one.
    pub retry_delay: Duration,
}
