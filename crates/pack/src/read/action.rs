//! `actions/*.yaml`.

use std::time::Duration;

use crate::definition::{ActionDefinition, OnWorkerLoss, OutputFormat, ParameterDelivery, ParameterFormat};
use crate::duration;
use crate::reader::{Item, MappingReader, shortened};

use super::artifact::artifacts;
use super::common::{Component, RuntimeKind, entrypoint_file, parameters};
use super::execution::{retry, selector, tolerations};
use super::isolation;
use super::key::used_keys;
use super::permission::permissions;
use super::trigger::out_schema;
use super::{Kind, Place};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Long enough for anything that is not a mistake, and safely within what the database can add to a time.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn read(
    mapping: MappingReader<'_>,
    component: Component,
    place: &Place<'_>,
) -> Option<ActionDefinition> {
    let enabled = mapping.bool_or("enabled", true);
    let runtime = mapping.required("runtime").and_then(|item| item.component_ref(place.known_runtimes()));
    let kind = runtime.as_ref().map(|runtime| RuntimeKind::of(&runtime.value, place.runtimes));
    // Without a runtime it is not known what the entrypoint has to be.
    let entrypoint = mapping.required("entrypoint").zip(kind).and_then(|(item, kind)| match kind {
        RuntimeKind::Native => handler(&item),
        RuntimeKind::Direct | RuntimeKind::Other => entrypoint_file(&item, kind, place),
    });
    let parameters = parameters(&mapping);
    let delivery = mapping
        .optional("parameter_delivery")
        .and_then(|i| i.choice(ParameterDelivery::ALL, ParameterDelivery::as_str));
    let format = mapping
        .optional("parameter_format")
        .and_then(|i| i.choice(ParameterFormat::ALL, ParameterFormat::as_str));
    let output =
        mapping.optional("output_format").and_then(|i| i.choice(OutputFormat::ALL, OutputFormat::as_str));
    let out_schema = mapping
        .optional("out_schema")
        .map_or_else(|| serde_json::Value::Object(serde_json::Map::new()), |item| out_schema(&item));
    let isolation = isolation::read(&mapping, &parameters);
    let timeout = mapping.optional("timeout").and_then(|item| duration_of(&item)).unwrap_or(DEFAULT_TIMEOUT);
    let loss =
        mapping.optional("on_worker_loss").and_then(|i| i.choice(OnWorkerLoss::ALL, OnWorkerLoss::as_str));
    let retry = retry(&mapping);
    if loss == Some(OnWorkerLoss::Retry)
        && let Some(retry) = &retry
        && retry.on.iter().any(|end| end == "abandoned")
        && let Some(item) = mapping.optional("retry")
    {
        let on = item.descend("/on", false);
        let finding = on.finding(
            "`abandoned` has no effect with `on_worker_loss: retry`, which begins another attempt at once",
        );
        on.add(finding.expected("one of the two left out"));
    }
    let worker_selector = selector(&mapping);
    let tolerations = tolerations(&mapping);
    let permissions = permissions(&mapping);
    let artifacts = artifacts(&mapping);
    let keys = used_keys(&mapping, place.known(Kind::Key));
    if kind == Some(RuntimeKind::Native) {
        for key in ["permissions", "artifacts", "keys"] {
            mapping.without_effect(key, "with a native runtime, which starts no process that could use it");
        }
        for key in [
            "parameter_delivery",
            "parameter_format",
            "output_format",
            "image",
            "limits",
            "sandbox",
            "warm",
            "timeout_parameter",
        ] {
            mapping.without_effect(key, "with a native runtime, which starts no process");
        }
    } else if delivery == Some(ParameterDelivery::Env) {
        let why = "with `parameter_delivery: env`, where every parameter has its own variable";
        mapping.without_effect("parameter_format", why);
    }
    if kind == Some(RuntimeKind::Direct) {
        mapping.without_effect("warm", "without an interpreter");
    }
    mapping.close();
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

/// Whole seconds, or a number with its unit.
pub(super) fn duration_of(item: &Item<'_>) -> Option<Duration> {
    let duration = match item.number_or_text() {
        Some(Ok(number)) => number.as_u64().map(Duration::from_secs),
        Some(Err(text)) => duration::parse(text),
        None => None,
    };
    let valid = duration.filter(|duration| !duration.is_zero() && *duration <= LONGEST_TIMEOUT);
    if valid.is_none() {
        let given = match item.json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let finding = item.finding(format!(
            "`{}` `{}` is not a duration that can be used",
            item.name(),
            shortened(&given)
        ));
        item.add(finding.expected("whole seconds, or `30s`, `5m`, `2h`; more than nothing, at most a year"));
    }
    valid
}
