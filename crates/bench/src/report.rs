//! The figures, as a table for people and as JSON for programs.

use std::time::Duration;

use serde::Serialize;

use crate::ceiling::Ceiling;
use crate::machine::Machine;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    /// From the start of the process to its greeting; a fresh database cluster is made in this time.
    pub(crate) ready_ms: Option<f64>,
    pub(crate) idle_memory_kib: Option<u64>,
    pub(crate) loaded_memory_kib: Option<u64>,
    /// The highest at any time.
    pub(crate) highest_memory_kib: Option<u64>,
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    pub(crate) accepted: Throughput,
    pub(crate) carried: Throughput,
    /// Events in batches, one of a thousand rules matching each, to a finished no-op.
    pub(crate) batches: Throughput,
    /// Executions of a no-op that waited already.
    pub(crate) drained: Option<Throughput>,
    /// What the benchmark itself used of all processors in the phases that send.
    pub(crate) client_share: f64,
    /// Finished events of plain SQL in the same cluster; none for a server that was given.
    pub(crate) ceiling: Option<Ceiling>,
    pub(crate) native_start: Latency,
    pub(crate) shell_start: Latency,
}

/// How much got done.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// How long the webhooks' answers took.
    pub(crate) answers: Option<Latency>,
}

impl Throughput {
    pub(crate) fn new(count: u64, elapsed: Duration, answers: Option<Latency>) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self { count, seconds, per_second: count as f64 / seconds, answers }
    }
}

/// How long something took, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Latency {
    /// The distribution of these times.
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (times.len() as f64 * share).ceil() as usize;
            times.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { count: times.len() as u64, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// The table on standard output, then the JSON.
pub(crate) fn print(figures: &Figures) -> anyhow::Result<()> {
    let rate = |t: &Throughput| rate(t.per_second);
    let times =
        |l: &Latency| format!("{:>7.2} ms p50 {:>8.2} ms p99 {:>8.2} ms max", l.p50_ms, l.p99_ms, l.max_ms);
    println!("{}\n", figures.machine);
    row("webhooks accepted (durable), no rule listens", &rate(&figures.accepted));
    if let Some(answers) = &figures.accepted.answers {
        row("  their answers", &times(answers));
    }
    row("webhooks carried to a finished no-op execution", &rate(&figures.carried));
    if let Some(answers) = &figures.carried.answers {
        row("  their answers", &times(answers));
    }
    row("batches carried to a finished no-op, 1,000 rules", &rate(&figures.batches));
    row("  what the benchmark used of the processors", &format!("{:>10.1} %", figures.client_share * 100.0));
    if let Some(drained) = &figures.drained {
        row("no-op executions that waited already, ended", &rate(drained));
    }
    if let Some(ceiling) = &figures.ceiling {
        for (shape, throughput) in &ceiling.shapes {
            let share = figures.batches.per_second / throughput.per_second;
            row(
                &format!("plain SQL, {}", shape.name()),
                &format!("{} (batches: {share:.2} of it)", rate(throughput)),
            );
        }
    }
    row("webhook sent to native action started", &times(&figures.native_start));
    row("webhook sent to shell action started", &times(&figures.shell_start));
    if let Some(ready) = figures.ready_ms {
        row("attune up on an empty directory to its greeting", &format!("{ready:>10.0} ms"));
    }
    if let (Some(idle), Some(loaded), Some(highest)) =
        (figures.idle_memory_kib, figures.loaded_memory_kib, figures.highest_memory_kib)
    {
        let (idle, loaded, highest) = (mb(idle), mb(loaded), mb(highest));
        row(
            "memory of the attune process",
            &format!(
                "{idle:>10.1} MB idle {loaded:>6.1} MB after load {highest:>6.1} MB at most (wanted: less than 250)"
            ),
        );
    }
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}

/// A line of a table: what was measured, and its figure.
pub(crate) fn row(what: &str, figure: &str) {
    println!("{what:<58} {figure}");
}

/// A rate, as it stands in tables.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{per_second:>10.0} /s")
}

/// KiB in millions of bytes.
pub(crate) fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_percentiles_are_taken_from_what_was_measured() {
        let latency = Latency::of((1..=100).map(f64::from).rev().collect());
        assert_eq!((latency.p50_ms, latency.p99_ms, latency.max_ms), (50.0, 99.0, 100.0));
        assert_eq!(Latency::of(Vec::new()).max_ms, 0.0);
        assert_eq!(Latency::of(vec![7.0]).p50_ms, 7.0);
    }
}
