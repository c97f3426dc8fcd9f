//! Who waits for which environment, and how far that is: what its worker tells of it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::lock;

/// What is waited for.
#[derive(Debug)]
pub struct Preparing {
    waiting: Mutex<BTreeMap<(String, &'static str), Waiting>>,
    /// Raised by every change.
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct Waiting {
    since: DateTime<Utc>,
    /// The last line that the build wrote.
    step: Option<String>,
    executions: Vec<i64>,
}

/// An execution that waits, until this is dropped.
#[derive(Debug)]
pub struct WaitGuard<'a> {
    preparing: &'a Preparing,
    of: (String, &'static str),
    execution: i64,
}

impl Default for Preparing {
    fn default() -> Self {
        Self { waiting: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl Preparing {
    /// The execution waits for something of this pack: its environment for a language, or an image.
    pub fn wait(&self, pack_ref: &str, what: &'static str, execution: i64) -> WaitGuard<'_> {
        let of = (pack_ref.to_owned(), what);
        lock(&self.waiting)
            .entry(of.clone())
            .or_insert_with(|| Waiting { since: Utc::now(), step: None, executions: Vec::new() })
            .executions
            .push(execution);
        self.changed();
        WaitGuard { preparing: self, of, execution }
    }

    /// What is done for it now.
    pub fn step(&self, pack_ref: &str, what: &'static str, step: &str) {
        let of = (pack_ref.to_owned(), what);
        if let Some(waiting) = lock(&self.waiting).get_mut(&of) {
            waiting.step = Some(step.to_owned());
        }
        self.changed();
    }

    /// As it is stored with the worker: `[{"pack", "what", "since", "step", "executions"}]`.
    pub fn stored(&self) -> Value {
        let waiting = lock(&self.waiting);
        let entries = waiting.iter().map(|((pack, what), waiting)| {
            json!({
                "pack": pack,
                "what": what,
                "since": waiting.since,
                "step": waiting.step,
                "executions": waiting.executions,
            })
        });
        entries.collect()
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        let mut all = lock(&self.preparing.waiting);
        if let Some(waiting) = all.get_mut(&self.of) {
            waiting.executions.retain(|execution| *execution != self.execution);
            if waiting.executions.is_empty() {
                all.remove(&self.of);
            }
        }
        drop(all);
        self.preparing.changed();
    }
}
