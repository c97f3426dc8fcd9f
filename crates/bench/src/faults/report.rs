//! What a run did and found, for people.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::Plan;
use super::check::{Finding, OUTSIDE, PROMISES};
use super::ends::Ends;
use super::rescues::Rescues;

/// The faults of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub api: u64,
    pub executor: u64,
    pub worker: u64,
    /// Immediate shutdowns of PostgreSQL.
    pub postgres: u64,
    /// Workers that stood still beyond their lease.
    pub frozen: u64,
    /// Times that a worker's connections were cut.
    pub cut: u64,
    /// Processes that ended without having been killed.
    pub ended_by_themselves: Ends,
}

impl Counts {
    /// Processes killed, PostgreSQL included.
    pub fn kills(&self) -> u64 {
        self.api + self.executor + self.worker + self.postgres
    }
}

/// What there was in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub events: u64,
    pub enforcements: u64,
    pub executions: u64,
    /// Executions by status.
    pub statuses: Vec<(String, u64)>,
    /// Attempts that were lost with their worker, by worker.
    pub lost: Vec<(String, u64)>,
    /// Executions with more than one attempt.
    pub attempts_again: u64,
}

/// What a run did and found. `Display` writes it as Markdown.
#[derive(Debug, Clone)]
pub struct Report {
    pub plan: Plan,
    pub counts: Counts,
    pub totals: Totals,
    pub rescues: Rescues,
    /// Empty when every promise was kept.
    pub findings: Vec<Finding>,
    pub elapsed: Duration,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { plan, counts, totals, rescues, findings, elapsed } = self;
        writeln!(f, "| what | number |\n|---|---:|")?;
        let mut row = |what: &str, number: u64| writeln!(f, "| {what} | {number} |");
        row("webhooks delivered, each until it was acknowledged", plan.events)?;
        row("processes killed", counts.kills())?;
        row("- the API, by SIGKILL", counts.api)?;
        row("- an executor, by SIGKILL", counts.executor)?;
        row("- a worker, by SIGKILL", counts.worker)?;
        row("- PostgreSQL, by immediate shutdown", counts.postgres)?;
        row("workers frozen beyond their lease", counts.frozen)?;
        row("connections of a worker cut", counts.cut)?;
        let (expected, unexpected) =
            (counts.ended_by_themselves.expected(), counts.ended_by_themselves.unexpected());
        let (expected, unexpected): (Vec<_>, Vec<_>) = (expected.collect(), unexpected.collect());
        for (what, ends) in [
            ("processes that ended by themselves for a reason that is no fault", expected),
            ("processes that ended by themselves for any other reason", unexpected),
        ] {
            row(what, ends.iter().map(|(_, number)| number).sum())?;
            for (reason, number) in ends {
                row(&format!("- {}", reason.replace('|', "\\|")), number)?;
            }
        }
        row("events", totals.events)?;
        row("enforcements", totals.enforcements)?;
        row("executions", totals.executions)?;
        for (status, number) in &totals.statuses {
            row(&format!("- {status}"), *number)?;
        }
        row("executions with more than one attempt", totals.attempts_again)?;
        for (worker, number) in &totals.lost {
            row(&format!("attempts lost with {worker}"), *number)?;
        }
        row("- of which while PostgreSQL was there throughout", rescues.number)?;
        writeln!(
            f,
            "| - the longest of these from the end of the worker to the rescue, s | {:.1} |",
            rescues.longest
        )?;
        writeln!(f, "| seconds | {} |", elapsed.as_secs())?;
        writeln!(
            f,
            "\nThe faults are chosen by the seed {}.\n\nChecked from outside, for all of them:\n",
            plan.seed
        )?;
        for promise in PROMISES.iter().map(|promise| promise.promise).chain(OUTSIDE.iter().copied()) {
            writeln!(f, "- {promise}")?;
        }
        if findings.is_empty() {
            return writeln!(f, "\nNothing was found broken.");
        }
        writeln!(f, "\nBroken:\n")?;
        for finding in findings {
            writeln!(f, "- {} {}", finding.number, finding.what)?;
        }
        Ok(())
    }
}
