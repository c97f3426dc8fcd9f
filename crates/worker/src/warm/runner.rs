//! One runner: its process, what it is asked for, and what it tells of the processes that it forked.

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{call::Interpreter, link::Link};
use crate::orphans::RUN;
use crate::process::Exit;

/// How long an interpreter may take until it waits for work.
const START: Duration = Duration::from_secs(30);
/// How long a fork may take; a runner that needs longer hangs, and is killed.
const BEGIN: Duration = Duration::from_secs(20);
/// How long a runner may take to end when it is to.
const END: Duration = Duration::from_secs(2);
/// The longest line of a runner's own output in the log, and how many lines of it are logged.
const REMARK: u64 = 4096;
const REMARKS: usize = 100;

/// Why an interpreter cannot wait for work.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunnerError {
    #[error("it could not be started")]
    Start(#[from] io::Error),
    #[error("it ended, or said nothing, before it was ready")]
    NotReady,
    #[error("it cannot fork safely: {0}")]
    Unfit(String),
}

/// How a warm process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmExit {
    Exit(Exit),
    /// Its runner was killed, and with it this process.
    RunnerLost,
}

/// A process that a runner forked. Its leader stays unreaped, and with it the group's number taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct WarmProcess {
    run: u64,
    pid: Pid,
    end: oneshot::Receiver<Exit>,
    ended: Option<WarmExit>,
    released: bool,
    orders: mpsc::UnboundedSender<Order>,
}

impl WarmProcess {
    /// Sends the signal to every process of the group; that there is none left is no fault.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended != Some(WarmExit::RunnerLost) {
            kill_group(self.pid, signal);
        }
    }

    /// Completes when the leader has ended. May be called again.
    pub(crate) async fn leader_ended(&mut self) {
        if self.ended.is_none() {
            let end = (&mut self.end).await;
            self.ended = Some(end.map_or(WarmExit::RunnerLost, WarmExit::Exit));
        }
    }

    /// Takes the leader's end and lets go of the group.
    pub(crate) async fn reap(mut self) -> WarmExit {
        self.leader_ended().await;
        self.released = true;
        self.ended.unwrap_or(WarmExit::RunnerLost)
    }
}

impl Drop for WarmProcess {
    fn drop(&mut self) {
        if !self.released {
            self.signal(Signal::SIGKILL);
        }
        // When there is no runner any more, there is nothing to reap.
        let _ = self.orders.send(Order::Reap(self.run));
    }
}

fn kill_group(group: Pid, signal: Signal) {
    match signal::killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => {
            tracing::warn!(group = group.as_raw(), %signal, %error, "could not signal a process group");
        }
    }
}

/// What is asked of a runner.
#[derive(Debug)]
enum Order {
    Start(Start),
    Reap(u64),
}

#[derive(Debug)]
struct Start {
    run: u64,
    packet: Vec<u8>,
    fds: Vec<OwnedFd>,
    begun: oneshot::Sender<WarmProcess>,
}

/// What a runner tells.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Report {
    Begun { begun: u64, pid: i32 },
    Refused { refused: u64, reason: String },
    Exited { ended: u64, code: i32 },
    Killed { ended: u64, signal: i32 },
    Ready { ready: i32 },
    Unfit { unfit: String },
}

/// A runner that waits for work. Clones are the same one; it ends when the last is dropped and nothing that it forked runs.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    orders: mpsc::UnboundedSender<Order>,
    served: Arc<AtomicU32>,
    idle_since: Arc<std::sync::Mutex<Option<Instant>>>,
    pid: i32,
}

