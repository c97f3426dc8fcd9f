//! `queues/*.yaml`.

use std::time::Duration;

use attune_expr::schema::{check_parameters, to_json_schema};
use serde_json::{Map, Value};

use crate::definition::QueueDefinition;
use crate::reader::MappingReader;

use super::action::duration_of;
use super::common::{Component, foreign_problem};
use super::policy::whole_number;
use super::{Kind, Place};

/// An execution gets all items of a batch as one parameter.
pub(crate) const LARGEST_BATCH: u32 = 1000;
pub(crate) const MOST_ATTEMPTS: u32 = 100;
pub(crate) const MOST_AT_ONCE: u32 = 10_000;

pub(super) fn read(
    mapping: MappingReader<'_>,
    component: Component,
    place: &Place<'_>,
) -> Option<QueueDefinition> {
    let enabled = mapping.bool_or("enabled", true);
    let action = mapping.required("action").and_then(|item| item.component_ref(place.known(Kind::Action)));
    let item_schema = item_schema(&mapping);
    let number =
        |key, most, default| mapping.optional(key).map_or(Some(default), |item| whole_number(&item, most));
    let batch_size = number("batch_size", LARGEST_BATCH, 1);
    let concurrency = number("concurrency", MOST_AT_ONCE, 10);
    let max_attempts = number("max_attempts", MOST_ATTEMPTS, 5);
    let retry_delay =
        mapping.optional("retry_delay").map_or(Some(Duration::from_secs(10)), |item| duration_of(&item));
    if max_attempts == Some(1) {
        mapping.without_effect("retry_delay", "with `max_attempts: 1`, after which nothing is retried");
    }
    mapping.close();
    Some(QueueDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        enabled,
        action: action?,
        item_schema,
        batch_size: batch_size?,
        concurrency: concurrency?,
        max_attempts: max_attempts?,
        retry_delay: retry_delay?,
    })
}

/// The JSON schema of an item: `item` describes its members as `parameters` describe those of an action. Without it an
/// item may be any object.
fn item_schema(mapping: &MappingReader<'_>) -> Value {
    let Some(item) = mapping.optional("item") else { return Value::Object(Map::new()) };
    let Some(members) = item.object() else { return Value::Null };
    for problem in check_parameters(&members) {
        foreign_problem(&item, &problem.pointer, &problem.message, problem.suggestion);
    }
    to_json_schema(&members)
}
