//! `actions/*.yaml`.

use std::time::Duration;

use attune_expr::form;
use attune_expr::schema::to_json_schema;
use serde_json::{Map, Value};

use crate::Retry;
use crate::definition::{
    ActionDefinition, ArtifactDefinition, GrantDefinition, OnWorkerLoss, OutputFormat, ParameterDelivery,
    ParameterFormat, UsedKeyDefinition,
};
use crate::form::{FileForm, Member};
use crate::reader::{Item, MappingReader, shortened};
use crate::value::{ComponentRef, Flag, Label, Labels, Parameters, PayloadSchema, Period, Text};

use super::common::{ComponentForm, RuntimeKind, entrypoint_file};
use super::isolation::IsolationForm;
use super::{Kind, Place, artifact, key};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

form! {
    /// An action: something that can be done.
    pub(crate) struct ActionForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Whether it may be run.
        optional enabled: Flag<true>,
        /// What runs it: `core.shell`, `core.python`, `core.executable`, or a runtime of a pack.
        required runtime: ComponentRef,
        /// The script, relative to `actions/`; a handler's name for `core.native`.
        required entrypoint: Text,
        /// Its parameters by name.
        optional parameters: Parameters,
        /// How the parameters reach the process; `stdin` unless said.
        optional parameter_delivery: ParameterDelivery,
        /// How parameters are written on standard input or in a file; `json` unless said.
        optional parameter_format: ParameterFormat,
        /// How standard output becomes the result; `text` unless said.
        optional output_format: OutputFormat,
        /// The JSON schema of its result.
        optional out_schema: PayloadSchema,
        with isolation: IsolationForm<'f>,
        /// How long a run may take; a minute unless said.
        optional timeout: Period,
        /// What becomes of a run whose worker vanished; `retry` only where running it twice is safe.
        optional on_worker_loss: OnWorkerLoss,
        /// When and how a run is tried again.
        optional retry: Retry,
        /// Labels or capabilities that the worker has to have.
        optional worker_selector: Labels,
        /// Taints of the worker that do no harm.
        optional tolerations: Vec<Label>,
        /// What its runs may ask of the API besides what is about themselves.
        optional permissions: Vec<GrantDefinition>,
        /// What its runs leave.
        optional artifacts: Vec<ArtifactDefinition>,
        /// The keys whose values its runs get, in `ATTUNE_KEYS`.
        optional keys: Vec<UsedKeyDefinition>,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<ActionDefinition> {
    let form = ActionForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let enabled = form.enabled.is_on();
    let runtime = form.runtime.known(place.known_runtimes());
    let kind = runtime.as_ref().map(|runtime| RuntimeKind::of(&runtime.value, place.runtimes));
    // Without a runtime it is not known what the entrypoint has to be.
    let entrypoint = form.entrypoint.item().zip(kind).and_then(|(item, kind)| match kind {
        RuntimeKind::Native => handler(item),
        RuntimeKind::Direct | RuntimeKind::Other => entrypoint_file(item, kind, place),
    });
    let parameters = parameters(&form.parameters);
    let delivery = form.parameter_delivery.read();
    let format = form.parameter_format.read();
    let output = form.output_format.read();
    let out_schema = form.out_schema.read().unwrap_or_else(|| Value::Object(Map::new()));
    let isolation = form.isolation.read(&parameters);
    let timeout = form.timeout.read().unwrap_or(DEFAULT_TIMEOUT);
    let loss = form.on_worker_loss.read();
    let retry = form.retry.read();
    if loss == Some(OnWorkerLoss::Retry)
        && let Some(retry) = &retry
        && retry.on.iter().any(|end| end == "abandoned")
        && let Some(item) = form.retry.item()
    {
        let on = item.descend("/on", false);
        let finding = on.finding(
            "`abandoned` has no effect with `on_worker_loss: retry`, which begins another attempt at once",
        );
        on.add(finding.expected("one of the two left out"));
    }
    let worker_selector = form.worker_selector.read().unwrap_or_default();
    let tolerations = form.tolerations.read().unwrap_or_default();
    let permissions = form.permissions.read().unwrap_or_default();
    let artifacts = artifact::artifacts(&form.artifacts);
    let keys = key::used_keys(&form.keys, place.known(Kind::Key));
    if kind == Some(RuntimeKind::Native) {
        let why = "with a native runtime, which starts no process that could use it";
        form.permissions.without_effect(why);
        form.artifacts.without_effect(why);
        form.keys.without_effect(why);
        let why = "with a native runtime, which starts no process";
        form.parameter_delivery.without_effect(why);
        form.parameter_format.without_effect(why);
        form.output_format.without_effect(why);
        form.isolation.without_effect(why);
    } else if delivery == Some(ParameterDelivery::Env) {
        let why = "with `parameter_delivery: env`, where every parameter has its own variable";
        form.parameter_format.without_effect(why);
    }
    if kind == Some(RuntimeKind::Direct) {
        form.isolation.warm.without_effect("without an interpreter");
    }
    Some(ActionDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        enabled,
        runtime: runtime?,
        entrypoint: entrypoint?,
        parameters,
        parameter_delivery: delivery.unwrap_or(ParameterDelivery::Stdin),
        parameter_format: format.unwrap_or(ParameterFormat::Json),
        output_format: output.unwrap_or(OutputFormat::Text),
        out_schema,
        timeout,
        on_worker_loss: loss.unwrap_or(OnWorkerLoss::Abandon),
        retry,
        worker_selector,
        tolerations,
        isolation,
        permissions,
        artifacts,
        keys,
    })
}

/// The JSON schema of parameters.
pub(super) fn parameters(parameters: &Member<'_, Parameters>) -> Value {
    match parameters.item() {
        Some(_) => parameters.read().unwrap_or_default(),
        None => to_json_schema(&Map::new()),
    }
}

/// The name of a handler in the worker.
fn handler(item: &Item<'_>) -> Option<String> {
    let given = item.text()?;
    if given.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')) {
        return Some(given.to_owned());
    }
    let finding = item.finding(format!("`entrypoint` `{}` is not the name of a handler", shortened(given)));
    item.add(finding.expected("a name such as `echo`, because the runtime is native"));
    None
}
