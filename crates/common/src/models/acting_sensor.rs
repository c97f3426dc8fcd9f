//! A sensor that asks something of Attune itself, with the token of its process.

use super::identity::{Grant, Principal};

/// The sensor that a token belongs to, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ActingSensor {
    pub sensor: i64,
    pub sensor_ref: String,
    /// What it declares.
    #[sqlx(json)]
    pub permissions: Vec<Grant>,
}

impl ActingSensor {
    /// How logs, the audit log and views name it.
    pub fn name(&self) -> String {
        format!("sensor {}", self.sensor_ref)
    }

    /// Whoever asks, with what it declares.
    pub fn principal(&self) -> Principal {
        Principal { identity: None, execution: None, login: self.name(), grants: self.permissions.clone() }
    }
}
