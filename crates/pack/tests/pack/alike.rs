//! Reader and schema judge alike, at every key of every file at any depth: a key that neither knows, a required one that is
//! missing, and values of the wrong kind are refused by both, and what the schema refuses the reader refuses too.

use std::cell::RefCell;
use std::collections::BTreeSet;

use attune_pack::index::Index;
use attune_pack::{FileKind, PackFiles, read};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::{MANIFEST, files};

/// A name that no key has, nor looks like.
const UNKNOWN: &str = "zzzzzz";

/// A file with all keys that can stand beside each other, and what has to be in its pack.
struct Sample {
    kind: FileKind,
    path: &'static str,
    text: &'static str,
}

const PACK: &[(&str, &str)] = &[
    MANIFEST,
    ("actions/a.sh", "true\n"),
    ("sensors/s.sh", "true\n"),
    (
        "actions/b.yaml",
        "ref: ops.b\nruntime: core.shell\nentrypoint: a.sh\nparameters: {a: {type: integer}}\n",
    ),
    ("rules/q.yaml", "ref: ops.q\ntrigger: core.t\naction: core.noop\n"),
    ("rules/w.yaml", "ref: ops.w\ntrigger: core.t\naction: core.noop\nwindow: {throttle: 15m}\n"),
];

/// What is in the pack of a sample: as little as will do.
fn beside(kind: FileKind) -> PackFiles {
    let mut pack = files(PACK);
    if kind == FileKind::Test {
        pack.extend(files(&[(
            MANIFEST.0,
            "ref: ops\nversion: 1.0.0\nconfig_schema: {url: {type: string}}\n",
        )]));
    }
    if kind != FileKind::Test {
        let is_needed =
            |path: &str| path == MANIFEST.0 || !path.ends_with(".yaml") || path == "actions/b.yaml";
        pack.retain(|path, _| is_needed(path));
    }
    pack
}

const fn sample(kind: FileKind, path: &'static str, text: &'static str) -> Sample {
    Sample { kind, path, text }
}

