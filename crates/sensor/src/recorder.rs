//! Makes the lines of one sensor into events.
//!
//! A batch is what has gathered in the pipe while the last one was stored; nothing more is read before it is stored, so
//! a sensor that is faster than the database is slowed down by its own pipe. A line that makes no event is logged and
//! counted, and costs no other line anything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::error::StoreError;
use attune_common::models::event::NewEvent;
use attune_common::models::sensor::{ReportableTrigger, RunnableSensor};
use attune_common::repositories::{
    EventRepository, SensorRepository, TransactionId, TransactionOutcome, TransactionRepository,
};
use attune_runtime::masking::Masker;
use tokio::io::AsyncRead;

use crate::Shared;
use crate::lines::{Line, Lines};
use crate::report::{self, BadLine};

/// How many bad lines of one batch are logged one by one.
const LOGGED_LINES: usize = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Stores what one sensor reports.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    sensor_ref: String,
    trigger_refs: Vec<String>,
    /// Hides the secrets that the sensor was given.
    masker: Masker,
    /// The sensor's row; None once it is gone.
    source: Option<i64>,
}

/// An event and the line that it comes from.
#[derive(Debug)]
struct Reported {
    line: u64,
    event: NewEvent,
}

/// Why a batch was not stored.
#[derive(Debug)]
enum Failure {
    /// Nothing of it was stored.
    NotStored(StoreError),
    /// The connection broke in the commit.
    Unknown(TransactionId, StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::NotStored(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::NotStored(error.into())
    }
}

/// What is to be done about a failure.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// The sensor's row is gone: events name it no more.
    WithoutSource,
    /// An event of the batch can never be stored: find out which.
    OneByOne,
    /// The database cannot do it now, or a trigger went away this moment and will be missed in the next attempt.
    Wait,
}

impl Recorder {
    pub(crate) fn new(shared: Arc<Shared>, sensor: &RunnableSensor, masker: Masker) -> Self {
        Self {
            shared,
            masker,
            sensor_ref: sensor.r#ref.clone(),
            trigger_refs: sensor.trigger_refs.clone(),
            source: Some(sensor.id),
        }
    }

    /// Records what comes, to the end.
    pub(crate) async fn run<R: AsyncRead + Unpin>(mut self, mut lines: Lines<R>) {
        while let Some(batch) = lines.next().await {
            let mut bad = Vec::new();
            let mut reported = Vec::with_capacity(batch.len());
            for line in batch {
                let number = line.number;
                match self.read(&line) {
                    Ok(Some(event)) => reported.push(Reported { line: number, event }),
                    Ok(None) => {}
                    Err(error) => bad.push((number, error)),
                }
            }
            let stored = self.store(reported, &mut bad).await;
            self.report_bad(bad);
            if !stored {
                return;
            }
        }
    }

    fn read(&self, line: &Line) -> Result<Option<NewEvent>, BadLine> {
        if line.cut {
            return Err(BadLine::TooLong);
        }
        let event = report::parse(&line.content, &self.trigger_refs)?;
        let Some(event) = event else { return Ok(None) };
        // Masked, different keys could become one, and an event be taken for another.
        if event.dedup_key.as_ref().is_some_and(|key| self.masker.text(key) != *key) {
            return Err(BadLine::SecretDedupKey);
        }
        Ok(Some(NewEvent {
            payload: event.payload.map(|payload| self.masker.value(payload)),
            config: event.config.map(|config| self.masker.value(config)),
            source_ref: Some(self.sensor_ref.clone()),
            trace_id: Some(hex::encode(rand::random::<[u8; 16]>())),
            ..event
        }))
    }

