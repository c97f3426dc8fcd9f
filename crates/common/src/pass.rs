//! Background work as passes: a pass takes no input, may be run at any time and any number of times, and does whatever
//! there is to do. The path after a crash is therefore the path of every day.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::bus::Subscription;
use crate::error::StoreError;

/// What a pass found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There may be more: run again at once.
    More,
    /// Nothing is left; wait for a signal or the interval.
    Nothing,
}

/// Runs `pass` whenever the signal is given and at least once in `interval`, until `shutdown`. A pass under way is
/// finished first. Errors are logged and tried again after a growing pause.
pub async fn run<F, Fut>(
    name: &'static str,
    mut signal: Subscription,
    interval: Duration,
    shutdown: CancellationToken,
    mut pass: F,
) where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Found, StoreError>>,
{
    const FIRST_PAUSE: Duration = Duration::from_millis(100);
    const LONGEST_PAUSE: Duration = Duration::from_secs(5);
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let outcome = pass().await;
        metrics::histogram!("attune_pass_duration_seconds", "pass" => name)
            .record(began.elapsed().as_secs_f64());
        let wait = match outcome {
            Ok(found) => {
                if pause > FIRST_PAUSE {
                    tracing::info!(pass = name, "works again");
                }
                pause = FIRST_PAUSE;
                if found == Found::More {
                    continue;
                }
                interval
            }
            Err(error) => {
                metrics::counter!("attune_pass_errors_total", "pass" => name).increment(1);
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(pass = name, %error, source, retry_in_ms = pause.as_millis(), "failed");
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.cancelled() => {}
                }
                continue;
            }
        };
        tokio::select! {
            () = signal.woken() => {}
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
