//! Where something stands in a pack's files, for findings that only an installation can make: the definition itself no
//! longer knows the places of everything in it.

use attune_pack::{Fault, Finding, PackFiles, finding_at};

/// The manifest, for what is about the pack as a whole.
const MANIFEST: &str = "pack.yaml";

/// A finding about a value in a file of the pack.
pub(super) fn finding_in(files: &PackFiles, path: &str, fault: Fault) -> Finding {
    let content = files.get(path).map(|file| file.content.as_slice()).unwrap_or_default();
    finding_at(path, content, fault)
}

/// A finding about a value of the manifest.
pub(super) fn finding_in_manifest(files: &PackFiles, pointer: &str, message: impl Into<String>) -> Finding {
    let fault = Fault { pointer: pointer.to_owned(), message: message.into(), suggestion: None };
    finding_in(files, MANIFEST, fault)
}

/// A finding about the ref that a component gives itself; `directory` is that of its kind.
pub(super) fn finding_in_component(
    files: &PackFiles,
    directory: &str,
    component: &str,
    message: impl Into<String>,
) -> Finding {
    let message = message.into();
    let prefix = format!("{directory}/");
    let candidates = files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    for (path, file) in candidates {
        let Ok(text) = std::str::from_utf8(&file.content) else { continue };
        for line in text.lines() {
            let Some(value) = line.strip_prefix("ref:") else { continue };
            let value = value.split(" #").next().unwrap_or_default().trim();
            if value.trim_matches(['"', '\'']) == component {
                let fault = Fault { pointer: "/ref".to_owned(), message, suggestion: None };
                return finding_in(files, path, fault);
            }
        }
    }
    finding_in_manifest(files, "/ref", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attune_pack::PackFile;

    fn files() -> PackFiles {
        let file = |text: &str| PackFile { content: text.as_bytes().to_vec(), executable: false };
        let rule = "# A comment.\nref: ops.page   # the ref\naction_params: {text: here}\n";
        PackFiles::from([
            ("pack.yaml".to_owned(), file("ref: ops\nversion: 1.0.0\n")),
            ("rules/page.yaml".to_owned(), file(rule)),
        ])
    }

    #[test]
    fn test_findings_stand_where_their_values_do() {
        let fault = |pointer: &str| Fault {
            pointer: pointer.to_owned(),
            message: "wrong".to_owned(),
            ..Fault::default()
        };
        let shown = finding_in(&files(), "rules/page.yaml", fault("/action_params/text"));
        assert_eq!(shown.to_string(), "rules/page.yaml:3:23: wrong");
        assert_eq!(finding_in(&files(), "none.yaml", fault("/a")).to_string(), "none.yaml:1:1: wrong");
        let shown = finding_in_manifest(&files(), "/version", "too old");
        assert_eq!(shown.to_string(), "pack.yaml:2:10: too old");
    }

    #[test]
    fn test_a_component_is_found_by_its_ref() {
        let shown = |name: &str| finding_in_component(&files(), "rules", name, "taken").to_string();
        assert_eq!(shown("ops.page"), "rules/page.yaml:2:6: taken");
        assert_eq!(shown("ops.other"), "pack.yaml:1:6: taken");
    }
}
