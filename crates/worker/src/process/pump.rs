//! Moves bytes between a child's standard streams and us.
//!
//! Back-pressure: while the child runs freely, a sink that does not keep up lets [`READ_AHEAD`] bytes per stream pile up
//! here and then makes the child wait. Once its end has begun, nothing waits for the sink any more; what exceeds
//! [`READ_AHEAD_LIMIT`] is then kept from the live output, though not from the capture.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicI32, Ordering},
};

use attune_common::models::execution::OutputStream;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    select,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::capture::{Capture, CaptureLimits, Captured};
use attune_expr::masking::{MaskedStream, Masker};

/// The largest chunk, and what is read at once: the size of a pipe.
const CHUNK: usize = 64 * 1024;
const READ_AHEAD: usize = 4 * CHUNK;
const READ_AHEAD_LIMIT: usize = 16 * CHUNK;

/// A piece of live output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub stream: OutputStream,
    /// Counts the chunks of both streams together, from 0, without gaps.
    pub sequence: i32,
    /// Where in its stream the chunk begins; a gap to the end of the one before it was lost.
    pub offset: u64,
    pub content: Bytes,
}

/// Where live output goes.
#[derive(Debug)]
pub struct OutputSink {
    sender: Option<mpsc::Sender<Chunk>>,
    next_sequence: AtomicI32,
}

impl OutputSink {
    /// A sink and what it takes: at most `capacity` chunks of up to 64 KiB each wait in between. Small writes are joined
    /// while the receiver is busy. A receiver that was dropped wants no more, and holds nothing up.
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Chunk>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self { sender: Some(sender), next_sequence: AtomicI32::new(0) }, receiver)
    }

    /// A sink that wants nothing.
    pub fn discard() -> Self {
        Self { sender: None, next_sequence: AtomicI32::new(0) }
    }

    /// Room for one chunk; None if the receiver is gone.
    async fn reserve(&self) -> Option<mpsc::Permit<'_, Chunk>> {
        self.sender.as_ref()?.reserve().await.ok()
    }

    fn wants_more(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

/// How reading goes with the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    WithSink,
    AheadOfSink,
    /// Nothing more is read.
    Stop,
}

/// Writes standard input and closes it. That the child does not want it is the child's affair.
pub(super) async fn feed(
    stdin: Option<impl AsyncWrite + Unpin>,
    bytes: &[u8],
    mut pace: watch::Receiver<Pace>,
) {
    let Some(mut stdin) = stdin else { return };
    select! {
        result = stdin.write_all(bytes) => {
            if let Err(error) = result {
                tracing::debug!(%error, "the process did not read all of its standard input");
            }
        }
        _ = pace.wait_for(|pace| *pace == Pace::Stop) => {}
    }
}

/// One stream of output on its way.
#[derive(Debug)]
pub(super) struct Stream {
    name: OutputStream,
    masked: MaskedStream,
    capture: Capture,
    /// Read, but not yet handed to the sink.
    waiting: VecDeque<(u64, BytesMut)>,
    waiting_bytes: usize,
    lost_bytes: u64,
}

impl Stream {
    pub(super) fn new(name: OutputStream, limits: CaptureLimits, masker: &Masker) -> Self {
        Self {
            name,
            masked: masker.stream(),
            capture: Capture::new(limits),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lost_bytes: 0,
        }
    }

    /// Reads until the pipe is closed, which it announces by `closed`, or until it is to stop; then delivers what waits.
    pub(super) async fn pump(
        &mut self,
        mut pipe: impl AsyncRead + Unpin,
        sink: &OutputSink,
        mut pace: watch::Receiver<Pace>,
        closed: &CancellationToken,
    ) {
        let mut buffer = vec![0; CHUNK];
        let mut open = true;
        let mut current = *pace.borrow_and_update();
        while open || !self.waiting.is_empty() {
            let may_read = open && (current != Pace::WithSink || self.waiting_bytes < READ_AHEAD);
            select! {
                read = pipe.read(&mut buffer), if may_read => match read {
                    Ok(length @ 1..) => self.take(&buffer[..length], sink.wants_more()),
                    Ok(0) => open = false,
                    Err(error) => {
                        tracing::warn!(stream = self.name.as_str(), %error, "could not read a process's output to its end");
                        open = false;
                    }
                },
                permit = sink.reserve(), if !self.waiting.is_empty() => match permit {
                    Some(permit) => self.deliver(permit, sink),
                    None => self.forget_waiting(),
                },
                Ok(()) = pace.changed(), if current != Pace::Stop => {
                    current = *pace.borrow_and_update();
                    open &= current != Pace::Stop;
                }
            }
            if !open {
                let rest = self.masked.finish();
                self.keep(&rest, sink.wants_more());
                closed.cancel();
            }
        }
    }

    /// Bytes that the sink did not get.
    pub(super) fn undelivered(&self) -> u64 {
        self.lost_bytes + self.waiting_bytes as u64
    }

    pub(super) fn into_captured(mut self) -> Captured {
        // Something is left where reading was given up.
        self.capture.push(&self.masked.finish());
        self.capture.finish()
    }

    fn take(&mut self, bytes: &[u8], wanted: bool) {
        let masked = self.masked.push(bytes);
        self.keep(&masked, wanted);
    }

    fn keep(&mut self, bytes: &[u8], wanted: bool) {
        if bytes.is_empty() {
            return;
        }
        let offset = self.capture.total_bytes();
        self.capture.push(bytes);
        if !wanted {
            return;
        }
        if self.waiting_bytes + bytes.len() > READ_AHEAD_LIMIT {
            self.lost_bytes += bytes.len() as u64;
            return;
        }
        self.waiting_bytes += bytes.len();
        match self.waiting.back_mut() {
            Some((start, last))
                if last.len() + bytes.len() <= CHUNK && *start + last.len() as u64 == offset =>
            {
                last.extend_from_slice(bytes);
            }
            _ => self.waiting.push_back((offset, BytesMut::from(bytes))),
        }
    }

    fn deliver(&mut self, permit: mpsc::Permit<'_, Chunk>, sink: &OutputSink) {
        if let Some((offset, content)) = self.waiting.pop_front() {
            self.waiting_bytes -= content.len();
            // Both streams are pumped by one task, so chunks are sent in the order of their numbers.
            let sequence = sink.next_sequence.fetch_add(1, Ordering::Relaxed);
            permit.send(Chunk { stream: self.name, sequence, offset, content: content.freeze() });
        }
    }

    fn forget_waiting(&mut self) {
        self.lost_bytes += self.waiting_bytes as u64;
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}
