//! The one error of everything that is stored. Constraint names are part of the schema's contract: violations are told
//! apart by them.

use sqlx::postgres::PgDatabaseError;

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
    #[error("{entity} violates {constraint}")]
    InvalidValue { entity: String, constraint: String },
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

    /// Whether the same call may succeed later without any change.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed | E::BeginFailed => {
                return Self::Unavailable(error);
            }
            // What is left of a connection whose server was killed in the middle of a message.
            E::Protocol(message) if message.contains("unexpected") || message.contains("EOF") => {
                return Self::Unavailable(error);
            }
            E::Database(_) => {}
            _ => return Self::Database(error),
        }
        let Some(database) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
        else {
            return Self::Database(error);
        };
        let entity = database.table().unwrap_or("row").to_owned();
        let constraint = database.constraint().unwrap_or_default().to_owned();
        let detail = database.detail().and_then(offending_value);
        let field = |suffix: &str| {
            let inner = constraint.strip_suffix(suffix).unwrap_or(&constraint);
            inner.strip_prefix(&format!("{entity}_")).unwrap_or(inner).to_owned()
        };
        match database.code() {
            "23505" => Self::AlreadyExists { field: field("_key"), entity, constraint, value: detail },
            "23503" => Self::InvalidReference { field: field("_fkey"), entity, constraint, value: detail },
            "23514" => Self::InvalidValue { entity, constraint },
            code if code.starts_with("22") => Self::Unstorable(database.message().to_owned()),
            // Connection exceptions, lack of resources, shutdown and recovery.
            code if ["08", "53", "57P"].iter().any(|class| code.starts_with(class)) => {
                Self::Unavailable(error)
            }
            _ => Self::Database(error),
        }
    }
}

/// The value out of PostgreSQL's detail text, `Key (ref)=(core) already exists.`
fn offending_value(detail: &str) -> Option<String> {
    let start = detail.find(")=(")? + 3;
    let end = detail[start..].rfind(") ")? + start;
    Some(detail[start..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_offending_value_is_read_from_the_detail() {
        assert_eq!(offending_value("Key (ref)=(core) already exists.").as_deref(), Some("core"));
        assert_eq!(
            offending_value("Key (rule, event)=(1, 2) is not present in table \"x\".").as_deref(),
            Some("1, 2")
        );
        assert_eq!(offending_value("no such form"), None);
    }

    #[test]
    fn test_a_lost_connection_is_unavailable() {
        let lost = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(StoreError::from(lost).is_unavailable());
        assert!(!StoreError::from(sqlx::Error::RowNotFound).is_unavailable());
    }
}
