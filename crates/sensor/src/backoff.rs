//! How long to wait before an ended process is started again. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A process that lived this long was well: its end is the first of a new series.
pub(crate) const LONG_LIFE: Duration = Duration::from_secs(60);

/// The pause between the lives of a process, which doubles as long as they are short.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The pause after a life of this length.
    pub(crate) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= LONG_LIFE {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_pause_doubles_up_to_a_minute_and_starts_over_after_a_minute_of_life() {
        let mut backoff = Backoff::new();
        let mut after = |lived| backoff.after(Duration::from_secs(lived)).as_secs();
        let pauses: Vec<u64> = (0..8).map(|_| after(0)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after(59), 60);
        assert_eq!((after(60), after(1)), (1, 2));
    }
}
