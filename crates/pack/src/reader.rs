//! Takes typed values from a tree of nodes and says what does not fit.
//!
//! A [`MappingReader`] remembers which keys a form has taken; [`MappingReader::close`] reports every other one.

use std::cell::RefCell;

use attune_expr::form::Need;
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

/// A mapping whose keys are taken one by one, by a form.
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

    /// Any text, also one that says nothing.
    pub(crate) fn any_text(&self) -> Option<&'f str> {
        match &self.node.content {
            Content::Text(text) => Some(text),
            _ => self.text(),
        }
    }

    /// The value as it is shown in messages.
    pub(crate) fn shown(&self) -> String {
        match self.json() {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Text below a key of this mapping, for those who want to know it before the mapping is read.
    pub(crate) fn peek(&self, key: &str) -> Option<Located<String>> {
        let Content::Mapping(entries) = &self.node.content else { return None };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        match &entry.node.content {
            Content::Text(text) if !text.trim().is_empty() => {
                Some(self.child(key, &entry.node, value_position(entry)).located(text.clone()))
            }
            _ => None,
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

    pub(crate) fn mapping(&self) -> Option<MappingReader<'f>> {
        let entries = self.entries()?;
        Some(MappingReader {
            item: self.clone(),
            entries,
            known: RefCell::default(),
            missing: RefCell::default(),
        })
    }

    /// A list with something in it.
    pub(crate) fn some(&self, expected: &str) -> Option<Vec<Item<'f>>> {
        let items = self.list()?;
        if items.is_empty() {
            self.add(self.finding(format!("`{}` is an empty list", self.name())).expected(expected));
        }
        Some(items)
    }

    /// The members of a mapping whose keys are the author's own, each with the item of its key and that of its value.
    pub(crate) fn members(&self) -> Option<Vec<(&'f str, Item<'f>, Item<'f>)>> {
        let member = |entry: &'f Entry| {
            let value = self.child(&entry.key, &entry.node, value_position(entry));
            (entry.key.as_str(), self.at_key(entry), value)
        };
        Some(self.entries()?.iter().map(member).collect())
    }

    /// Whether a mapping has a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        matches!(&self.node.content, Content::Mapping(entries) if entries.iter().any(|entry| entry.key == key))
    }

    /// A key of this mapping, at the place of the key.
    pub(crate) fn at_key(&self, entry: &'f Entry) -> Item<'f> {
        self.child(&entry.key, &entry.node, entry.key_position)
    }

    /// Whether a key of this mapping that is not known was probably meant to be this one.
    pub(crate) fn is_misspelt(&self, key: &str, known: &[&str]) -> bool {
        let Content::Mapping(entries) = &self.node.content else { return false };
        let mut unknown = entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
        unknown.any(|entry| meant(entry, entries, known) == Some(key))
    }

    /// Reports a key that this mapping has to have.
    pub(crate) fn miss(&self, key: &str) {
        let name = self.name();
        let place = if name.is_empty() { name } else { format!(" in `{name}`") };
        self.add(self.finding(format!("the key `{key}` is missing{place}")));
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

    /// Reports a fault that another crate found in the JSON of this item, at its place in the file.
    pub(crate) fn report(&self, pointer: &str, message: &str, suggestion: Option<String>) {
        let last = pointer.rsplit('/').next().unwrap_or_default();
        // A message that names the key is about the key; any other one is about its value.
        let place = self.descend(pointer, message.contains(&format!("`{last}`")));
        // What only says what was expected gets its subject from here.
        let message = if message.starts_with("expected") {
            format!("`{}`: {message}", place.name())
        } else {
            message.to_owned()
        };
        place.add(place.finding(message).suggestion(suggestion));
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

    /// Keys that are not to be called unknown, whoever reads them.
    pub(crate) fn knows(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// A key as it stands there, and its value.
    pub(crate) fn take(&self, key: &'static str, need: Need) -> (Option<&'f Entry>, Option<Item<'f>>) {
        self.known.borrow_mut().push(key);
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            if need == Need::Required {
                self.missing.borrow_mut().push(key);
            }
            return (None, None);
        };
        let item = self.item.child(key, &entry.node, value_position(entry));
        if matches!(entry.node.content, Content::Null) {
            let expected = match need {
                Need::Required => "a value",
                Need::Optional => "a value, or the key left out",
            };
            item.add(item.finding(format!("`{}` has no value", item.name())).expected(expected));
            return (Some(entry), None);
        }
        (Some(entry), Some(item))
    }

    /// Reports every key that nobody asked for and every required one that is missing; true when there was none.
    pub(crate) fn close(self) -> bool {
        let known = self.known.into_inner();
        let missing = self.missing.into_inner();
        let mut clean = missing.is_empty();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            clean = false;
            let item = self.item.at_key(entry);
            let finding = item.finding(format!("unknown key `{}`", shortened(&entry.key)));
            item.add(finding.expected(one_of(&known)).suggestion(meant(entry, self.entries, &known)));
        }
        // A required key that is only misspelt is not reported a second time as missing.
        for key in missing.into_iter().filter(|key| !self.item.is_misspelt(key, &known)) {
            self.item.miss(key);
        }
        clean
    }
}

/// The key that was probably meant by one that is not known. What stands there already cannot be it.
fn meant<'k>(entry: &Entry, entries: &[Entry], known: &[&'k str]) -> Option<&'k str> {
    let free = known.iter().copied().filter(|key| !entries.iter().any(|other| other.key == *key));
    nearest(&entry.key, free)
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
