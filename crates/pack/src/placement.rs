//! How the labels and taints of workers are spelled.

/// What [`is_label`] accepts, in words.
pub const LABEL_FORM: &str =
    "up to 63 letters, digits, `-`, `_`, `.` and `/`, the first and the last a letter or digit";

/// The same for JSON Schemas.
pub(crate) const LABEL_PATTERN: &str = "^[0-9A-Za-z]([0-9A-Za-z_./-]{0,61}[0-9A-Za-z])?$";

/// Whether this can be the name or the value of a label, or a taint.
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= 63
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_labels() {
        for good in ["a", "0", "zone", "k8s.io/zone-1", "x_y", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a=b", "ä", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
