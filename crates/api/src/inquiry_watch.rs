//! Requests that wait for the end of inquiries.
//!
//! A question may wait for days, and many may wait at once, on a server where something else changes all the time. So one
//! statement looks for all of them, at most every [`BREATH`], and none looks while nobody waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::repositories::InquiryRepository;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// It looks at least so often: a lost signal costs this much time.
const LOOK: Duration = Duration::from_secs(1);

/// And at most so often.
const BREATH: Duration = Duration::from_millis(50);

/// Where requests wait; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct InquiryWatch {
    awaited: Arc<Mutex<HashMap<i64, Awaited>>>,
    arrived: Arc<Notify>,
}

/// An inquiry that requests wait for.
#[derive(Debug)]
struct Awaited {
    requests: usize,
    ended: watch::Sender<bool>,
}

/// A request that waits; it is counted until it is dropped.
#[derive(Debug)]
struct Seat<'a> {
    watch: &'a InquiryWatch,
    inquiry: i64,
    ended: watch::Receiver<bool>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut awaited = self.watch.lock();
        if let Some(entry) = awaited.get_mut(&self.inquiry) {
            entry.requests -= 1;
            if entry.requests == 0 {
                awaited.remove(&self.inquiry);
            }
        }
    }
}

impl InquiryWatch {
    /// Waits until the inquiry has ended or is gone, or the time is up.
    pub(crate) async fn wait(&self, inquiry: i64, until: Instant, shutdown: &CancellationToken) {
        let mut seat = self.sit(inquiry);
        // Whoever has just come is looked for at once: it may have ended before.
        self.arrived.notify_one();
        tokio::select! {
            // An error means that nobody looks any more.
            _ = seat.ended.wait_for(|ended| *ended) => {}
            () = tokio::time::sleep_until(until) => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Looks, until `shutdown`.
    pub(crate) async fn run(self, pool: PgPool, bus: Bus, shutdown: CancellationToken) {
        let mut changes = bus.subscribe(Topic::Change);
        while !shutdown.is_cancelled() {
            let inquiries = self.inquiries();
            if inquiries.is_empty() {
                tokio::select! {
                    () = self.arrived.notified() => continue,
                    () = shutdown.cancelled() => return,
                }
            }
            match InquiryRepository::ended_of(&pool, &inquiries).await {
                Ok(ended) => self.tell(&ended),
                // They are looked for again.
                Err(error) => tracing::warn!(%error, "it cannot be seen which inquiries have ended"),
            }
            let rested = Instant::now() + BREATH;
            tokio::select! {
                () = changes.woken() => {}
                () = self.arrived.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.cancelled() => return,
            }
            tokio::time::sleep_until(rested).await;
        }
    }

    fn sit(&self, inquiry: i64) -> Seat<'_> {
        let mut awaited = self.lock();
        let entry = awaited
            .entry(inquiry)
            .or_insert_with(|| Awaited { requests: 0, ended: watch::Sender::new(false) });
        entry.requests += 1;
        let ended = entry.ended.subscribe();
        drop(awaited);
        Seat { watch: self, inquiry, ended }
    }

    fn inquiries(&self) -> Vec<i64> {
        self.lock().iter().filter(|(_, entry)| !*entry.ended.borrow()).map(|(id, _)| *id).collect()
    }

    fn tell(&self, ended: &[i64]) {
        let awaited = self.lock();
        for inquiry in ended {
            if let Some(entry) = awaited.get(inquiry) {
                entry.ended.send_replace(true);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn test_all_who_wait_for_an_inquiry_are_told_and_nobody_else() {
        let watch = InquiryWatch::default();
        let shutdown = CancellationToken::new();
        let soon = Instant::now() + Duration::from_secs(3600);
        let waiting = |inquiry| {
            let (watch, shutdown) = (watch.clone(), shutdown.clone());
            tokio::spawn(async move { watch.wait(inquiry, soon, &shutdown).await })
        };
        let (first, second, other) = (waiting(7), waiting(7), waiting(8));
        while watch.lock().values().map(|entry| entry.requests).sum::<usize>() < 3 {
            tokio::task::yield_now().await;
        }
        let mut inquiries = watch.inquiries();
        inquiries.sort_unstable();
        assert_eq!(inquiries, [7, 8]);
        watch.tell(&[7, 9]);
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(watch.inquiries(), [8]);
        assert!(!other.is_finished());
        shutdown.cancel();
        other.await.unwrap();
        assert_eq!(watch.lock().len(), 0);
    }

    #[tokio::test]
    async fn test_whoever_has_waited_long_enough_goes() {
        let watch = InquiryWatch::default();
        watch.wait(7, Instant::now(), &CancellationToken::new()).await;
        assert_eq!(watch.lock().len(), 0);
    }
}
