//! Who acts: identities, what they are allowed, and their tokens.

use serde::Serialize;
use serde_json::Value;

use super::Timestamp;
pub use super::grant::{Constraints, Grant, Owner, Ownership, Reach, Scope, Subject};

/// A person or a program.
#[derive(Clone, PartialEq, sqlx::FromRow)]
pub struct Identity {
    pub id: i64,
    pub login: String,
    pub display_name: Option<String>,
    pub password_hash: Option<String>,
    pub attributes: Value,
    pub enabled: bool,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl std::fmt::Debug for Identity {
    // Not even the hash of a password belongs into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).field("login", &self.login).finish_non_exhaustive()
    }
}

/// What makes an identity.
#[derive(Clone, Default, Serialize)]
pub struct NewIdentity {
    pub login: String,
    pub display_name: Option<String>,
    #[serde(skip)]
    pub password_hash: Option<String>,
    pub attributes: Option<Value>,
}

impl std::fmt::Debug for NewIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewIdentity").field("login", &self.login).finish_non_exhaustive()
    }
}

/// Changes to an identity.
#[derive(Clone, Default, Serialize)]
pub struct IdentityUpdate {
    pub display_name: Option<String>,
    #[serde(skip)]
    pub password_hash: Option<String>,
    pub attributes: Option<Value>,
    pub enabled: Option<bool>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

impl std::fmt::Debug for IdentityUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityUpdate").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

/// A named list of grants.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PermissionSet {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    #[sqlx(json)]
    pub grants: Vec<Grant>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a permission set.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NewPermissionSet {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub grants: Vec<Grant>,
}

/// Changes to a permission set.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PermissionSetUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub grants: Option<Vec<Grant>>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// That an identity holds a permission set.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PermissionAssignment {
    pub id: i64,
    pub identity: i64,
    pub permission_set: i64,
    pub created: Timestamp,
}

/// A token that was handed out, without anything to recognise it by.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Token {
    pub id: i64,
    pub identity: i64,
    /// What its owner calls it.
    pub name: String,
    /// None: valid until it is withdrawn.
    pub expires: Option<Timestamp>,
    pub created: Timestamp,
}

/// Whoever a token belongs to, with everything it may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// None: a run of an action, which is no identity.
    pub identity: Option<i64>,
    /// The execution, where it is a run.
    pub execution: Option<i64>,
    /// The login, or what a run is called.
    pub login: String,
    pub grants: Vec<Grant>,
}

impl Principal {
    /// Whether the action is allowed on everything of the resource.
    pub fn may(&self, resource: &str, action: &str) -> bool {
        self.grants.iter().any(|grant| grant.allows(resource, action))
    }

    /// Whether the action is allowed on this.
    pub fn may_with(&self, resource: &str, action: &str, subject: &Subject<'_>) -> bool {
        self.scope(resource, action).is_some_and(|scope| scope.holds(subject))
    }

    /// Whether the action is allowed wherever these constraints allow it.
    pub fn may_within(&self, resource: &str, action: &str, constraints: &Constraints) -> bool {
        self.grants.iter().any(|grant| grant.covers(resource, action, constraints))
    }

    /// What the action is allowed on; None: nothing.
    pub fn scope(&self, resource: &str, action: &str) -> Option<Scope> {
        let owner = Owner { identity: self.identity, execution: self.execution };
        Scope::of(&self.grants, owner, resource, action)
    }
}
