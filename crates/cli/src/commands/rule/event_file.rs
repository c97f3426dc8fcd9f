//! An event in a file, as rules see it.

use attune_expr::suggest::nearest;
use attune_expr::value::type_name;
use attune_rules::{EventFields, RuleDefinition, SeenEvent};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::failure::Fault;
use crate::input;
use crate::output::say;

/// Members of a file with a whole event. `attune event show -o json` writes such files, and so may people, who give
/// less. `trigger_ref` and `source_ref` are other names of `trigger` and `source`.
const MEMBERS: &[&str] = &[
    "id",
    "trigger",
    "trigger_ref",
    "source",
    "source_ref",
    "payload",
    "headers",
    "config",
    "trace_id",
    "created",
    // Written there as well; nothing that a rule sees.
    "dedup_key",
    "matched",
    "enforcements",
];

/// An event with the names that a rule sees.
#[derive(Debug)]
pub(super) struct RecordedEvent {
    /// The trigger that the file names, if it does.
    pub(super) trigger_ref: Option<String>,
    /// What `trigger_params` are compared with; `None` where the file is the payload alone and says nothing about it.
    pub(super) config: Option<Value>,
    /// `event` and `trigger` to conditions and templates.
    pub(super) seen: SeenEvent,
}

/// What a test takes for granted about what a file does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assumptions<'a> {
    /// The rule to be tested, whose trigger the event is of.
    pub(super) rule: &'a RuleDefinition,
    /// When the event was recorded.
    pub(super) now: DateTime<Utc>,
}

/// Reads a file; `-` is standard input. With `is_payload` all of it is the payload.
pub(super) fn read(
    given: &str,
    is_payload: bool,
    assumptions: Assumptions<'_>,
) -> anyhow::Result<RecordedEvent> {
    let content = input::json_file("the event", given)?;
    let file = input::name_of(given);
    Ok(if is_payload {
        event_of_payload(content, assumptions)
    } else {
        let members = members_of(content, file)?;
        event_of_members(members, file, assumptions)?
    })
}

fn event_of_payload(payload: Value, assumptions: Assumptions<'_>) -> RecordedEvent {
    let Assumptions { rule, .. } = assumptions;
    let mut members = Map::new();
    members.insert("payload".to_owned(), payload);
    RecordedEvent {
        trigger_ref: None,
        config: None,
        seen: seen(members, &rule.trigger_ref, &rule.trigger_params, assumptions.now),
    }
}

fn event_of_members(
    mut members: Map<String, Value>,
    file: &str,
    assumptions: Assumptions<'_>,
) -> Result<RecordedEvent, Fault> {
    let trigger_ref = text_of(&mut members, ["trigger", "trigger_ref"], file)?;
    let source = text_of(&mut members, ["source", "source_ref"], file)?;
    members.insert("source".to_owned(), source.into());
    let config = match members.remove("config") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(config @ Value::Object(_)) => config,
        Some(other) => {
            return Err(Fault::new(format!("{file}: `config` must be an object, got {}", type_name(&other))));
        }
    };
    let trigger = trigger_ref.clone().unwrap_or_else(|| assumptions.rule.trigger_ref.clone());
    Ok(RecordedEvent {
        seen: seen(members, &trigger, &config, assumptions.now),
        trigger_ref,
        config: Some(config),
    })
}

/// The members of a whole event. A name that is nearly right would be missed in the verdict, so it is refused.
fn members_of(content: Value, file: &str) -> Result<Map<String, Value>, Fault> {
    let payload_alone = "with --payload the file is the payload alone";
    let Value::Object(members) = content else {
        let message =
            format!("{file}: expected an event, an object with `payload`; got {}", type_name(&content));
        return Err(Fault::new(message).hint(payload_alone));
    };
    for name in members.keys().filter(|name| !MEMBERS.contains(&name.as_str())) {
        let free = MEMBERS.iter().copied().filter(|known| !members.contains_key(*known));
        if let Some(near) = nearest(name, free) {
            return Err(Fault::new(format!("{file}: an event has no `{name}`"))
                .hint(format!("did you mean `{near}`? {payload_alone}")));
        }
    }
    if !members.contains_key("payload") {
        return Err(Fault::new(format!("{file}: the event has no `payload`")).hint(payload_alone));
    }
    let strange: Vec<_> = members
        .keys()
        .filter(|name| !MEMBERS.contains(&name.as_str()))
        .map(|name| format!("`{name}`"))
        .collect();
    if !strange.is_empty() {
        say(format_args!("note: {file}: left out, as no event has it: {}", strange.join(", ")));
    }
    Ok(members)
}

/// A text under one of its two names.
fn text_of(members: &mut Map<String, Value>, names: [&str; 2], file: &str) -> Result<Option<String>, Fault> {
    let mut found = None;
    for name in names {
        match members.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if found.as_ref().is_none_or(|other| *other == text) => {
                found = Some(text);
            }
            Some(Value::String(_)) => {
                return Err(Fault::new(format!("{file}: `{}` and `{}` differ", names[0], names[1])));
            }
            Some(other) => {
                return Err(Fault::new(format!("{file}: `{name}` must be text, got {}", type_name(&other))));
            }
        }
    }
    Ok(found)
}

/// The event as conditions and templates see it: every name is there, whatever the file says.
fn seen(mut members: Map<String, Value>, trigger_ref: &str, config: &Value, now: DateTime<Utc>) -> SeenEvent {
    let mut take = |name: &str| members.remove(name).unwrap_or_default();
    let created = match take("created") {
        Value::Null => now.to_rfc3339().into(),
        given => given,
    };
    EventFields {
        id: take("id"),
        trigger_ref: trigger_ref.to_owned(),
        config: config.clone(),
        payload: take("payload"),
        headers: take("headers"),
        source: take("source"),
        trace_id: take("trace_id"),
        created,
    }
    .seen()
}
