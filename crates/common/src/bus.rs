//! Wake-up signals: in this process at once, in other processes by PostgreSQL's NOTIFY.
//!
//! A signal carries no data, only "look". Whoever waits also looks by itself from time to time, so a lost signal costs
//! latency and never work.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Events wait to be matched.
    Event,
    /// Executions wait to be claimed.
    Execution,
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
    pub const ALL: [Topic; 7] = [
        Topic::Event,
        Topic::Execution,
        Topic::Cancel,
        Topic::Change,
        Topic::Definition,
        Topic::Admission,
        Topic::Work,
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
        }
    }
}

/// The signals of one process; clones share them.
#[derive(Debug, Clone)]
pub struct Bus {
    topics: Arc<[watch::Sender<u64>; 7]>,
}

/// One listener's place on a topic: a signal given while it was busy is not lost.
#[derive(Debug)]
pub struct Subscription {
    receiver: watch::Receiver<u64>,
}

impl Bus {
    /// A bus that hears only this process, until [`Bus::listen`] connects it.
    #[expect(clippy::new_without_default, reason = "a bus is made once per process, on purpose")]
    pub fn new() -> Self {
        Self { topics: Arc::new(std::array::from_fn(|_| watch::Sender::new(0))) }
    }

    /// Wakes whoever waits for the topic in this process.
    pub fn wake(&self, topic: Topic) {
        self.topics[topic.index()].send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A listener that sees signals given from now on.
    pub fn subscribe(&self, topic: Topic) -> Subscription {
        Subscription { receiver: self.topics[topic.index()].subscribe() }
    }

    /// Hears the signals of other processes until `shutdown`; reconnects by itself. After a broken connection every
    /// topic is woken, since signals may have been missed.
    pub async fn listen(self, pool: PgPool, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let round = async {
                let mut listener = PgListener::connect_with(&pool).await?;
                listener.listen_all(Topic::ALL.map(Topic::channel)).await?;
                for topic in Topic::ALL {
                    self.wake(topic);
                }
                loop {
                    // None tells of a connection that was lost and will be made again.
                    match listener.try_recv().await? {
                        Some(notification) => {
                            let heard =
                                Topic::ALL.into_iter().find(|t| t.channel() == notification.channel());
                            if let Some(topic) = heard {
                                self.wake(topic);
                            }
                        }
                        None => Topic::ALL.into_iter().for_each(|topic| self.wake(topic)),
                    }
                }
            };
            let ended: std::result::Result<(), sqlx::Error> = tokio::select! {
                ended = round => ended,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "lost the connection that listens for signals; connecting again");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = shutdown.cancelled() => return,
            }
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
