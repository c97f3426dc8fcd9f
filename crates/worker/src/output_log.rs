//! What of an attempt's output goes into the database, and when.
//!
//! The beginning of a stream is stored as it comes. What comes after it is stored too, as an end that moves along: it is there
//! within a second, for whoever follows it and in case the worker dies, and what is too old to be kept goes again. So a flood
//! costs the database little, and a long trickle is seen to its end. Bytes that are not there are always told where they are
//! missing.

use std::collections::VecDeque;
use std::time::Duration;

use attune_common::models::execution::{Claimed, OutputChunk, OutputStream, OutputTrim};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::output_store::OutputStore;
use crate::process::{CaptureLimits, Captured, Chunk};

/// How often the moving end is stored.
const EVERY: Duration = Duration::from_secs(1);
/// The largest piece.
const PIECE: usize = 64 * 1024;

/// The output of one attempt on its way into the database.
#[derive(Debug)]
pub(crate) struct OutputLog<'a> {
    store: &'a OutputStore,
    execution: i64,
    attempt: i32,
    limits: CaptureLimits,
    /// The number of the next piece.
    next: i32,
    streams: [Stream; 2],
    /// When the moving ends were last stored.
    stored: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    name: OutputStream,
    /// How much of it came, or is known to be lost.
    position: u64,
    /// Came after the head and is not stored yet; at most as much as is kept of the end.
    waiting: VecDeque<u8>,
    /// Bytes before those that wait that nobody will store.
    skipped: u64,
    end: End,
}

/// What is stored after the head.
#[derive(Debug, Default)]
struct End {
    /// The number of the piece that says what is missing before the others. It is taken when the first of these is stored.
    marker: Option<i32>,
    /// How many bytes are missing there.
    omitted: u64,
    is_told: bool,
    parts: VecDeque<Part>,
    /// Bytes of what was written, in all of these.
    bytes: usize,
}

/// A stored piece.
#[derive(Debug, Clone, Copy)]
enum Part {
    Content {
        seq: i32,
        bytes: usize,
    },
    /// Says how many bytes are missing between the two beside it.
    Gap {
        seq: i32,
        bytes: u64,
    },
}

fn omission(bytes: u64) -> Vec<u8> {
    format!("\n[... {bytes} bytes omitted ...]\n").into_bytes()
}

impl<'a> OutputLog<'a> {
    pub(crate) fn new(store: &'a OutputStore, execution: &Claimed, limits: CaptureLimits) -> Self {
        let stream =
            |name| Stream { name, position: 0, waiting: VecDeque::new(), skipped: 0, end: End::default() };
        Self {
            store,
            execution: execution.id,
            attempt: execution.attempt,
            limits,
            next: 0,
            streams: [stream(OutputStream::Stdout), stream(OutputStream::Stderr)],
            stored: None,
        }
    }

