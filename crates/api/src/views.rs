//! Models to views: what leaves as JSON. Every function here that touches parameters takes the [`Mask`] that hides the
//! secret ones, so that none can be forgotten.

mod definitions;
mod history;
mod inquiries;
mod limits;
mod mask;
mod waits;

pub(crate) use definitions::{
    action_view, grant_view, pack_view, rule_view, sensor_view, trigger_detail, trigger_view, webhook_address,
};
pub(crate) use history::{
    action_of, attempt_view, chain_view, enforcement_view, event_view, execution_view, key_view, pause_view,
    window_outcome_view, worker_view,
};
pub(crate) use inquiries::{Reader, inquiry_view};
pub(crate) use limits::{policy_view, queue_item_view, queue_view, waiting_sentence, waiting_view};
pub(crate) use mask::{MASK, Mask, Masks, schema_view};
pub(crate) use waits::Waits;
