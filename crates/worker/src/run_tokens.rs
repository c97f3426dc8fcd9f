//! What the process of an attempt signs in to the API with.

use std::time::Duration;

use attune_common::models::execution::Claimed;
use attune_common::run_token::{RunToken, RunTokenKey};
use chrono::Utc;

use crate::Settings;
use crate::environment::ApiAccess;

/// How much longer than its attempt a token is valid by itself. The server ends it with the attempt; this only bounds what
/// it says of itself.
const MARGIN: Duration = Duration::from_secs(300);

/// Makes tokens; none where the worker knows no API or has no key.
#[derive(Debug)]
pub(crate) struct RunTokens {
    api: Option<(String, RunTokenKey)>,
}

impl RunTokens {
    pub(crate) fn of(settings: &Settings) -> Self {
        let api = match (&settings.api_url, &settings.master_key) {
            (Some(url), Some(master)) => Some((url.clone(), RunTokenKey::of(master))),
            (None, _) => {
                tracing::warn!(
                    "actions get no token for the API: tell this worker its address with ATTUNE_API_URL"
                );
                None
            }
            (Some(_), None) => {
                tracing::warn!(
                    "actions get no token for the API: this worker has no master key; give it the server's, in \
                     ATTUNE_MASTER_KEY or as the file master.key in its data directory"
                );
                None
            }
        };
        Self { api }
    }

    /// The API for the process of this attempt, which may run so long. Costs no statement.
    pub(crate) fn api_for(&self, execution: &Claimed, timeout: Duration) -> Option<ApiAccess> {
        let (url, key) = self.api.as_ref()?;
        let valid = i64::try_from(timeout.saturating_add(MARGIN).as_secs()).unwrap_or(i64::MAX);
        let token = RunToken {
            execution: execution.id,
            attempt: execution.attempt,
            expires: Utc::now().timestamp().saturating_add(valid),
        };
        Some(ApiAccess { url: url.clone(), token: key.token(&token) })
    }
}
