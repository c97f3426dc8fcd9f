//! Waiting for a database that is away: what it is asked around an attempt is asked again, as long as the attempt is this worker's.

use std::error::Error;
use std::time::Duration;

use attune_common::artifact_content::ContentError;
use attune_common::error::StoreError;
use attune_common::models::execution::Claimed;
use attune_common::vault::VaultError;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::lease::{self, Lost};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks until there is an answer, or the execution is cancelled: then the last error is given back.
pub(crate) async fn patiently<T, E, Answer>(
    shared: &Shared,
    execution: &Claimed,
    cancel: &CancellationToken,
    ask: impl Fn() -> Answer,
) -> Result<Result<T, E>, Lost>
where
    E: Error + 'static,
    Answer: Future<Output = Result<T, E>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ask().await {
            Err(error) if is_unavailable(&error) => error,
            outcome => return Ok(outcome),
        };
        tracing::warn!(%error, execution = execution.id, "the database is away; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.cancelled() => return Ok(Err(error)),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        lease::confirm(shared, execution, cancel).await?;
    }
}

/// Whether the database's being away is the cause. Errors that show another as their own are looked through.
fn is_unavailable(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let store = error
            .downcast_ref::<StoreError>()
            .or_else(|| match error.downcast_ref::<VaultError>() {
                Some(VaultError::Store(store)) => Some(store),
                _ => None,
            })
            .or_else(|| match error.downcast_ref::<ContentError>() {
                Some(ContentError::Store(store)) => Some(store),
                _ => None,
            });
        if let Some(store) = store {
            return store.is_unavailable();
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use attune_runtime::keys::KeyError;
    use attune_runtime::pack_config::PackConfigError;

    use super::*;

    #[test]
    fn test_an_absent_database_is_found_behind_other_errors() {
        let away = || StoreError::from(sqlx::Error::PoolTimedOut);
        let key = KeyError::Unreadable { key_ref: "ops.token".to_owned(), source: VaultError::Store(away()) };
        assert!(is_unavailable(&away()));
        assert!(is_unavailable(&ContentError::Store(away())));
        assert!(is_unavailable(&PackConfigError::Store(away())));
        assert!(is_unavailable(&PackConfigError::Secret(key)));
        let gone = || StoreError::not_found("pack", 1);
        assert!(!is_unavailable(&gone()));
        assert!(!is_unavailable(&ContentError::Store(gone())));
        assert!(!is_unavailable(&VaultError::NotText { key_ref: "ops.token".to_owned() }));
    }
}
