//! The output of a process, line by line: as many lines at once as have gathered, none longer than a limit in memory.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// What is read at once: the size of a pipe.
const READ: usize = 64 * 1024;
/// How long the output of a process that is over is waited for, all in all: processes that left its group may hold it open,
/// and write on.
const LINGER: Duration = Duration::from_millis(500);
/// How much is read at most from then on: more than the largest pipe of an ordinary account holds.
const LEFTOVER: usize = 1024 * 1024 + READ;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// At most as long as the limit.
    pub(crate) content: Vec<u8>,
    /// It was longer than the limit; `content` is its beginning.
    pub(crate) cut: bool,
}

/// Cuts bytes into lines.
#[derive(Debug)]
struct Splitter {
    limit: usize,
    number: u64,
    content: Vec<u8>,
    cut: bool,
}

impl Splitter {
    fn new(limit: usize) -> Self {
        Self { limit, number: 1, content: Vec::new(), cut: false }
    }

    /// Takes what was read and adds the lines that it completes.
    fn take(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        // What follows the last line end begins a line that is not complete; there is always such a piece.
        let rest = pieces.next_back();
        for piece in pieces {
            self.add(piece);
            lines.push(self.finish());
        }
        self.add(rest.unwrap_or_default());
    }

    /// The last line, if it has no end.
    fn rest(&mut self) -> Option<Line> {
        (self.cut || !self.content.is_empty()).then(|| self.finish())
    }

    fn add(&mut self, piece: &[u8]) {
        let kept = piece.len().min(self.limit - self.content.len());
        self.content.extend_from_slice(&piece[..kept]);
        self.cut |= kept < piece.len();
    }

    fn finish(&mut self) -> Line {
        let line = Line { number: self.number, content: std::mem::take(&mut self.content), cut: self.cut };
        self.number += 1;
        self.cut = false;
        line
    }
}

/// Reads the lines of a pipe.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    pipe: R,
    splitter: Splitter,
    buffer: BytesMut,
    /// Cancelled when the process has ended.
    over: CancellationToken,
    /// Until when it is waited for more, once that has happened. What is there already is read later too: whoever stores the
    /// lines may have been slow.
    end: Option<Instant>,
    leftover: usize,
    closed: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of `pipe`, none of them longer than `limit`, until shortly after the process is `over`.
    pub(crate) fn new(pipe: R, limit: usize, over: CancellationToken) -> Self {
        Self {
            pipe,
            splitter: Splitter::new(limit),
            buffer: BytesMut::with_capacity(READ),
            over,
            end: None,
            leftover: LEFTOVER,
            closed: false,
        }
    }

    /// What has gathered, at least one line. None at the end. While nobody asks, nothing is read.
    pub(crate) async fn next(&mut self) -> Option<Vec<Line>> {
        let mut lines = Vec::new();
        while lines.is_empty() && !self.closed {
            self.buffer.clear();
            self.buffer.reserve(READ);
            let read = tokio::select! {
                biased;
                () = self.over.cancelled() => {
                    let end = *self.end.get_or_insert_with(|| Instant::now() + LINGER);
                    // Unconstrained: a read that has to yield would seem to find nothing.
                    let rest = timeout_at(end, unconstrained(self.pipe.read_buf(&mut self.buffer))).await;
                    let read = rest.unwrap_or(Ok(0));
                    let length = read.as_ref().copied().unwrap_or(0);
                    self.leftover = self.leftover.saturating_sub(length);
                    if self.leftover == 0 { Ok(0) } else { read }
                }
                read = self.pipe.read_buf(&mut self.buffer) => read,
            };
            match read {
                Ok(1..) => self.splitter.take(&self.buffer, &mut lines),
                Ok(0) => self.close(&mut lines),
                Err(error) => {
                    tracing::warn!(%error, "could not read a sensor's output to its end");
                    self.close(&mut lines);
                }
            }
        }
        (!lines.is_empty()).then_some(lines)
    }

    fn close(&mut self, lines: &mut Vec<Line>) {
        self.closed = true;
        lines.extend(self.splitter.rest());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn check(pieces: &[&str], limit: usize, expected: &[(u64, &str, bool)]) {
        let mut splitter = Splitter::new(limit);
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.take(piece.as_bytes(), &mut lines);
        }
        lines.extend(splitter.rest());
        let lines: Vec<_> = lines
            .into_iter()
            .map(|line| (line.number, String::from_utf8(line.content).unwrap(), line.cut))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(number, content, cut)| (*number, (*content).to_owned(), *cut)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn test_lines_are_put_together_from_whatever_is_read() {
        check(&["a\nb", "c\n\nd"], 10, &[(1, "a", false), (2, "bc", false), (3, "", false), (4, "d", false)]);
        check(&["a\n"], 10, &[(1, "a", false)]);
        check(&[], 10, &[]);
    }

    #[test]
    fn test_a_long_line_is_cut_and_the_next_one_is_whole() {
        check(&["1234", "5678\nnext\n"], 5, &[(1, "12345", true), (2, "next", false)]);
        check(&["12345\n", "123456"], 5, &[(1, "12345", false), (2, "12345", true)]);
    }

    #[tokio::test]
    async fn test_lines_that_gathered_come_together_and_an_open_pipe_ends_with_the_process() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let over = CancellationToken::new();
        let mut lines = Lines::new(reader, 100, over.clone());
        writer.write_all(b"a\nb\nc").await.unwrap();
        assert_eq!(lines.next().await.map(|lines| lines.len()), Some(2));
        over.cancel();
        // The writer is still there; the line that it did not finish is given all the same.
        assert_eq!(lines.next().await, Some(vec![Line { number: 3, content: b"c".into(), cut: false }]));
        assert_eq!(lines.next().await, None);
        drop(writer);
    }

    #[tokio::test]
    async fn test_whoever_writes_on_after_the_end_is_not_listened_to_for_ever() {
        let over = CancellationToken::new();
        over.cancel();
        let mut lines = Lines::new(tokio::io::repeat(b'\n'), 100, over);
        let mut count = 0;
        while let Some(more) = lines.next().await {
            count += more.len();
        }
        assert!(count >= 1024 * 1024, "{count}");
    }

    #[tokio::test]
    async fn test_whoever_writes_on_now_and_then_after_the_end_is_not_waited_for() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        // Little, but always before anybody would give up.
        let talking = tokio::spawn(async move {
            while writer.write_all(b"more\n").await.is_ok() {
                tokio::time::sleep(LINGER / 10).await;
            }
        });
        let over = CancellationToken::new();
        let mut lines = Lines::new(reader, 100, over.clone());
        assert!(lines.next().await.is_some());
        over.cancel();
        let to_the_end = async { while lines.next().await.is_some() {} };
        assert!(
            tokio::time::timeout(LINGER * 20, to_the_end).await.is_ok(),
            "it was listened to for too long"
        );
        drop(lines);
        talking.await.unwrap();
    }

    #[tokio::test]
    async fn test_what_was_written_before_the_end_is_read_however_late() {
        let (mut writer, reader) = tokio::io::duplex(2 * READ);
        let over = CancellationToken::new();
        let mut lines = Lines::new(reader, 2 * READ, over.clone());
        writer.write_all(b"first\n").await.unwrap();
        assert!(lines.next().await.is_some());
        writer.write_all(&b"x\n".repeat(READ)).await.unwrap();
        over.cancel();
        // As if the first piece of it had taken that long to store.
        lines.end = Some(Instant::now());
        let mut count = 0;
        while let Some(more) = lines.next().await {
            count += more.len();
        }
        assert_eq!(count, READ);
    }
}
