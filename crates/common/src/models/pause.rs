//! Pauses: what does not run for now.

use serde::Serialize;

use super::Timestamp;

/// What a pause is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum PauseScope {
    /// The action of this ref.
    Action(String),
    /// Every action of the pack of this ref.
    Pack(String),
    /// Every action there is.
    Everything,
}

impl PauseScope {
    /// Whether the action of this ref is in the scope.
    pub fn covers(&self, action_ref: &str) -> bool {
        match self {
            Self::Action(paused) => paused == action_ref,
            Self::Pack(paused) => action_ref.split_once('.').is_some_and(|(pack, _)| pack == paused),
            Self::Everything => true,
        }
    }

    /// The columns `action_ref` and `pack_ref`.
    pub(crate) fn columns(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Action(action_ref) => (Some(action_ref), None),
            Self::Pack(pack_ref) => (None, Some(pack_ref)),
            Self::Everything => (None, None),
        }
    }
}

impl std::fmt::Display for PauseScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Action(action_ref) => f.write_str(action_ref),
            Self::Pack(pack_ref) => write!(f, "pack {pack_ref}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// A pause.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Pause {
    pub id: i64,
    pub action_ref: Option<String>,
    pub pack_ref: Option<String>,
    pub reason: Option<String>,
    pub identity: Option<i64>,
    /// Who it was, also when that identity is gone.
    pub login: Option<String>,
    pub created: Timestamp,
}

impl Pause {
    /// What it is about.
    pub fn scope(&self) -> PauseScope {
        match (&self.action_ref, &self.pack_ref) {
            (Some(action_ref), _) => PauseScope::Action(action_ref.clone()),
            (None, Some(pack_ref)) => PauseScope::Pack(pack_ref.clone()),
            (None, None) => PauseScope::Everything,
        }
    }
}

/// What makes a pause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewPause {
    pub scope: PauseScope,
    pub reason: Option<String>,
    pub identity: Option<i64>,
    /// Who pauses, where that is no identity.
    pub login: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_scope_covers_its_actions() {
        let pack = PauseScope::Pack("ops".to_owned());
        assert!(pack.covers("ops.page") && pack.covers("ops.page.now"));
        assert!(!pack.covers("opsx.page") && !pack.covers("ops"));
        let action = PauseScope::Action("ops.page".to_owned());
        assert!(action.covers("ops.page") && !action.covers("ops.page.now"));
        assert!(PauseScope::Everything.covers("ops.page"));
    }
}
