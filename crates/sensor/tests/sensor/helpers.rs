//! A database with a pack of sensors that are shell scripts, roles that run them, and ways to wait for what they do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::crypto::SecretKey;
use attune_common::models::event::Event;
use attune_common::models::pack::{NewPack, PackFile};
use attune_common::models::runtime::NewRuntime;
use attune_common::models::sensor::{NewSensor, Sensor};
use attune_common::models::trigger::NewTrigger;
use attune_common::repositories::{
    EventRepository, PackRepository, RuntimeRepository, SensorRepository, TriggerRepository,
};
use attune_sensor::Sensors;
use attune_testkit::TestDatabase;
use serde_json::{Value, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until there is an answer.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let search = async {
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A database with the pack `ops`, which has the trigger `ops.seen` and the runtime `ops.shell`.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) pack: i64,
    /// For whatever scripts and tests tell each other.
    pub(crate) scratch: TempDir,
    files: Mutex<Vec<PackFile>>,
    /// JSON schema of the settings of the pack.
    pub(crate) conf_schema: Mutex<Option<Value>>,
}

impl World {
    pub(crate) async fn create() -> Self {
        let database = TestDatabase::create().await;
        let pool = database.pool();
        let new = NewPack {
            r#ref: "ops".into(),
            label: "Ops".into(),
            version: "1.0.0".into(),
            ..NewPack::default()
        };
        let pack = PackRepository::put(pool, &new).await.unwrap().id;
        let runtime =
            NewRuntime { r#ref: "ops.shell".into(), interpreter: vec!["sh".into()], ..NewRuntime::default() };
        RuntimeRepository::put(pool, pack, &runtime).await.unwrap();
        let world = Self {
            database,
            pack,
            scratch: tempfile::tempdir().unwrap(),
            files: Mutex::default(),
            conf_schema: Mutex::default(),
        };
        world.trigger("ops.seen", true).await;
        world
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) async fn trigger(&self, trigger_ref: &str, enabled: bool) -> i64 {
        let new = NewTrigger {
            r#ref: trigger_ref.to_owned(),
            label: None,
            description: None,
            enabled,
            param_schema: json!({}),
            out_schema: json!({}),
            webhook: None,
        };
        TriggerRepository::put(self.pool(), self.pack, &new).await.unwrap().id
    }

    /// Installs a sensor that runs the script, or another script under its name, as a new version of the pack.
    pub(crate) async fn script(&self, name: &str, script: &str) {
        self.file(&format!("sensors/{name}.sh"), script.as_bytes()).await;
    }

    /// Installs a new version of the pack with this file.
    pub(crate) async fn file(&self, path: &str, content: &[u8]) {
        let files = {
            let mut files = self.files.lock().unwrap();
            files.retain(|file| file.path != path);
            files.push(PackFile { path: path.to_owned(), content: content.to_vec(), executable: false });
            files.clone()
        };
        let versions: i32 =
            files.iter().map(|file| file.content.iter().map(|b| i32::from(*b)).sum::<i32>()).sum();
        let mut transaction = attune_common::db::begin(self.pool()).await.unwrap();
        let new = NewPack {
            r#ref: "ops".into(),
            label: "Ops".into(),
            version: "1.0.0".into(),
            checksum: Some(format!("{versions:064x}")),
            conf_schema: self.conf_schema.lock().unwrap().clone(),
            ..NewPack::default()
        };
        PackRepository::put(&mut *transaction, &new).await.unwrap();
        PackRepository::replace_files(&mut transaction, self.pack, &files).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// The definition of a sensor that reports `ops.seen`.
    pub(crate) fn definition(&self, name: &str) -> NewSensor {
        NewSensor {
            r#ref: format!("ops.{name}"),
            label: None,
            description: None,
            enabled: true,
            runtime_ref: "ops.shell".into(),
            entrypoint: format!("{name}.sh"),
            trigger_refs: vec!["ops.seen".into()],
            config: json!({}),
            permissions: Vec::new(),
        }
    }

    pub(crate) async fn define(&self, new: &NewSensor) -> Sensor {
        SensorRepository::put(self.pool(), self.pack, new).await.unwrap()
    }

    /// Installs a sensor with this script.
    pub(crate) async fn sensor(&self, name: &str, script: &str) -> Sensor {
        self.script(name, script).await;
        self.define(&self.definition(name)).await
    }

    /// What keeps a sensor of the pack from running.
    pub(crate) async fn obstacle(&self, name: &str) -> Option<String> {
        let sensor = SensorRepository::find_by_ref(self.pool(), &format!("ops.{name}")).await.unwrap();
        sensor.and_then(|sensor| sensor.obstacle)
    }

    /// Waits for an obstacle with all these parts.
    pub(crate) async fn wait_for_obstacle(&self, name: &str, parts: &[&str]) {
        until(&format!("an obstacle with {parts:?}"), async || {
            let obstacle = self.obstacle(name).await?;
            parts.iter().all(|part| obstacle.contains(part)).then_some(())
        })
        .await;
    }

    /// Waits until nothing keeps a sensor from running.
    pub(crate) async fn wait_for_no_obstacle(&self, name: &str) {
        until("no obstacle", async || self.obstacle(name).await.is_none().then_some(())).await;
    }

    /// The events of `ops.seen`, the oldest first.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut events = EventRepository::list_by_trigger_ref(self.pool(), "ops.seen").await.unwrap();
        events.sort_by_key(|event| event.id);
        events
    }

    /// Waits for as many events of `ops.seen`.
    pub(crate) async fn wait_for_events(&self, count: usize) -> Vec<Event> {
        until(&format!("{count} events"), async || {
            let found = EventRepository::list_by_trigger_ref(self.pool(), "ops.seen").await;
            // Connections that broke in an outage fail once each.
            let mut events = found.ok()?;
            events.sort_by_key(|event| event.id);
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// Waits for as many events that tell of a process.
    pub(crate) async fn wait_for_pids(&self, count: usize) -> Vec<i32> {
        let events = self.wait_for_events(count).await;
        events.iter().map(|event| i32::try_from(event.payload["pid"].as_i64().unwrap()).unwrap()).collect()
    }

    /// What the events carry.
    pub(crate) async fn wait_for_payloads(&self, count: usize) -> Vec<Value> {
        self.wait_for_events(count).await.into_iter().map(|event| event.payload).collect()
    }
}

/// Part of a script: reports its process.
pub(crate) const REPORT_PID: &str = r#"echo '{"trigger": "ops.seen", "payload": {"pid": '$$'}}'
"#;
/// Part of a script: stays until its standard input ends.
pub(crate) const STAY: &str = "exec cat >/dev/null\n";

/// A sensor role at work.
pub(crate) struct Role {
    pub(crate) bus: Bus,
    pub(crate) cache: TempDir,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Role {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_with(world, None)
    }

    /// With the key of the vault.
    pub(crate) fn start_with(world: &World, master_key: Option<SecretKey>) -> Self {
        Self::start_as(world, |sensors| sensors.master_key = master_key)
    }

    /// With what else it needs.
    pub(crate) fn start_as(world: &World, provide: impl FnOnce(&mut Sensors)) -> Self {
        let bus = Bus::new();
        let cache = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let pool = world.pool().clone();
        let mut sensors = Sensors::new(pool, bus.clone(), cache.path().to_owned());
        provide(&mut sensors);
        let task = tokio::spawn(attune_sensor::run(sensors, shutdown.clone()));
        Self { bus, cache, shutdown, task }
    }

    /// Tells it that definitions were changed.
    pub(crate) fn wake(&self) {
        self.bus.wake(Topic::Definition);
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the role ends").unwrap();
    }
}

pub(crate) fn is_running(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

pub(crate) async fn wait_until_gone(pid: i32) {
    until(&format!("the end of process {pid}"), async || (!is_running(pid)).then_some(())).await;
}

/// A pipe by which a test tells a script to go on: the script reads a line of it.
pub(crate) struct Gate {
    path: PathBuf,
}

impl Gate {
    pub(crate) fn make(world: &World, name: &str) -> Self {
        let path = world.scratch.path().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the script reads, and lets it go on.
    pub(crate) async fn open(&self) {
        let sender = until("a script at the gate", async || {
            tokio::net::unix::pipe::OpenOptions::new().open_sender(&self.path).ok()
        });
        sender.await.write_all(b"\n").await.unwrap();
    }
}

/// The log of everything that runs on this thread, as long as it is kept.
pub(crate) struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct LogWriter(Arc<Mutex<Vec<u8>>>);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn keep() -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let writer = LogWriter(text.clone());
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// Waits for a line with all these parts.
    pub(crate) async fn wait_for(&self, parts: &[&str]) {
        let found = async || {
            self.text().lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
        };
        until(&format!("a line with {parts:?} in the log"), found).await;
    }
}