impl Runner {
    /// Starts an interpreter and waits until it is ready.
    pub(super) async fn start(
        interpreter: &Interpreter,
        script: &Path,
        mark: Option<&str>,
        idle: Duration,
    ) -> Result<Self, RunnerError> {
        let (link, theirs) = Link::pair()?;
        let mut child = Command::new(&interpreter.program)
            .args(&interpreter.options)
            .arg(script)
            .env_clear()
            .envs(&interpreter.env)
            .envs(mark.map(|mark| (RUN, mark)))
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        tokio::spawn(log(child.stdout.take()));
        tokio::spawn(log(child.stderr.take()));
        let first = timeout(START, link.receive()).await.map_err(|_elapsed| RunnerError::NotReady)??;
        let pid = match first.as_deref().map(serde_json::from_slice) {
            Some(Ok(Report::Ready { ready })) => ready,
            Some(Ok(Report::Unfit { unfit })) => return Err(RunnerError::Unfit(unfit)),
            Some(_) | None => return Err(RunnerError::NotReady),
        };
        let (orders, received) = mpsc::unbounded_channel();
        let idle_since = Arc::new(std::sync::Mutex::new(Some(Instant::now())));
        let desk = Desk {
            link,
            orders: orders.downgrade(),
            waiting: VecDeque::new(),
            starting: HashMap::new(),
            running: HashMap::new(),
            unreaped: HashMap::new(),
            idle,
            idle_since: idle_since.clone(),
        };
        tokio::spawn(desk.serve(received, child));
        Ok(Self { orders, served: Arc::default(), idle_since, pid })
    }

    /// Has a process forked for the script; it is the caller's as soon as it has begun. None when it has not, and will not.
    pub(super) async fn fork(
        &self,
        script: &str,
        fds: Vec<OwnedFd>,
        recycle_after: u32,
    ) -> (Option<WarmProcess>, Worn) {
        let run = self.served.fetch_add(1, Ordering::Relaxed);
        let worn = if run + 1 >= recycle_after { Worn::Out } else { Worn::Not };
        let run = u64::from(run);
        let packet = serde_json::json!({"run": run, "script": script}).to_string().into_bytes();
        let (begun, answer) = oneshot::channel();
        if self.orders.send(Order::Start(Start { run, packet, fds, begun })).is_err() {
            return (None, worn);
        }
        (answer.await.ok(), worn)
    }

    /// Since when it has had nothing to do; None while something that it forked runs.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        *lock(&self.idle_since)
    }

    /// Whether it takes no more work.
    pub(super) fn is_gone(&self) -> bool {
        self.orders.is_closed()
    }

    /// The process of the interpreter.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }
}

/// Whether a runner has served often enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worn {
    Not,
    Out,
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The bookkeeping for one runner.
#[derive(Debug)]
struct Desk {
    link: Link,
    orders: mpsc::WeakUnboundedSender<Order>,
    /// Packets that the socket had no room for yet.
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Asked for, and not heard of. With the time by which to have heard.
    starting: HashMap<u64, (oneshot::Sender<WarmProcess>, Instant)>,
    running: HashMap<u64, (Pid, oneshot::Sender<Exit>)>,
    /// Ended, and whether their owners have let go. An owner may let go before the end.
    unreaped: HashMap<u64, Reaping>,
    idle: Duration,
    idle_since: Arc<std::sync::Mutex<Option<Instant>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaping {
    /// The leader has ended; its owner still needs the number of the group.
    Held,
    /// The owner is gone; the leader has not ended yet.
    Released,
}

impl Desk {
    async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>, mut child: Child) {
        let mut open = true;
        loop {
            let busy = !(self.starting.is_empty() && self.running.is_empty() && self.unreaped.is_empty());
            if !open && !busy && self.waiting.is_empty() {
                break;
            }
            let idle_until = self.note_idle(busy).map(|since| since + self.idle);
            let overdue = self.starting.values().map(|(_, by)| *by).min();
            let wake = [idle_until, overdue].into_iter().flatten().min();
            tokio::select! {
                biased;
                packet = self.link.receive() => match packet {
                    Ok(Some(packet)) => self.note(&packet),
                    Ok(None) => break,
                    // It died with packets unread; what it had said before is still to be had.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                    Err(error) => {
                        tracing::error!(%error, "a warm runner cannot be listened to");
                        break;
                    }
                },
                sent = send_first(&self.link, &self.waiting), if !self.waiting.is_empty() => {
                    self.waiting.pop_front();
                    if let Err(error) = sent {
                        tracing::warn!(%error, "a warm runner cannot be asked, and is killed");
                        // Read on to the end: only then is it certain what has begun.
                        self.waiting.clear();
                        let _ = child.start_kill();
                    }
                }
                order = orders.recv(), if open => match order {
                    Some(order) => self.take(order),
                    None => open = false,
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    if overdue.is_some_and(|by| by <= Instant::now()) {
                        tracing::warn!("a warm runner does not answer and is killed");
                        let _ = child.start_kill();
                        self.starting.values_mut().for_each(|(_, by)| *by += BEGIN);
                    } else if idle_until.is_some_and(|until| until <= Instant::now()) {
                        orders.close();
                    }
                }
            }
        }
        drop(orders);
        self.lost();
        // It ends because its socket does.
        drop(self);
        if timeout(END, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    fn note_idle(&self, busy: bool) -> Option<Instant> {
        let mut since = lock(&self.idle_since);
        if busy {
            *since = None;
        } else if since.is_none() {
            *since = Some(Instant::now());
        }
        *since
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Start(Start { run, packet, fds, begun }) => {
                self.starting.insert(run, (begun, Instant::now() + BEGIN));
                self.waiting.push_back((packet, fds));
            }
            Order::Reap(run) => {
                if self.unreaped.remove(&run) == Some(Reaping::Held) {
                    self.reap(run);
                } else if self.running.contains_key(&run) {
                    self.unreaped.insert(run, Reaping::Released);
                }
            }
        }
    }