const SAMPLES: &[Sample] = &[
    sample(
        FileKind::Pack,
        "pack.yaml",
        "ref: ops
version: 1.2.3
label: Operations
description: What it is for
author: Ada
email: ada@example.com
tags: [words]
python: '>=3.11'
node: '>=18'
meta: {a: 1}
config_schema: {url: {type: string}}
dependencies: {core: '*'}
",
    ),
    sample(
        FileKind::Runtime,
        "runtimes/r.yaml",
        "{ref: ops.p, label: P, description: P, interpreter: [python3], native: false, environment: python, version: '>=3'}",
    ),
    sample(
        FileKind::Action,
        "actions/a.yaml",
        "ref: ops.a
label: A
description: A
enabled: false
runtime: core.shell
entrypoint: a.sh
parameters: {seconds: {type: integer}}
parameter_delivery: stdin
parameter_format: json
output_format: text
out_schema: {type: string}
image: alpine:3
limits: {memory: 1MiB, cpu_time: 5, processes: 5, open_files: 5, file_size: 1}
sandbox: {filesystem: private, network: none, read: [/srv], write: [/tmp]}
timeout_parameter: seconds
timeout: 30s
on_worker_loss: abandon
retry: {count: 3, delay: 1s, backoff: exponential, factor: 2, max_delay: 1h, jitter: 0.5, on: [failed]}
worker_selector: {zone: a}
tolerations: [gpu]
permissions:
  - {resource: execution, actions: [read], constraints: {refs: [ops.*], owner: self}}
  - {resource: rule, actions: [read], constraints: {packs: [ops]}}
artifacts: [{name: report, type: file, description: R, scope: action, keep_versions: 3, keep_days: 3}]
keys: [core.k, {ref: core.l, required: false}]
",
    ),
    sample(
        FileKind::Action,
        "actions/a.yaml",
        "{ref: ops.a, runtime: core.shell, entrypoint: a.sh, warm: false}",
    ),
    sample(
        FileKind::Action,
        "actions/a.yaml",
        "ref: ops.a
runtime: core.shell
entrypoint: a.sh
parameters:
  seconds: {type: integer, title: S, description: S, examples: [1], secret: false, default: 1, enum: [1, 2], minimum: 1,
            maximum: 2, exclusiveMinimum: 0, exclusiveMaximum: 3, multipleOf: 1}
  needed: {type: string, required: true, minLength: 1, maxLength: 9, pattern: a, format: email, const: a@example.com}
  list: {type: array, items: {type: string}, minItems: 1, maxItems: 2, uniqueItems: true, anyOf: [{}], oneOf: [{}],
         allOf: [{}], not: {type: string}}
  map: {type: object, properties: {a: {type: string}}, patternProperties: {^a: {type: string}},
        additionalProperties: {type: string}, minProperties: 0, maxProperties: 2}
",
    ),
    sample(
        FileKind::Trigger,
        "triggers/t.yaml",
        "ref: ops.t
label: T
description: T
enabled: true
parameters: {a: {type: string}}
out_schema: {type: object}
webhook: {signature: {scheme: hmac_sha256, secret: core.s, header: X-S}, delivery_id_header: X-D}
",
    ),
    sample(
        FileKind::Sensor,
        "sensors/s.yaml",
        "ref: ops.s
label: S
description: S
enabled: true
runtime: core.shell
entrypoint: s.sh
triggers: [core.t]
config: {a: 1}
permissions: [{resource: event, actions: [create], constraints: {packs: [ops]}}]
",
    ),
    sample(
        FileKind::Rule,
        "rules/r.yaml",
        "ref: ops.r
label: R
description: R
enabled: true
mode: shadow
trigger: core.t
trigger_params: {a: 1}
condition: any
conditions:
  - {field: event.payload.a, operator: equals, value: 1}
  - {all: ['{{ event.payload.a == 1 }}']}
  - {any: ['{{ event.payload.a == 1 }}']}
  - {not: '{{ event.payload.a == 1 }}'}
window: {throttle: 15m, key: '{{ event.payload.host }}'}
action: core.noop
action_params: {a: '{{ event.payload.a }}'}
retry: {count: 1}
",
    ),
    sample(FileKind::Rule, "rules/r.yaml", "{ref: ops.r, trigger: core.t, action: core.noop, window: {debounce: 1m}}"),
    sample(FileKind::Rule, "rules/r.yaml", "{ref: ops.r, trigger: core.t, action: core.noop, window: {dedup: 1m}}"),
    sample(
        FileKind::Rule,
        "rules/r.yaml",
        "{ref: ops.r, trigger: core.t, action: core.noop, window: {count: {at_least: 2, within: 1m}}}",
    ),
    sample(
        FileKind::Rule,
        "rules/r.yaml",
        "ref: ops.r
trigger: core.t
action: core.noop
window: {all_of: {conditions: ['{{ event.payload.a == 1 }}', '{{ event.payload.a == 2 }}'], within: 1m}}
",
    ),
    sample(
        FileKind::Rule,
        "rules/r.yaml",
        "ref: ops.r
trigger: core.t
action: core.noop
window: {sequence: {conditions: ['{{ event.payload.a == 1 }}', '{{ event.payload.a == 2 }}'], within: 1m}}
",
    ),
    sample(
        FileKind::Rule,
        "rules/r.yaml",
        "ref: ops.r
trigger: core.t
action: core.noop
window: {absent: {after: '{{ event.payload.a == 1 }}', expected: '{{ event.payload.a == 2 }}', within: 1m}}
",
    ),
    sample(
        FileKind::PermissionSet,
        "permissions/p.yaml",
        "{ref: ops.p, label: P, description: P, grants: [{resource: rule, actions: ['*']}]}",
    ),
    sample(
        FileKind::Policy,
        "policies/p.yaml",
        "ref: ops.p
enabled: true
action: ops.b
concurrency: 1
parameters: [a]
rate: {count: 5, period: 1m}
method: cancel
",
    ),
    sample(
        FileKind::Queue,
        "queues/q.yaml",
        "ref: ops.q
label: Q
description: Q
enabled: true
action: ops.b
item: {a: {type: string}}
batch_size: 5
concurrency: 5
max_attempts: 5
retry_delay: 5s
",
    ),
    sample(FileKind::Key, "keys/k.yaml", "{ref: ops.k, label: K, description: K, required: false}"),
        sample(FileKind::Key, "keys/k.yaml", "{ref: ops.k, secret: false, default: a}"),
    sample(
        FileKind::Test,
        "tests/t.yaml",
        "keys: {core.k: x}
config: {url: x}
http:
  - {method: GET, url: 'https://a.example/', status: 200, times: 1, headers: {a: b}, json: {a: 1}}
  - {url: 'https://b.example/', text: hi}
ssh: [{host: a, command: b, exit_code: 1, stdout: a, stderr: b, times: 1}]
cases:
  - name: a rule
    rule: ops.q
    keys: {core.k: x}
    config: {url: x}
    http: [{url: 'https://a.example/'}]
    ssh: [{command: b}]
    events: [{payload: {a: 1}, headers: {a: b}, config: {a: 1}, at: 0s}]
    expect:
      fires: 1
      parameters: {a: 1}
      execution:
        status: failed
        result_has: {a: 1}
        error: why
        stdout: a
        stderr: a
        requests:
          - {method: POST, url: 'https://a.example/', headers: {a: b}, json: {a: 1}}
          - {url: 'https://a.example/', text: hi}
        commands: [{host: a, command: b, user: c, stdin: d}]
        mail:
          - {host: a, from: a, to: [a], cc: [a], bcc: [a], reply_to: a, subject: a, text: a, html: a,
             attachments: [{name: a, content_type: b, text: c}]}
  - {name: fails, rule: ops.q, events: [{payload: 1}], expect: {fires: false, error: why}}
  - {name: a window, rule: ops.w, events: [{payload: 1}], until: 1h, expect: {fires: true}}
  - {name: an action, action: ops.b, parameters: {a: 1}, expect: {result: 1}, keys: {core.k: x}, config: {url: x},
     http: [], ssh: []}
",
    ),
    sample(
        FileKind::Index,
        "",
        "packs:
  linux:
    description: Machines
    tags: [ssh]
    homepage: https://a.example/
    versions:
      - version: 1.0.0
        source: linux.tar.gz
        sha256: '0000000000000000000000000000000000000000000000000000000000000000'
        dependencies: {core: '*'}
      - version: 1.1.0
        source: git+https://a.example/linux
        commit: '0000000000000000000000000000000000000000'
        subdirectory: packs
",
    ),
];

