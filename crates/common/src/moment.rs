//! Moments of a clock that goes on while the machine sleeps, as the clock of the database does. That of
//! [`std::time::Instant`] stands still then: after a sleep, a lease that ran out long ago would seem to hold.

use std::ops::Add;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere, this one goes on.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// A moment in the life of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        // It fails for a clock that does not exist only. The end of time is the safe side: no lease holds.
        Self(clock_gettime(CLOCK).map_or(Duration::MAX, Duration::from))
    }

    /// How long it is after an earlier one; nothing if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_moments_follow_one_another() {
        let (earlier, later) = (Moment::now(), Moment::now());
        assert!(earlier <= later);
        assert_eq!((earlier + Duration::from_secs(3)).since(earlier), Duration::from_secs(3));
        assert_eq!(earlier.since(earlier + Duration::from_secs(3)), Duration::ZERO);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn test_it_counts_from_the_start_of_the_machine_with_its_sleeps() {
        // The kernel's own count, which includes them.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let now = Moment::now().0.as_secs_f64();
        assert!((now - uptime).abs() < 5.0, "{now} is not {uptime}");
    }
}
