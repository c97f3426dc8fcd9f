//! Durations as people write them: a number with its unit.

use std::time::Duration;

/// Whole numbers of seconds, minutes or hours: `30s`, `5m`, `2h`.
pub fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    // `parse` alone would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_secs)
}
