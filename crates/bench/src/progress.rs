//! How far a server is: what it has finished or decided by its own count, looked at by one task for all who send.
//!
//! Not more often than needed: rendering the metrics takes processor time of the server that is measured.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_client::Client;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

const PAUSE: Duration = Duration::from_millis(50);

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    /// Executions that have ended.
    Finished,
    /// Decisions of rules; the execution that follows from one is there as soon as it is counted.
    Decided,
}

/// The count since the beginning, kept up to date until this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    client: Client,
    count: Count,
    before: u64,
    began: Instant,
    latest: watch::Receiver<Result<u64, String>>,
    history: Arc<Mutex<Vec<(Duration, u64)>>>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Begins to look.
    pub(crate) async fn begin(client: &Client, count: Count) -> anyhow::Result<Self> {
        let before = count.read(client).await?;
        let (sender, latest) = watch::channel(Ok(0));
        let history = Arc::new(Mutex::new(vec![(Duration::ZERO, 0)]));
        let began = Instant::now();
        let task = tokio::spawn({
            let (client, history) = (client.clone(), history.clone());
            async move {
                loop {
                    tokio::time::sleep(PAUSE).await;
                    let now = count.read(&client).await.map(|now| now - before);
                    if let Ok(now) = now {
                        history.lock().await.push((began.elapsed(), now));
                    }
                    if sender.send(now.map_err(|error| format!("{error:#}"))).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Self { client: client.clone(), count, before, began, latest, history, sent: Arc::default(), task })
    }

    /// What was sent, counted by those who send.
    pub(crate) fn add_sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until less than this is under way, or the time has come.
    pub(crate) async fn wait_for_room(&self, under_way: u64, until: Instant) -> anyhow::Result<()> {
        let mut latest = self.latest.clone();
        while Instant::now() < until {
            let finished = latest.borrow_and_update().clone().map_err(anyhow::Error::msg)?;
            if self.sent() < finished + under_way {
                return Ok(());
            }
            let wait = until.saturating_duration_since(Instant::now());
            if tokio::time::timeout(wait, latest.changed()).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until all that was sent is counted, and gives back how long it took since the beginning.
    pub(crate) async fn drained(&self, patience: Duration) -> anyhow::Result<Duration> {
        let until = Instant::now() + patience;
        let sent = self.sent();
        loop {
            let now = self.count.read(&self.client).await? - self.before;
            let elapsed = self.began.elapsed();
            anyhow::ensure!(now <= sent, "{now} were {} for {sent} events", self.count);
            if now == sent {
                return Ok(elapsed);
            }
            anyhow::ensure!(Instant::now() < until, "{} of {sent} were not {}", sent - now, self.count);
            tokio::time::sleep(PAUSE / 2).await;
        }
    }

    /// Finished executions a second in so many equal parts of the time up to `end`.
    pub(crate) async fn rates(&self, parts: u32, end: Duration) -> Vec<f64> {
        rates(&self.history.lock().await, parts, end)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn rates(history: &[(Duration, u64)], parts: u32, end: Duration) -> Vec<f64> {
    let part = end / parts;
    // Between two looks, work is taken to have been done evenly.
    let at = |time: Duration| -> f64 {
        let next = history.partition_point(|(when, _)| *when < time);
        match (next.checked_sub(1).and_then(|index| history.get(index)), history.get(next)) {
            (Some((t0, n0)), Some((t1, n1))) => {
                let share = (time - *t0).as_secs_f64() / (*t1 - *t0).as_secs_f64();
                *n0 as f64 + share * (*n1 - *n0) as f64
            }
            (_, Some((_, n))) | (Some((_, n)), None) => *n as f64,
            (None, None) => 0.0,
        }
    };
    (0..parts).map(|index| (at(part * (index + 1)) - at(part * index)) / part.as_secs_f64()).collect()
}

impl Count {
    /// How many since the start of the server, by its metrics.
    async fn read(self, client: &Client) -> anyhow::Result<u64> {
        let metric = match self {
            Self::Finished => "attune_executions_finished_total",
            Self::Decided => "attune_enforcements_total",
        };
        let text = client.metrics().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.map_or(Ok(0), |value| value.trim().parse().with_context(|| format!("{metric} is no number")))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Decided => "decided",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_rates_are_those_of_each_part() {
        let seconds = Duration::from_secs;
        let history = [(seconds(0), 0), (seconds(2), 200), (seconds(4), 300), (seconds(6), 300)];
        assert_eq!(rates(&history, 3, seconds(6)), [100.0, 50.0, 0.0]);
        // What happened between two looks counts in both parts.
        assert_eq!(rates(&history, 2, seconds(6)), [250.0 / 3.0, 50.0 / 3.0]);
        assert_eq!(rates(&[], 1, seconds(1)), [0.0]);
    }
}
