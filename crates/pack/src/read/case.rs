//! `tests/*.yaml`.

mod outside;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use attune_expr::suggest::nearest;
use serde_json::{Map, Value};

use crate::case::{
    ActionCase, CaseSubject, Expectation, ExpectedRequest, HttpAnswer, HttpBody, RuleCase, SampleEvent,
    SshAnswer, TestCase, TestFile,
};
use crate::config::Configuration;
use crate::definition::Manifest;
use crate::finding::Finding;
use crate::reader::{FileReport, Item, MappingReader};
use crate::{PackFiles, reference};

use super::action::duration_of;
use super::common::foreign_problem;
use super::links::undeclared;
use super::{Found, Kind, is_yaml, parse};

/// The directory of the tests.
const DIRECTORY: &str = "tests/";

/// The ends that an execution of a test can have.
pub(crate) const STATUSES: &[&str] = &["completed", "failed", "timeout"];

/// The methods that a request can have.
pub(crate) const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What the cases of a file share.
struct Shared<'f> {
    found: &'f Found,
    manifest: Option<&'f Manifest>,
    pack_ref: Option<&'f str>,
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
        let cases = tree
            .as_ref()
            .and_then(|tree| Item::root(&report, tree).mapping())
            .map(|mapping| read_file(mapping, found, manifest, pack_ref));
        tests.extend(cases.map(|cases| TestFile { path: path.clone(), cases }));
        findings.extend(report.into_findings());
    }
    tests
}

fn read_file(
    mapping: MappingReader<'_>,
    found: &Found,
    manifest: Option<&Manifest>,
    pack_ref: Option<&str>,
) -> Vec<TestCase> {
    let (keys, config, http) =
        (keys(&mapping, found, pack_ref), settings(&mapping, manifest), answers(&mapping));
    let ssh = outside::ssh_answers(&mapping);
    let shared = Shared { found, manifest, pack_ref, keys, config, http, ssh };
    let cases = mapping.required("cases").and_then(|item| {
        let cases = item.list()?;
        if cases.is_empty() {
            item.add(item.finding("`cases` is empty").expected("a case at least"));
        }
        Some(cases)
    });
    let cases: Vec<_> = cases
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.mapping().and_then(|mapping| shared.case(mapping)))
        .collect();
    mapping.close();
    cases
}

