//! The keys of an index of packs.

use serde_json::{Value, json};

use super::parts::{pack_ref, semantic_version, text, texts};
use super::{Shape, key, required};

pub(super) fn shape() -> Shape {
    let packs = json!({
        "type": "object",
        "propertyNames": pack_ref(),
        "additionalProperties": pack(),
    });
    let keys = vec![required("packs", "The packs by their refs.", packs)];
    Shape {
        about: "An index of packs: which there are, in which versions, and where each is to be had.",
        keys,
    }
}

fn pack() -> Value {
    let versions = json!({"type": "array", "items": version()});
    let keys = vec![
        key("description", "What it is for.", text()),
        key("tags", "Words to find it by.", texts()),
        key("homepage", "Where to read more.", text()),
        required("versions", "Its versions, in any order.", versions),
    ];
    Shape { about: "A pack.", keys }.into_schema()
}

fn version() -> Value {
    let digits = |lengths: &str| json!({"type": "string", "pattern": format!("^({lengths})$")});
    let ranges = json!({
        "type": "object",
        "propertyNames": pack_ref(),
        "additionalProperties": text(),
    });
    let keys = vec![
        required("version", "The semantic version.", semantic_version()),
        required(
            "source",
            "Path or URL of an archive, relative to the index where it is not absolute; or the URL of a git repository \
             with `git+` before it.",
            text(),
        ),
        key("sha256", "SHA-256 of the archive; only for archives.", digits("[0-9a-f]{64}")),
        key("commit", "The whole commit; only for git.", digits("[0-9a-f]{40}|[0-9a-f]{64}")),
        key("subdirectory", "Where in the repository the pack is; only for git.", text()),
        key("dependencies", "The packs that it needs, each with a range of versions.", ranges),
    ];
    let mut version =
        Shape { about: "A version, and where it is to be had: an archive or a commit.", keys }.object();
    let without =
        |keys: &[&str]| -> Vec<Value> { keys.iter().map(|key| json!({"required": [key]})).collect() };
    version.insert("if".to_owned(), json!({"properties": {"source": {"pattern": r"^git\+"}}}));
    version.insert("then".to_owned(), json!({"required": ["commit"], "not": {"required": ["sha256"]}}));
    version.insert(
        "else".to_owned(),
        json!({"required": ["sha256"], "not": {"anyOf": without(&["commit", "subdirectory"])}}),
    );
    Value::Object(version)
}
