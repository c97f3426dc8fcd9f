//! What executions write: all of it so far as JSON, or as a stream that follows it to the end.
//!
//! Pieces are read again from the database whenever something has changed; the stream itself holds only its place, so a
//! reader that comes back with `Last-Event-ID` goes on where it was, at any server.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use attune_client::types::{OutputPiece, ProgressView};
use attune_common::bus::Topic;
use attune_common::error::{Result as StoreResult, StoreError};
use attune_common::models::Timestamp;
use attune_common::models::execution::{ExecutionStatus, OutputStream, StoredChunk};
use attune_common::repositories::{ExecutionOutputRepository, ExecutionRepository, ProgressRepository};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::executions::{BREATH, LOOK, whole_characters};
use super::progress::progress_view;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Params};
use crate::handlers::executions::require_on;
use crate::responses::OfOne;
use crate::state::AppState;

/// Chunks that are read at once, of up to 64 KiB each: what a reader that is slow holds in memory.
const PAGE: i64 = 16;

/// A comment is sent so often, so that nobody on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How to give the output.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputQuery {
    /// Follow the output as server-sent events until the execution has ended: `output` with a piece as JSON, `progress`
    /// with what the run says of itself, and at last `end` with the final status, of the attempt if
    /// only that is followed. `Last-Event-ID` goes on after an event.
    #[serde(default)]
    follow: bool,
    /// Only what this attempt wrote.
    attempt: Option<i32>,
}

/// What an execution wrote, all attempts in their order.
#[utoipa::path(
    get,
    path = "/api/v1/executions/{id}/output",
    tag = "executions",
    operation_id = "execution_output",
    params(
        ("id" = i64, Path),
        OutputQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "With `follow`: the id of the last event seen"),
    ),
    responses(
        (status = OK, content((Vec<OutputPiece> = "application/json"), (String = "text/event-stream"))),
        OfOne,
    )
)]
pub(crate) async fn output(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
    query: Result<Params<OutputQuery>, ApiError>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    require_on(&state, &caller, id, "read").await?;
    let Params(query) = query?;
    if query.attempt.is_some_and(|attempt| attempt < 1) {
        return Err(ApiError::bad_request("attempts are counted from 1"));
    }
    let found = ExecutionRepository::standing(&state.pool, id).await?;
    found.ok_or_else(|| ApiError::not_found(format!("execution {id} does not exist")))?;
    if !query.follow {
        let body = Body::from_stream(json(state.pool.clone(), id, query.attempt));
        return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
    }
    let seen = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let given = String::from_utf8_lossy(value.as_bytes());
            Some(given.parse().map_err(ApiError::bad_request)?)
        }
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    Ok(Sse::new(follow(state, Reader::new(id, seen, query.attempt))).keep_alive(keep_alive).into_response())
}

/// The pieces as one JSON list, written while they are read: what a run wrote need not fit into memory.
fn json(pool: PgPool, id: i64, only: Option<i32>) -> impl Stream<Item = Result<Bytes, StoreError>> {
    async_stream::try_stream! {
        let mut reader = Reader::new(id, None, only);
        let mut separator = "[";
        let standing = ExecutionRepository::standing(&pool, id).await?;
        let latest = standing.map_or(0, |(_, attempt)| attempt);
        loop {
            let pieces = reader.next_page(&pool, latest, true).await?;
            if pieces.is_empty() {
                break;
            }
            let mut text = String::new();
            for (_, piece) in &pieces {
                let piece = serde_json::to_string(piece)
                    .map_err(|error| StoreError::Unstorable(error.to_string()))?;
                text.push_str(separator);
                text.push_str(&piece);
                separator = ",";
            }
            yield Bytes::from(text);
        }
        yield Bytes::from_static(if separator == "[" { b"[]" } else { b"]" });
    }
}

/// The pieces as they come, and the end.
fn follow(state: AppState, mut reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let id = reader.execution;
        let mut shown = None;
        // Before the first look, so that nothing falls between a look and the wait after it.
        let mut changes = state.bus.subscribe(Topic::Change);
        loop {
            match ExecutionRepository::standing(&state.pool, id).await {
                // It was deleted while it was followed: there is no status to end with.
                Ok(None) => return,
                Ok(Some((status, latest))) => {
                    // An attempt that is wanted alone may be over while the execution goes on.
                    let is_over = reader.only.is_some_and(|only| is_over(only, latest, status));
                    let ended = status.is_terminal() || is_over;
                    // The status was read first: all output of an attempt is stored before its end.
                    loop {
                        match reader.next_page(&state.pool, latest, ended).await {
                            Ok(pieces) if pieces.is_empty() => break,
                            Ok(pieces) => {
                                for (place, piece) in pieces {
                                    yield Ok(output_event(place, &piece));
                                }
                            }
                            Err(error) => {
                                tracing::warn!(execution = id, %error, "followed output cannot be read; trying again");
                                break;
                            }
                        }
                    }
                    if !is_over && let Some(progress) = latest_progress(&state.pool, id, latest).await
                        && shown.as_ref() != Some(&progress)
                    {
                        yield Ok(progress_event(&progress));
                        shown = Some(progress);
                    }
                    if ended && reader.is_done(latest) {
                        let status = match reader.only.filter(|_| is_over) {
                            Some(attempt) => status_of_attempt(&state.pool, id, attempt).await,
                            None => status,
                        };
                        yield Ok(end_event(status));
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(execution = id, %error, "a followed execution cannot be read; trying again");
                }
            }
            let rested = Instant::now() + BREATH;
            tokio::select! {
                () = changes.woken() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = state.shutdown.cancelled() => return,
            }
            tokio::time::sleep_until(rested).await;
        }
    }
}

