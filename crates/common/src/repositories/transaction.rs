//! Whether a transaction was committed, for whoever lost the connection before the answer came. Writes nothing.

use sqlx::{PgConnection, PgExecutor};

use crate::error::{Result, StoreError};

/// Functions about transactions.
#[derive(Debug)]
pub struct TransactionRepository;

/// Names a transaction for [`TransactionRepository::outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionId(i64);

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionOutcome {
    Committed,
    /// It was undone, or the server knows nothing of it.
    Undone,
    /// The server has not noticed yet that its client is gone.
    InProgress,
}

impl TransactionRepository {
    /// The id of the transaction that the connection is in.
    pub async fn id(transaction: &mut PgConnection) -> Result<TransactionId> {
        let id =
            sqlx::query_scalar("select pg_current_xact_id()::text::bigint").fetch_one(transaction).await?;
        Ok(TransactionId(id))
    }

    /// What became of a transaction of a moment ago.
    pub async fn outcome(executor: impl PgExecutor<'_>, id: TransactionId) -> Result<TransactionOutcome> {
        let status = sqlx::query_scalar::<_, Option<String>>("select pg_xact_status($1::text::xid8)")
            .bind(id.0.to_string())
            .fetch_one(executor)
            .await
            .map_err(StoreError::from);
        match status {
            Ok(Some(status)) if status == "committed" => Ok(TransactionOutcome::Committed),
            Ok(Some(status)) if status == "in progress" => Ok(TransactionOutcome::InProgress),
            // An id that lies in the future is refused: the server lost it in its crash, and with it what it did.
            Ok(_) | Err(StoreError::Unstorable(_)) => Ok(TransactionOutcome::Undone),
            Err(error) => Err(error),
        }
    }
}
