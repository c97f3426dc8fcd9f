//! `tests/*.yaml`.

mod ending;
mod http;
mod outside;

use std::collections::BTreeMap;
use std::time::Duration;

use attune_expr::form;
use attune_expr::form::{Described, Form};
use attune_expr::suggest::nearest;
use serde_json::{Map, Value, json};

use crate::case::{
    ActionCase, CaseSubject, Expectation, HttpAnswer, RuleCase, SampleEvent, SshAnswer, TestCase, TestFile,
};
use crate::config::Configuration;
use crate::definition::Manifest;
use crate::finding::Finding;
use crate::form::{FileForm, NonEmpty, Readable};
use crate::reader::{FileReport, Item, MappingReader};
use crate::value::{AnyObject, Anything, ComponentRef, KeyRef, Moment, Text};
use crate::{PackFiles, reference};

use super::links::undeclared;
use super::{Found, Kind, is_yaml, parse};

/// The directory of the tests.
const DIRECTORY: &str = "tests/";

form! {
    /// Tests of the pack: cases, and what they share.
    pub(crate) struct TestForm<'f> of MappingReader<'f> {
        with shared: SharedForm<'f>,
        /// The cases.
        required cases: NonEmpty<TestCase>,
    }
}

form! {
    /// What a case is given, or all cases of a file.
    struct SharedForm<'f> of MappingReader<'f> {
        /// Values of keys by their refs.
        optional keys: ValuesOfKeys,
        /// Values of the pack's settings by their names.
        optional config: AnyObject,
        /// What `core.http` is answered.
        optional http: Vec<HttpAnswer>,
        /// What `core.ssh` is answered.
        optional ssh: Vec<SshAnswer>,
    }
}

form! {
    /// A rule that gets events.
    struct RuleCaseForm<'f> of MappingReader<'f> {
        /// What it shows.
        required name: Text,
        /// The rule of this pack that is tested.
        required rule: ComponentRef,
        /// The events that the rule gets, in the order of time.
        required events: NonEmpty<SampleEvent>,
        /// How long after the first moment the test of a rule ends.
        optional until: Moment,
        /// What has to come of it.
        required expect: FiringForm<'static>,
        with own: SharedForm<'f>,
    }
}

form! {
    /// An action that is run.
    struct ActionCaseForm<'f> of MappingReader<'f> {
        /// What it shows.
        required name: Text,
        /// The action of this pack that is tested.
        required action: ComponentRef,
        /// The parameters of the action.
        optional parameters: AnyObject,
        /// What has to come of it.
        required expect: Expectation,
        with own: SharedForm<'f>,
    }
}

form! {
    /// An event.
    struct EventForm<'f> of MappingReader<'f> {
        /// What happened.
        required payload: Anything,
        /// The headers of the request that brought it.
        optional headers: AnyObject,
        /// The configuration of its trigger.
        optional config: AnyObject,
        /// How long after the first moment it is recorded.
        optional at: Moment,
    }
}

form! {
    /// What a rule makes of the events.
    struct FiringForm<'f> of MappingReader<'f> {
        /// Whether it fires, or how often.
        required fires: HowOften,
        /// Those of the action, in a list where it fires more than once.
        optional parameters: ParameterSets,
        /// Part of the reason why the rule fails.
        optional error: Text,
        /// How what it starts ends; without it nothing is run.
        optional execution: Expectation,
    }
}

/// What the cases of a file share.
struct Shared<'f> {
    found: &'f Found,
    manifest: Option<&'f Manifest>,
    pack_ref: Option<&'f str>,
    given: Given,
}

/// What a case is given.
#[derive(Debug, Default)]
struct Given {
    keys: BTreeMap<String, String>,
    config: Map<String, Value>,
    http: Vec<HttpAnswer>,
    ssh: Vec<SshAnswer>,
}

