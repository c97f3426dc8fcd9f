//! Takes typed values from a tree of nodes and says what does not fit.
//!
//! A [`MappingReader`] remembers which keys it was asked for; [`MappingReader::close`] reports every other one. So the
//! list of known keys is the code that reads them, and cannot fall behind it.

use std::cell::RefCell;

use attune_expr::suggest::nearest;
use serde_json::{Map, Number, Value};

use crate::finding::{Finding, Located};
use crate::reference;
use crate::yaml::{Content, Entry, Node, Position, to_map};

/// What a mapping looks like, for messages.
const MAPPING: &str = "a mapping of `key: value`";

/// A file and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct FileReport<'f> {
    path: &'f str,
    findings: RefCell<Vec<Finding>>,
}

/// A node of a file with its JSON pointer.
#[derive(Debug, Clone)]
pub(crate) struct Item<'f> {
    report: &'f FileReport<'f>,
    node: &'f Node,
    position: Position,
    pointer: String,
}

/// A mapping whose keys are taken one by one.
#[derive(Debug)]
pub(crate) struct MappingReader<'f> {
    item: Item<'f>,
    entries: &'f [Entry],
    known: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<&'static str>>,
}

impl<'f> FileReport<'f> {
    pub(crate) fn new(path: &'f str) -> Self {
        Self { path, findings: RefCell::new(Vec::new()) }
    }

    /// A finding in this file, to be completed and given to [`Self::add`].
    pub(crate) fn finding(&self, position: Position, pointer: &str, message: impl Into<String>) -> Finding {
        Finding {
            file: self.path.to_owned(),
            line: position.line,
            column: position.column,
            end: position.end,
            pointer: pointer.to_owned(),
            message: message.into(),
            expected: None,
            suggestion: None,
        }
    }

    pub(crate) fn add(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding.printable());
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }
}

impl<'f> Item<'f> {
    /// The whole file.
    pub(crate) fn root(report: &'f FileReport<'f>, node: &'f Node) -> Self {
        Self { report, node, position: node.position, pointer: String::new() }
    }

    /// A finding about this item, to be completed and given to [`Self::add`].
    pub(crate) fn finding(&self, message: impl Into<String>) -> Finding {
        self.report.finding(self.position, &self.pointer, message)
    }

    pub(crate) fn add(&self, finding: Finding) {
        self.report.add(finding);
    }

    /// A value together with the place of this item.
    pub(crate) fn located<T>(&self, value: T) -> Located<T> {
        let Position { line, column, end } = self.position;
        Located { value, file: self.report.path.to_owned(), line, column, end }
    }

