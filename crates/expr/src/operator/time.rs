//! Points in time and spans as senders and authors write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use serde_json::Value;

/// Formats without a zone, which are read as UTC.
const WITHOUT_ZONE: &[&str] =
    &["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];

/// Formats with a zone that RFC 3339 does not cover.
const WITH_ZONE: &[&str] =
    &["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z"];

/// Reads a point in time: RFC 3339, its relatives with a blank or without a zone (UTC), RFC 2822, a date (midnight UTC),
/// or a number of seconds since 1970.
pub(super) fn point(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::String(text) => point_in_text(text.trim()),
        Value::Number(number) => {
            let seconds = number.as_f64()?;
            let whole = seconds.floor();
            let nanoseconds = ((seconds - whole) * 1e9).round().min(999_999_999.0);
            DateTime::from_timestamp(whole as i64, nanoseconds as u32)
        }
        _ => None,
    }
}

fn point_in_text(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    if let Some(time) = WITH_ZONE.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()) {
        return Some(time.to_utc());
    }
    let bare = text.strip_suffix("UTC").map_or(text, str::trim_end);
    if let Some(time) =
        WITHOUT_ZONE.iter().find_map(|format| NaiveDateTime::parse_from_str(bare, format).ok())
    {
        return Some(time.and_utc());
    }
    if let Ok(date) = NaiveDate::parse_from_str(bare, "%Y-%m-%d") {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    DateTime::parse_from_rfc2822(text).ok().map(|time| time.to_utc())
}

/// Reads a span in seconds: a number, a number in text, or units as in `90s`, `15m`, `1h30m`, `2d`, `1w`.
pub(super) fn span(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => span_in_text(text.trim()),
        _ => None,
    }
}

fn span_in_text(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let seconds = match unit {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3_600.0,
            'd' => 86_400.0,
            'w' => 604_800.0,
            _ => return None,
        };
        total += amount * seconds;
        rest = &rest[digits + unit.len_utf8()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_point_reads_the_usual_notations() {
        let noon = DateTime::parse_from_rfc3339("2024-05-06T12:00:00Z").unwrap().to_utc();
        for text in [
            "2024-05-06T12:00:00Z",
            "2024-05-06T14:00:00+02:00",
            "2024-05-06T14:00:00+0200",
            "2024-05-06 14:00:00.000 +02",
            "2024-05-06T12:00:00.000000",
            "2024-05-06 12:00:00",
            "2024-05-06 12:00:00 UTC",
            "2024-05-06 12:00",
            "Mon, 06 May 2024 12:00:00 GMT",
            "Mon, 6 May 2024 14:00:00 +0200",
            " 2024-05-06T12:00:00Z ",
        ] {
            assert_eq!(point(&json!(text)), Some(noon), "{text}");
        }
        assert_eq!(point(&json!(1_714_996_800)), Some(noon));
        assert_eq!(point(&json!(1_714_996_800.5)), Some(noon + chrono::Duration::milliseconds(500)));
        assert_eq!(point(&json!("2024-05-06")), Some(noon - chrono::Duration::hours(12)));
    }

    #[test]
    fn test_point_refuses_what_is_no_time() {
        for value in [json!("soon"), json!(""), json!("12:00"), json!(true), json!(null), json!(1e300)] {
            assert_eq!(point(&value), None, "{value}");
        }
    }

    #[test]
    fn test_span_reads_numbers_and_units() {
        for (given, seconds) in [
            (json!(90), 90.0),
            (json!("90"), 90.0),
            (json!("1.5"), 1.5),
            (json!("15m"), 900.0),
            (json!("1h30m"), 5400.0),
        ] {
            assert_eq!(span(&given), Some(seconds), "{given}");
        }
        assert_eq!(span(&json!("1w2d")), Some(777_600.0));
        for given in [
            json!(""),
            json!("m"),
            json!("15"),
            json!("5x"),
            json!("1h30"),
            json!("inf"),
            json!([]),
            json!(true),
        ] {
            assert_eq!(span(&given).is_none(), given != json!("15"), "{given}");
        }
    }
}
