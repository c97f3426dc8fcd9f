//! Filters on semantic versions; as in StackStorm the versions must be complete (`1.2.3`, no leading `v`).

use std::borrow::Cow;
use std::cmp::Ordering;

use minijinja::{Environment, Error};
use semver::Version;

use super::invalid;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("version_compare", |left: Cow<'_, str>, right: Cow<'_, str>| {
        compare(&left, &right).map(|order| order as i64)
    });
    environment.add_filter("version_more_than", |left: Cow<'_, str>, right: Cow<'_, str>| {
        compare(&left, &right).map(Ordering::is_gt)
    });
    environment.add_filter("version_less_than", |left: Cow<'_, str>, right: Cow<'_, str>| {
        compare(&left, &right).map(Ordering::is_lt)
    });
    environment.add_filter("version_equal", |left: Cow<'_, str>, right: Cow<'_, str>| {
        compare(&left, &right).map(Ordering::is_eq)
    });
    environment.add_filter("version_match", matches);
    environment.add_filter("version_bump_major", |text: Cow<'_, str>| {
        read(&text).map(|version| format!("{}.0.0", version.major.saturating_add(1)))
    });
    environment.add_filter("version_bump_minor", |text: Cow<'_, str>| {
        read(&text).map(|version| format!("{}.{}.0", version.major, version.minor.saturating_add(1)))
    });
    environment.add_filter("version_bump_patch", |text: Cow<'_, str>| {
        read(&text)
            .map(|version| format!("{}.{}.{}", version.major, version.minor, version.patch.saturating_add(1)))
    });
    environment.add_filter("version_strip_patch", |text: Cow<'_, str>| {
        read(&text).map(|version| format!("{}.{}", version.major, version.minor))
    });
}

fn read(text: &str) -> Result<Version, Error> {
    Version::parse(text)
        .map_err(|error| invalid(format!("`{text}` is not a semantic version such as 1.2.3: {error}")))
}

fn compare(left: &str, right: &str) -> Result<Ordering, Error> {
    Ok(read(left)?.cmp_precedence(&read(right)?))
}

/// One comparison: an operator (`>`, `>=`, `<`, `<=`, `==`, `!=`) and a version.
fn matches(text: Cow<'_, str>, requirement: &str) -> Result<bool, Error> {
    let length = requirement.find(|character: char| !matches!(character, '<' | '>' | '=' | '!'));
    let (operator, wanted) = requirement.split_at(length.unwrap_or(requirement.len()));
    let accept: fn(Ordering) -> bool = match operator {
        ">=" => Ordering::is_ge,
        "<=" => Ordering::is_le,
        "==" => Ordering::is_eq,
        "!=" => Ordering::is_ne,
        ">" => Ordering::is_gt,
        "<" => Ordering::is_lt,
        _ => {
            let message = "must start with one of >, >=, <, <=, ==, != before the version";
            return Err(invalid(format!("`{requirement}` {message}")));
        }
    };
    Ok(accept(compare(&text, wanted.trim())?))
}