impl Shared<'_> {
    fn case(&self, mapping: MappingReader<'_>) -> Option<TestCase> {
        let name = mapping.required("name").and_then(|item| Some(item.located(item.text()?.to_owned())));
        let own_keys = keys(&mapping, self.found, self.pack_ref);
        let own_config = settings(&mapping, self.manifest);
        let own_http = answers(&mapping);
        let own_ssh = outside::ssh_answers(&mapping);
        let rule = mapping.optional("rule");
        let action = mapping.optional("action");
        let subject = match (rule, action) {
            (Some(rule), None) => self.rule_case(&mapping, &rule).map(CaseSubject::Rule),
            (None, Some(action)) => self.action_case(&mapping, &action).map(CaseSubject::Action),
            _ => {
                let finding = mapping.item().finding("it is not clear what the case is about");
                mapping.item().add(finding.expected("either `rule` or `action`"));
                // What belongs to either is known.
                for key in ["events", "until", "parameters", "expect"] {
                    mapping.optional(key);
                }
                None
            }
        };
        if let Some(CaseSubject::Rule(RuleCase { execution: None, .. })) = &subject {
            let why = "without `expect.execution`: nothing is run";
            mapping.without_effect("http", why);
            mapping.without_effect("ssh", why);
            mapping.without_effect("keys", why);
        }
        mapping.close();
        let mut keys = self.keys.clone();
        keys.extend(own_keys);
        let mut config = self.config.clone();
        config.extend(own_config);
        let http = own_http.into_iter().chain(self.http.iter().cloned()).collect();
        let ssh = own_ssh.into_iter().chain(self.ssh.iter().cloned()).collect();
        Some(TestCase { name: name?, subject: subject?, keys, config, http, ssh })
    }

    fn rule_case(&self, mapping: &MappingReader<'_>, item: &Item<'_>) -> Option<RuleCase> {
        let rule = self.known(item, Kind::Rule);
        let entry = rule
            .as_ref()
            .and_then(|rule| self.found.rules.iter().find(|entry| entry.definition.rule_ref == *rule));
        let events = mapping.required("events").and_then(|item| events(&item));
        let until = mapping.optional("until").and_then(|item| duration_of(&item));
        if entry.is_some_and(|entry| entry.definition.window.is_none()) {
            mapping.without_effect("until", "on a rule without a window");
        }
        let expect = mapping.required("expect").and_then(|item| item.mapping())?;
        let fires = expect.required("fires").and_then(|item| how_often(&item));
        let parameters = expect.optional("parameters").and_then(|item| parameter_sets(&item, fires));
        let error = expect.optional_text("error");
        let execution = expect.optional("execution").and_then(|item| expectation(item.mapping()?));
        if entry.is_some_and(|entry| entry.definition.window.is_some()) {
            expect.without_effect("execution", "on a rule with a window, whose time is that of the test");
        }
        if fires == Some(0) {
            for key in ["parameters", "execution"] {
                expect.without_effect(key, "where the rule does not fire");
            }
        }
        expect.close();
        let (events, fires) = (events?, fires?);
        if let (Some(until), Some(last)) = (until, events.last())
            && until < last.at
            && let Some(item) = mapping.optional("until")
        {
            item.add(item.finding("`until` is before the last event").expected("a later moment"));
        }
        Some(RuleCase { rule: rule?, events, until, fires, parameters, error, execution })
    }

    fn action_case(&self, mapping: &MappingReader<'_>, item: &Item<'_>) -> Option<ActionCase> {
        let action = self.known(item, Kind::Action);
        let parameters = mapping.object_or_empty("parameters");
        let expect = mapping.required("expect").and_then(|item| expectation(item.mapping()?));
        Some(ActionCase { action: action?, parameters, expect: expect? })
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

fn keys(mapping: &MappingReader<'_>, found: &Found, pack_ref: Option<&str>) -> BTreeMap<String, String> {
    let Some(item) = mapping.optional("keys") else { return BTreeMap::new() };
    let declared: Vec<&str> = found.declared_keys().collect();
    let mut keys = BTreeMap::new();
    for (key_ref, value) in item.object().unwrap_or_default() {
        let at = item.descend(&format!("/{key_ref}"), true);
        if let Some(pack_ref) = pack_ref.filter(|_| !declared.is_empty())
            && let Some(message) = undeclared(&key_ref, pack_ref, &declared)
        {
            let finding = at.finding(message).expected("a file in `keys/` that declares it");
            at.add(finding.suggestion(nearest(&key_ref, declared.iter().copied())));
        }
        match value {
            _ if reference::split(&key_ref).is_none() => {
                at.add(at.finding(format!("`{key_ref}` is not the ref of a key")).expected("`pack.name`"));
            }
            Value::String(value) => drop(keys.insert(key_ref, value)),
            _ => at.add(at.finding(format!("the value of the key `{key_ref}` is not text")).expected("text")),
        }
    }
    keys
}

/// Values of settings, checked as those that are set on a server.
fn settings(mapping: &MappingReader<'_>, manifest: Option<&Manifest>) -> Map<String, Value> {
    let Some(item) = mapping.optional("config") else { return Map::new() };
    let values = item.object().unwrap_or_default();
    // What is wrong with the schema is told where that stands.
    let Some(Ok(configuration)) = manifest.map(|manifest| Configuration::of(&manifest.config_schema)) else {
        return values;
    };
    match configuration {
        Some(configuration) => {
            for fault in configuration.faults(&values) {
                foreign_problem(&item, &fault.pointer, &fault.message, None);
            }
        }
        None => {
            let finding = item.finding("the pack has no `config_schema`, so that these values mean nothing");
            item.add(finding.expected("a `config_schema` in pack.yaml that has them"));
        }
    }
    values
}

fn events(item: &Item<'_>) -> Option<Vec<SampleEvent>> {
    let items = item.list()?;
    if items.is_empty() {
        item.add(item.finding("`events` is empty").expected("an event at least"));
        return None;
    }
    let mut events: Vec<SampleEvent> = Vec::new();
    for item in &items {
        let mapping = item.mapping()?;
        let payload = mapping.required("payload").map(|item| item.json());
        let headers = mapping.object_or_empty("headers");
        let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let config = mapping.object_or_empty("config");
        let before = events.last().map_or(Duration::ZERO, |event| event.at);
        let at_item = mapping.optional("at");
        let at = at_item.as_ref().map_or(Some(before), duration_of);
        if let (Some(item), Some(at)) = (at_item, at)
            && at < before
        {
            item.add(item.finding("`at` is before the event above").expected("events in the order of time"));
        }
        mapping.close();
        events.push(SampleEvent { payload: payload?, headers, config, at: at? });
    }
    Some(events)
}

/// `true`, `false` or a number.
fn how_often(item: &Item<'_>) -> Option<u64> {
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

/// One set for a rule that fires once, or a list with one for each time.
fn parameter_sets(item: &Item<'_>, fires: Option<u64>) -> Option<Vec<Value>> {
    let sets = match item.json() {
        Value::Object(set) => vec![Value::Object(set)],
        Value::Array(sets) if sets.iter().all(Value::is_object) => sets,
        _ => {
            let finding =
                item.finding(format!("`{}` is neither a mapping nor a list of mappings", item.name()));
            item.add(finding.expected("the parameters, in a list where the rule fires more than once"));
            return None;
        }
    };
    if fires.is_some_and(|fires| fires > 0 && fires != sets.len() as u64) {
        let finding =
            item.finding(format!("`{}` are {} and `fires` says otherwise", item.name(), sets.len()));
        item.add(finding.expected("as many as the rule fires"));
        return None;
    }
    Some(sets)
}

fn expectation(mapping: MappingReader<'_>) -> Option<Expectation> {
    let status = match mapping.optional("status") {
        Some(item) => item.choice(STATUSES, |status| status),
        None => Some("completed"),
    };
    let value = |key| mapping.optional(key).map(|item| item.json());
    let (result, result_has) = (value("result"), value("result_has"));
    if result.is_some() {
        mapping.without_effect("result_has", "beside `result`, which says all of it");
    }
    let error = mapping.optional_text("error");
    if status == Some("completed") {
        mapping.without_effect("error", "with the status `completed`");
    }
    let (stdout, stderr) = (mapping.optional_text("stdout"), mapping.optional_text("stderr"));
    let requests = mapping.optional("requests").and_then(|item| {
        item.list()?.iter().map(|item| item.mapping().and_then(request)).collect::<Option<_>>()
    });
    let commands = mapping.optional("commands").and_then(|item| outside::commands(&item));
    let mail = mapping.optional("mail").and_then(|item| outside::messages(&item));
    mapping.close();
    Some(Expectation {
        status: status?.to_owned(),
        result,
        result_has,
        error,
        stdout,
        stderr,
        requests,
        commands,
        mail,
    })
}

fn request(mapping: MappingReader<'_>) -> Option<ExpectedRequest> {
    let method = mapping.optional("method").map_or(Some("GET"), |item| item.choice(METHODS, |method| method));
    let url = mapping.required("url").and_then(|item| item.text().map(str::to_owned));
    let headers = headers(&mapping);
    let body = match body(&mapping) {
        HttpBody::Empty => None,
        HttpBody::Json(value) => Some(value),
        HttpBody::Text(text) => Some(Value::String(text)),
    };
    mapping.close();
    Some(ExpectedRequest { method: method?.to_owned(), url: url?, headers, body })
}

fn answers(mapping: &MappingReader<'_>) -> Vec<HttpAnswer> {
    let items = mapping.optional("http").and_then(|item| item.list()).unwrap_or_default();
    items.iter().filter_map(|item| item.mapping().and_then(answer)).collect()
}

fn answer(mapping: MappingReader<'_>) -> Option<HttpAnswer> {
    let method = mapping.optional("method").and_then(|item| item.choice(METHODS, |method| method));
    let url = mapping.required("url").and_then(|item| item.text().map(str::to_owned));
    let status = number(&mapping, "status", 100..=599).and_then(|status| u16::try_from(status).ok());
    let times = number(&mapping, "times", 1..=1000).and_then(|times| u32::try_from(times).ok());
    let mut headers = headers(&mapping);
    let body = body(&mapping);
    if matches!(body, HttpBody::Json(_)) {
        headers.entry("content-type".to_owned()).or_insert_with(|| "application/json".to_owned());
    }
    mapping.close();
    Some(HttpAnswer {
        method: method.map(str::to_owned),
        url: url?,
        status: status.unwrap_or(200),
        headers,
        body,
        times,
    })
}

fn number(mapping: &MappingReader<'_>, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
    let item = mapping.optional(key)?;
    let number = item.json().as_u64().filter(|number| range.contains(number));
    if number.is_none() {
        let finding = item.finding(format!("`{}` is not such a number", item.name()));
        item.add(finding.expected(format!("a whole number from {} to {}", range.start(), range.end())));
    }
    number
}

fn body(mapping: &MappingReader<'_>) -> HttpBody {
    let (json, text) = (mapping.optional("json"), mapping.optional("text"));
    if json.is_some() {
        mapping.without_effect("text", "beside `json`");
    }
    match (json, text) {
        (Some(json), _) => HttpBody::Json(json.json()),
        (None, Some(text)) => text.text().map_or(HttpBody::Empty, |text| HttpBody::Text(text.to_owned())),
        (None, None) => HttpBody::Empty,
    }
}

fn headers(mapping: &MappingReader<'_>) -> BTreeMap<String, String> {
    let headers: Map<String, Value> = mapping.object_or_empty("headers");
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    headers.into_iter().map(|(name, value)| (name.to_lowercase(), text(value))).collect()
}
