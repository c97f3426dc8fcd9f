//! The form of refs, as the schema checks it too.

/// Whether it is the ref of something in a pack: `^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$`.
pub(crate) fn is_component_ref(text: &str) -> bool {
    let Some((pack, name)) = text.split_once('.') else { return false };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    pack.len() >= 2
        && pack.starts_with(|c: char| c.is_ascii_lowercase())
        && pack.bytes().all(plain)
        && !name.is_empty()
        && name.bytes().all(|b| plain(b) || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_component_refs() {
        for good in ["core.echo", "my-pack.a.b", "p2.x-1_y"] {
            assert!(is_component_ref(good), "{good}");
        }
        for bad in
            ["", "core", "core.", ".echo", "c.echo", "Core.echo", "core.Echo", "2p.x", "core.a b", "core.ä"]
        {
            assert!(!is_component_ref(bad), "{bad}");
        }
    }
}
