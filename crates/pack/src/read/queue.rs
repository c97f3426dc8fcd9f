//! `queues/*.yaml`.

use std::time::Duration;

use attune_expr::form;
use serde_json::{Map, Value};

use crate::definition::QueueDefinition;
use crate::form::FileForm;
use crate::reader::{Item, MappingReader};
use crate::value::{ComponentRef, Flag, Parameters, Period, Whole};

use super::common::ComponentForm;
use super::{Kind, Place};

/// An execution gets all items of a batch as one parameter.
const LARGEST_BATCH: u32 = 1000;
const MOST_ATTEMPTS: u32 = 100;
const MOST_AT_ONCE: u32 = 10_000;

form! {
    /// A work queue: items that an action works off.
    pub(crate) struct QueueForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Whether items are handed out.
        optional enabled: Flag<true>,
        /// The action that works on the items.
        required action: ComponentRef,
        /// The members of an item by name, as `parameters` of an action.
        optional item: Parameters,
        /// How many items a run gets; 1 unless said.
        optional batch_size: Whole<1, LARGEST_BATCH>,
        /// How many runs at once; 10 unless said.
        optional concurrency: Whole<1, MOST_AT_ONCE>,
        /// How often an item is handed out at most; 5 unless said.
        optional max_attempts: Whole<1, MOST_ATTEMPTS>,
        /// How long an item waits after its first failure; 10 s unless said.
        optional retry_delay: Period,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<QueueDefinition> {
    let form = QueueForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let enabled = form.enabled.is_on();
    let action = form.action.known(place.known(Kind::Action));
    // Without it an item may be any object.
    let item_schema = form.item.read().unwrap_or_else(|| Value::Object(Map::new()));
    let batch_size = form.batch_size.read().unwrap_or(1);
    let concurrency = form.concurrency.read().unwrap_or(10);
    let max_attempts = form.max_attempts.read().unwrap_or(5);
    let retry_delay = form.retry_delay.read().unwrap_or(Duration::from_secs(10));
    if max_attempts == 1 {
        form.retry_delay.without_effect("with `max_attempts: 1`, after which nothing is retried");
    }
    Some(QueueDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        enabled,
        action: action?,
        item_schema,
        batch_size,
        concurrency,
        max_attempts,
        retry_delay,
    })
}