    /// Takes what a process writes until there is no more.
    pub(crate) async fn follow(&mut self, mut chunks: mpsc::Receiver<Chunk>) {
        loop {
            let due = self.due();
            let chunk = tokio::select! {
                chunk = chunks.recv() => chunk,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.store_ends().await;
                    continue;
                }
            };
            match chunk {
                Some(chunk) => self.take(&chunk).await,
                None => return,
            }
        }
    }

    /// Stores what is still missing of what was captured. Gives back the number of the next piece.
    pub(crate) async fn finish(mut self, stdout: &Captured, stderr: &Captured) -> i32 {
        for (at, captured) in [stdout, stderr].into_iter().enumerate() {
            let come = usize::try_from(self.streams[at].position).unwrap_or(usize::MAX);
            if let Some(head) = captured.head.get(come..).filter(|head| !head.is_empty()) {
                // The database did not take it while the process ran.
                self.append_all(at, head).await;
                self.streams[at].position = captured.head.len() as u64;
            }
            // What waits is in what was captured too.
            let stream = &mut self.streams[at];
            let stored = stream.position - stream.waiting.len() as u64 - stream.skipped;
            let begin = captured.total_bytes - captured.tail.len() as u64;
            let known = usize::try_from(stored.saturating_sub(begin)).unwrap_or(usize::MAX);
            stream.skipped = begin.saturating_sub(stored);
            stream.waiting = captured.tail.get(known..).unwrap_or_default().to_vec().into();
        }
        self.store_ends().await;
        self.next
    }

    async fn take(&mut self, chunk: &Chunk) {
        let at = usize::from(chunk.stream == OutputStream::Stderr);
        let lost = chunk.offset.saturating_sub(self.streams[at].position);
        if lost > 0 {
            self.tell_lost(at, lost).await;
        }
        let head = self.limits.head as u64;
        let room = usize::try_from(head.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let (now, later) = chunk.content.split_at(chunk.content.len().min(room));
        self.append_all(at, now).await;
        self.streams[at].position = chunk.offset + now.len() as u64;
        self.streams[at].wait(later, self.limits.tail);
    }

    /// What lies before the next chunk did not come: the database had been away for too long.
    async fn tell_lost(&mut self, at: usize, lost: u64) {
        let stream = &mut self.streams[at];
        stream.position += lost;
        if stream.position < self.limits.head as u64 {
            self.append(at, omission(lost)).await;
        } else {
            // Nothing lies between the two: what waited is before the loss.
            stream.skipped += stream.waiting.len() as u64 + lost;
            stream.waiting.clear();
        }
    }

    /// When the moving ends are to be stored; None where nothing waits.
    fn due(&self) -> Option<Instant> {
        let waits = self.streams.iter().any(|stream| !stream.waiting.is_empty());
        waits.then(|| self.stored.map_or_else(Instant::now, |stored| stored + EVERY))
    }

    async fn store_ends(&mut self) {
        for at in 0..self.streams.len() {
            self.store_end(at).await;
        }
        self.stored = Some(Instant::now());
    }

    async fn store_end(&mut self, at: usize) {
        if self.streams[at].waiting.is_empty() && self.streams[at].skipped == 0 {
            return;
        }
        if self.streams[at].end.marker.is_none() {
            let seq = self.take_number();
            self.streams[at].end.marker = Some(seq);
        }
        let skipped = std::mem::take(&mut self.streams[at].skipped);
        if skipped > 0 && self.streams[at].end.parts.is_empty() {
            self.streams[at].end.omitted += skipped;
            self.tell_omitted(at).await;
        } else if skipped > 0 {
            let seq = self.append(at, omission(skipped)).await;
            self.streams[at].end.parts.push_back(Part::Gap { seq, bytes: skipped });
        }
        let waiting: Vec<u8> = std::mem::take(&mut self.streams[at].waiting).into();
        for piece in waiting.chunks(PIECE) {
            let seq = self.append(at, piece.to_vec()).await;
            let end = &mut self.streams[at].end;
            end.parts.push_back(Part::Content { seq, bytes: piece.len() });
            end.bytes += piece.len();
        }
        let Some(trim) = self.streams[at].end.trim(self.limits.tail) else { return };
        self.tell_omitted(at).await;
        self.store.trim(OutputTrim { execution: self.execution, attempt: self.attempt, ..trim }).await;
    }

    /// Says once that something is missing; how much, the trims bring up to date.
    async fn tell_omitted(&mut self, at: usize) {
        let Stream { name, end, .. } = &mut self.streams[at];
        if let (false, Some(seq)) = (end.is_told, end.marker) {
            end.is_told = true;
            let chunk = OutputChunk {
                execution: self.execution,
                attempt: self.attempt,
                seq,
                stream: *name,
                content: omission(end.omitted),
            };
            self.store.append(chunk).await;
        }
    }

    async fn append_all(&mut self, at: usize, content: &[u8]) {
        for piece in content.chunks(PIECE) {
            self.append(at, piece.to_vec()).await;
        }
    }

    async fn append(&mut self, at: usize, content: Vec<u8>) -> i32 {
        let seq = self.take_number();
        let (execution, attempt, stream) = (self.execution, self.attempt, self.streams[at].name);
        self.store.append(OutputChunk { execution, attempt, seq, stream, content }).await;
        seq
    }

    fn take_number(&mut self) -> i32 {
        let seq = self.next;
        self.next += 1;
        seq
    }
}

