//! The stream of webhooks: numbered deliveries, each repeated until it is acknowledged; and cancellations on the way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_client::Client;
use tokio::task::JoinHandle;

use super::Plan;
use crate::archive::archive;

const SENDERS: usize = 8;

/// Longer than any outage that the harness makes.
const OUTAGE: Duration = Duration::from_secs(120);

/// The process that a delivery causes to run besides the no-op that each causes: `safe` may be run again after its worker
/// was lost, `once` must not, `slow` takes until it is cancelled.
fn kind(number: u64) -> &'static str {
    match (number % 10, number % 40) {
        (0, _) => "safe",
        (5, _) => "once",
        (_, 7) => "slow",
        _ => "none",
    }
}

/// Installs the pack that the stream needs and gives back the path of its webhook.
pub(super) async fn install(client: &Client, effects: &Path) -> anyhow::Result<String> {
    let rule = |kind: &str| {
        format!(
            "ref: faults.{kind}\ntrigger: faults.in\nconditions:\n  - {{field: event.payload.kind, operator: equals, value: {kind}}}\naction: faults.{kind}\n"
        )
    };
    let action = |kind: &str, more: &str| {
        format!("ref: faults.{kind}\nruntime: core.shell\nentrypoint: {kind}.sh\n{more}")
    };
    // A line is far shorter than what the system appends in one piece.
    let script = |then: &str| {
        format!(
            "#!/bin/sh\necho \"$ATTUNE_EXECUTION_ID $ATTUNE_ATTEMPT $(date +%s.%N)\" >> '{}'\n{then}\n",
            effects.display()
        )
    };
    let files = [
        ("pack.yaml", "ref: faults\nversion: 1.0.0\nlabel: Faults\n".to_owned()),
        ("triggers/in.yaml", "ref: faults.in\nwebhook: {delivery_id_header: x-delivery}\n".to_owned()),
        ("rules/native.yaml", "ref: faults.native\ntrigger: faults.in\naction: core.noop\n".to_owned()),
        ("rules/safe.yaml", rule("safe")),
        ("rules/once.yaml", rule("once")),
        ("rules/slow.yaml", rule("slow")),
        (
            "policies/few.yaml",
            format!("ref: faults.few\naction: faults.safe\nconcurrency: {}\n", super::check::LIMIT),
        ),
        ("actions/safe.yaml", action("safe", "on_worker_loss: retry\n")),
        ("actions/once.yaml", action("once", "")),
        ("actions/slow.yaml", action("slow", "on_worker_loss: retry\ntimeout: 30s\n")),
        ("actions/safe.sh", script("sleep 0.05")),
        ("actions/once.sh", script("sleep 0.05")),
        ("actions/slow.sh", script("sleep 20")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (*path, content.as_str())).collect();
    let installed =
        client.install_pack(archive(&files)?, "faults").await.context("the pack cannot be installed")?;
    let hook = installed.webhooks.first().context("the pack has no webhook")?;
    Ok(hook.path.clone())
}

/// The senders at work.
#[derive(Debug)]
pub(super) struct Stream {
    acknowledged: Arc<AtomicU64>,
    senders: Vec<JoinHandle<anyhow::Result<BTreeMap<u64, i64>>>>,
    canceller: JoinHandle<()>,
}

impl Stream {
    pub(super) fn start(plan: &Plan, client: &Client, path: &str) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let next = Arc::new(AtomicU64::new(0));
        let (events, rate, began) = (plan.events, plan.rate.max(1), Instant::now());
        let senders = (0..SENDERS).map(|_| {
            let (client, path) = (client.clone(), path.to_owned());
            let (next, acknowledged) = (next.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let mut answered = BTreeMap::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= events {
                        return Ok(answered);
                    }
                    let due = began + Duration::from_secs_f64(number as f64 / rate as f64);
                    tokio::time::sleep_until(due.into()).await;
                    answered.insert(number, deliver(&client, &path, number).await?);
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self {
            senders: senders.collect(),
            acknowledged,
            canceller: tokio::spawn(cancel_slow(client.clone())),
        }
    }

    /// Waits until so many deliveries were acknowledged.
    pub(super) async fn reached(&self, wanted: u64) -> anyhow::Result<()> {
        let mut seen = self.acknowledged.load(Ordering::Relaxed);
        let mut since = Instant::now();
        while seen < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now > seen {
                (seen, since) = (now, Instant::now());
            }
            anyhow::ensure!(since.elapsed() < OUTAGE, "no delivery was acknowledged for {OUTAGE:?}");
        }
        Ok(())
    }

    /// Waits for all deliveries; gives back the event of each.
    pub(super) async fn finish(self) -> anyhow::Result<BTreeMap<u64, i64>> {
        let mut all = BTreeMap::new();
        for sender in self.senders {
            all.extend(sender.await??);
        }
        self.canceller.abort();
        Ok(all)
    }
}

/// Delivers until it is acknowledged, under one delivery id, as a careful sender does.
async fn deliver(client: &Client, path: &str, number: u64) -> anyhow::Result<i64> {
    let id = number.to_string();
    let body = format!("{{\"number\": {number}, \"kind\": \"{}\"}}", kind(number));
    let until = Instant::now() + OUTAGE;
    loop {
        match client.webhook(path, &[("x-delivery", &id)], body.clone()).await {
            Ok(answer) => return Ok(answer.event),
            // Nobody listens, or the server says that it cannot store anything now.
            Err(error) if error.status().is_none_or(|status| status >= 500) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("delivery {number} was refused")),
        }
    }
}

/// Cancels executions that take their time, whenever the API can be reached.
async fn cancel_slow(client: Client) {
    let query = [("action", "faults.slow".to_owned()), ("limit", "20".to_owned())];
    loop {
        if let Ok(page) = client.executions(&query).await {
            for execution in page.items.iter().filter(|execution| !execution.is_finished()) {
                // An API that was killed meanwhile is asked again in the next round.
                let _unreachable = client.cancel_execution(execution.id).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_every_kind_has_its_share() {
        let of = |wanted| (0..1000).filter(|number| kind(*number) == wanted).count();
        assert_eq!(["safe", "once", "slow", "none"].map(of), [100, 100, 25, 775]);
    }
}
