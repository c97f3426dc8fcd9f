//! `image`, `limits`, `sandbox`, `warm` and `timeout_parameter` of an action.

use serde_json::Value;

use crate::isolation::{FilesystemAccess, Isolation, Limits, NetworkAccess, Sandbox};
use crate::reader::{Item, MappingReader, shortened};

use super::action::duration_of;

const SIZE_FORM: &str = "bytes as a whole number, or `64KiB`, `512MiB`, `4GiB`";

/// What the action with these parameters says of it.
pub(super) fn read(mapping: &MappingReader<'_>, parameters: &Value) -> Isolation {
    let image = mapping.optional("image").and_then(|item| image(&item));
    let limits = mapping.optional("limits").and_then(|item| item.mapping()).map(limits).unwrap_or_default();
    let sandbox = mapping.optional("sandbox").and_then(|item| item.mapping()).map(sandbox);
    let warm = mapping.optional("warm").and_then(|item| item.bool()).filter(|warm| !warm);
    if image.is_some() || sandbox.is_some() || limits.memory.is_some() {
        let why = "with `image`, `sandbox` or `limits: {memory: ..}`, where an interpreter is started for each run anyway";
        mapping.without_effect("warm", why);
    }
    let timeout_parameter =
        mapping.optional("timeout_parameter").and_then(|item| number_of_seconds(&item, parameters));
    Isolation { image, limits, sandbox, warm, timeout_parameter }
}

/// The name of a parameter that is a number and nothing else.
fn number_of_seconds(item: &Item<'_>, parameters: &Value) -> Option<String> {
    let given = item.text()?;
    let known = parameters.get("properties").and_then(Value::as_object);
    let kind = known.and_then(|known| known.get(given)?.get("type")).and_then(Value::as_str);
    if matches!(kind, Some("number" | "integer")) {
        return Some(given.to_owned());
    }
    let finding = item.finding(format!("`timeout_parameter` `{}` does not name a number", shortened(given)));
    item.add(
        finding.expected(
            "one of `parameters` with `type: number` or `type: integer`, which is taken for seconds",
        ),
    );
    None
}

fn image(item: &Item<'_>) -> Option<String> {
    let given = item.text()?;
    // A name that begins with a dash would be an option of the container engine.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    if given.starts_with(|c: char| c.is_ascii_alphanumeric()) && given.chars().all(plain) {
        return Some(given.to_owned());
    }
    let finding = item.finding(format!("`image` `{}` is not the name of an image", shortened(given)));
    item.add(finding.expected("a name such as `docker.io/library/python:3.12-slim`"));
    None
}

fn limits(mapping: MappingReader<'_>) -> Limits {
    let limits = Limits {
        memory: mapping.optional("memory").and_then(|item| size(&item)),
        cpu_time: mapping.optional("cpu_time").and_then(|item| duration_of(&item)).map(|time| time.as_secs()),
        processes: mapping.optional("processes").and_then(|item| count(&item)),
        open_files: mapping.optional("open_files").and_then(|item| count(&item)),
        file_size: mapping.optional("file_size").and_then(|item| size(&item)),
    };
    mapping.close();
    limits
}

fn sandbox(mapping: MappingReader<'_>) -> Sandbox {
    let filesystem = mapping
        .optional("filesystem")
        .and_then(|item| item.choice(FilesystemAccess::ALL, FilesystemAccess::as_str));
    let network =
        mapping.optional("network").and_then(|item| item.choice(NetworkAccess::ALL, NetworkAccess::as_str));
    let (read, write) = (paths(&mapping, "read"), paths(&mapping, "write"));
    let filesystem = filesystem.unwrap_or_default();
    match filesystem {
        FilesystemAccess::Open => {
            for key in ["read", "write"] {
                mapping.without_effect(key, "without `filesystem: read_only` or `filesystem: private`");
            }
        }
        FilesystemAccess::ReadOnly => {
            mapping.without_effect("read", "with `filesystem: read_only`, where all may be read");
        }
        FilesystemAccess::Private => {}
    }
    let network = network.unwrap_or_default();
    if (filesystem, network) == (FilesystemAccess::Open, NetworkAccess::Open) {
        let item = mapping.item();
        item.add(item.finding("`sandbox` asks for nothing").expected("`filesystem`, `network` or both"));
    }
    mapping.close();
    Sandbox { filesystem, read, write, network }
}

fn paths(mapping: &MappingReader<'_>, key: &'static str) -> Vec<String> {
    let items = mapping.optional(key).and_then(|item| item.list()).unwrap_or_default();
    let path = |item: &Item<'_>| {
        let given = item.text()?;
        if given.starts_with('/') && !given.split('/').any(|part| part == "..") {
            return Some(given.to_owned());
        }
        let finding = item.finding(format!("`{}` is not an absolute path", shortened(given)));
        item.add(finding.expected("a path on the worker such as `/srv/data`, without `..`"));
        None
    };
    items.iter().filter_map(path).collect()
}

/// A number of bytes.
fn size(item: &Item<'_>) -> Option<u64> {
    let size = match item.number_or_text() {
        Some(Ok(number)) => number.as_u64(),
        Some(Err(text)) => parse_size(text),
        None => None,
    };
    positive(item, size, SIZE_FORM)
}

fn count(item: &Item<'_>) -> Option<u64> {
    let count = item.number_or_text().and_then(Result::ok).and_then(|number| number.as_u64());
    positive(item, count, "a whole number of at least 1")
}

fn positive(item: &Item<'_>, number: Option<u64>, expected: &str) -> Option<u64> {
    // What the kernel takes for no limit is none.
    let usable = number.filter(|number| (1..=i64::MAX as u64).contains(number));
    if usable.is_none() {
        let given = match item.json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let finding = item.finding(format!("`{}` `{}` is no limit", item.name(), shortened(&given)));
        item.add(finding.expected(expected));
    }
    usable
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
