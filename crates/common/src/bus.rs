//! Wake-up signals: in this process at once, in other processes by PostgreSQL's NOTIFY.
//!
//! A signal carries no data, only "look". Whoever waits also looks by itself from time to time, so a lost signal costs
//! latency and never work.
//!
//! Statements that run all the time do not NOTIFY: commits that do so wait for each other until the disk has what they
//! wrote. Who runs such a statement wakes its topic after the commit, and [`Bus::connect`] passes that on: at once where
//! it was quiet, and once in [`PACE`] where it is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPool};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a topic is announced to other processes at most.
const PACE: Duration = Duration::from_millis(5);

/// How long a lost connection is waited for.
const PAUSE: Duration = Duration::from_millis(500);

/// What there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Events wait to be matched.
    Event,
    /// Executions wait to be claimed.
    Execution,
    /// Executions were given to workers.
    Assigned,
    /// Executions are to be cancelled.
    Cancel,
    /// The change feed has grown.
    Change,
    /// Rules, triggers, actions, sensors or keys were changed.
    Definition,
    /// Executions wait to be admitted by policies.
    Admission,
    /// Items wait in work queues.
    Work,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Topic; 8] = [
        Topic::Event,
        Topic::Execution,
        Topic::Cancel,
        Topic::Change,
        Topic::Definition,
        Topic::Admission,
        Topic::Work,
        Topic::Assigned,
    ];

    /// The NOTIFY channel.
    pub const fn channel(self) -> &'static str {
        match self {
            Topic::Event => "attune_event",
            Topic::Execution => "attune_execution",
            Topic::Cancel => "attune_cancel",
            Topic::Change => "attune_change",
            Topic::Definition => "attune_definition",
            Topic::Admission => "attune_admission",
            Topic::Work => "attune_work",
            Topic::Assigned => "attune_assigned",
        }
    }

    const fn index(self) -> usize {
        match self {
            Topic::Event => 0,
            Topic::Execution => 1,
            Topic::Cancel => 2,
            Topic::Change => 3,
            Topic::Definition => 4,
            Topic::Admission => 5,
            Topic::Work => 6,
            Topic::Assigned => 7,
        }
    }
}

/// The signals of one process; clones share them.
#[derive(Debug, Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    topics: [watch::Sender<u64>; 8],
    /// Topics that other processes have not been told of yet.
    unannounced: [AtomicBool; 8],
    announce: Notify,
    /// The session that announces; what it says is known here.
    announcer: AtomicU32,
}

/// One listener's place on a topic: a signal given while it was busy is not lost.
#[derive(Debug)]
pub struct Subscription {
    receiver: watch::Receiver<u64>,
}

impl Bus {
    /// A bus that knows only this process, until [`Bus::connect`] connects it.
    #[expect(clippy::new_without_default, reason = "a bus is made once per process, on purpose")]
    pub fn new() -> Self {
        let shared = Shared {
            topics: std::array::from_fn(|_| watch::Sender::new(0)),
            unannounced: std::array::from_fn(|_| AtomicBool::new(false)),
            announce: Notify::new(),
            announcer: AtomicU32::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Wakes whoever waits for the topic, in this process at once, in others as soon as they can be told.
    pub fn wake(&self, topic: Topic) {
        self.hear(topic);
        self.shared.unannounced[topic.index()].store(true, Ordering::Release);
        self.shared.announce.notify_one();
    }

    /// A listener that sees signals given from now on.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        Subscription { receiver: self.shared.topics[topic.index()].subscribe() }
    }

    /// Hears the signals of other processes, and tells them ours, until `shutdown`; reconnects by itself. After a broken
    /// connection every topic is woken, since signals may have been missed.
    pub async fn connect(self, pool: PgPool, shutdown: CancellationToken) {
        let listen = repeat("listens for signals", &shutdown, || self.listen(&pool));
        let announce = repeat("announces signals", &shutdown, || self.announce(&pool));
        tokio::join!(listen, announce);
    }

    /// Wakes whoever waits in this process.
    fn hear(&self, topic: Topic) {
        self.shared.topics[topic.index()].send_modify(|count| *count = count.wrapping_add(1));
    }

    fn hear_all(&self) {
        Topic::ALL.into_iter().for_each(|topic| self.hear(topic));
    }

    /// Hears other processes until the connection is lost for good.
    async fn listen(&self, pool: &PgPool) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen_all(Topic::ALL.map(Topic::channel)).await?;
        self.hear_all();
        loop {
            // None tells of a connection that was lost and will be made again.
            match listener.try_recv().await? {
                Some(signal) if signal.process_id() == self.shared.announcer.load(Ordering::Acquire) => {}
                Some(signal) => {
                    let heard = Topic::ALL.into_iter().find(|topic| topic.channel() == signal.channel());
                    if let Some(topic) = heard {
                        self.hear(topic);
                    }
                }
                None => self.hear_all(),
            }
        }
    }

