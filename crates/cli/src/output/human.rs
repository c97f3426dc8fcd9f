//! Values as people read them.

use chrono::{DateTime, TimeDelta, Utc};

/// How long ago, in the one or two units that matter, as `45s`, `7m`, `5h`, `12d`.
pub(crate) fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment with its age.
pub(crate) fn moment(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    format!("{} ({} ago)", then.format("%Y-%m-%dT%H:%M:%SZ"), age(now, then))
}

/// A span of time, as `12ms`, `3.4s`, `2m05s`, `1h02m`.
pub(crate) fn duration(span: TimeDelta) -> String {
    let millis = span.num_milliseconds().max(0);
    let seconds = millis / 1_000;
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{}.{}s", seconds, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// How long something ran, or has been running; `-` when it has not begun.
pub(crate) fn run_time(
    now: DateTime<Utc>,
    started: Option<DateTime<Utc>>,
    finished: Option<DateTime<Utc>>,
) -> String {
    started.map_or_else(|| "-".to_owned(), |started| duration(finished.unwrap_or(now) - started))
}

/// The value, or `-` for none.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(crate) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// The text with its control characters written out, but for line feeds and tabs.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            // Writing direction overrides let text look like something else than it is.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(character.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_ages_are_short() {
        let check = |seconds: i64, expect: &str| {
            let now = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
            assert_eq!(age(now, now - TimeDelta::seconds(seconds)), expect);
        };
        check(-5, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7_199, "119m");
        check(7_200, "2h");
        check(172_800, "2d");
    }

    #[test]
    fn test_durations_are_short() {
        let check = |millis: i64, expect: &str| assert_eq!(duration(TimeDelta::milliseconds(millis)), expect);
        check(-1, "0ms");
        check(999, "999ms");
        check(1_250, "1.2s");
        check(59_999, "59.9s");
        check(125_000, "2m05s");
        check(3_720_000, "1h02m");
    }

    #[test]
    fn test_control_characters_are_written_out() {
        assert_eq!(printable("a\u{1b}[2J\tb\r\n"), "a\\u{1b}[2J\tb\\r\n");
        assert_eq!(printable("é\u{202e}x\u{9b}"), "é\\u{202e}x\\u{9b}");
    }
}
