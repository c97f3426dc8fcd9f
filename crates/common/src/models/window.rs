//! What windows of rules remember, and what they made of events.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Timestamp;

/// Bytes that a key may have in the schema.
const KEY_LIMIT: usize = 256;

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::FromRow)]
pub struct WindowKey {
    pub rule: i64,
    pub key: String,
}

/// The state of a window for one key.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WindowState {
    pub rule: i64,
    pub key: String,
    /// The fingerprint of the window that it is a state of.
    pub definition: String,
    pub state: Value,
    /// When the timers pass is to look at it.
    pub wake: Timestamp,
}

/// What a window made of an event that did not fire at once.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WindowOutcome {
    pub event: i64,
    pub rule: i64,
    pub key: String,
    pub outcome: Value,
}

/// The same with the name of the rule.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WindowOutcomeOfRule {
    pub rule_ref: String,
    #[sqlx(flatten)]
    pub outcome: WindowOutcome,
}

/// The events that contributed to the decision of a rule about one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContributingEvents {
    pub rule: i64,
    /// The event that the decision is about.
    pub event: i64,
    /// All that contributed, that one too.
    pub contributing: Vec<i64>,
}

impl WindowKey {
    /// The key of an event as it is stored: a long one keeps its beginning and ends in its hash.
    pub fn new(rule: i64, key: &str) -> Self {
        // PostgreSQL has no U+0000 in text.
        let mut key = key.replace('\0', "\u{fffd}");
        if key.len() > KEY_LIMIT {
            let hash = hex::encode(Sha256::digest(key.as_bytes()));
            key.truncate(key.floor_char_boundary(KEY_LIMIT - hash.len() - 1));
            key.push('#');
            key.push_str(&hash);
        }
        Self { rule, key }
    }
}

/// Tells one definition of a window from another.
pub fn fingerprint(definition: &Value) -> String {
    let digest = Sha256::digest(definition.to_string().as_bytes());
    hex::encode(&digest[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{KEY_LIMIT, WindowKey, fingerprint};

    #[test]
    fn test_long_keys_are_shortened_and_stay_apart() {
        assert_eq!(WindowKey::new(1, "web-01").key, "web-01");
        assert_eq!(WindowKey::new(1, "a\0b").key, "a\u{fffd}b");
        let exact = "k".repeat(KEY_LIMIT);
        assert_eq!(WindowKey::new(1, &exact).key, exact);
        let (one, other) = ("\u{1f600}".repeat(200) + "a", "\u{1f600}".repeat(200) + "b");
        let (one, other) = (WindowKey::new(1, &one), WindowKey::new(1, &other));
        assert_ne!(one, other);
        assert!(one.key.len() <= KEY_LIMIT && one.key.starts_with("\u{1f600}\u{1f600}"), "{}", one.key);
    }

    #[test]
    fn test_fingerprints_tell_definitions_apart() {
        assert_eq!(fingerprint(&json!({"a": 1, "b": 2})), fingerprint(&json!({"b": 2, "a": 1})));
        assert_ne!(fingerprint(&json!({"throttle": "15m"})), fingerprint(&json!({"throttle": "16m"})));
    }
}
