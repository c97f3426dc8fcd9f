//! One subscriber: first what it missed, out of the table, then what is announced.
//!
//! At the seam nothing is lost, because announcements are subscribed to before the table is read; and nothing comes
//! twice, because the feed is ordered and nothing ever appears behind a cursor that was reached.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use attune_common::repositories::{ChangeCursor, ChangeRepository};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::Shared;
use crate::access::Token;
use crate::follower::Announced;
use crate::problem::Refusal;

/// Changes of the past that are read at once.
const PAGE: i64 = 500;
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a subscriber's right to read is looked at again.
const CHECK: Duration = Duration::from_secs(60);
/// How soon a client shall connect again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    after: Option<ChangeCursorText>,
    entity_type: Option<String>,
    entity: Option<i64>,
}

/// A cursor as text.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ChangeCursorText(ChangeCursor);

impl TryFrom<String> for ChangeCursorText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// Which changes a subscriber wants.
#[derive(Debug)]
struct Filter {
    entity_type: Option<String>,
    entity: Option<i64>,
}

impl Filter {
    fn wants(&self, change: &Announced) -> bool {
        self.entity_type.as_ref().is_none_or(|wanted| *wanted == change.entity_type)
            && self.entity.is_none_or(|wanted| wanted == change.entity)
    }
}

/// `GET /api/v1/stream`.
pub(crate) async fn serve(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let token = Token::of(&headers)?;
    token.check(&shared.pool).await?;
    let Query(parameters) = parameters.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    // A browser repeats the address that it began with; where it has come to stands in the header.
    let last_seen = headers.get("last-event-id").map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.parse().map_err(|error| Refusal::BadRequest(format!("Last-Event-ID: {error}")))
    });
    let cursor = match (last_seen, parameters.after) {
        (Some(cursor), _) => cursor?,
        (None, Some(ChangeCursorText(cursor))) => cursor,
        // The subscriber gets all that happens from the moment it has the answer.
        (None, None) => ChangeRepository::end(&shared.pool).await?,
    };
    let filter = Filter { entity_type: parameters.entity_type, entity: parameters.entity };
    let events = Sse::new(follow(shared, token, cursor, filter))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat"));
    // Proxies that gather what passes through them would hold events back.
    Ok(([(HeaderName::from_static("x-accel-buffering"), "no")], events).into_response())
}

/// Counts a subscriber as long as it is there.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("attune_stream_subscribers").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("attune_stream_subscribers").decrement(1.0);
    }
}

/// The changes after the cursor, for as long as the subscriber keeps up, may see them, and the server runs.
fn follow(
    shared: Arc<Shared>,
    token: Token,
    mut cursor: ChangeCursor,
    filter: Filter,
) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let _counted = Counted::new();
        let shutdown = shared.shutdown.clone();
        let mut check = interval_at(Instant::now() + CHECK, CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Tells proxies and clients at once that the stream is there.
        yield Ok(Event::default().retry(RETRY).comment("the change feed"));
        'past: loop {
            let mut announced = tokio::select! {
                announced = shared.feed.subscribe() => announced,
                () = shutdown.cancelled() => return,
            };
            loop {
                let page = tokio::select! {
                    page = ChangeRepository::after(&shared.pool, cursor, PAGE) => page,
                    () = shutdown.cancelled() => return,
                };
                let page = match page {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::warn!(%error, "a subscriber waits for the database");
                        tokio::select! {
                            () = sleep(RETRY) => continue,
                            () = shutdown.cancelled() => return,
                        }
                    }
                };
                let complete = page.len() < PAGE as usize;
                for change in page {
                    let change = Announced::from(change);
                    cursor = change.cursor;
                    if filter.wants(&change) {
                        yield Ok(event(&change));
                    }
                }
                if complete {
                    break;
                }
            }
            let mut live = false;
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    _ = check.tick() => {
                        // A database that is away says nothing about the subscriber's rights.
                        if let Err(refusal) = token.check(&shared.pool).await
                            && !matches!(refusal, Refusal::Store(_))
                        {
                            tracing::info!("disconnected a subscriber that may not read any more");
                            return;
                        }
                    }
                    received = announced.recv() => match received {
                        Ok(change) => {
                            live = true;
                            if change.cursor > cursor {
                                cursor = change.cursor;
                                if filter.wants(&change) {
                                    yield Ok(event(&change));
                                }
                            }
                        }
                        // More was announced while it read the past than is kept: that is the past now.
                        Err(RecvError::Lagged(_)) if !live => continue 'past,
                        Err(RecvError::Lagged(missed)) => {
                            metrics::counter!("attune_stream_disconnected_total").increment(1);
                            tracing::info!(missed, "disconnected a subscriber that is too slow");
                            return;
                        }
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        }
    }
}

fn event(change: &Announced) -> Event {
    Event::default().event("change").id(change.cursor.to_string()).data(&change.json)
}