impl Stream {
    /// Keeps what came after the head until it is stored; the oldest goes where it is too much.
    fn wait(&mut self, bytes: &[u8], most: usize) {
        self.position += bytes.len() as u64;
        self.waiting.extend(bytes);
        let excess = self.waiting.len().saturating_sub(most);
        self.waiting.drain(..excess);
        self.skipped += excess as u64;
    }
}

impl End {
    /// What has to go so that no more than this is kept; None where all of it may stay.
    fn trim(&mut self, most: usize) -> Option<OutputTrim> {
        let mut excess = self.bytes.saturating_sub(most);
        let (mut removed, mut cut) = (Vec::new(), None);
        while let Some(front) = self.parts.front_mut() {
            match front {
                Part::Content { seq, bytes } if *bytes > excess => {
                    if excess > 0 {
                        *bytes -= excess;
                        self.omitted += excess as u64;
                        self.bytes -= excess;
                        cut = Some((*seq, *bytes));
                    }
                    break;
                }
                Part::Content { seq, bytes } => {
                    removed.push(*seq);
                    self.omitted += *bytes as u64;
                    self.bytes -= *bytes;
                    excess -= *bytes;
                }
                Part::Gap { seq, bytes } => {
                    removed.push(*seq);
                    self.omitted += *bytes;
                }
            }
            self.parts.pop_front();
        }
        if removed.is_empty() && cut.is_none() {
            return None;
        }
        let (execution, attempt) = (0, 0);
        Some(OutputTrim {
            execution,
            attempt,
            removed,
            cut,
            marker: self.marker?,
            content: omission(self.omitted),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::output_store::Item;

    const LIMITS: CaptureLimits = CaptureLimits { head: 100, tail: 40 };

    /// What is in the database, by the numbers of its pieces.
    #[derive(Debug, Default)]
    struct Database(BTreeMap<i32, (OutputStream, Vec<u8>)>);

    impl Database {
        fn apply(&mut self, items: &mut mpsc::Receiver<Item>) {
            while let Ok(item) = items.try_recv() {
                match item {
                    Item::Chunk(chunk) => {
                        let before = self.0.insert(chunk.seq, (chunk.stream, chunk.content));
                        assert_eq!(before, None, "a number is used once");
                    }
                    Item::Trim(trim) => {
                        for seq in trim.removed {
                            assert!(self.0.remove(&seq).is_some());
                        }
                        if let Some((seq, kept)) = trim.cut {
                            let content = &mut self.0.get_mut(&seq).unwrap().1;
                            content.drain(..content.len() - kept);
                        }
                        self.0.get_mut(&trim.marker).expect("it was told").1 = trim.content;
                    }
                    Item::Barrier(_) => unreachable!("nobody waits"),
                }
            }
        }

        fn text(&self, stream: OutputStream) -> String {
            let pieces = self.0.values().filter(|(name, _)| *name == stream);
            String::from_utf8(pieces.flat_map(|(_, content)| content.clone()).collect()).unwrap()
        }
    }

    fn written(length: usize) -> Vec<u8> {
        (b'a'..=b'z').cycle().take(length).collect()
    }

    fn captured(all: &[u8]) -> Captured {
        let (head, rest) = all.split_at(all.len().min(LIMITS.head));
        let tail = &rest[rest.len().saturating_sub(LIMITS.tail)..];
        Captured { head: head.to_vec(), tail: tail.to_vec(), total_bytes: all.len() as u64 }
    }

    fn claimed() -> Claimed {
        Claimed {
            id: 1,
            attempt: 1,
            action_ref: "ops.a".to_owned(),
            trace_id: None,
            config: serde_json::Value::Null,
            keyed: None,
            canceling: false,
            is_native: false,
            how: std::sync::Arc::default(),
        }
    }

    fn chunk(all: &[u8], from: usize, to: usize) -> Chunk {
        let content = Bytes::copy_from_slice(&all[from..to]);
        Chunk { stream: OutputStream::Stdout, sequence: 0, offset: from as u64, content }
    }

    fn expected(all: &[u8]) -> String {
        captured(all).to_text().replace("left out", "omitted")
    }

    #[tokio::test]
    async fn test_the_beginning_and_the_end_are_kept_whatever_the_pieces() {
        for length in [0, 1, 99, 100, 101, 139, 140, 141, 200, 1000] {
            for piece in [1, 7, 40, 41, 150] {
                // How many pieces come before the ends are stored.
                for often in [1, 3, 1000] {
                    let (store, mut items) = OutputStore::in_memory();
                    let mut log = OutputLog::new(&store, &claimed(), LIMITS);
                    let (all, mut database) = (written(length), Database::default());
                    for (count, from) in (0..length).step_by(piece).enumerate() {
                        log.take(&chunk(&all, from, length.min(from + piece))).await;
                        if count % often == 0 {
                            log.store_ends().await;
                        }
                        database.apply(&mut items);
                    }
                    let next = log.finish(&captured(&all), &Captured::default()).await;
                    database.apply(&mut items);
                    let text = database.text(OutputStream::Stdout);
                    assert_eq!(text, expected(&all), "{length} bytes by {piece}, {often}");
                    assert!(database.0.keys().all(|seq| *seq < next));
                }
            }
        }
    }

    #[tokio::test]
    async fn test_what_comes_after_the_head_is_there_while_it_runs() {
        let (store, mut items) = OutputStore::in_memory();
        let mut log = OutputLog::new(&store, &claimed(), LIMITS);
        let (all, mut database) = (written(260), Database::default());
        log.take(&chunk(&all, 0, 120)).await;
        assert!(log.due().is_some_and(|due| due <= Instant::now()), "the first at once");
        log.store_ends().await;
        log.take(&chunk(&all, 120, 130)).await;
        assert!(log.due().is_some_and(|due| due > Instant::now()), "the next in its time");
        log.store_ends().await;
        database.apply(&mut items);
        assert_eq!(database.text(OutputStream::Stdout).as_bytes(), &all[..130]);
        log.take(&chunk(&all, 130, 260)).await;
        log.store_ends().await;
        assert_eq!(log.due(), None);
        database.apply(&mut items);
        assert_eq!(database.text(OutputStream::Stdout), expected(&all));
    }

    #[tokio::test]
    async fn test_what_the_database_did_not_take_is_stored_at_the_end_or_told() {
        let end = async |all: &[u8], come: &[(usize, usize)]| {
            let (store, mut items) = OutputStore::in_memory();
            let mut log = OutputLog::new(&store, &claimed(), LIMITS);
            for (from, to) in come {
                log.take(&chunk(all, *from, *to)).await;
            }
            log.finish(&captured(all), &Captured::default()).await;
            let mut database = Database::default();
            database.apply(&mut items);
            database.text(OutputStream::Stdout)
        };
        let all = written(300);
        for come in [&[][..], &[(0, 30)], &[(0, 110)], &[(0, 120), (290, 300)], &[(0, 100), (150, 300)]] {
            assert_eq!(end(&all, come).await, expected(&all), "{come:?}");
        }
        // A hole before what came.
        let text = end(&all[..90], &[(0, 30), (50, 90)]).await;
        assert_eq!(text.as_bytes(), [&all[..30], &omission(20), &all[50..90]].concat());
    }
}
