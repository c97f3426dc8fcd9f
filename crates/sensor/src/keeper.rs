//! Keeps one sensor running: a new process for each that ends, until it is to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_common::models::sensor::RunnableSensor;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::backoff::Backoff;
use crate::failures::{self, Failures};
use crate::life::{self, Ended, LifeError};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The same when the lock is lost: another role may start the sensor soon.
pub(crate) const SHORT_GRACE: Duration = Duration::from_secs(1);

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
    let mut failures = Failures::new();
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
        let lived = began.elapsed();
        pause = backoff.after(lived);
        metrics::counter!("attune_sensor_ends_total", "sensor" => sensor.r#ref.clone()).increment(1);
        report(&sensor, &outcome, Some(pause));
        failures.tell(&shared, &sensor, &outcome, lived).await;
    }
    // What is not to run has nothing in its way.
    failures::note(&shared, &sensor, None).await;
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
