//! Actions and sensors that were enabled or disabled on the server, and the pack that brings another version of them.
//!
//! As with rules ([`super::edits`]), three states of each are compared: as the installed files say, as it is stored, and as the
//! new files say. Of two values no two sides can make different ones, so that there are no conflicts: what was switched on
//! the server stays so.

use std::collections::BTreeMap;

use attune_common::error::StoreError;
use attune_common::models::pack::Pack;
use attune_common::repositories::{ActionRepository, SensorRepository};
use attune_pack::PackDefinition;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Candidate, Edits, KeptEdit, edits};

/// What can be switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Action,
    Sensor,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Sensor => "sensor",
        }
    }
}

/// Whether each is enabled, by kind and ref.
type States = BTreeMap<(Kind, String), bool>;

/// What was switched on the server.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// What stays other than the files say.
    here: States,
    pub(super) kept: Vec<KeptEdit>,
    /// How many are as in the files again.
    pub(super) overwritten: usize,
}

impl Switches {
    /// Whether it is to be enabled, of which the new files say this.
    pub(super) fn enabled(&self, kind: Kind, r#ref: &str, in_files: bool) -> bool {
        self.here.get(&(kind, r#ref.to_owned())).copied().unwrap_or(in_files)
    }
}

/// Compares the actions and sensors of an installed pack with those of the candidate. They are locked, so that nobody switches
/// one between the comparison and what follows from it.
pub(super) async fn merge(
    connection: &mut PgConnection,
    candidate: &Candidate,
    existing: Option<&Pack>,
    edits: Edits,
) -> Result<Switches, StoreError> {
    let mut switches = Switches::default();
    let Some(pack) = existing else { return Ok(switches) };
    let new = states(&candidate.definition);
    let actions = ActionRepository::take_switches(&mut *connection, pack.id).await?;
    let sensors = SensorRepository::take_switches(&mut *connection, pack.id).await?;
    let of = |kind: Kind| move |(r#ref, enabled)| ((kind, r#ref), enabled);
    let stored = actions.into_iter().map(of(Kind::Action)).chain(sensors.into_iter().map(of(Kind::Sensor)));
    let others: States =
        stored.filter(|(one, enabled)| new.get(one).is_some_and(|new| new != enabled)).collect();
    if others.is_empty() {
        return Ok(switches);
    }
    let before = edits::installed_definition(&mut *connection, pack.id).await?;
    let before = before.as_ref().map(states).unwrap_or_default();
    for (one, enabled) in others {
        // It is the pack that changed it.
        if before.get(&one) == Some(&enabled) {
            continue;
        }
        match edits {
            Edits::Overwrite => switches.overwritten += 1,
            Edits::Ask | Edits::Keep => {
                let (kind, component) = &one;
                switches.kept.push(KeptEdit {
                    kind: kind.as_str(),
                    component: component.clone(),
                    member: "enabled".to_owned(),
                    here: Value::from(enabled),
                    pack: Value::from(!enabled),
                });
                switches.here.insert(one, enabled);
            }
        }
    }
    Ok(switches)
}

fn states(definition: &PackDefinition) -> States {
    let actions = definition.actions.iter();
    let actions = actions.map(|action| ((Kind::Action, action.r#ref.clone()), action.enabled));
    let sensors = definition.sensors.iter();
    actions.chain(sensors.map(|sensor| ((Kind::Sensor, sensor.r#ref.clone()), sensor.enabled))).collect()
}
