//! What the process of a sensor signs in to the API with.
//!
//! Only a sensor that declares what it may ask gets a token. It names one life of the sensor, which is begun before its process
//! and ended after it; where the end cannot be told, the loss of the lock or the next beginning ends it as well.

use std::fmt;
use std::time::Duration;

use attune_common::crypto::SecretKey;
use attune_common::error::Result;
use attune_common::models::sensor::RunnableSensor;
use attune_common::repositories::SensorRepository;
use attune_common::sensor_token::{SensorToken, SensorTokenKey};
use sqlx::PgPool;

/// How long the end of a life may take to be told: a database that is away does not hold up the next one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes tokens, where the role knows the API and has the key.
#[derive(Debug)]
pub(crate) struct SensorTokens {
    api: std::result::Result<(String, SensorTokenKey), &'static str>,
}

/// Where a process finds the API, and what it signs in there with.
pub(crate) struct ApiAccess {
    pub(crate) url: String,
    pub(crate) token: String,
    life: i64,
}

impl fmt::Debug for ApiAccess {
    // The token is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiAccess").field("url", &self.url).field("life", &self.life).finish_non_exhaustive()
    }
}

impl SensorTokens {
    pub(crate) fn of(api_url: Option<String>, master_key: Option<&SecretKey>) -> Self {
        let api = match (api_url, master_key) {
            (Some(url), Some(master)) => Ok((url, SensorTokenKey::of(master))),
            (None, _) => Err("tell this sensor role the address of the API with ATTUNE_API_URL"),
            (Some(_), None) => Err(
                "this sensor role has no master key; give it the server's, in ATTUNE_MASTER_KEY or as the file \
                 master.key in its data directory",
            ),
        };
        Self { api }
    }

    /// Begins a life of a sensor that may ask something of the API. None where it may not, or cannot.
    pub(crate) async fn begin(&self, pool: &PgPool, sensor: &RunnableSensor) -> Result<Option<ApiAccess>> {
        if !sensor.has_permissions {
            return Ok(None);
        }
        let (url, key) = match &self.api {
            Ok(api) => api,
            Err(missing) => {
                tracing::warn!(sensor = sensor.r#ref, "the sensor gets no token for the API: {missing}");
                return Ok(None);
            }
        };
        let life = SensorRepository::begin_life(pool, sensor.id).await?;
        Ok(life.map(|life| {
            let token = key.token(&SensorToken { sensor: sensor.id, life });
            ApiAccess { url: url.clone(), token, life }
        }))
    }

    /// Ends the life: its token opens nothing any more.
    pub(crate) async fn end(&self, pool: &PgPool, sensor: &RunnableSensor, access: &ApiAccess) {
        const LATER: &str = "the token of a sensor ends only with its next process";
        let ended = SensorRepository::end_life(pool, sensor.id, access.life);
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(sensor = sensor.r#ref, %error, "{LATER}"),
            Err(_elapsed) => tracing::warn!(sensor = sensor.r#ref, "the database does not answer: {LATER}"),
        }
    }
}
