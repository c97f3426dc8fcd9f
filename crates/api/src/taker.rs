//! What takes an event that comes over the API: its trigger, which must exist, be enabled, and take such a configuration.

use std::collections::HashMap;

use attune_client::types::{EventRequest, ProblemItem};
use attune_common::error::Result;
use attune_common::models::event::NewEvent;
use attune_common::models::trigger::Trigger;
use attune_common::repositories::TriggerRepository;
use serde_json::{Map, Value};
use sqlx::PgPool;

use attune_expr::masking::Masker;

use crate::cause::Cause;
use crate::check;
use crate::error::ApiError;
use crate::run_masking::has_secret;
use crate::webhook::{MAX_DEDUP_KEY, nul_fault};

/// The triggers of one request, each read once.
#[derive(Debug, Default)]
pub(crate) struct Takers {
    known: HashMap<String, std::result::Result<Taker, Refusal>>,
}

/// A trigger that takes events.
#[derive(Debug)]
pub(crate) struct Taker {
    trigger: Trigger,
    /// What an event without a configuration of its own gets.
    defaults: std::result::Result<Value, Vec<ProblemItem>>,
}

/// Why an event is not taken.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    UnknownTrigger(Box<ProblemItem>),
    Disabled(String),
    Invalid(Vec<ProblemItem>),
}

impl Takers {
    /// The trigger with this ref; the outer error is the database's.
    pub(crate) async fn of(
        &mut self,
        pool: &PgPool,
        trigger_ref: &str,
    ) -> Result<std::result::Result<&Taker, Refusal>> {
        if !self.known.contains_key(trigger_ref) {
            let taker = Taker::read(pool, trigger_ref).await?;
            self.known.insert(trigger_ref.to_owned(), taker);
        }
        Ok(self.known[trigger_ref].as_ref().map_err(Clone::clone))
    }
}

impl Taker {
    async fn read(pool: &PgPool, trigger_ref: &str) -> Result<std::result::Result<Self, Refusal>> {
        Ok(match TriggerRepository::find_by_ref(pool, trigger_ref).await? {
            Some(trigger) if trigger.enabled => {
                let defaults = check::values(&trigger.param_schema, Value::Null, "/config");
                Ok(Self { trigger, defaults })
            }
            Some(trigger) => Err(Refusal::Disabled(trigger.r#ref)),
            None => {
                let known = TriggerRepository::refs(pool).await?;
                let item = check::unknown_ref_item("trigger", trigger_ref, &known);
                Err(Refusal::UnknownTrigger(Box::new(item)))
            }
        })
    }

    /// The event that the request asks for, as it may be kept and shown.
    pub(crate) fn event(
        &self,
        request: EventRequest,
        cause: &Cause,
        masker: &Masker,
    ) -> std::result::Result<NewEvent, Refusal> {
        let fault = |pointer: &str, detail: String| {
            let pointer = Some(pointer.to_owned());
            Refusal::Invalid(vec![ProblemItem { detail, pointer, ..ProblemItem::default() }])
        };
        if let Some(detail) = request.dedup_key.as_deref().and_then(dedup_key_fault) {
            return Err(fault("/dedup_key", detail.to_owned()));
        }
        if request.dedup_key.as_deref().is_some_and(|key| has_secret(masker, key)) {
            let detail = "there is a secret in it, and events are shown: make it of something else";
            return Err(fault("/dedup_key", detail.to_owned()));
        }
        let config = match request.config {
            None => self.defaults.clone(),
            Some(given) => check::values(&self.trigger.param_schema, given, "/config"),
        };
        let config = config.map_err(Refusal::Invalid)?;
        let payload = if request.payload.is_null() { Value::Object(Map::new()) } else { request.payload };
        for (member, value) in [("/payload", &payload), ("/config", &config)] {
            if let Some((pointer, detail)) = nul_fault(value) {
                return Err(fault(&format!("{member}{pointer}"), detail.to_owned()));
            }
        }
        Ok(cause.mark(NewEvent {
            trigger: Some(self.trigger.id),
            trigger_ref: self.trigger.r#ref.clone(),
            config: Some(masker.value(config)),
            payload: Some(masker.value(payload)),
            dedup_key: request.dedup_key,
            ..NewEvent::default()
        }))
    }
}

impl Refusal {
    /// The answer to a request for this one event.
    pub(crate) fn into_error(self) -> ApiError {
        match self {
            Self::UnknownTrigger(item) => check::unknown(*item),
            Self::Disabled(trigger) => ApiError::conflict(disabled(&trigger)),
            Self::Invalid(items) => ApiError::invalid("the event is not valid; nothing was stored", items),
        }
    }

    /// What is wrong with the event at this place of a request.
    pub(crate) fn items(self, at: &str) -> Vec<ProblemItem> {
        let items = match self {
            Self::UnknownTrigger(item) => vec![*item],
            Self::Disabled(trigger) => vec![ProblemItem {
                detail: disabled(&trigger),
                pointer: Some("/trigger".to_owned()),
                ..ProblemItem::default()
            }],
            Self::Invalid(items) => items,
        };
        let placed = |item: ProblemItem| ProblemItem {
            pointer: Some(format!("{at}{}", item.pointer.unwrap_or_default())),
            ..item
        };
        items.into_iter().map(placed).collect()
    }
}

fn disabled(trigger: &str) -> String {
    format!("trigger {trigger} is disabled; it takes no events")
}

fn dedup_key_fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("an empty key would make all events one; leave it out for an event that is never a duplicate")
    } else if key.len() > MAX_DEDUP_KEY {
        Some("the key has more than 255 bytes; give a hash of it")
    } else if key.contains('\0') {
        Some("the key contains U+0000, which cannot be stored")
    } else {
        None
    }
}
