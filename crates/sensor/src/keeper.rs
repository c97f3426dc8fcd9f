//! Keeps one sensor running: a new process for each that ends, until it is to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_common::models::sensor::RunnableSensor;
use attune_common::repositories::SensorRepository;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::backoff::Backoff;
use crate::life::{self, Ended, LifeError};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The same when the lock is lost: another role may start the sensor soon.
pub(crate) const SHORT_GRACE: Duration = Duration::from_secs(1);

/// How long it may take to note what keeps a sensor from running: a database that is away delays nothing more than that.
const TELLING: Duration = Duration::from_secs(2);

/// What makes a sensor stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// It is not to run any more, or not like this.
    pub(crate) wanted: CancellationToken,
    /// Its lock is lost.
    pub(crate) lost: CancellationToken,
}

impl Stop {
    pub(crate) async fn requested(&self) {
        tokio::select! {
            () = self.wanted.cancelled() => {}
            () = self.lost.cancelled() => {}
        }
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.wanted.is_cancelled() || self.lost.is_cancelled()
    }

    pub(crate) fn grace(&self) -> Duration {
        if self.lost.is_cancelled() { SHORT_GRACE } else { GRACE }
    }

    /// Waits; false if it is to stop meanwhile.
    async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.requested() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

/// Runs the sensor, after `delay`, until it is to stop.
pub(crate) async fn keep(shared: Arc<Shared>, sensor: RunnableSensor, stop: Stop, delay: Duration) {
    let mut backoff = Backoff::new();
    let mut pause = delay;
    while stop.sleep(pause).await {
        let began = Instant::now();
        let outcome = life::live(&shared, &sensor, &stop).await;
        if stop.is_requested() {
            match outcome {
                Ok(ended) => tracing::info!(sensor = sensor.r#ref, status = %ended.status, "sensor stopped"),
                Err(error) if error.is_stopped() => {
                    tracing::info!(sensor = sensor.r#ref, "stopped before the sensor was started");
                }
                Err(error) => report(&sensor, &Err(error), None),
            }
            break;
        }
        pause = backoff.after(began.elapsed());
        metrics::counter!("attune_sensor_ends_total", "sensor" => sensor.r#ref.clone()).increment(1);
        report(&sensor, &outcome, Some(pause));
        tell(&shared, &sensor, Some(&obstacle(&outcome))).await;
    }
    // What is not to run has nothing in its way.
    tell(&shared, &sensor, None).await;
}

/// Lets whoever looks at the pack know what keeps the sensor from running. The log says so as well, so that a database that is
/// away costs only that.
pub(crate) async fn tell(shared: &Shared, sensor: &RunnableSensor, obstacle: Option<&str>) {
    // A text of PostgreSQL has none of these.
    let obstacle = obstacle.map(|text| text.replace('\0', "\u{fffd}"));
    let told = SensorRepository::set_obstacle(&shared.pool, sensor.id, obstacle.as_deref());
    match tokio::time::timeout(TELLING, told).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(sensor = sensor.r#ref, %error, "cannot tell what keeps a sensor from running");
        }
        Err(_elapsed) => {
            tracing::debug!(sensor = sensor.r#ref, "telling what keeps a sensor from running takes too long");
        }
    }
}

/// What is in the way of a sensor whose process is to be started again.
fn obstacle(outcome: &Result<Ended, LifeError>) -> String {
    match outcome {
        Ok(Ended { status, last_words }) if last_words.is_empty() => {
            format!("its process ends by itself ({status})")
        }
        Ok(Ended { status, last_words }) => {
            format!("its process ends by itself ({status}). It wrote:\n{}", last_words.join("\n"))
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            text
        }
    }
}

fn report(sensor: &RunnableSensor, outcome: &Result<Ended, LifeError>, pause: Option<Duration>) {
    let sensor = &sensor.r#ref;
    let retry_in_s = pause.map(|pause| pause.as_secs());
    match outcome {
        Ok(Ended { status, last_words }) => {
            let last_words = last_words.join("\n");
            tracing::error!(sensor, %status, retry_in_s, last_words, "the process of a sensor ended by itself");
        }
        Err(error) => {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(sensor, %error, source, retry_in_s, "a sensor cannot be started");
        }
    }
}
