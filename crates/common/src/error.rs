//! The one error of everything that is stored. Constraint names are part of the schema's contract: violations are told
//! apart by them.

use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The result of a repository function.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The thing asked for, or to be changed, is not there.
    #[error("{entity} {key} does not exist")]
    NotFound { entity: &'static str, key: String },
    /// A unique key is taken.
    #[error("{entity} with this {field} exists already{}", value.as_ref().map(|v| format!(": {v}")).unwrap_or_default())]
    AlreadyExists { entity: String, field: String, constraint: String, value: Option<String> },
    /// A reference points at nothing, or something still points here.
    #[error("{entity} refers to a {field} that does not exist{}", value.as_ref().map(|v| format!(": {v}")).unwrap_or_default())]
    InvalidReference { entity: String, field: String, constraint: String, value: Option<String> },
    /// A value that the schema refuses.
    #[error("{entity}: the value of {field} violates {constraint}{}", value.as_ref().map(|v| format!(": {v}")).unwrap_or_default())]
    InvalidValue { entity: String, field: String, constraint: String, value: Option<String> },
    /// Another change came first.
    #[error("{entity} {key} was changed in the meantime")]
    Conflict { entity: &'static str, key: String },
    /// Data that PostgreSQL cannot represent, as U+0000 in a JSON string.
    #[error("the data cannot be stored: {0}")]
    Unstorable(String),
    /// The database cannot be reached or is shutting down; the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Anything else; a fault of the program, not of its input.
    #[error("database error")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    /// NotFound for an entity with a numeric id or a ref.
    #[expect(clippy::needless_pass_by_value, reason = "ids are given as they are, and refs as `&str`")]
    pub fn not_found(entity: &'static str, key: impl ToString) -> Self {
        Self::NotFound { entity, key: key.to_string() }
    }

    /// An error with the offending value out of what the caller gave: PostgreSQL names the constraint, not the value. What
    /// is secret in `given` must not be serialized; the values of [`SECRETS`] are left out in any case.
    pub fn about(error: sqlx::Error, given: &impl Serialize) -> Self {
        let mut error = Self::from(error);
        if let Self::InvalidValue { field, value, .. } = &mut error
            && !SECRETS.contains(&&**field)
        {
            let given = serde_json::to_value(given).unwrap_or_default();
            *value = match given.get(&*field) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(shortened(text)),
                Some(other) => Some(shortened(&other.to_string())),
            };
        }
        error
    }

    /// Whether the database refuses what it was given, and will again: not for the sake of a reference or a key, of which others
    /// may be the reason, and not because of what else goes on.
    pub fn is_refusal(&self) -> bool {
        /// Data, constraints, the size of what was given, and what is raised about a row. All else has its reason elsewhere: in
        /// another transaction, in the system, in an operator, or in a schema that is being changed.
        const OF_WHAT_WAS_GIVEN: [&str; 4] = ["22", "23", "54", "P0"];
        match self {
            Self::InvalidValue { .. } | Self::Unstorable(_) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default();
                OF_WHAT_WAS_GIVEN.iter().any(|class| code.starts_with(class))
            }
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::InvalidReference { .. }
            | Self::Conflict { .. }
            | Self::Unavailable(_)
            | Self::Database(_) => false,
        }
    }

    /// Whether the connection remembers a statement that the database no longer takes, as after a change of the schema.
    pub fn is_of_a_remembered_statement(&self) -> bool {
        let Self::Database(sqlx::Error::Database(error)) = self else { return false };
        matches!(error.code().as_deref(), Some("0A000" | "26000"))
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Whether the error says that the database cannot be reached, or has no room for us, or is starting or shutting down.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    match error {
        E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => true,
        // What is left of a connection whose server was killed in the middle of a message.
        E::Protocol(message) => message.contains("unexpected") || message.contains("EOF"),
        // Connection exceptions, lack of resources, shutdown and recovery.
        E::Database(error) => {
            let code = error.code().unwrap_or_default();
            // A database that accepts no connections for a while, as its administrator can tell it.
            let is_closed = || {
                let error = error.try_downcast_ref::<PgDatabaseError>();
                code == "55000" && error.is_some_and(|error| error.severity() == PgSeverity::Fatal)
            };
            ["08", "53", "57P"].iter().any(|class| code.starts_with(class)) || is_closed()
        }
        _ => false,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_unavailable(&error) {
            return Self::Unavailable(error);
        }
        let Some(database) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
        else {
            return Self::Database(error);
        };
        let entity = database.table().unwrap_or("row").to_owned();
        let constraint = database.constraint().unwrap_or_default().to_owned();
        let detail = database.detail().and_then(key_of_detail);
        let field = |suffix: &str| {
            let inner = constraint.strip_suffix(suffix).unwrap_or(&constraint);
            inner.strip_prefix(&format!("{entity}_")).unwrap_or(inner).to_owned()
        };
        match database.code() {
            "23505" => {
                let (columns, value) = detail.unzip();
                let columns = columns.unwrap_or_default();
                let secret = columns.iter().any(|column| SECRETS.contains(&&**column));
                Self::AlreadyExists {
                    field: if columns.is_empty() { field("_key") } else { columns.join("_") },
                    entity,
                    constraint,
                    value: value.filter(|_| !secret),
                }
            }
            "23503" => Self::InvalidReference {
                field: field("_fkey"),
                entity,
                constraint,
                // With the id comes the name that is kept when the target goes, if that is part of the reference.
                value: detail.map(|(columns, value)| match value.split_once(", ") {
                    Some((id, _)) if columns.len() > 1 => id.to_owned(),
                    _ => value,
                }),
            },
            "23514" => Self::InvalidValue {
                field: CHECKS
                    .iter()
                    .find(|(name, _)| *name == constraint)
                    .map_or_else(|| field("_check"), |(_, column)| (*column).to_owned()),
                entity,
                constraint,
                value: None,
            },
            "23502" => {
                let field = database.column().unwrap_or_default().to_owned();
                Self::InvalidValue {
                    constraint: format!("{entity}_{field}_not_null"),
                    field,
                    entity,
                    value: None,
                }
            }
            code if code.starts_with("22") => Self::Unstorable(database.message().to_owned()),
            _ => Self::Database(error),
        }
    }
}