    /// Where the item stands in the file.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn json(&self) -> Value {
        self.node.to_json()
    }

    /// The item as people would name it: `grants[0].resource`.
    pub(crate) fn name(&self) -> String {
        let mut name = String::new();
        for step in self.pointer.split('/').skip(1) {
            match step.parse::<usize>() {
                Ok(position) => name.push_str(&format!("[{position}]")),
                Err(_) => {
                    let separator = if name.is_empty() { "" } else { "." };
                    name.push_str(separator);
                    name.push_str(&unescape(step));
                }
            }
        }
        name
    }

    /// Text that says something.
    pub(crate) fn text(&self) -> Option<&'f str> {
        match &self.node.content {
            Content::Text(text) if text.trim().is_empty() => {
                self.add(self.finding(format!("{} is empty", self.subject())).expected("text"));
                None
            }
            Content::Text(text) => Some(text),
            other => {
                let quoted = match other {
                    Content::Bool(_) | Content::Number(_) => Some(format!("\"{}\"", self.json())),
                    _ => None,
                };
                self.wrong_type("text", quoted);
                None
            }
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match &self.node.content {
            Content::Bool(truth) => Some(*truth),
            Content::Text(text) => {
                let meant = match text.to_lowercase().as_str() {
                    "yes" | "on" | "true" | "y" => Some("true"),
                    "no" | "off" | "false" | "n" => Some("false"),
                    _ => None,
                };
                self.wrong_type("true or false", meant);
                None
            }
            _ => {
                self.wrong_type("true or false", None::<String>);
                None
            }
        }
    }

    /// A number, or the text that stands where a number might.
    pub(crate) fn number_or_text(&self) -> Option<Result<&'f Number, &'f str>> {
        match &self.node.content {
            Content::Number(number) => Some(Ok(number)),
            Content::Text(text) => Some(Err(text)),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<Vec<Item<'f>>> {
        match &self.node.content {
            Content::List(nodes) => {
                let item =
                    |(index, node): (usize, &'f Node)| self.child(&index.to_string(), node, node.position);
                Some(nodes.iter().enumerate().map(item).collect())
            }
            other => {
                let listed = matches!(other, Content::Text(_)).then(|| format!("[{}]", self.json()));
                self.wrong_type("a list", listed);
                None
            }
        }
    }

    /// A list of text.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let items = self.list()?;
        let count = items.len();
        let texts: Vec<String> = items.iter().filter_map(|item| item.text().map(str::to_owned)).collect();
        (texts.len() == count).then_some(texts)
    }

    pub(crate) fn mapping(&self) -> Option<MappingReader<'f>> {
        let entries = self.entries()?;
        Some(MappingReader {
            item: self.clone(),
            entries,
            known: RefCell::default(),
            missing: RefCell::default(),
        })
    }

    /// A mapping whose keys are the author's own.
    pub(crate) fn object(&self) -> Option<Map<String, Value>> {
        self.entries().map(to_map)
    }

    /// One of a few names.
    pub(crate) fn choice<T: Copy>(&self, values: &[T], name_of: impl Fn(T) -> &'static str) -> Option<T> {
        let given = self.text()?;
        let found = values.iter().copied().find(|value| name_of(*value) == given);
        if found.is_none() {
            let names: Vec<&str> = values.iter().map(|value| name_of(*value)).collect();
            let finding = self.finding(format!("{} is `{}`", self.subject(), shortened(given)));
            self.add(finding.expected(one_of(&names)).suggestion(nearest(given, names.iter().copied())));
        }
        found
    }

    /// The ref of a component of any pack. Where the pack was left out, the first of `known` with that name is suggested.
    pub(crate) fn component_ref<'k>(
        &self,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Option<Located<String>> {
        let given = self.text()?;
        if reference::split(given).is_none() {
            let tidy = reference::tidy(given);
            let meant = known
                .into_iter()
                .find(|known| reference::split(known).is_some_and(|(_, name)| name == tidy))
                .map(str::to_owned)
                .or_else(|| reference::split(&tidy).is_some().then(|| tidy.clone()));
            let finding =
                self.finding(format!("{} `{}` is not a valid ref", self.subject(), shortened(given)));
            self.add(finding.expected(reference::COMPONENT_FORM).suggestion(meant));
            return None;
        }
        Some(self.located(given.to_owned()))
    }

    /// The deepest item on the way of a JSON pointer below this one, for faults that others found in its JSON.
    ///
    /// With `at_key` the place is that of the key, when the last step is the key of a mapping.
    pub(crate) fn descend(&self, pointer: &str, at_key: bool) -> Item<'f> {
        let mut item = self.clone();
        let steps: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
        for (depth, step) in steps.iter().enumerate() {
            let next = match &item.node.content {
                Content::List(nodes) => {
                    step.parse::<usize>().ok().and_then(|at| nodes.get(at)).map(|node| (node, node.position))
                }
                Content::Mapping(entries) => entries.iter().find(|entry| entry.key == *step).map(|entry| {
                    let at_key = at_key && depth + 1 == steps.len();
                    (&entry.node, if at_key { entry.key_position } else { value_position(entry) })
                }),
                _ => None,
            };
            let Some((node, position)) = next else { break };
            item = item.child(step, node, position);
        }
        item
    }

    fn child(&self, step: &str, node: &'f Node, position: Position) -> Item<'f> {
        let pointer = format!("{}/{}", self.pointer, step.replace('~', "~0").replace('/', "~1"));
        Item { report: self.report, node, position, pointer }
    }

    fn entries(&self) -> Option<&'f [Entry]> {
        match &self.node.content {
            Content::Mapping(entries) => Some(entries),
            _ => {
                self.wrong_type(MAPPING, None::<String>);
                None
            }
        }
    }

    fn subject(&self) -> String {
        if self.pointer.is_empty() { "the file".to_owned() } else { format!("`{}`", self.name()) }
    }

    fn wrong_type(&self, expected: &str, suggestion: Option<impl Into<String>>) {
        let found = match &self.node.content {
            Content::Null => "empty".to_owned(),
            Content::Bool(truth) => truth.to_string(),
            Content::Number(number) => format!("the number {number}"),
            // Where a whole mapping is missing, the text may be a secret that was meant for a place inside of it.
            Content::Text(_) if expected == MAPPING => "text".to_owned(),
            Content::Text(text) => format!("the text \"{}\"", shortened(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Mapping(_) => "a mapping".to_owned(),
        };
        let finding = self.finding(format!("{} is {found}", self.subject()));
        self.add(finding.expected(expected).suggestion(suggestion));
    }
}

impl<'f> MappingReader<'f> {
    /// The mapping as a whole, for findings about it.
    pub(crate) fn item(&self) -> &Item<'f> {
        &self.item
    }

    /// The value of a key that may be left out.
    pub(crate) fn optional(&self, key: &'static str) -> Option<Item<'f>> {
        self.take(key, "a value, or the key left out")
    }

    /// The value of a key that must be there; [`Self::close`] reports it when it is not.
    pub(crate) fn required(&self, key: &'static str) -> Option<Item<'f>> {
        if !self.has(key) {
            self.missing.borrow_mut().push(key);
        }
        self.take(key, "a value")
    }

    fn take(&self, key: &'static str, expected: &str) -> Option<Item<'f>> {
        self.known.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let item = self.item.child(key, &entry.node, value_position(entry));
        if matches!(entry.node.content, Content::Null) {
            item.add(item.finding(format!("`{}` has no value", item.name())).expected(expected));
            return None;
        }
        Some(item)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    pub(crate) fn optional_text(&self, key: &'static str) -> Option<String> {
        self.optional(key)?.text().map(str::to_owned)
    }

    pub(crate) fn bool_or(&self, key: &'static str, default: bool) -> bool {
        self.optional(key).and_then(|item| item.bool()).unwrap_or(default)
    }

    pub(crate) fn object_or_empty(&self, key: &'static str) -> Map<String, Value> {
        self.optional(key).and_then(|item| item.object()).unwrap_or_default()
    }

    /// Reports a key that is there but would change nothing.
    pub(crate) fn without_effect(&self, key: &'static str, why: &str) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == key) {
            let item = self.item.child(key, &entry.node, entry.key_position);
            item.add(
                item.finding(format!("`{}` has no effect {why}", item.name())).expected("the key left out"),
            );
        }
    }

    /// Reports every key that nobody asked for and every required one that is missing; true when there was none.
    pub(crate) fn close(self) -> bool {
        let known = self.known.into_inner();
        let mut missing = self.missing.into_inner();
        let mut clean = true;
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            clean = false;
            // What stands in the file already cannot be what was meant.
            let free =
                known.iter().copied().filter(|key| !self.entries.iter().any(|other| other.key == *key));
            let meant = nearest(&entry.key, free);
            // A required key that is only misspelt is not reported a second time as missing.
            missing.retain(|key| meant != Some(key));
            let item = self.item.child(&entry.key, &entry.node, entry.key_position);
            let finding = item.finding(format!("unknown key `{}`", shortened(&entry.key)));
            item.add(finding.expected(one_of(&known)).suggestion(meant));
        }
        for key in &missing {
            let name = self.item.name();
            let place = if name.is_empty() { name } else { format!(" in `{name}`") };
            self.item.add(self.item.finding(format!("the key `{key}` is missing{place}")));
        }
        clean && missing.is_empty()
    }
}

/// The place of a member: its value, or its key where the value is empty and stands nowhere.
fn value_position(entry: &Entry) -> Position {
    if matches!(entry.node.content, Content::Null) { entry.key_position } else { entry.node.position }
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if quoted.len() == 1 { quoted.concat() } else { format!("one of {}", quoted.join(", ")) }
}

/// At most forty characters of a text, for messages.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
