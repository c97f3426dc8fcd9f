//! The runners of a worker: which there are, which come and which go.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Seek, Write},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attune_common::process::Program;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::{net::unix::pipe, sync::Notify, time::Instant};

use super::{
    WarmSettings,
    call::{Call, Interpreter},
    runner::{Runner, RunnerError, WarmProcess, Worn},
};
use crate::process::Streams;

/// How soon an interpreter is tried again that could not be started, and one that cannot fork safely.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
const WHEN_UNFIT: Duration = Duration::from_secs(3600);

/// The runners of a worker. Clones share them; with the last one they end.
#[derive(Debug, Clone)]
pub struct WarmRunners {
    pool: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    settings: WarmSettings,
    places: Mutex<BTreeMap<Interpreter, Place>>,
    changed: Notify,
}

/// What is known of an interpreter.
#[derive(Debug)]
enum Place {
    /// On its way for the first time.
    Starting,
    Ready {
        runner: Runner,
        replacement_is_coming: bool,
    },
    /// Not to be tried before this time.
    Unusable {
        until: Instant,
    },
    /// There was no room for it when it was last asked for.
    Outside {
        asked: Instant,
    },
}

impl WarmRunners {
    /// No runner yet: each is started when it is asked for the first time.
    pub fn new(settings: WarmSettings) -> Self {
        Self { pool: Arc::new(Pool { settings, places: Mutex::default(), changed: Notify::new() }) }
    }

    /// Has the program forked by a waiting interpreter. None if it is no Python script, or if no interpreter waits: then
    /// it is to be started the ordinary way, and an interpreter is started for the next time.
    pub(crate) async fn start(&self, program: &Program<'_>) -> Option<(WarmProcess, Streams)> {
        let call = Call::of(program)?;
        let script = call.script.to_str()?;
        let request = call.request(program)?;
        let runner = self.runner(&call.interpreter)?;
        let (streams, fds) = match open(&request, program.with_stdin) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "a run is started without its warm runner");
                return None;
            }
        };
        let (process, worn) = runner.fork(script, fds, self.pool.settings.runs).await;
        if worn == Worn::Out {
            self.replace(&call.interpreter);
        }
        metrics::counter!("attune_warm_runs_total").increment(u64::from(process.is_some()));
        Some((process?, streams))
    }

    /// Waits until an interpreter waits for this program, and gives back its process. None if it cannot.
    pub async fn ready(&self, program: &Program<'_>) -> Option<i32> {
        let interpreter = Call::of(program)?.interpreter;
        loop {
            let changed = self.pool.changed.notified();
            if let Some(runner) = self.runner(&interpreter) {
                return Some(runner.pid());
            }
            match self.pool.places().get(&interpreter) {
                Some(Place::Starting | Place::Ready { .. }) => {}
                Some(Place::Unusable { .. } | Place::Outside { .. }) | None => return None,
            }
            changed.await;
        }
    }

    /// A runner that is ready. Without one, another is started, if there is room.
    fn runner(&self, interpreter: &Interpreter) -> Option<Runner> {
        let mut places = self.pool.places();
        match places.get(interpreter) {
            Some(Place::Ready { runner, .. }) if !runner.is_gone() => return Some(runner.clone()),
            Some(Place::Starting) => return None,
            Some(Place::Unusable { until }) if Instant::now() < *until => return None,
            Some(Place::Ready { .. } | Place::Unusable { .. } | Place::Outside { .. }) | None => {}
        }
        let asked = match places.get(interpreter) {
            Some(Place::Outside { asked }) => Some(*asked),
            Some(Place::Ready { .. } | Place::Starting | Place::Unusable { .. }) | None => None,
        };
        if !make_room(&mut places, &self.pool.settings, asked) {
            places.insert(interpreter.clone(), Place::Outside { asked: Instant::now() });
            return None;
        }
        places.insert(interpreter.clone(), Place::Starting);
        drop(places);
        self.bring_up(interpreter.clone());
        None
    }

    /// Has a fresh runner take the place of one that has served often enough. The old one goes on until that is ready.
    fn replace(&self, interpreter: &Interpreter) {
        match self.pool.places().get_mut(interpreter) {
            Some(Place::Ready { replacement_is_coming, .. }) if !*replacement_is_coming => {
                *replacement_is_coming = true;
            }
            _ => return,
        }
        self.bring_up(interpreter.clone());
    }

    /// Starts a runner in the background.
    fn bring_up(&self, interpreter: Interpreter) {
        // The pool ends, and its runners with it, though one is on its way.
        let pool = Arc::downgrade(&self.pool);
        let WarmSettings { runner: script, idle, mark, .. } = self.pool.settings.clone();
        tokio::spawn(async move {
            let started = Runner::start(&interpreter, &script, mark.as_deref(), idle).await;
            let Some(pool) = pool.upgrade() else { return };
            let place = match started {
                Ok(runner) => Place::Ready { runner, replacement_is_coming: false },
                Err(error) => {
                    let pause = match error {
                        RunnerError::Unfit(_) => WHEN_UNFIT,
                        RunnerError::Start(_) | RunnerError::NotReady => AFTER_FAILURE,
                    };
                    let interpreter = interpreter.program.display().to_string();
                    tracing::warn!(
                        interpreter,
                        %error,
                        cause = std::error::Error::source(&error),
                        "an interpreter cannot be kept warm; its scripts are started the ordinary way"
                    );
                    Place::Unusable { until: Instant::now() + pause }
                }
            };
            pool.places().insert(interpreter, place);
            pool.changed.notify_waiters();
        });
    }
}

