//! The reconcile pass: what should run against what runs.
//!
//! The pass never waits for a sensor. Whatever ends gives a signal, and the pass after that goes on from there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::StoreError;
use attune_common::models::sensor::RunnableSensor;
use attune_common::pass::Found;
use attune_common::repositories::SensorRepository;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Shared;
use crate::keeper::{self, SHORT_GRACE, Stop};
use crate::session::{Session, WATCH_INTERVAL};

/// How long a sensor waits that another role may just have run: that role needs this long to notice that it lost the
/// lock, and to stop its process.
const TAKEOVER_DELAY: Duration =
    WATCH_INTERVAL.saturating_add(SHORT_GRACE).saturating_add(Duration::from_secs(1));

/// What this role runs.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    session: Option<Arc<Session>>,
    /// The sensors whose locks the session has.
    locked: HashSet<i64>,
    /// The sensors whose locks another role had.
    elsewhere: HashSet<i64>,
    /// The session is not the first one: what ran under the former may run elsewhere, and still be about to stop.
    reconnected: bool,
    running: HashMap<i64, Running>,
    tasks: TaskTracker,
    ending: mpsc::UnboundedSender<i64>,
    ended: mpsc::UnboundedReceiver<i64>,
}

/// A sensor that runs, or is just stopping.
#[derive(Debug)]
struct Running {
    sensor: RunnableSensor,
    stop: CancellationToken,
}

/// Tells of the end of a task, even if it panicked.
#[derive(Debug)]
struct Farewell {
    sensor: i64,
    ending: mpsc::UnboundedSender<i64>,
    bus: Bus,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // The receiver is gone only when the role is.
        let _ = self.ending.send(self.sensor);
        self.bus.wake(Topic::Definition);
    }
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, shutdown: CancellationToken) -> Self {
        let (ending, ended) = mpsc::unbounded_channel();
        Self {
            shared,
            shutdown,
            session: None,
            locked: HashSet::new(),
            elsewhere: HashSet::new(),
            reconnected: false,
            running: HashMap::new(),
            tasks: TaskTracker::new(),
            ending,
            ended,
        }
    }

    /// Starts, stops and restarts sensors until what runs is what should run.
    pub(crate) async fn pass(&mut self) -> Result<Found, StoreError> {
        while let Ok(sensor) = self.ended.try_recv() {
            self.running.remove(&sensor);
        }
        let session = self.session().await?;
        let wanted = SensorRepository::list_runnable(&self.shared.pool).await?;
        self.stop_others(&wanted);
        self.unlock_others(&session, &wanted).await?;
        for sensor in wanted {
            if !self.running.contains_key(&sensor.id) {
                self.start(&session, sensor).await?;
            }
        }
        self.reconnected = false;
        metrics::gauge!("attune_sensors_running").set(self.running.len() as f64);
        Ok(Found::Nothing)
    }

    /// Waits until no sensor runs, after the shutdown.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Gives every lock back, for another role to go on.
    pub(crate) async fn release_all(&mut self) {
        let Some(session) = self.session.take() else { return };
        for sensor in self.locked.drain() {
            if let Err(error) = session.unlock(sensor).await {
                // The end of the connection gives them back as well.
                tracing::debug!(%error, "could not give back the lock of a sensor");
                break;
            }
        }
        session.lost().cancel();
        metrics::gauge!("attune_sensors_running").set(0.0);
    }

    /// The session, or a new one for one that is lost.
    async fn session(&mut self) -> Result<Arc<Session>, StoreError> {
        if let Some(session) = self.session.as_ref().filter(|session| !session.lost().is_cancelled()) {
            return Ok(session.clone());
        }
        if self.session.take().is_some() {
            self.locked.clear();
            self.reconnected = true;
        }
        let session = Session::open(&self.shared.pool).await?;
        let (watched, bus) = (session.clone(), self.shared.bus.clone());
        tokio::spawn(async move {
            watched.watch().await;
            bus.wake(Topic::Definition);
        });
        self.session = Some(session.clone());
        Ok(session)
    }

    /// Stops what should not run, or not like that.
    fn stop_others(&self, wanted: &[RunnableSensor]) {
        let wanted: HashMap<i64, &RunnableSensor> = wanted.iter().map(|sensor| (sensor.id, sensor)).collect();
        for (id, running) in &self.running {
            if wanted.get(id) != Some(&&running.sensor) && !running.stop.is_cancelled() {
                let reason = if wanted.contains_key(id) { "it was changed" } else { "it is not to run" };
                tracing::info!(sensor = running.sensor.r#ref, reason, "stopping a sensor");
                running.stop.cancel();
            }
        }
    }

    /// Gives back the locks of what should not run and does not any more.
    async fn unlock_others(
        &mut self,
        session: &Session,
        wanted: &[RunnableSensor],
    ) -> Result<(), StoreError> {
        let wanted: HashSet<i64> = wanted.iter().map(|sensor| sensor.id).collect();
        self.elsewhere.retain(|sensor| wanted.contains(sensor));
        let others: Vec<i64> = self.locked.difference(&wanted).copied().collect();
        for sensor in others {
            if !self.running.contains_key(&sensor) {
                session.unlock(sensor).await?;
                self.locked.remove(&sensor);
            }
        }
        Ok(())
    }

    /// Starts a sensor, unless another role has it.
    async fn start(&mut self, session: &Session, sensor: RunnableSensor) -> Result<(), StoreError> {
        let id = sensor.id;
        let mut delay = Duration::ZERO;
        if !self.locked.contains(&id) {
            if !session.try_lock(id).await? {
                if self.elsewhere.insert(id) {
                    tracing::info!(sensor = sensor.r#ref, "the sensor runs under another role");
                }
                return Ok(());
            }
            self.locked.insert(id);
            if self.elsewhere.remove(&id) || self.reconnected {
                tracing::info!(sensor = sensor.r#ref, "takes over a sensor");
                delay = TAKEOVER_DELAY;
            }
        }
        let stop = Stop { wanted: self.shutdown.child_token(), lost: session.lost().clone() };
        let farewell = Farewell { sensor: id, ending: self.ending.clone(), bus: self.shared.bus.clone() };
        self.running.insert(id, Running { sensor: sensor.clone(), stop: stop.wanted.clone() });
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let _farewell = farewell;
            keeper::keep(shared, sensor, stop, delay).await;
        });
        Ok(())
    }
}
