//! The retention pass: what has ended long ago goes, a little at a time.
//!
//! Each statement removes a limited number of rows and commits by itself, so that nothing waits for it and no snapshot is
//! held for long. Several executors share the work: what one is just removing, the others pass over.

use std::time::Duration;

use attune_common::environment;
use attune_common::error::Result;
use attune_common::pass::Found;
use attune_common::repositories::{
    AdmissionRepository, ArtifactRepository, AuditRepository, ChangeRepository, EnforcementRepository,
    EventRepository, ExecutionRepository, NotificationRepository, WorkItemRepository,
};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// How often it looks.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Rows that one statement removes at most: done in some hundredths of a second.
const BATCH: i64 = 1000;

/// Versions of artifacts that one statement removes at most: each may have many pieces.
const VERSIONS: i64 = 50;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long what has ended is kept; None: for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    pub events: Option<Duration>,
    pub enforcements: Option<Duration>,
    pub executions: Option<Duration>,
    pub changes: Option<Duration>,
    pub audit: Option<Duration>,
    pub work_items: Option<Duration>,
    pub notifications: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events: Some(30 * DAY),
            enforcements: Some(30 * DAY),
            executions: Some(30 * DAY),
            changes: Some(7 * DAY),
            audit: Some(365 * DAY),
            work_items: Some(30 * DAY),
            notifications: Some(30 * DAY),
        }
    }
}

impl Retention {
    /// The defaults with what the environment says; `lookup` gives the value of a variable.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> std::result::Result<Self, String> {
        let default = Self::default();
        let age = |name: &str, default: Option<Duration>| match lookup(name) {
            None => Ok(default),
            Some(text) => age(&text).map_err(|problem| format!("{name} is {text:?}: {problem}")),
        };
        Ok(Self {
            events: age(environment::RETAIN_EVENTS, default.events)?,
            enforcements: age(environment::RETAIN_ENFORCEMENTS, default.enforcements)?,
            executions: age(environment::RETAIN_EXECUTIONS, default.executions)?,
            changes: age(environment::RETAIN_CHANGES, default.changes)?,
            audit: age(environment::RETAIN_AUDIT, default.audit)?,
            work_items: age(environment::RETAIN_WORK_ITEMS, default.work_items)?,
            notifications: age(environment::RETAIN_NOTIFICATIONS, default.notifications)?,
        })
    }
}

/// An age as `30d`, `12h` or `forever`.
fn age(text: &str) -> std::result::Result<Option<Duration>, String> {
    let expected = "expected an age such as `30d` or `12h`, or `forever`";
    if text == "forever" {
        return Ok(None);
    }
    let (digits, unit) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(digits), _) => (digits, 24 * 3600),
        (None, Some(digits)) => (digits, 3600),
        (None, None) => return Err(expected.to_owned()),
    };
    // `parse` alone would take a sign. What is longer than a century is a mistake.
    let number: u64 = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().map_err(|_| expected.to_owned())?,
        false => return Err(expected.to_owned()),
    };
    match number.checked_mul(unit) {
        Some(0) => Err("nothing would be kept; the least is `1h`".to_owned()),
        Some(seconds) if seconds <= 100 * 366 * 24 * 3600 => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(format!("{expected}, of a century at most")),
    }
}

/// Removes a batch of each kind.
pub async fn pass(pool: PgPool, retention: Retention) -> Result<Found> {
    // By the clock that gave everything its times: that of this machine may be anywhere.
    let now = attune_common::db::now(&pool).await?;
    remove(pool, retention, now).await
}

/// Removes a batch of each kind as it is to be removed at this time.
pub async fn remove(pool: PgPool, retention: Retention, now: DateTime<Utc>) -> Result<Found> {
    let before = |age: Option<Duration>| {
        let age = chrono::TimeDelta::from_std(age?).ok()?;
        now.checked_sub_signed(age)
    };
    let mut more = false;
    let mut removed = |kind: &'static str, count: u64| {
        if count > 0 {
            metrics::counter!("attune_expired_total", "kind" => kind).increment(count);
        }
        more |= count >= BATCH.unsigned_abs();
    };
    // What is told of goes before what tells of it.
    if let Some(before) = before(retention.executions) {
        removed("execution", ExecutionRepository::expire(&pool, before, BATCH).await?);
    }
    if let Some(before) = before(retention.enforcements) {
        removed("enforcement", EnforcementRepository::expire(&pool, before, BATCH).await?);
    }
    if let Some(before) = before(retention.events) {
        removed("event", EventRepository::expire(&pool, before, BATCH).await?);
        removed("event_batch", EventRepository::expire_batches(&pool, before, BATCH).await?);
    }
    if let Some(before) = before(retention.changes) {
        removed("change", ChangeRepository::expire(&pool, before, BATCH).await?);
    }
    if let Some(before) = before(retention.audit) {
        removed("audit", AuditRepository::expire(&pool, before, BATCH).await?);
    }
    if let Some(before) = before(retention.work_items) {
        removed("work_item", WorkItemRepository::expire_ended(&pool, before, BATCH).await?);
    }
    if let Some(before) = before(retention.notifications) {
        removed("notification", NotificationRepository::remove_delivered(&pool, before, BATCH).await?);
    }
    // How long versions are kept is said by their artifacts.
    let versions = ArtifactRepository::expire_versions(&pool, VERSIONS).await?;
    removed("artifact_version", versions);
    let month_ago = now.checked_sub_signed(chrono::TimeDelta::days(30));
    if let Some(before) = month_ago {
        removed("artifact", ArtifactRepository::expire_empty(&pool, before, BATCH).await?);
    }
    removed("admission_lane", AdmissionRepository::remove_empty_lanes(&pool, BATCH).await?);
    more |= versions >= VERSIONS.unsigned_abs();
    Ok(if more { Found::More } else { Found::Nothing })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> std::result::Result<Retention, String> {
        Retention::from_environment(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn test_ages_are_read_from_the_environment() {
        let retention = read(environment::RETAIN_EVENTS, "90d").unwrap();
        assert_eq!(retention, Retention { events: Some(90 * DAY), ..Retention::default() });
        assert_eq!(read(environment::RETAIN_AUDIT, "forever").unwrap().audit, None);
        assert_eq!(read(environment::RETAIN_CHANGES, "12h").unwrap().changes, Some(DAY / 2));
        assert_eq!(Retention::from_environment(|_| None).unwrap(), Retention::default());
    }

    #[test]
    fn test_what_is_no_age_is_told() {
        for wrong in ["", "30", "d", "+3d", "3.5d", "1w", "40000d", "99999999999999999999d"] {
            let problem = read(environment::RETAIN_EVENTS, wrong).unwrap_err();
            assert!(
                problem.starts_with(&format!("ATTUNE_RETAIN_EVENTS is {wrong:?}: expected an age")),
                "{problem}"
            );
        }
        assert_eq!(
            read(environment::RETAIN_EVENTS, "0d").unwrap_err(),
            "ATTUNE_RETAIN_EVENTS is \"0d\": nothing would be kept; the least is `1h`"
        );
    }
}