impl Pool {
    fn places(&self) -> MutexGuard<'_, BTreeMap<Interpreter, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one more runner may be started that was asked for before at this time. The one that was idle for longest goes for
/// it, if it was idle for all that time: otherwise that one is the more wanted of the two. Whoever always took the place of
/// another would have all interpreters start and end all the time, as soon as there is one more than there is room.
fn make_room(
    places: &mut BTreeMap<Interpreter, Place>,
    settings: &WarmSettings,
    asked: Option<Instant>,
) -> bool {
    let now = Instant::now();
    places.retain(|_, place| match place {
        Place::Starting => true,
        Place::Ready { runner, .. } => !runner.is_gone(),
        Place::Unusable { until } => now < *until,
        // By then whatever had its place has ended.
        Place::Outside { asked } => now.duration_since(*asked) < settings.idle,
    });
    let is_live = |place: &&Place| matches!(place, Place::Starting | Place::Ready { .. });
    if places.values().filter(is_live).count() < settings.most {
        return true;
    }
    let idle: HashMap<_, _> = places
        .iter()
        .filter_map(|(interpreter, place)| match place {
            Place::Ready { runner, replacement_is_coming: false } => {
                Some((interpreter.clone(), runner.idle_since()?))
            }
            Place::Ready { .. } | Place::Starting | Place::Unusable { .. } | Place::Outside { .. } => None,
        })
        .collect();
    let longest = idle.into_iter().min_by_key(|(_, since)| *since);
    let longest = longest.filter(|(_, since)| asked.is_some_and(|asked| *since < asked));
    longest.is_some_and(|(interpreter, _)| places.remove(&interpreter).is_some())
}

/// Our ends of a run's streams, and the descriptors for the forked process: the request and its ends.
fn open(request: &[u8], with_stdin: bool) -> io::Result<(Streams, Vec<OwnedFd>)> {
    let mut file = File::from(memfd_create(c"attune-run", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(request)?;
    file.rewind()?;
    let (stdin, their_stdin) = if with_stdin {
        let (ours, theirs) = pipe::pipe()?;
        (Some(ours), theirs.into_blocking_fd()?)
    } else {
        (None, File::open("/dev/null")?.into())
    };
    let (their_stdout, stdout) = pipe::pipe()?;
    let (their_stderr, stderr) = pipe::pipe()?;
    let fds =
        vec![file.into(), their_stdin, their_stdout.into_blocking_fd()?, their_stderr.into_blocking_fd()?];
    Ok((Streams::of(stdin, stdout, stderr), fds))
}
