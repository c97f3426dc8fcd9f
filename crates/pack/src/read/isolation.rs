//! `image`, `limits`, `sandbox`, `warm` and `timeout_parameter` of an action.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::{Value, json};

use crate::form::{FileForm, Readable};
use crate::isolation::{FilesystemAccess, Isolation, Limits, NetworkAccess, Sandbox};
use crate::reader::{Item, MappingReader, shortened};
use crate::value::{Period, Text};

form! {
    /// How the process of an action is kept apart.
    pub(super) struct IsolationForm<'f> of MappingReader<'f> {
        /// The container image that its process runs in.
        optional image: Image,
        /// What a run may use at most.
        optional limits: Limits,
        /// What a run is kept apart from.
        optional sandbox: Sandbox,
        /// Whether a run may be forked from an interpreter that has started; yes unless said.
        optional warm: bool,
        /// The parameter that says in how many seconds a run has to end, within `timeout`.
        optional timeout_parameter: Text,
    }
}

form! {
    /// What a run may use at most.
    struct LimitsForm<'f> of MappingReader<'f> {
        /// Memory of each of its processes.
        optional memory: Size,
        /// Time of a processor for each of its processes.
        optional cpu_time: Period,
        /// Processes and threads of the account at once.
        optional processes: Count,
        /// Files that each of its processes has open at once.
        optional open_files: Count,
        /// The largest file that it writes.
        optional file_size: Size,
    }
}

form! {
    /// What a run is kept apart from: `filesystem`, `network` or both.
    struct SandboxForm<'f> of MappingReader<'f> {
        /// Which files it sees.
        optional filesystem: FilesystemAccess,
        /// Whether it reaches others.
        optional network: NetworkAccess,
        /// Absolute paths that it may read all the same.
        optional read: Vec<AbsolutePath>,
        /// Absolute paths that it may write all the same.
        optional write: Vec<AbsolutePath>,
    }
}

impl IsolationForm<'_> {
    /// What the action with these parameters says of it.
    pub(super) fn read(&self, parameters: &Value) -> Isolation {
        let image = self.image.read();
        let limits = self.limits.read().unwrap_or_default();
        let sandbox = self.sandbox.read();
        let warm = self.warm.read().filter(|warm| !warm);
        if image.is_some() || sandbox.is_some() || limits.memory.is_some() {
            let why = "with `image`, `sandbox` or `limits: {memory: ..}`, where an interpreter is started for each run anyway";
            self.warm.without_effect(why);
        }
        let timeout_parameter =
            self.timeout_parameter.item().and_then(|item| number_of_seconds(item, parameters));
        Isolation { image, limits, sandbox, warm, timeout_parameter }
    }

    /// Reports all of it as useless.
    pub(super) fn without_effect(&self, why: &str) {
        self.image.without_effect(why);
        self.limits.without_effect(why);
        self.sandbox.without_effect(why);
        self.warm.without_effect(why);
        self.timeout_parameter.without_effect(why);
    }
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

impl Described for Limits {
    fn schema() -> Value {
        LimitsForm::shape().schema()
    }
}

impl Readable for Limits {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = LimitsForm::of(item)?;
        Some(Self {
            memory: form.memory.read(),
            cpu_time: form.cpu_time.read().map(|time| time.as_secs()),
            processes: form.processes.read(),
            open_files: form.open_files.read(),
            file_size: form.file_size.read(),
        })
    }
}

impl Described for Sandbox {
    fn schema() -> Value {
        SandboxForm::shape().schema()
    }
}

impl Readable for Sandbox {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = SandboxForm::of(item)?;
        let (filesystem, network) = (form.filesystem.read(), form.network.read());
        let (read, write) = (form.read.read().unwrap_or_default(), form.write.read().unwrap_or_default());
        let filesystem = filesystem.unwrap_or_default();
        match filesystem {
            FilesystemAccess::Open => {
                let why = "without `filesystem: read_only` or `filesystem: private`";
                form.read.without_effect(why);
                form.write.without_effect(why);
            }
            FilesystemAccess::ReadOnly => {
                form.read.without_effect("with `filesystem: read_only`, where all may be read");
            }
            FilesystemAccess::Private => {}
        }
        let network = network.unwrap_or_default();
        if (filesystem, network) == (FilesystemAccess::Open, NetworkAccess::Open) {
            item.add(item.finding("`sandbox` asks for nothing").expected("`filesystem`, `network` or both"));
        }
        Some(Self { filesystem, read, write, network })
    }
}

/// The name of a container image.
#[derive(Debug)]
pub(super) struct Image;

impl Described for Image {
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z._/:@-]*$"})
    }
}

impl Readable for Image {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
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
}

/// A path on the worker.
#[derive(Debug)]
struct AbsolutePath;

impl Described for AbsolutePath {
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^/"})
    }
}

impl Readable for AbsolutePath {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
        let given = item.text()?;
        if given.starts_with('/') && !given.split('/').any(|part| part == "..") {
            return Some(given.to_owned());
        }
        let finding = item.finding(format!("`{}` is not an absolute path", shortened(given)));
        item.add(finding.expected("a path on the worker such as `/srv/data`, without `..`"));
        None
    }
}

/// A number of bytes.
#[derive(Debug)]
struct Size;

impl Described for Size {
    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": "^0*[1-9][0-9]*\\s*([KMG]iB|[kKMG]B)?\\s*$",
            "examples": ["64KiB", "512MiB", "4GiB"],
        })
    }
}

impl Readable for Size {
    type Value = u64;

    fn read(item: &Item<'_>) -> Option<u64> {
        let size = match item.number_or_text() {
            Some(Ok(number)) => number.as_u64(),
            Some(Err(text)) => parse_size(text),
            None => None,
        };
        positive(item, size, "bytes as a whole number, or `64KiB`, `512MiB`, `4GiB`")
    }
}

/// A number of processes or files.
#[derive(Debug)]
struct Count;

impl Described for Count {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 1})
    }
}

impl Readable for Count {
    type Value = u64;

    fn read(item: &Item<'_>) -> Option<u64> {
        let count = item.number_or_text().and_then(Result::ok).and_then(|number| number.as_u64());
        positive(item, count, "a whole number of at least 1")
    }
}

fn positive(item: &Item<'_>, number: Option<u64>, expected: &str) -> Option<u64> {
    // What the kernel takes for no limit is none.
    let usable = number.filter(|number| (1..=i64::MAX as u64).contains(number));
    if usable.is_none() {
        let finding = item.finding(format!("`{}` `{}` is no limit", item.name(), shortened(&item.shown())));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check;

    #[test]
    fn test_patterns_say_what_is_read() {
        check::<Size>("0?[0-9]{0,3} ?[ KMGkT]?i?B? ?");
        check::<Image>("[a0._/:@ -]{0,4}");
    }
}
