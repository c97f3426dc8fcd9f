//! Refs: `pack` and `pack.name`.

/// What a pack ref looks like, for messages.
pub(crate) const PACK_FORM: &str =
    "two or more of lower-case letters, digits, `_` and `-`, the first a letter, such as `my_pack`";
/// What a component ref looks like, for messages.
pub(crate) const COMPONENT_FORM: &str = "`pack.name` in lower-case letters, digits, `_` and `-`";

/// What [`is_pack`] accepts, for JSON Schemas.
pub(crate) const PACK_PATTERN: &str = "^[a-z][a-z0-9_-]+$";
/// What [`split`] accepts, for JSON Schemas.
pub(crate) const COMPONENT_PATTERN: &str = r"^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$";

/// Whether a text is the ref of a pack.
pub(crate) fn is_pack(text: &str) -> bool {
    text.len() >= 2 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_word)
}

/// Splits the ref of a component into the ref of its pack and its name.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    let (pack, name) = text.split_once('.')?;
    let is_name = !name.is_empty() && name.chars().all(|c| is_word(c) || c == '.');
    (is_pack(pack) && is_name).then_some((pack, name))
}

/// The text with what refs cannot hold replaced: blanks by `_`, capitals by small letters, everything else left out.
pub(crate) fn tidy(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let spaced = lower.replace(|c: char| c.is_whitespace() || c == '/', "_");
    spaced.chars().filter(|c| is_word(*c) || *c == '.').collect()
}

fn is_word(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '_' | '-')
}
