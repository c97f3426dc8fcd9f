//! An audit event: who did what to what. Never changed once it is written.

use serde::Serialize;
use serde_json::Value;

use super::Timestamp;

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct AuditEvent {
    pub id: i64,
    /// Who did it, and is perhaps gone by now; None for Attune itself and for those who did not sign in.
    pub identity: Option<i64>,
    /// As that identity was called then, or as somebody tried to sign in.
    pub login: Option<String>,
    /// What was done, as `create` or `login`.
    pub activity: String,
    /// The kind of thing that it was done to.
    pub entity_type: String,
    /// The ref or id of that thing.
    pub entity_ref: String,
    pub detail: Value,
    pub created: Timestamp,
}

/// What makes an entry. Whoever makes it leaves secrets out of `detail`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewAuditEvent {
    pub identity: Option<i64>,
    pub login: Option<String>,
    pub activity: String,
    pub entity_type: String,
    pub entity_ref: String,
    pub detail: Value,
}

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub identity: Option<i64>,
    pub activity: Option<String>,
    pub entity_type: Option<String>,
    pub entity_ref: Option<String>,
    /// Only entries from this time on.
    pub from: Option<Timestamp>,
    /// Only entries before this time.
    pub until: Option<Timestamp>,
    /// Only entries with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}