/// The column that each check constraint is about, which its name alone does not tell.
pub const CHECKS: &[(&str, &str)] = &[
    ("action_artifacts_list", "artifacts"),
    ("action_entrypoint_not_empty", "entrypoint"),
    ("action_isolation_object", "isolation"),
    ("action_keys_list", "keys"),
    ("action_permissions_list", "permissions"),
    ("action_ref_format", "ref"),
    ("action_retry_complete", "retry"),
    ("action_timeout_positive", "timeout_seconds"),
    ("admission_counted_was_admitted", "counted_until"),
    ("admission_ended_was_admitted", "ended"),
    ("admission_lane_parts_list", "parts"),
    ("artifact_latest_version_not_negative", "latest_version"),
    ("artifact_owner_consistent", "owner"),
    ("artifact_ref_format", "ref"),
    ("artifact_retention_days_positive", "retention_days"),
    ("artifact_retention_versions_positive", "retention_versions"),
    ("artifact_version_content_type_not_empty", "content_type"),
    ("artifact_version_positive", "version"),
    ("artifact_version_sha256_length", "sha256"),
    ("artifact_version_size_not_negative", "size"),
    ("audit_event_activity_not_empty", "activity"),
    ("audit_event_entity_type_not_empty", "entity_type"),
    ("change_entities_of_a_block", "entities"),
    ("enforcement_condition_check", "condition"),
    ("event_batch_complete", "matched"),
    ("event_batch_range", "events"),
    ("event_depth_not_negative", "depth"),
    ("event_trigger_ref_not_empty", "trigger_ref"),
    ("execution_attempt_code_or_signal", "exit_code"),
    ("execution_attempt_not_negative", "attempt"),
    ("execution_attempt_status_ended", "status"),
    ("execution_code_or_signal", "exit_code"),
    ("execution_finished_is_terminal", "finished"),
    ("execution_keyed_complete", "keyed"),
    ("execution_not_before_scheduled", "not_before"),
    ("execution_paused_scheduled", "paused"),
    ("execution_progress_percent_range", "percent"),
    ("execution_progress_steps_list", "steps"),
    ("execution_retry_complete", "retry"),
    ("execution_running_has_attempt", "status"),
    ("feed_cursor_name_not_empty", "name"),
    ("identity_login_not_empty", "login"),
    ("identity_password_hash_form", "password_hash"),
    ("inquiry_prompt_not_empty", "prompt"),
    ("inquiry_responded_complete", "status"),
    ("key_owner_consistent", "owner_type"),
    ("key_ref_format", "ref"),
    ("key_version_positive", "version"),
    ("notification_channel_not_empty", "channel"),
    ("notification_created_has_no_attempt", "state"),
    ("notification_delivered_complete", "state"),
    ("pack_checksum_format", "checksum"),
    ("pack_declared_keys_list", "declared_keys"),
    ("pack_dependencies_object", "dependencies"),
    ("pack_environment_config_object", "environment_config"),
    ("pack_file_path_relative", "path"),
    ("pack_ref_format", "ref"),
    ("pack_version_semver", "version"),
    ("pause_one_scope", "pack_ref"),
    ("permission_set_grants_list", "grants"),
    ("permission_set_ref_format", "ref"),
    ("placement_selector_object", "selector"),
    ("policy_concurrency_positive", "concurrency"),
    ("policy_has_limit", "concurrency"),
    ("policy_has_scope", "action_ref"),
    ("policy_parameters_of_concurrency", "parameters"),
    ("policy_rate_complete", "rate_count"),
    ("policy_rate_count_positive", "rate_count"),
    ("policy_rate_seconds_positive", "rate_seconds"),
    ("policy_ref_format", "ref"),
    ("rule_condition_check", "condition"),
    ("rule_conditions_list", "conditions"),
    ("rule_config_object", "config"),
    ("rule_ref_format", "ref"),
    ("rule_retry_complete", "retry"),
    ("rule_set_single_row", "id"),
    ("rule_version_positive", "version"),
    ("rule_window_object", "rule_window"),
    ("runtime_environment_interpreter", "environment"),
    ("runtime_environment_known", "environment"),
    ("runtime_native_interpreter", "native"),
    ("runtime_ref_format", "ref"),
    ("runtime_version_environment", "version"),
    ("sensor_entrypoint_not_empty", "entrypoint"),
    ("sensor_permissions_list", "permissions"),
    ("sensor_ref_format", "ref"),
    ("token_hash_length", "hash"),
    ("trigger_ref_format", "ref"),
    ("trigger_webhook_complete", "webhook"),
    ("window_state_key_length", "key"),
    ("work_item_attempts_not_negative", "attempts"),
    ("work_item_leased_has_lease", "status"),
    ("work_queue_batch_size_positive", "batch_size"),
    ("work_queue_concurrency_positive", "concurrency"),
    ("work_queue_max_attempts_positive", "max_attempts"),
    ("work_queue_ref_format", "ref"),
    ("work_queue_retry_seconds_not_negative", "retry_seconds"),
    ("worker_assigned_assigned_not_negative", "assigned"),
    ("worker_name_not_empty", "name"),
    ("worker_offer_offered_not_negative", "offered"),
    ("worker_preparing_array", "preparing"),
    ("worker_slots_positive", "slots"),
    ("workflow_definition_ref_format", "ref"),
    ("workflow_task_item_not_negative", "item"),
    ("workflow_task_seq_not_negative", "seq"),
];