    /// Tells other processes until the connection is lost.
    async fn announce(&self, pool: &PgPool) -> sqlx::Result<()> {
        let mut connection = pool.acquire().await?;
        let session: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await?;
        self.shared.announcer.store(session.unsigned_abs(), Ordering::Release);
        let mut announced: [Option<Instant>; 8] = [None; 8];
        loop {
            let now = Instant::now();
            let mut next = None;
            let mut due = Vec::new();
            for topic in Topic::ALL {
                let flag = &self.shared.unannounced[topic.index()];
                if !flag.load(Ordering::Acquire) {
                    continue;
                }
                match announced[topic.index()].map(|last| last + PACE).filter(|free| *free > now) {
                    Some(free) => next = Some(next.map_or(free, |next: Instant| next.min(free))),
                    // Taken back before it is told: what is woken meanwhile is told again.
                    None => {
                        flag.store(false, Ordering::Release);
                        due.push(topic);
                    }
                }
            }
            if due.is_empty() {
                let free = async {
                    match next {
                        Some(next) => tokio::time::sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = self.shared.announce.notified() => {}
                    () = free => {}
                }
                continue;
            }
            if let Err(error) = tell(&mut connection, &due).await {
                for topic in due {
                    self.shared.unannounced[topic.index()].store(true, Ordering::Release);
                }
                return Err(error);
            }
            for topic in due {
                announced[topic.index()] = Some(now);
            }
        }
    }
}

/// One NOTIFY for each topic. It is worth no wait for the disk.
async fn tell(connection: &mut PgConnection, topics: &[Topic]) -> sqlx::Result<()> {
    let channels: Vec<&str> = topics.iter().map(|topic| topic.channel()).collect();
    sqlx::query(
        "select set_config('synchronous_commit', 'off', true), pg_notify(channel, '')
         from unnest($1::text[]) as channel",
    )
    .bind(channels)
    .execute(connection)
    .await?;
    Ok(())
}

/// Does it again and again until `shutdown`, with a pause after each failure.
async fn repeat<F: Future<Output = sqlx::Result<()>>>(
    what: &str,
    shutdown: &CancellationToken,
    round: impl Fn() -> F,
) {
    while !shutdown.is_cancelled() {
        let ended = tokio::select! {
            ended = round() => ended,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "lost the connection that {what}; connecting again");
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

impl Subscription {
    /// Waits for a signal given since the last call.
    pub async fn woken(&mut self) {
        // The sender lives in the bus, which outlives its listeners; without it there is nothing to wait for.
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn test_a_signal_given_while_busy_is_seen_afterwards() {
        let bus = Bus::new();
        let mut events = bus.subscribe(Topic::Event);
        bus.wake(Topic::Event);
        bus.wake(Topic::Event);
        events.woken().await;
        let again = tokio::time::timeout(Duration::from_millis(5), events.woken()).await;
        assert!(again.is_err(), "two signals given while busy are one reason to look");
    }

    #[tokio::test]
    async fn test_topics_are_apart() {
        let bus = Bus::new();
        let mut changes = bus.subscribe(Topic::Change);
        bus.wake(Topic::Event);
        assert!(tokio::time::timeout(Duration::from_millis(5), changes.woken()).await.is_err());
    }

    #[test]
    fn test_every_topic_has_its_own_place() {
        for (index, topic) in Topic::ALL.into_iter().enumerate() {
            assert_eq!(topic.index(), index);
        }
    }
}
