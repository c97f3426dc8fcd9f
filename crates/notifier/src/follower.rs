//! Follows the change feed in the database and announces what it finds to the subscribers of this process.

use std::sync::Arc;
use std::time::Duration;

use attune_client::types::ChangeView;
use attune_common::bus::Subscription;
use attune_common::error::StoreError;
use attune_common::pass::{self, Found};
use attune_common::repositories::{Change, ChangeCursor, ChangeRepository};
use sqlx::PgPool;
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;

/// How many changes are kept for subscribers that are not quite up to date; all of them together, not each.
const KEPT: usize = 8192;
/// Changes read at once.
const PAGE: i64 = 1000;
/// The safety net under the signals.
const INTERVAL: Duration = Duration::from_secs(1);
/// How soon changes are looked for again that an older transaction withholds.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A change as it is sent to everybody.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) cursor: ChangeCursor,
    pub(crate) entity_type: String,
    pub(crate) entity: i64,
    /// A [`ChangeView`].
    pub(crate) json: String,
}

/// Where changes are announced; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    announcements: broadcast::Sender<Arc<Announced>>,
    begun: CancellationToken,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { announcements: broadcast::Sender::new(KEPT), begun: CancellationToken::new() }
    }

    /// Everything that is announced from now on. What is not announced to this receiver stands in the table by the time
    /// that this returns, so whoever reads the table afterwards misses nothing.
    pub(crate) async fn subscribe(&self) -> broadcast::Receiver<Arc<Announced>> {
        // Before its beginning the follower has no place in the feed yet, and might choose one behind the reader.
        self.begun.cancelled().await;
        self.announcements.subscribe()
    }
}

impl From<Change> for Announced {
    fn from(change: Change) -> Self {
        let cursor = change.cursor();
        let view = ChangeView {
            cursor: cursor.to_string(),
            entity_type: change.entity_type,
            entity: change.entity,
            entity_ref: change.r#ref,
            activity: change.activity,
            created: change.created,
        };
        // Text, numbers and a time: there is nothing in it that JSON could not express.
        let json = serde_json::to_string(&view).unwrap_or_default();
        Self { cursor, entity_type: view.entity_type, entity: view.entity, json }
    }
}

/// Announces every change that comes from now on, until `shutdown`.
pub(crate) async fn follow(pool: PgPool, signal: Subscription, feed: Feed, shutdown: CancellationToken) {
    let follower = Arc::new(Mutex::new(Follower { pool, feed, place: None, pause: FIRST_PAUSE }));
    pass::run("notifier", signal, INTERVAL, shutdown, || {
        let follower = follower.clone();
        async move { follower.lock().await.pass().await }
    })
    .await;
}

#[derive(Debug)]
struct Follower {
    pool: PgPool,
    feed: Feed,
    /// Everything up to here was announced.
    place: Option<ChangeCursor>,
    /// Until withheld changes are looked for again.
    pause: Duration,
}

impl Follower {
    async fn pass(&mut self) -> Result<Found, StoreError> {
        let Some(place) = self.place else {
            self.place = Some(ChangeRepository::end(&self.pool).await?);
            self.feed.begun.cancel();
            return Ok(Found::More);
        };
        if self.feed.announcements.receiver_count() == 0 {
            let end = ChangeRepository::end(&self.pool).await?;
            // Whoever subscribed meanwhile may have looked at the table before the end was found.
            if self.feed.announcements.receiver_count() == 0 {
                self.place = Some(place.max(end));
                return Ok(Found::Nothing);
            }
        }
        let changes = ChangeRepository::after(&self.pool, place, PAGE).await?;
        if let Some(last) = changes.last() {
            self.place = Some(last.cursor());
            self.pause = FIRST_PAUSE;
            self.announce(changes);
            return Ok(Found::More);
        }
        if !ChangeRepository::is_withholding(&self.pool, place).await? {
            self.pause = FIRST_PAUSE;
            return Ok(Found::Nothing);
        }
        // The transaction that holds them back gives no signal when it ends, unless it made changes itself.
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(Found::More)
    }

    fn announce(&self, changes: Vec<Change>) {
        metrics::counter!("attune_changes_announced_total").increment(changes.len() as u64);
        for change in changes {
            // Whoever subscribes after this was read from the table finds it there.
            if self.feed.announcements.receiver_count() > 0 {
                // An error says that the last subscriber went away just now.
                let _ = self.feed.announcements.send(Arc::new(change.into()));
            }
        }
    }
}