/// What the run said last; that it cannot be read is no reason to end the stream.
async fn latest_progress(pool: &PgPool, id: i64, attempt: i32) -> Option<ProgressView> {
    match ProgressRepository::find(pool, id, attempt).await {
        Ok(progress) => progress.map(progress_view),
        Err(error) => {
            tracing::warn!(execution = id, %error, "the progress of a followed execution cannot be read");
            None
        }
    }
}

/// Whether an attempt has ended though its execution has not: another one runs, or is waited for.
fn is_over(attempt: i32, latest: i32, status: ExecutionStatus) -> bool {
    match status {
        ExecutionStatus::Requested | ExecutionStatus::Scheduling | ExecutionStatus::Scheduled => attempt <= latest,
        ExecutionStatus::Running
        | ExecutionStatus::Canceling
        // Its last one ended with it.
        | ExecutionStatus::Completed
        | ExecutionStatus::Failed
        | ExecutionStatus::Cancelled
        | ExecutionStatus::Timeout
        | ExecutionStatus::Abandoned => attempt < latest,
    }
}

/// How an attempt ended while its execution goes on; one that is not told of was lost with its worker.
async fn status_of_attempt(pool: &PgPool, id: i64, attempt: i32) -> ExecutionStatus {
    let attempts = ExecutionRepository::attempts(pool, id).await.unwrap_or_else(|error| {
        tracing::warn!(execution = id, %error, "the attempts of a followed execution cannot be read");
        Vec::new()
    });
    let found = attempts.iter().find(|one| one.attempt == attempt);
    found.map_or(ExecutionStatus::Abandoned, |attempt| attempt.status)
}

/// Without an id: whoever comes back is told the latest anyway.
fn progress_event(progress: &ProgressView) -> Event {
    Event::default().event("progress").data(serde_json::to_string(progress).unwrap_or_default())
}

fn output_event(place: Place, piece: &OutputPiece) -> Event {
    let event = Event::default().event("output").id(place.to_string());
    // A piece is numbers and strings, which JSON always takes.
    event.data(serde_json::to_string(piece).unwrap_or_default())
}

fn end_event(status: ExecutionStatus) -> Event {
    Event::default().event("end").data(status.as_str())
}

/// The place of a piece among all pieces of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    attempt: i32,
    seq: i32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.attempt, self.seq)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || format!("{text:?} is not the id of an output event, which looks like 1-17");
        let (attempt, seq) = text.split_once('-').ok_or_else(malformed)?;
        Ok(Self {
            attempt: attempt.parse().map_err(|_| malformed())?,
            seq: seq.parse().map_err(|_| malformed())?,
        })
    }
}

/// Reads the pieces of an execution in order. A character whose bytes are split between two pieces of a stream comes with
/// the second one.
#[derive(Debug)]
struct Reader {
    execution: i64,
    /// What is read next.
    next: Place,
    /// Pieces up to here were given before.
    seen: Option<Place>,
    /// Nothing but this attempt is read.
    only: Option<i32>,
    /// Bytes of a character that is not complete yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The attempt before which everything was given.
    done: i32,
}

impl Reader {
    fn new(execution: i64, seen: Option<Place>, only: Option<i32>) -> Self {
        // An attempt is read from its start even when part of it was seen: what was seen may end within a character.
        let attempt = only.unwrap_or_else(|| seen.map_or(1, |place| place.attempt.max(1)));
        let next = Place { attempt, seq: 0 };
        Self { execution, next, seen, only, stdout: Vec::new(), stderr: Vec::new(), done: attempt }
    }

    /// Whether everything up to the end of this attempt was given.
    fn is_done(&self, latest: i32) -> bool {
        self.done > self.only.map_or(latest, |only| only.min(latest))
    }

