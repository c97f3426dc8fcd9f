//! `docs/packs.md` names every kind of file, and in its table every key of each.

use attune_pack::FileKind;

const PAGE: &str = include_str!("../../../../docs/packs.md");

/// The texts between backticks that are names of keys, each with whether a star says that it is required.
fn keys_of(row: &str) -> Vec<(&str, bool)> {
    let parts: Vec<&str> = row.split('`').collect();
    let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let quoted = (1..parts.len().saturating_sub(1)).step_by(2);
    quoted.filter(|at| is_name(parts[*at])).map(|at| (parts[at], parts[at + 1].starts_with('*'))).collect()
}

/// The kinds of files whose keys are the same in every pack.
fn kinds() -> impl Iterator<Item = (FileKind, String)> {
    FileKind::ALL.iter().filter_map(|kind| match kind {
        FileKind::Pack => Some((*kind, "`pack.yaml`".to_owned())),
        FileKind::Config => None,
        kind => Some((*kind, kind.directory()?.to_owned())),
    })
}

#[test]
fn test_the_table_has_the_keys_of_every_kind() {
    for (kind, name) in kinds() {
        let start = format!("| {name} | ");
        let mut rows = PAGE.lines().filter_map(|line| line.strip_prefix(&start));
        let row = rows.next().unwrap_or_else(|| panic!("docs/packs.md has no row for {name}"));
        // What stands in parentheses is about the key before.
        let mut depth = 0;
        let row: String = row
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '(');
                let is_outside = depth == 0;
                depth -= i32::from(*c == ')');
                is_outside
            })
            .collect();
        let mut told = keys_of(&row);
        told.sort_unstable();
        let schema = kind.schema();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(|key| key.as_str()).collect();
        let mut keys: Vec<(&str, bool)> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(|key| (key.as_str(), required.contains(&key.as_str())))
            .collect();
        keys.sort_unstable();
        assert_eq!(told, keys, "{name}");
    }
}

#[test]
fn test_the_layout_has_every_directory() {
    for directory in FileKind::ALL.iter().filter_map(|kind| kind.directory()) {
        assert!(
            PAGE.contains(&format!("\n  {directory}/*.yaml ")),
            "docs/packs.md does not lay out {directory}/"
        );
    }
}