/// The test files of the pack; what is wrong with them goes to the findings.
pub(super) fn read_all(
    files: &PackFiles,
    found: &Found,
    manifest: Option<&Manifest>,
    pack_ref: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Vec<TestFile> {
    let mut tests = Vec::new();
    let is_test =
        |path: &str| path.strip_prefix(DIRECTORY).is_some_and(|name| !name.contains('/')) && is_yaml(path);
    for (path, file) in files.iter().filter(|(path, _)| is_test(path)) {
        let report = FileReport::new(path);
        let tree = parse(&report, &file.content);
        let cases =
            tree.as_ref().and_then(|tree| read_file(&Item::root(&report, tree), found, manifest, pack_ref));
        tests.extend(cases.map(|cases| TestFile { path: path.clone(), cases }));
        findings.extend(report.into_findings());
    }
    tests
}

fn read_file(
    item: &Item<'_>,
    found: &Found,
    manifest: Option<&Manifest>,
    pack_ref: Option<&str>,
) -> Option<Vec<TestCase>> {
    let form = TestForm::of(item)?;
    let mut shared = Shared { found, manifest, pack_ref, given: Given::default() };
    shared.given = shared.given(&form.shared);
    let cases = form.cases.items("a case at least").unwrap_or_default();
    Some(cases.iter().filter_map(|item| shared.case(item)).collect())
}

/// Of a rule, unless it names an action.
impl Described for TestCase {
    fn schema() -> Value {
        json!({
            "type": "object",
            "description": "A rule that gets events, or an action that is run.",
            "if": {"required": ["action"]},
            "then": ActionCaseForm::shape().schema(),
            "else": RuleCaseForm::shape().schema(),
        })
    }
}

impl Shared<'_> {
    fn case(&self, item: &Item<'_>) -> Option<TestCase> {
        let (name, subject, own) = match (item.has("rule"), item.has("action")) {
            (true, false) => {
                let form = RuleCaseForm::of(item)?;
                let subject = self.rule_case(&form).map(CaseSubject::Rule);
                if let Some(CaseSubject::Rule(RuleCase { execution: None, .. })) = &subject {
                    let why = "without `expect.execution`: nothing is run";
                    form.own.http.without_effect(why);
                    form.own.ssh.without_effect(why);
                    form.own.keys.without_effect(why);
                }
                (form.name.located(), subject, self.given(&form.own))
            }
            (false, true) => {
                let form = ActionCaseForm::of(item)?;
                (form.name.located(), self.action_case(&form).map(CaseSubject::Action), self.given(&form.own))
            }
            _ => {
                let mapping = item.mapping()?;
                let finding = item.finding("it is not clear what the case is about");
                item.add(finding.expected("either `rule` or `action`"));
                self.given(&SharedForm::take(&mapping));
                // What belongs to either is known.
                mapping.knows(&RuleCaseForm::names());
                mapping.knows(&ActionCaseForm::names());
                mapping.close();
                return None;
            }
        };
        let mut keys = self.given.keys.clone();
        keys.extend(own.keys);
        let mut config = self.given.config.clone();
        config.extend(own.config);
        let http = own.http.into_iter().chain(self.given.http.iter().cloned()).collect();
        let ssh = own.ssh.into_iter().chain(self.given.ssh.iter().cloned()).collect();
        Some(TestCase { name: name?, subject: subject?, keys, config, http, ssh })
    }

    fn given(&self, form: &SharedForm<'_>) -> Given {
        Given {
            keys: form.keys.item().map(|item| self.keys(item)).unwrap_or_default(),
            config: form.config.item().map(|item| self.settings(item)).unwrap_or_default(),
            http: form.http.read().unwrap_or_default(),
            ssh: form.ssh.read().unwrap_or_default(),
        }
    }

    fn rule_case(&self, form: &RuleCaseForm<'_>) -> Option<RuleCase> {
        let rule = form.rule.item().and_then(|item| self.known(item, Kind::Rule));
        let entry = rule
            .as_ref()
            .and_then(|rule| self.found.rules.iter().find(|entry| entry.definition.rule_ref == *rule));
        let events = form.events.items("an event at least").and_then(|items| events(&items));
        let until = form.until.read();
        if entry.is_some_and(|entry| entry.definition.window.is_none()) {
            form.until.without_effect("on a rule without a window");
        }
        let expect = FiringForm::of(form.expect.item()?)?;
        let fires = expect.fires.read();
        let parameters = expect.parameters.read().and_then(|sets| {
            let item = expect.parameters.item()?;
            as_often(item, sets, fires)
        });
        let error = expect.error.read();
        let execution = expect.execution.read();
        if entry.is_some_and(|entry| entry.definition.window.is_some()) {
            let why = "on a rule with a window, whose time is that of the test";
            expect.execution.without_effect(why);
        }
        if fires == Some(0) {
            expect.parameters.without_effect("where the rule does not fire");
            expect.execution.without_effect("where the rule does not fire");
        }
        let (events, fires) = (events?, fires?);
        if let (Some(until), Some(last)) = (until, events.last())
            && until < last.at
            && let Some(item) = form.until.item()
        {
            item.add(item.finding("`until` is before the last event").expected("a later moment"));
        }
        Some(RuleCase { rule: rule?, events, until, fires, parameters, error, execution })
    }

    fn action_case(&self, form: &ActionCaseForm<'_>) -> Option<ActionCase> {
        let action = form.action.item().and_then(|item| self.known(item, Kind::Action));
        let parameters = form.parameters.read().unwrap_or_default();
        let expect = form.expect.read();
        Some(ActionCase { action: action?, parameters, expect: expect? })
    }

    fn keys(&self, item: &Item<'_>) -> BTreeMap<String, String> {
        let declared: Vec<&str> = self.found.declared_keys().collect();
        let mut keys = BTreeMap::new();
        for (key_ref, at, value) in item.members().unwrap_or_default() {
            if let Some(pack_ref) = self.pack_ref.filter(|_| !declared.is_empty())
                && let Some(message) = undeclared(key_ref, pack_ref, &declared)
            {
                let finding = at.finding(message).expected("a file in `keys/` that declares it");
                at.add(finding.suggestion(nearest(key_ref, declared.iter().copied())));
            }
            match value.json() {
                _ if reference::split(key_ref).is_none() => {
                    let finding = at.finding(format!("`{key_ref}` is not the ref of a key"));
                    at.add(finding.expected("`pack.name`"));
                }
                Value::String(value) => drop(keys.insert(key_ref.to_owned(), value)),
                _ => {
                    let finding = at.finding(format!("the value of the key `{key_ref}` is not text"));
                    at.add(finding.expected("text"));
                }
            }
        }
        keys
    }

    /// Values of settings, checked as those that are set on a server.
    fn settings(&self, item: &Item<'_>) -> Map<String, Value> {
        let values = item.object().unwrap_or_default();
        // What is wrong with the schema is told where that stands.
        let configuration = self.manifest.map(|manifest| Configuration::of(&manifest.config_schema));
        let Some(Ok(configuration)) = configuration else { return values };
        match configuration {
            Some(configuration) => {
                for fault in configuration.faults(&values) {
                    item.report(&fault.pointer, &fault.message, None);
                }
            }
            None => {
                let finding =
                    item.finding("the pack has no `config_schema`, so that these values mean nothing");
                item.add(finding.expected("a `config_schema` in pack.yaml that has them"));
            }
        }
        values
    }

    /// The ref of one of this pack's components: a pack tests what it brings.
    fn known(&self, item: &Item<'_>, kind: Kind) -> Option<String> {
        let refs: Vec<&str> =
            self.found.refs.get(&kind).into_iter().flatten().map(|known| known.value.as_str()).collect();
        let given = item.component_ref(refs.iter().copied())?;
        if refs.contains(&given.value.as_str()) {
            return Some(given.value);
        }
        let is_own = reference::split(&given.value).map(|(pack, _)| pack) == self.pack_ref;
        if !is_own || !self.found.unclear.contains(&kind) {
            let finding = item.finding(format!("the pack has no {} `{}`", kind.noun(), given.value));
            let finding = finding.expected(format!("one of the {}s of this pack", kind.noun()));
            item.add(finding.suggestion(nearest(&given.value, refs.iter().copied())));
        }
        None
    }
}

