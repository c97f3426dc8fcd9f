//! Back-tests next to the database: events are read by one connection and judged by one thread, a few batches apart.
//!
//! Live work goes on beside it. Every statement is short, nothing is written, and back-tests of one server take turns.

use std::time::{Duration, Instant};

use attune_client::types::BacktestProgress;
use attune_common::error::StoreError;
use attune_common::models::event::{IdRange, RecordedBatch, RecordedFilter, RecordedParts};
use attune_common::repositories::EventRepository;
use attune_rules::backtest::{Backtest, Needs, Options, Recorded, Report};
use sqlx::PgPool;
use tokio::sync::{mpsc, watch};

/// Batches that wait to be judged at most, of about a megabyte each.
const QUEUE: usize = 4;

/// Why a back-test ended without a report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BacktestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}: {source}", source = .0.source)]
    Unreadable(#[from] attune_rules::backtest::Unreadable),
    #[error("the judging thread ended early")]
    Panicked,
}

/// Judges the events of the trigger of the rule; gives the report with the time that it took. `progress` is told how far
/// it is. Dropping the future ends it.
pub(crate) async fn run(
    pool: &PgPool,
    options: Options,
    progress: watch::Sender<BacktestProgress>,
) -> Result<(Report, Duration), BacktestError> {
    let began = Instant::now();
    let (since, until) = (options.since, options.until);
    let trigger_ref = options.rule.rule.trigger_ref().to_owned();
    let Needs { config, headers, origin } = options.needs();
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    let Some(ids) = EventRepository::ids_between(&mut connection, since, until).await? else {
        return Ok((Backtest::new(&options).finish(), began.elapsed()));
    };
    let (batches, received) = mpsc::channel(QUEUE);
    let judging = tokio::task::spawn_blocking(move || judge(&options, received, ids, &progress));
    let filter = RecordedFilter { trigger_ref, since, until, ids };
    let parts = RecordedParts { config, headers, origin };
    // Where nobody receives any more, judging has failed and says why below.
    let read = EventRepository::read_recorded(&mut connection, &filter, parts, &batches).await;
    drop(batches);
    let judged = judging.await.map_err(|_| BacktestError::Panicked)?;
    read?;
    Ok((judged?, began.elapsed()))
}

fn judge(
    options: &Options,
    mut received: mpsc::Receiver<RecordedBatch>,
    ids: IdRange,
    progress: &watch::Sender<BacktestProgress>,
) -> Result<Report, BacktestError> {
    let mut backtest = Backtest::new(options);
    while let Some(batch) = received.blocking_recv() {
        let mut last = ids.first;
        for event in batch.events() {
            last = event.id;
            backtest.judge(&Recorded {
                id: event.id,
                created: event.created,
                payload: event.payload,
                config: event.config,
                headers: event.headers,
                source: event.source_ref.and_then(|text| std::str::from_utf8(text).ok()),
                trace_id: event.trace_id.and_then(|text| std::str::from_utf8(text).ok()),
            })?;
        }
        let done = (last - ids.first + 1) as f64 / (ids.last - ids.first + 1) as f64;
        progress.send_replace(BacktestProgress { events: backtest.events(), percent: done * 100.0 });
    }
    Ok(backtest.finish())
}