    fn reap(&mut self, run: u64) {
        let packet = serde_json::json!({"reap": run}).to_string().into_bytes();
        self.waiting.push_back((packet, Vec::new()));
    }

    fn note(&mut self, packet: &[u8]) {
        match serde_json::from_slice(packet) {
            Ok(Report::Begun { begun, pid }) => {
                let (pid, (tell, end)) = (Pid::from_raw(pid), oneshot::channel());
                self.running.insert(begun, (pid, tell));
                if let (Some((answer, _)), Some(orders)) =
                    (self.starting.remove(&begun), self.orders.upgrade())
                {
                    let process = WarmProcess { run: begun, pid, end, ended: None, released: false, orders };
                    // Nobody waits for it any more: dropping the process kills it.
                    let _ = answer.send(process);
                } else {
                    kill_group(pid, Signal::SIGKILL);
                    self.unreaped.insert(begun, Reaping::Released);
                }
            }
            Ok(Report::Refused { refused, reason }) => {
                tracing::debug!(reason, "a warm runner refused a run, which is started the ordinary way");
                self.starting.remove(&refused);
            }
            Ok(Report::Exited { ended, code }) => self.note_end(ended, Exit::Code(code)),
            Ok(Report::Killed { ended, signal }) => self.note_end(ended, Exit::Signal(signal)),
            Ok(Report::Ready { .. } | Report::Unfit { .. }) => {}
            Err(error) => tracing::warn!(%error, "a warm runner said what is not understood"),
        }
    }

    fn note_end(&mut self, run: u64, exit: Exit) {
        // One that ended before it had begun is not to be waited for.
        self.starting.remove(&run);
        match self.running.remove(&run) {
            Some((_, tell)) if self.unreaped.remove(&run).is_none() => {
                self.unreaped.insert(run, Reaping::Held);
                // Its owner is about to let go, if it does not listen.
                let _ = tell.send(exit);
            }
            Some(_) | None => self.reap(run),
        }
    }

    /// The runner is gone. The kernel has killed the processes that it forked; what those left behind is killed here.
    fn lost(&mut self) {
        for (run, (pid, _tell)) in self.running.drain() {
            tracing::warn!(run, "a warm runner has ended before a process that it had forked");
            kill_group(pid, Signal::SIGKILL);
        }
    }
}

/// Sends the packet that waits longest.
async fn send_first(link: &Link, waiting: &VecDeque<(Vec<u8>, Vec<OwnedFd>)>) -> io::Result<()> {
    match waiting.front() {
        Some((packet, fds)) => link.send(packet, fds).await,
        None => Ok(()),
    }
}

/// What the interpreter itself has to say: of a broken installation, for example.
async fn log(output: Option<impl AsyncRead + Unpin>) {
    let Some(output) = output else { return };
    let mut lines = BufReader::new(output.take(REMARK * REMARKS as u64)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!(line, "a warm runner says");
    }
    // Read on, so that it is not held up.
    let _ = tokio::io::copy(&mut lines.into_inner().into_inner().into_inner(), &mut tokio::io::sink()).await;
}
