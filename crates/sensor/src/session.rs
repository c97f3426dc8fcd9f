//! The connection that holds the locks of the sensors that this role runs.
//!
//! The locks live exactly as long as the connection, so it is one of its own, outside of the pool, and is watched: when
//! it is lost, the sensors stop. The server is told to look after the connection as well, so that the locks of a machine
//! that vanished become free within seconds.

use std::sync::Arc;
use std::time::Duration;

use attune_common::error::{Result, StoreError};
use attune_common::repositories::SensorRepository;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often the connection is tried.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the server may take to answer. Longer than what busy servers take, and shorter than what the server waits
/// for a client before it frees its locks.
const PATIENCE: Duration = Duration::from_secs(8);
/// Makes the server notice a vanished client after about `5 + 3 * 2` seconds of silence.
const KEEPALIVE: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "2"), ("tcp_keepalives_count", "3")];

/// A connection that may hold locks.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Mutex<PgConnection>,
    lost: CancellationToken,
}

impl Session {
    pub(crate) async fn open(pool: &PgPool) -> Result<Arc<Self>> {
        let options =
            (*pool.connect_options()).clone().application_name("attune sensor locks").options(KEEPALIVE);
        let connection = in_time(options.connect()).await?;
        Ok(Arc::new(Self { connection: Mutex::new(connection), lost: CancellationToken::new() }))
    }

    /// Cancelled when the connection is lost, and with it every lock.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Takes the lock of a sensor; false if another role has it.
    pub(crate) async fn try_lock(&self, sensor: i64) -> Result<bool> {
        let mut connection = self.connection.lock().await;
        self.or_lost(in_time_stored(SensorRepository::try_lock(&mut *connection, sensor)).await)
    }

    /// Gives the lock of a sensor back.
    pub(crate) async fn unlock(&self, sensor: i64) -> Result<bool> {
        let mut connection = self.connection.lock().await;
        self.or_lost(in_time_stored(SensorRepository::unlock(&mut *connection, sensor)).await)
    }

    /// Watches the connection until it is lost.
    pub(crate) async fn watch(&self) {
        while !self.lost.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
                () = self.lost.cancelled() => return,
            }
            let mut connection = self.connection.lock().await;
            if let Err(error) = self.or_lost(in_time(connection.ping()).await) {
                tracing::warn!(%error, "lost the connection that holds the locks of the sensors");
            }
        }
    }

    /// After any failure the state of the connection, and so of its locks, is not known: it is not used again.
    fn or_lost<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.lost.cancel();
        }
        outcome
    }
}

async fn in_time<T>(work: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    in_time_stored(async { Ok(work.await?) }).await
}

async fn in_time_stored<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let silent = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer");
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(StoreError::Unavailable(sqlx::Error::Io(silent()))))
}