/// Values of keys by their refs.
#[derive(Debug)]
struct ValuesOfKeys;

impl Described for ValuesOfKeys {
    fn schema() -> Value {
        json!({
            "type": "object",
            "propertyNames": KeyRef::schema(),
            "additionalProperties": {"type": "string"},
        })
    }
}

impl Described for SampleEvent {
    fn schema() -> Value {
        EventForm::shape().schema()
    }
}

fn events(items: &[Item<'_>]) -> Option<Vec<SampleEvent>> {
    let mut events: Vec<SampleEvent> = Vec::new();
    for item in items {
        let form = EventForm::of(item)?;
        let payload = form.payload.read();
        let headers = form.headers.read().unwrap_or_default();
        let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let config = form.config.read().unwrap_or_default();
        let before = events.last().map_or(Duration::ZERO, |event| event.at);
        let at = if form.at.is_given() { form.at.read() } else { Some(before) };
        if let (Some(item), Some(at)) = (form.at.item(), at)
            && at < before
        {
            item.add(item.finding("`at` is before the event above").expected("events in the order of time"));
        }
        events.push(SampleEvent { payload: payload?, headers, config, at: at? });
    }
    (!events.is_empty()).then_some(events)
}

/// `true`, `false` or a number.
#[derive(Debug)]
struct HowOften;

impl Described for HowOften {
    fn schema() -> Value {
        json!({"type": ["boolean", "integer"], "minimum": 0})
    }
}

impl Readable for HowOften {
    type Value = u64;

    fn read(item: &Item<'_>) -> Option<u64> {
        match item.json() {
            Value::Bool(fires) => Some(fires.into()),
            Value::Number(number) if number.is_u64() => number.as_u64(),
            _ => {
                let finding = item.finding(format!("`{}` does not say how often", item.name()));
                item.add(finding.expected("true, false or a whole number"));
                None
            }
        }
    }
}

/// One set for a rule that fires once, or a list with one for each time.
#[derive(Debug)]
struct ParameterSets;

impl Described for ParameterSets {
    fn schema() -> Value {
        json!({"anyOf": [AnyObject::schema(), {"type": "array", "items": AnyObject::schema()}]})
    }
}

impl Readable for ParameterSets {
    type Value = Vec<Value>;

    fn read(item: &Item<'_>) -> Option<Vec<Value>> {
        match item.json() {
            Value::Object(set) => Some(vec![Value::Object(set)]),
            Value::Array(sets) if sets.iter().all(Value::is_object) => Some(sets),
            _ => {
                let finding =
                    item.finding(format!("`{}` is neither a mapping nor a list of mappings", item.name()));
                item.add(finding.expected("the parameters, in a list where the rule fires more than once"));
                None
            }
        }
    }
}

/// The sets, if they are as many as the rule fires.
fn as_often(item: &Item<'_>, sets: Vec<Value>, fires: Option<u64>) -> Option<Vec<Value>> {
    if fires.is_some_and(|fires| fires > 0 && fires != sets.len() as u64) {
        let finding =
            item.finding(format!("`{}` are {} and `fires` says otherwise", item.name(), sets.len()));
        item.add(finding.expected("as many as the rule fires"));
        return None;
    }
    Some(sets)
}

impl Described for FiringForm<'_> {
    fn schema() -> Value {
        Self::shape().schema()
    }
}
