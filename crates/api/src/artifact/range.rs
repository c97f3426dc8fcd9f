//! Which part of a content is asked for (RFC 9110): one range of bytes, or everything.

use axum::http::HeaderMap;
use axum::http::header;

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Everything,
    /// Both ends included.
    Part {
        first: u64,
        last: u64,
    },
    /// There is nothing at that place.
    Nothing,
}

/// Whether the caller has what has this tag.
pub(super) fn none_match(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut given = given.flat_map(|text| text.split(',')).map(str::trim);
    given.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// The part that `Range` asks for. What asks for several, or cannot be read, gets everything, as the standard allows; so
/// does `If-Range` with another tag.
pub(super) fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|given| given != tag) {
        return Wanted::Everything;
    }
    let range = text(header::RANGE)
        .and_then(|value| value.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = range else { return Wanted::Everything };
    let part = |first: u64, last: u64| {
        if first < size { Wanted::Part { first, last: last.min(size - 1) } } else { Wanted::Nothing }
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => part(first, last),
        (Ok(first), Err(_)) if last.trim().is_empty() => part(first, u64::MAX),
        // The last bytes, so many.
        (Err(_), Ok(0)) if first.trim().is_empty() => Wanted::Nothing,
        (Err(_), Ok(count)) if first.trim().is_empty() => part(size.saturating_sub(count), u64::MAX),
        _ => Wanted::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: &str, size: u64, expected: Wanted) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        assert_eq!(wanted(&headers, "\"a\"", size), expected, "{range}");
    }

    #[test]
    fn test_ranges() {
        check("bytes=0-3", 10, Wanted::Part { first: 0, last: 3 });
        check("bytes=4-", 10, Wanted::Part { first: 4, last: 9 });
        check("bytes=4-100", 10, Wanted::Part { first: 4, last: 9 });
        check("bytes=-3", 10, Wanted::Part { first: 7, last: 9 });
        check("bytes=-30", 10, Wanted::Part { first: 0, last: 9 });
        check("bytes=10-", 10, Wanted::Nothing);
        check("bytes=-0", 10, Wanted::Nothing);
        check("bytes=0-", 0, Wanted::Nothing);
        for everything in ["bytes=3-1", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b", "bytes=-"] {
            check(everything, 10, Wanted::Everything);
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-3".parse().unwrap());
        headers.insert(header::IF_RANGE, "\"b\"".parse().unwrap());
        assert_eq!(wanted(&headers, "\"a\"", 10), Wanted::Everything);
        assert_eq!(wanted(&headers, "\"b\"", 10), Wanted::Part { first: 0, last: 3 });
    }

    #[test]
    fn test_what_the_caller_has() {
        let mut headers = HeaderMap::new();
        assert!(!none_match(&headers, "\"a\""));
        headers.insert(header::IF_NONE_MATCH, "\"b\", W/\"a\"".parse().unwrap());
        assert!(
            none_match(&headers, "\"a\"") && none_match(&headers, "\"b\"") && !none_match(&headers, "\"c\"")
        );
    }
}