/// Values that most keys cannot have.
fn candidates() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(1_000_000_000_000_i64),
        json!(""),
        json!(" "),
        json!("Ä b!"),
        json!("-"),
        json!("x"),
        json!("ops.x"),
        json!("0s"),
        json!([]),
        json!([[]]),
        json!([null]),
        json!([true]),
        json!([""]),
        json!(["x"]),
        json!(["x", "x"]),
        json!({}),
        json!({UNKNOWN: {}}),
        json!({"Ä !": 1}),
        json!([{}]),
        json!([{UNKNOWN: 1}]),
    ]
}

struct Judge {
    sample: &'static Sample,
    schema: Value,
    validator: Validator,
    pack: PackFiles,
    /// What the reader takes and the schema does not.
    only_read: RefCell<Vec<String>>,
}

/// The verdicts of the schema and of the reader.
#[derive(Debug, PartialEq, Eq)]
struct Verdicts {
    schema: bool,
    reader: bool,
}

impl Judge {
    fn new(sample: &'static Sample) -> Self {
        let schema = sample.kind.schema();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        Self { sample, schema, validator, pack: beside(sample.kind), only_read: RefCell::default() }
    }

    fn judge(&self, value: &Value) -> Verdicts {
        // JSON is YAML.
        let text = value.to_string();
        let reader = if self.sample.kind == FileKind::Index {
            Index::parse(&text).is_ok()
        } else {
            let mut pack = self.pack.clone();
            pack.extend(files(&[(self.sample.path, &text)]));
            read(&pack).is_ok()
        };
        Verdicts { schema: self.validator.is_valid(value), reader }
    }

    #[track_caller]
    fn refused_by_both(&self, value: &Value, what: &str) {
        let verdicts = self.judge(value);
        let expected = Verdicts { schema: false, reader: false };
        assert_eq!(verdicts, expected, "{} {what}: {value}", self.sample.path);
    }

    /// The mappings that a schema may mean at a value, its references followed.
    fn alternatives(&self, schema: &Value, value: &Value) -> Vec<Value> {
        if let Some(target) = schema["$ref"].as_str() {
            let Some(local) = target.strip_prefix('#') else { return Vec::new() };
            return self.alternatives(self.schema.pointer(local).unwrap(), value);
        }
        if let Some(condition) = schema.get("if")
            && schema.get("properties").is_none()
        {
            let branch = if jsonschema::is_valid(condition, value) { "then" } else { "else" };
            return self.alternatives(&schema[branch], value);
        }
        match schema["anyOf"].as_array() {
            Some(schemas) => schemas.iter().flat_map(|schema| self.alternatives(schema, value)).collect(),
            None => vec![schema.clone()],
        }
    }