    /// Stores the events, whatever it takes, and adds those to `bad` that cannot be stored. False if that is given up.
    async fn store(&mut self, reported: Vec<Reported>, bad: &mut Vec<(u64, BadLine)>) -> bool {
        let mut batches = vec![reported];
        while let Some(mut batch) = batches.pop() {
            let mut pause = FIRST_PAUSE;
            let mut unknown = None;
            while !batch.is_empty() {
                let error = match self.settle(&mut unknown, &mut batch, bad).await {
                    Ok(()) => break,
                    Err(Failure::Unknown(transaction, error)) => {
                        unknown = Some(transaction);
                        error
                    }
                    Err(Failure::NotStored(error)) => error,
                };
                match remedy(&error) {
                    Remedy::WithoutSource if self.source.is_some() => self.source = None,
                    Remedy::OneByOne if batch.len() > 1 => {
                        batches.extend(batch.drain(..).rev().map(|one| vec![one]));
                    }
                    Remedy::OneByOne => {
                        let reason = error.to_string();
                        let unstorable = || BadLine::Unstorable { reason: reason.clone() };
                        bad.extend(batch.drain(..).map(|one| (one.line, unstorable())));
                    }
                    Remedy::WithoutSource | Remedy::Wait => {
                        let waiting = batch.len() + batches.iter().map(Vec::len).sum::<usize>();
                        if !self.wait(&error, pause, waiting).await {
                            return false;
                        }
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
        true
    }

    /// Stores the batch, unless it turns out that an earlier attempt did.
    async fn settle(
        &self,
        unknown: &mut Option<TransactionId>,
        batch: &mut Vec<Reported>,
        bad: &mut Vec<(u64, BadLine)>,
    ) -> Result<(), Failure> {
        if let Some(transaction) = *unknown {
            match TransactionRepository::outcome(&self.shared.pool, transaction).await? {
                TransactionOutcome::Committed => {
                    self.stored(batch.len());
                    return Ok(());
                }
                TransactionOutcome::Undone => *unknown = None,
                TransactionOutcome::InProgress => {
                    let reason = std::io::Error::other("the transaction of the broken connection still runs");
                    return Err(StoreError::Unavailable(sqlx::Error::Io(reason)).into());
                }
            }
        }
        self.append(batch, bad).await
    }

    async fn append(&self, batch: &mut Vec<Reported>, bad: &mut Vec<(u64, BadLine)>) -> Result<(), Failure> {
        let mut transaction = attune_common::db::begin(&self.shared.pool).await?;
        let id = TransactionRepository::id(&mut transaction).await?;
        let names: BTreeSet<&str> = batch.iter().map(|one| one.event.trigger_ref.as_str()).collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let triggers = SensorRepository::reportable_triggers(&mut *transaction, &names).await?;
        let triggers: HashMap<&str, &ReportableTrigger> =
            triggers.iter().map(|trigger| (trigger.r#ref.as_str(), trigger)).collect();
        for mut one in std::mem::take(batch) {
            let name = || one.event.trigger_ref.clone();
            match triggers.get(one.event.trigger_ref.as_str()) {
                Some(trigger) if trigger.enabled => {
                    one.event.trigger = Some(trigger.id);
                    one.event.source = self.source;
                    batch.push(one);
                }
                Some(_) => bad.push((one.line, BadLine::Disabled { trigger: name() })),
                None => bad.push((one.line, BadLine::NoSuchTrigger { trigger: name() })),
            }
        }
        let events: Vec<NewEvent> = batch.iter().map(|one| one.event.clone()).collect();
        let appended = EventRepository::append(&mut transaction, &events).await?;
        transaction.commit().await.map_err(|error| Failure::Unknown(id, error.into()))?;
        self.stored(appended.iter().filter(|appended| !appended.duplicate).count());
        Ok(())
    }

    fn stored(&self, events: usize) {
        metrics::counter!("attune_sensor_events_total", "sensor" => self.sensor_ref.clone())
            .increment(events as u64);
        self.shared.bus.wake(Topic::Event);
    }

    /// Waits before the next attempt; false if there is to be none.
    async fn wait(&self, error: &StoreError, pause: Duration, events: usize) -> bool {
        let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        if self.shared.give_up.is_cancelled() {
            tracing::error!(sensor = self.sensor_ref, events, %error, source, "events of a sensor are lost: the role stops");
            return false;
        }
        tracing::warn!(
            sensor = self.sensor_ref, events, %error, source, retry_in_ms = pause.as_millis(),
            "events of a sensor wait to be stored"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // One more attempt.
            () = self.shared.give_up.cancelled() => {}
        }
        true
    }

    fn report_bad(&self, mut bad: Vec<(u64, BadLine)>) {
        bad.sort_by_key(|(line, _)| *line);
        metrics::counter!("attune_sensor_bad_lines_total", "sensor" => self.sensor_ref.clone())
            .increment(bad.len() as u64);
        for (line, reason) in bad.iter().take(LOGGED_LINES) {
            tracing::warn!(sensor = self.sensor_ref, line, %reason, "a line of a sensor makes no event");
        }
        if let Some((from, _)) = bad.get(LOGGED_LINES) {
            let count = bad.len() - LOGGED_LINES;
            let to = bad.last().map(|(line, _)| *line);
            tracing::warn!(sensor = self.sensor_ref, count, from, to, "more lines of a sensor make no event");
        }
    }
}

fn remedy(error: &StoreError) -> Remedy {
    match error {
        StoreError::InvalidReference { constraint, .. } if constraint == "event_source_fkey" => {
            Remedy::WithoutSource
        }
        StoreError::Unstorable(_) | StoreError::InvalidValue { .. } | StoreError::AlreadyExists { .. } => {
            Remedy::OneByOne
        }
        // Faults of the program are waited for as well: whatever it is, the events are not to blame.
        StoreError::InvalidReference { .. }
        | StoreError::Unavailable(_)
        | StoreError::Database(_)
        | StoreError::Conflict { .. }
        | StoreError::NotFound { .. } => Remedy::Wait,
    }
}
