//! Where something stands in a pack's files, for findings that only an installation can make: the definition itself no
//! longer knows the places of everything in it.

use attune_pack::{Finding, Located, PackFiles};

/// A place in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    file: String,
    line: u32,
    column: u32,
}

impl Position {
    /// The manifest as a whole.
    fn manifest() -> Self {
        Self { file: "pack.yaml".to_owned(), line: 1, column: 1 }
    }

    /// The place of a value that was read with it.
    pub(super) fn of(located: &Located<String>) -> Self {
        Self { file: located.file.clone(), line: located.line, column: located.column }
    }

    /// The place of a key of the manifest.
    pub(super) fn in_manifest(files: &PackFiles, key: &str) -> Self {
        Self::manifest().descend(files, &[key])
    }

    /// The place where a component gives itself its ref; `directory` is that of its kind.
    pub(super) fn of_component(files: &PackFiles, directory: &str, component: &str) -> Self {
        let prefix = format!("{directory}/");
        let candidates = files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        for (path, file) in candidates {
            let Ok(text) = std::str::from_utf8(&file.content) else { continue };
            for (index, line) in text.lines().enumerate() {
                let Some(value) = line.strip_prefix("ref:") else { continue };
                let value = value.split(" #").next().unwrap_or_default().trim();
                if value.trim_matches(['"', '\'']) == component {
                    return Self { file: path.clone(), line: number(index), column: 1 };
                }
            }
        }
        Self::manifest()
    }

    /// The place of a key within the keys before it, as far as these are found in block style; else this place.
    pub(super) fn descend(self, files: &PackFiles, keys: &[&str]) -> Self {
        let text = files.get(&self.file).and_then(|file| std::str::from_utf8(&file.content).ok());
        match text.and_then(|text| find(text, keys)) {
            Some((line, column)) => Self { line, column, ..self },
            None => self,
        }
    }

    /// A finding about what stands here.
    pub(super) fn finding(self, pointer: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            file: self.file,
            line: self.line,
            column: self.column,
            pointer: pointer.into(),
            message: message.into(),
            expected: None,
            suggestion: None,
        }
    }
}

/// Line and column of the deepest of the nested keys that is found.
fn find(text: &str, keys: &[&str]) -> Option<(u32, u32)> {
    let lines: Vec<(usize, usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index, line.len() - line.trim_start().len(), line.trim_start()))
        .filter(|(_, _, content)| !content.is_empty() && !content.starts_with('#') && *content != "---")
        .collect();
    let mut block: &[(usize, usize, &str)] = &lines;
    let mut found = None;
    for key in keys {
        let Some(indent) = block.first().map(|(_, indent, _)| *indent) else { break };
        let is_key = |content: &str| {
            let quoted = [format!("{key}:"), format!("\"{key}\":"), format!("'{key}':")];
            quoted.iter().any(|form| content.starts_with(form.as_str()))
        };
        let Some(at) = block.iter().position(|(_, i, content)| *i == indent && is_key(content)) else {
            break;
        };
        found = Some((number(block[at].0), number(indent)));
        let inside = &block[at + 1..];
        let end = inside.iter().position(|(_, i, _)| *i <= indent).unwrap_or(inside.len());
        block = &inside[..end];
    }
    found
}

/// An index from 0 as a number from 1.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attune_pack::PackFile;

    const RULE: &str = "\
# A comment.
ref: ops.page   # the ref
action: other.page
trigger_params:
  text: no
action_params:
  options:
    text: deep

  text: here
";

    fn files() -> PackFiles {
        let file = PackFile { content: RULE.as_bytes().to_vec(), executable: false };
        PackFiles::from([("rules/page.yaml".to_owned(), file)])
    }

    #[test]
    fn test_nested_keys_are_found_where_they_stand() {
        assert_eq!(find(RULE, &["action_params", "text"]), Some((10, 3)));
        assert_eq!(find(RULE, &["action_params", "options", "text"]), Some((8, 5)));
        assert_eq!(find(RULE, &["trigger_params", "text"]), Some((5, 3)));
        assert_eq!(find(RULE, &["action_params", "other"]), Some((6, 1)));
        assert_eq!(find(RULE, &["other"]), None);
        assert_eq!(find("action_params: {text: 1}\n", &["action_params", "text"]), Some((1, 1)));
    }

    #[test]
    fn test_a_component_is_found_by_its_ref() {
        let place = Position::of_component(&files(), "rules", "ops.page");
        assert_eq!(place, Position { file: "rules/page.yaml".into(), line: 2, column: 1 });
        assert_eq!(Position::of_component(&files(), "rules", "ops.other"), Position::manifest());
    }
}
