//! Tells what keeps a sensor from running: in its row, and by an event of `core.sensor_failed` to rules that listen.
//!
//! A sensor that fails is started again and again, and fails with other words each time. So failures come in series, which last
//! until a process has lived for a while or the sensor is another one: in a series each kind of failure makes one event.

use std::collections::BTreeSet;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::error::StoreError;
use attune_common::models::event::NewEvent;
use attune_common::models::sensor::RunnableSensor;
use attune_common::repositories::{EventRepository, InternalEventRepository, SensorRepository};
use serde_json::json;

use crate::Shared;
use crate::backoff::LONG_LIFE;
use crate::life::{Ended, LifeError};

/// The trigger of the events, which the core pack brings.
const SENSOR_FAILED: &str = "core.sensor_failed";

/// How long it may take to note what keeps a sensor from running: a database that is away delays nothing more than that.
const TELLING: Duration = Duration::from_secs(2);

/// How much of an obstacle an event carries, in characters.
const LONGEST_ERROR: usize = 2000;

/// What fails. Rules select by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Its process ends by itself.
    Process,
    /// The environment of its pack cannot be had.
    Environment,
    /// The settings of its pack are missing or cannot be opened.
    Settings,
    /// It cannot be started, for whatever else.
    Start,
}

impl Kind {
    fn of(outcome: &Result<Ended, LifeError>) -> Self {
        match outcome {
            Ok(Ended { .. }) => Self::Process,
            Err(LifeError::Environment(_)) => Self::Environment,
            Err(LifeError::Settings(_)) => Self::Settings,
            Err(
                LifeError::Pack(_)
                | LifeError::File(_)
                | LifeError::Directory { .. }
                | LifeError::Token(_)
                | LifeError::Start(_)
                | LifeError::Wait(_),
            ) => Self::Start,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Environment => "environment",
            Self::Settings => "settings",
            Self::Start => "start",
        }
    }
}

/// The failures of one sensor since its process was well.
#[derive(Debug)]
pub(crate) struct Failures {
    /// Tells this series from others.
    series: String,
    /// What the events of it are about.
    told: BTreeSet<Kind>,
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self { series: hex::encode(rand::random::<[u8; 16]>()), told: BTreeSet::new() }
    }

    /// Tells of a failure after a life, or an attempt at one, of this length.
    pub(crate) async fn tell(
        &mut self,
        shared: &Shared,
        sensor: &RunnableSensor,
        outcome: &Result<Ended, LifeError>,
        lived: Duration,
    ) {
        // Only a process lives: an environment may take minutes to fail.
        if outcome.is_ok() && lived >= LONG_LIFE {
            *self = Self::new();
        }
        let kind = Kind::of(outcome);
        let obstacle = storable(&obstacle(outcome));
        let event = (!self.told.contains(&kind)).then(|| self.event(sensor, kind, &obstacle));
        match tokio::time::timeout(TELLING, store(shared, sensor, &obstacle, event)).await {
            Ok(Ok(true)) => {
                self.told.insert(kind);
                shared.bus.wake(Topic::Event);
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                tracing::debug!(sensor = sensor.r#ref, %error, "cannot tell what keeps a sensor from running");
            }
            Err(_elapsed) => {
                tracing::debug!(
                    sensor = sensor.r#ref,
                    "telling what keeps a sensor from running takes too long"
                );
            }
        }
    }

    fn event(&self, sensor: &RunnableSensor, kind: Kind, obstacle: &str) -> NewEvent {
        NewEvent {
            trigger_ref: SENSOR_FAILED.to_owned(),
            config: Some(json!({ "sensor": sensor.r#ref, "pack": sensor.pack_ref, "kind": kind.as_str() })),
            payload: Some(json!({
                "sensor": sensor.r#ref,
                "pack": sensor.pack_ref,
                "kind": kind.as_str(),
                "error": shortened(obstacle),
            })),
            // Told again where it is not known whether it was stored.
            dedup_key: Some(format!("{} {}", self.series, kind.as_str())),
            // No event leads to the failure of a sensor: it begins a chain, whose length is bounded like that of any other.
            depth: 1,
            ..NewEvent::default()
        }
    }
}

/// Notes what keeps the sensor from running, and the event where a rule listens; true if there is one.
async fn store(
    shared: &Shared,
    sensor: &RunnableSensor,
    obstacle: &str,
    event: Option<NewEvent>,
) -> Result<bool, StoreError> {
    let mut transaction = attune_common::db::begin(&shared.pool).await?;
    SensorRepository::set_obstacle(&mut *transaction, sensor.id, Some(obstacle)).await?;
    let mut made = false;
    if let Some(event) = event {
        let listened = InternalEventRepository::listened(&mut *transaction, &[SENSOR_FAILED]).await?;
        if let Some(trigger) = listened.first() {
            let event = NewEvent { trigger: Some(trigger.id), ..event };
            EventRepository::append(&mut transaction, &[event]).await?;
            made = true;
        }
    }
    transaction.commit().await?;
    Ok(made)
}

/// Notes what a sensor waits for, or that nothing is in its way. The log says so as well, so that a database that is away costs
/// only that.
pub(crate) async fn note(shared: &Shared, sensor: &RunnableSensor, obstacle: Option<&str>) {
    let obstacle = obstacle.map(storable);
    let noted = SensorRepository::set_obstacle(&shared.pool, sensor.id, obstacle.as_deref());
    match tokio::time::timeout(TELLING, noted).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(sensor = sensor.r#ref, %error, "cannot tell what keeps a sensor from running");
        }
        Err(_elapsed) => {
            tracing::debug!(sensor = sensor.r#ref, "telling what keeps a sensor from running takes too long");
        }
    }
}

/// A text of PostgreSQL has no U+0000.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
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

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_ERROR) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