/// Columns whose values are in no error: secrets, what secrets are made into, and what opens something.
const SECRETS: &[&str] = &["hash", "password_hash", "value", "webhook_key", "wrapped"];

/// Enough of a value to recognise it by.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The columns and their values out of PostgreSQL's detail text, `Key (rule, event)=(1, 2) already exists.`
fn key_of_detail(detail: &str) -> Option<(Vec<String>, String)> {
    let (columns, rest) = detail.strip_prefix("Key (")?.split_once(")=(")?;
    let end = rest.rfind(") ")?;
    let columns = columns.split(", ").map(|column| column.trim_matches('"').to_owned()).collect();
    Some((columns, shortened(&rest[..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_key_is_read_from_the_detail() {
        let check = |detail: &str, columns: &[&str], value: &str| {
            let columns = columns.iter().map(|&column| column.to_owned()).collect();
            assert_eq!(key_of_detail(detail), Some((columns, value.to_owned())));
        };
        check("Key (ref)=(core) already exists.", &["ref"], "core");
        check("Key (rule, event)=(1, 2) is not present in table \"x\".", &["rule", "event"], "1, 2");
        check("Key (login)=(a)=(b) ) already exists.", &["login"], "a)=(b) ");
        assert_eq!(key_of_detail("no such form"), None);
    }

    #[test]
    fn test_a_lost_connection_is_unavailable() {
        let lost = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(StoreError::from(lost).is_unavailable());
        assert!(!StoreError::from(sqlx::Error::RowNotFound).is_unavailable());
    }
}
