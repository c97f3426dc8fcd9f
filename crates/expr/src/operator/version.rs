//! Semantic versions as they appear in the wild.

use semver::Version;

/// Reads a version: a leading `v`, missing parts (`1.2`) and leading zeros (`22.04`) are forgiven, because tags and
/// distributions write them; a fourth part is not, because semantic versions have no order for it.
pub(crate) fn parse_version(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let core_length = text.find(['-', '+']).unwrap_or(text.len());
    let (core, suffix) = text.split_at(core_length);
    let mut parts = [0_u64; 3];
    for (count, part) in core.split('.').enumerate() {
        if count == parts.len() || part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        parts[count] = part.parse().ok()?;
    }
    let [major, minor, patch] = parts;
    Version::parse(&format!("{major}.{minor}.{patch}{suffix}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_parse_version_forgives_habits_only() {
        let shown = |text: &str| parse_version(text).map(|version| version.to_string());
        assert_eq!(shown("1.2.3").as_deref(), Some("1.2.3"));
        assert_eq!(shown("v1.2").as_deref(), Some("1.2.0"));
        assert_eq!(shown("22.04").as_deref(), Some("22.4.0"));
        assert_eq!(shown("7").as_deref(), Some("7.0.0"));
        assert_eq!(shown("1.0-rc.1+build").as_deref(), Some("1.0.0-rc.1+build"));
        for text in ["", "v", "1.2.3.4", "1..2", "one", "1.x", "-1", "1.0-", "99999999999999999999"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