    /// Tries everything at a value of the file and below it. `whole` is the file, `seen` gets the keys that were tried.
    fn walk(&self, schema: &Value, pointer: &str, whole: &Value, seen: &mut BTreeSet<String>) {
        let value = whole.pointer(pointer).unwrap();
        for schema in self.alternatives(schema, value) {
            match value {
                Value::Array(elements) => {
                    for at in 0..elements.len() {
                        self.walk(&schema["items"], &format!("{pointer}/{at}"), whole, seen);
                    }
                }
                Value::Object(members) => match schema["properties"].as_object() {
                    Some(properties) if members.keys().all(|name| properties.contains_key(name)) => {
                        self.mapping(&schema, properties, pointer, whole, seen);
                    }
                    Some(_) => {}
                    None if schema["additionalProperties"].is_object() => {
                        for name in members.keys() {
                            let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                            self.walk(&schema["additionalProperties"], &pointer, whole, seen);
                        }
                    }
                    None => {}
                },
                _ => {}
            }
        }
    }

    fn mapping(
        &self,
        schema: &Value,
        properties: &Map<String, Value>,
        pointer: &str,
        whole: &Value,
        seen: &mut BTreeSet<String>,
    ) {
        let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
            let mut changed = whole.clone();
            change(changed.pointer_mut(pointer).unwrap().as_object_mut().unwrap());
            changed
        };
        let unknown = changed(&|members| drop(members.insert(UNKNOWN.to_owned(), json!(1))));
        self.refused_by_both(&unknown, &format!("{pointer}: an unknown key"));
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let without = changed(&|members| drop(members.remove(required)));
            self.refused_by_both(&without, &format!("{pointer}: without {required}"));
        }
        let members: Vec<&String> = whole.pointer(pointer).unwrap().as_object().unwrap().keys().collect();
        for name in members {
            let property = &properties[name];
            let mut verdicts = Vec::new();
            for candidate in candidates() {
                let value = changed(&|members| drop(members.insert(name.clone(), candidate.clone())));
                let verdict = self.judge(&value);
                if verdict == (Verdicts { schema: false, reader: true }) {
                    self.only_read.borrow_mut().push(format!("{pointer}/{name}: {candidate}"));
                }
                // Null is refused at every key alike, before anybody looks at it.
                verdicts.extend(Some(verdict).filter(|_| !candidate.is_null()));
            }
            // Whoever does not look at a value refuses none.
            let takes_all = verdicts.iter().all(|verdict| verdict.schema);
            let refused = verdicts.contains(&Verdicts { schema: false, reader: false });
            assert!(
                refused || takes_all,
                "{} {pointer}/{name}: nothing is refused by both",
                self.sample.path
            );
            seen.insert(key_of(properties, name));
            self.walk(property, &format!("{pointer}/{name}"), whole, seen);
        }
    }
}

/// What tells a key from others of its name: the keys that it stands among.
fn key_of(properties: &Map<String, Value>, name: &str) -> String {
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    format!("{name} of {}", names.join(", "))
}

/// Every key that a schema has anywhere.
fn keys_in(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(properties) = members.get("properties").and_then(Value::as_object)
                && members.get("additionalProperties") == Some(&json!(false))
            {
                keys.extend(properties.keys().map(|name| key_of(properties, name)));
            }
            members.values().for_each(|schema| keys_in(schema, keys));
        }
        Value::Array(schemas) => schemas.iter().for_each(|schema| keys_in(schema, keys)),
        _ => {}
    }
}

#[test]
fn test_reader_and_schema_refuse_alike_at_every_key() {
    let mut seen = BTreeSet::new();
    for sample in SAMPLES {
        let judge = Judge::new(sample);
        let value: Value = serde_saphyr::from_str(sample.text).unwrap();
        let mut pack = judge.pack.clone();
        pack.extend(files(&[(sample.path, sample.text)]));
        if sample.kind != FileKind::Index {
            assert_eq!(crate::findings(&pack), [""; 0], "{}", sample.path);
        }
        let expected = Verdicts { schema: true, reader: true };
        assert_eq!(judge.judge(&value), expected, "{}", sample.path);
        judge.walk(&judge.schema, "", &value, &mut seen);
        let only_read = judge.only_read.into_inner();
        assert!(only_read.is_empty(), "{}: only the reader takes {only_read:#?}", sample.path);
    }
    let mut keys = BTreeSet::new();
    FileKind::ALL.iter().for_each(|kind| keys_in(&kind.schema(), &mut keys));
    let untried: Vec<_> = keys.difference(&seen).collect();
    assert!(untried.is_empty(), "no sample has these keys: {untried:#?}");
    assert!(seen.len() > 200, "{} keys were tried", seen.len());
}