    /// The next pieces of the attempts up to `latest`; none when there are no more for now. `ended` says that `latest`
    /// will get no more either.
    async fn next_page(
        &mut self,
        pool: &PgPool,
        latest: i32,
        ended: bool,
    ) -> StoreResult<Vec<(Place, OutputPiece)>> {
        let mut pieces = Vec::new();
        let last = self.only.map_or(latest, |only| only.min(latest));
        while pieces.is_empty() && self.next.attempt <= last {
            let Place { attempt, seq } = self.next;
            let chunks = ExecutionOutputRepository::list(pool, self.execution, attempt, seq, PAGE).await?;
            let all = chunks.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for stored in chunks {
                self.next.seq = stored.chunk.seq + 1;
                pieces.extend(self.decode(&stored));
            }
            if all && (attempt < latest || ended) {
                pieces.extend(self.rest(OutputStream::Stdout));
                pieces.extend(self.rest(OutputStream::Stderr));
                self.next = Place { attempt: attempt + 1, seq: 0 };
                self.done = attempt + 1;
            } else if all {
                break;
            }
        }
        Ok(pieces)
    }

    fn decode(&mut self, stored: &StoredChunk) -> Option<(Place, OutputPiece)> {
        let chunk = &stored.chunk;
        let place = Place { attempt: chunk.attempt, seq: chunk.seq };
        let pending = self.pending(chunk.stream);
        pending.extend_from_slice(&chunk.content);
        let whole = whole_characters(pending);
        let text = String::from_utf8_lossy(&pending[..whole]).into_owned();
        pending.drain(..whole);
        let fresh = self.seen.is_none_or(|seen| place > seen);
        (fresh && !text.is_empty()).then(|| (place, piece(place, chunk.stream, text, Some(stored.created))))
    }

    /// What an attempt left of a character that never became complete: a piece of its own behind all others.
    fn rest(&mut self, stream: OutputStream) -> Option<(Place, OutputPiece)> {
        let place = self.next;
        let pending = std::mem::take(self.pending(stream));
        if pending.is_empty() {
            return None;
        }
        self.next.seq += 1;
        let text = String::from_utf8_lossy(&pending).into_owned();
        self.seen.is_none_or(|seen| place > seen).then(|| (place, piece(place, stream, text, None)))
    }

    fn pending(&mut self, stream: OutputStream) -> &mut Vec<u8> {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }
}

fn piece(place: Place, stream: OutputStream, text: String, at: Option<Timestamp>) -> OutputPiece {
    OutputPiece { attempt: place.attempt, seq: place.seq, stream: stream.as_str().to_owned(), at, text }
}

#[cfg(test)]
mod tests {
    use attune_common::models::execution::OutputChunk;

    use super::*;

    fn chunk(seq: i32, stream: OutputStream, content: &[u8]) -> StoredChunk {
        let chunk = OutputChunk { execution: 1, attempt: 1, seq, stream, content: content.to_vec() };
        StoredChunk { chunk, created: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn test_a_split_character_comes_with_the_second_piece_of_its_stream() {
        let mut reader = Reader::new(1, None, None);
        let euro = "€".as_bytes();
        let mut text = |seq, stream, content: &[u8]| {
            reader.decode(&chunk(seq, stream, content)).map(|(_, piece)| piece.text)
        };
        assert_eq!(text(0, OutputStream::Stdout, &[b"1", &euro[..2]].concat()).as_deref(), Some("1"));
        assert_eq!(text(1, OutputStream::Stderr, b"x").as_deref(), Some("x"));
        assert_eq!(text(2, OutputStream::Stdout, &euro[2..]).as_deref(), Some("€"));
    }

    #[test]
    fn test_what_was_seen_is_passed_over_but_still_completes_characters() {
        let mut reader = Reader::new(1, Some(Place { attempt: 1, seq: 0 }), None);
        let euro = "€".as_bytes();
        assert!(reader.decode(&chunk(0, OutputStream::Stdout, &euro[..1])).is_none());
        let (place, piece) = reader.decode(&chunk(1, OutputStream::Stdout, &euro[1..])).unwrap();
        assert_eq!((place.to_string().as_str(), piece.text.as_str()), ("1-1", "€"));
    }

    #[test]
    fn test_a_character_that_never_ends_is_replaced() {
        let mut reader = Reader::new(1, None, None);
        assert!(reader.decode(&chunk(0, OutputStream::Stdout, b"\xe2\x82")).is_none());
        reader.next.seq = 1;
        // Behind the piece that it stands in, so that no reader takes it for that one.
        let (place, piece) = reader.rest(OutputStream::Stdout).unwrap();
        assert_eq!((place, piece.text.as_str()), (Place { attempt: 1, seq: 1 }, "\u{fffd}"));
        assert!(reader.rest(OutputStream::Stdout).is_none());
    }

    #[test]
    fn test_place_round_trip() {
        let place = Place { attempt: 2, seq: 17 };
        assert_eq!(place.to_string().parse(), Ok(place));
        assert!("17".parse::<Place>().is_err());
    }
}
