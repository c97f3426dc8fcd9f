//! Keeps the beginning and the end of a stream of bytes and counts what lies between.

/// How much of one stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Bytes kept from the beginning.
    pub head: usize,
    /// Bytes kept from the end, beyond the head.
    pub tail: usize,
}

impl Default for CaptureLimits {
    fn default() -> Self {
        Self { head: 1024 * 1024, tail: 256 * 1024 }
    }
}

/// What was kept of one stream. Without an omission, `head` followed by `tail` is all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
    /// All that was written.
    pub total_bytes: u64,
}

impl Captured {
    /// A stream of which everything was kept.
    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        let head = bytes.into();
        Self { total_bytes: head.len() as u64, head, tail: Vec::new() }
    }

    /// How many bytes between `head` and `tail` were not kept.
    pub fn omitted_bytes(&self) -> u64 {
        self.total_bytes - (self.head.len() + self.tail.len()) as u64
    }

    /// Everything that was written; None when some of it was not kept.
    pub fn complete(&self) -> Option<Vec<u8>> {
        (self.omitted_bytes() == 0).then(|| [self.head.as_slice(), self.tail.as_slice()].concat())
    }

    /// As text for people: invalid UTF-8 becomes U+FFFD, and an omission is named where it is.
    pub fn to_text(&self) -> String {
        match self.complete() {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => format!(
                "{}\n[... {} bytes left out ...]\n{}",
                String::from_utf8_lossy(&self.head),
                self.omitted_bytes(),
                String::from_utf8_lossy(&self.tail)
            ),
        }
    }
}

/// A capture that goes on.
#[derive(Debug)]
pub(super) struct Capture {
    limits: CaptureLimits,
    head: Vec<u8>,
    /// The last bytes beyond the head. Once it is full it is a ring that starts at `oldest`.
    tail: Vec<u8>,
    oldest: usize,
    total_bytes: u64,
}

impl Capture {
    pub(super) fn new(limits: CaptureLimits) -> Self {
        Self { limits, head: Vec::new(), tail: Vec::new(), oldest: 0, total_bytes: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total_bytes += bytes.len() as u64;
        let to_head = bytes.len().min(self.limits.head - self.head.len());
        let (head, rest) = bytes.split_at(to_head);
        self.head.extend_from_slice(head);
        self.push_to_tail(rest);
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(super) fn finish(mut self) -> Captured {
        self.tail.rotate_left(self.oldest);
        Captured { head: self.head, tail: self.tail, total_bytes: self.total_bytes }
    }

    fn push_to_tail(&mut self, bytes: &[u8]) {
        let limit = self.limits.tail;
        if bytes.len() >= limit {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - limit..]);
            self.oldest = 0;
            return;
        }
        let (growing, bytes) = bytes.split_at(bytes.len().min(limit - self.tail.len()));
        self.tail.extend_from_slice(growing);
        // Nothing is left here unless the ring is full.
        let (up_to_end, from_start) = bytes.split_at(bytes.len().min(limit - self.oldest));
        self.tail[self.oldest..self.oldest + up_to_end.len()].copy_from_slice(up_to_end);
        self.tail[..from_start.len()].copy_from_slice(from_start);
        if !bytes.is_empty() {
            self.oldest = (self.oldest + bytes.len()) % limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_pieces_the_same_is_kept() {
        let input: Vec<u8> = (0..200).collect();
        for (head, tail) in [(0, 0), (0, 7), (5, 0), (5, 7), (100, 100), (199, 1), (150, 100), (1000, 1)] {
            for length in [0, 1, 4, 5, 6, 11, 12, 13, 19, 100, 101, 200] {
                let input = &input[..length];
                for piece in 1..=20 {
                    let mut capture = Capture::new(CaptureLimits { head, tail });
                    input.chunks(piece).for_each(|chunk| capture.push(chunk));
                    let kept = capture.finish();
                    let expected_head = &input[..length.min(head)];
                    let beyond = &input[expected_head.len()..];
                    assert_eq!(kept.head, expected_head);
                    assert_eq!(
                        kept.tail,
                        &beyond[beyond.len().saturating_sub(tail)..],
                        "{head} {tail} {length} {piece}"
                    );
                    assert_eq!(kept.total_bytes, length as u64);
                    assert_eq!(kept.omitted_bytes(), length.saturating_sub(head + tail) as u64);
                    assert_eq!(kept.complete().is_some(), length <= head + tail);
                }
            }
        }
    }

    #[test]
    fn text_names_the_omission() {
        let mut capture = Capture::new(CaptureLimits { head: 3, tail: 2 });
        capture.push(b"abc\xffxyz");
        assert_eq!(capture.finish().to_text(), "abc\n[... 2 bytes left out ...]\nyz");
        assert_eq!(Captured::whole(*b"a\xffb").to_text(), "a\u{fffd}b");
    }
}
