//! Placements: which workers may run something.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Timestamp;

/// The placement of what may run on any worker without taints.
pub const ANYWHERE: i64 = 1;

/// A placement.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Placement {
    pub id: i64,
    /// Labels or capabilities that the worker has.
    #[sqlx(json)]
    pub selector: BTreeMap<String, String>,
    /// Taints of the worker that do no harm.
    pub tolerations: Vec<String>,
    /// Since when work has waited for it that no live worker can take.
    pub unserved_since: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a placement: what the worker has to have, and what it may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewPlacement {
    pub selector: BTreeMap<String, String>,
    pub tolerations: Vec<String>,
}

/// An execution that no live worker can take.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Unschedulable {
    pub id: i64,
    pub action_ref: String,
    pub trace_id: Option<String>,
    pub created: Timestamp,
    #[sqlx(json)]
    pub selector: BTreeMap<String, String>,
    pub tolerations: Vec<String>,
    /// How many internal events led to it.
    pub depth: i16,
}

/// How many workers could take what has a placement.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Service {
    pub placement: i64,
    #[sqlx(json)]
    pub selector: BTreeMap<String, String>,
    /// The workers whose lease holds.
    pub alive: i64,
    /// Those of them that have the labels, whatever their taints.
    pub labelled: i64,
    /// Those of them whose taints are tolerated.
    pub tolerated: i64,
    /// Those of them that are not cordoned: they take it.
    pub able: i64,
}

impl Service {
    /// Why no live worker can take it, where none can.
    pub fn obstacle(&self) -> Option<String> {
        let labels: Vec<_> = self.selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let labels = labels.join(", ");
        match self {
            Self { alive: 0, .. } => Some("no worker is alive".to_owned()),
            Self { labelled: 0, .. } => Some(format!("no live worker has labels {labels}")),
            Self { tolerated: 0, .. } => {
                Some("the live workers that have its labels have taints that it does not tolerate".to_owned())
            }
            Self { able: 0, .. } => Some("the live workers that could take it are cordoned".to_owned()),
            Self { .. } => None,
        }
    }
}
