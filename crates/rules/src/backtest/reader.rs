//! Events as the rules of a back-test see them: of each only what they touch is read.

use attune_expr::projection::Projection;
use attune_expr::scope::Scope;
use serde_json::{Value, json};

use super::{ConfigMask, Needs, Options, Recorded, Unreadable};

/// The roots of the scope, filled anew for every event, as far as the rules touch them.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) needs: Needs,
    /// What the conditions touch of the payload.
    payload: Projection,
    id: bool,
    created: bool,
    event: Value,
    trigger: Value,
    /// The text of the config that `trigger` holds: of most triggers it is the same for every event.
    config_text: Vec<u8>,
}

/// What is kept of an event that is decided about later.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    event: Value,
    trigger: Value,
}

impl Reader {
    pub(super) fn new(options: &Options) -> Self {
        let mut judged = Projection::default();
        let mut rendered = Projection::default();
        let mut compares_config = false;
        for subject in std::iter::once(&options.rule).chain(&options.live) {
            judged.merge(&Projection::of(&subject.rule.condition_fields()));
            rendered.merge(&Projection::of(&subject.rule.parameter_fields()));
            compares_config |= subject.rule.has_trigger_params();
        }
        let trigger_ref = options.rule.rule.trigger_ref();
        let touches =
            |member: &str| touched(&judged, member).is_some() || touched(&rendered, member).is_some();
        Self {
            needs: Needs {
                config: compares_config || touches_config(&judged) || touches_config(&rendered),
                headers: touches("headers"),
                origin: touches("source") || touches("trace_id"),
            },
            payload: touched(&judged, "payload").cloned().unwrap_or_default(),
            id: touches("id"),
            created: touches("created"),
            event: json!({
                "id": null,
                "trigger": trigger_ref,
                "payload": null,
                "headers": null,
                "source": null,
                "trace_id": null,
                "created": null,
            }),
            trigger: json!({ "ref": trigger_ref, "config": {} }),
            config_text: b"{}".to_vec(),
        }
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope::new().with("event", &self.event).with("trigger", &self.trigger)
    }

    pub(super) fn config(&self) -> &Value {
        &self.trigger["config"]
    }

    /// Takes the event, of its payload what the conditions touch.
    pub(super) fn read(&mut self, recorded: &Recorded<'_>) -> Result<(), Unreadable> {
        let unreadable = |part| move |source| Unreadable { event: recorded.id, part, source };
        self.event["payload"] = self.payload.read(recorded.payload).map_err(unreadable("the payload"))?;
        if self.needs.headers {
            let headers = recorded.headers.map(serde_json::from_slice).transpose();
            self.event["headers"] = headers.map_err(unreadable("the headers"))?.unwrap_or_default();
        }
        if self.needs.origin {
            self.event["source"] = recorded.source.into();
            self.event["trace_id"] = recorded.trace_id.into();
        }
        if self.id {
            self.event["id"] = recorded.id.into();
        }
        if self.created {
            self.event["created"] = recorded.created.to_rfc3339().into();
        }
        if self.needs.config
            && let Some(config) = recorded.config
            && config != self.config_text
        {
            self.trigger["config"] = serde_json::from_slice(config).map_err(unreadable("the config"))?;
            config.clone_into(&mut self.config_text);
        }
        Ok(())
    }

    /// Takes another part of the payload; all of it where no part is named.
    pub(super) fn read_payload(
        &mut self,
        recorded: &Recorded<'_>,
        part: Option<&Projection>,
    ) -> Result<(), Unreadable> {
        let read = match part {
            Some(part) => part.read(recorded.payload),
            None => serde_json::from_slice(recorded.payload),
        };
        let unreadable = |source| Unreadable { event: recorded.id, part: "the payload", source };
        self.event["payload"] = read.map_err(unreadable)?;
        Ok(())
    }

    /// The event as it is read now, for later.
    pub(super) fn keep(&self) -> Kept {
        Kept { event: self.event.clone(), trigger: self.trigger.clone() }
    }
}

impl Kept {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope::new().with("event", &self.event).with("trigger", &self.trigger)
    }

    /// The same with the config as it may be shown.
    pub(super) fn masked(mut self, mask: &ConfigMask) -> Self {
        let config = self.trigger["config"].take();
        self.trigger["config"] = (mask.0)(config);
        self
    }
}

/// What is touched of a member of the event.
pub(super) fn touched<'p>(projection: &'p Projection, member: &str) -> Option<&'p Projection> {
    projection.member("event").and_then(|event| event.member(member))
}

/// Whether the config of the event is touched.
pub(super) fn touches_config(projection: &Projection) -> bool {
    projection.member("trigger").and_then(|trigger| trigger.member("config")).is_some()
}
