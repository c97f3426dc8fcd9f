//! The published schemas say what the readers accept: the same keys, and the packs that come with Attune fit them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use attune_pack::config::Configuration;
use attune_pack::index::Index;
use attune_pack::{FileKind, read};
use serde_json::{Value, json};

use crate::{MANIFEST, files};

fn yaml_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

/// The kind of a file in a pack, by where it stands.
fn kind_of(path: &Path) -> Option<FileKind> {
    if path.file_name()? == "pack.yaml" {
        return Some(FileKind::Pack);
    }
    let directory = path.parent()?.file_name()?.to_str()?;
    FileKind::ALL.iter().copied().find(|kind| kind.directory() == Some(directory))
}

fn value_of(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// What the schema says against a value, each with its place.
fn faults(kind: FileKind, value: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&kind.schema()).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path().as_str())).collect()
}

#[test]
fn test_every_file_of_the_packs_that_come_with_attune_fits_its_schema() {
    let mut paths = Vec::new();
    yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs"), &mut paths);
    let mut seen = 0;
    for path in paths {
        let Some(kind) = kind_of(&path) else { continue };
        let value = value_of(&fs::read_to_string(&path).unwrap());
        assert_eq!(faults(kind, &value), Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 30, "{seen} files were looked at");
}

/// The keys that a reader lists for a mapping in which one is unknown. `place` is the pointer of the mapping.
fn keys_of_reader(kind: FileKind, place: &str, text: &str) -> BTreeSet<String> {
    let path = match kind.directory() {
        None => "pack.yaml".to_owned(),
        Some(directory) => format!("{directory}/a.yaml"),
    };
    let mut pack = files(&[MANIFEST]);
    pack.extend(files(&[(&path, text)]));
    let findings = read(&pack).unwrap_err();
    let pointer = format!("{place}/zzzzzz");
    let finding = findings.iter().find(|finding| finding.pointer == pointer);
    let finding = finding.unwrap_or_else(|| panic!("no finding at {pointer}: {findings:?}"));
    let listed = finding.expected.as_deref().unwrap_or(&finding.message);
    let listed = listed.split_once("expected").map_or(listed, |(_, listed)| listed);
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys_of_schema(schema: &Value) -> BTreeSet<String> {
    assert_eq!(schema["additionalProperties"], json!(false), "{schema}");
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

/// The schema at a pointer into the files that it describes.
fn schema_at(kind: FileKind, place: &str) -> Value {
    let whole = kind.schema();
    let mut schema = whole.clone();
    for step in place.split('/').skip(1) {
        schema = match step.parse::<usize>() {
            Ok(_) => schema["items"].clone(),
            Err(_) => schema["properties"][step].clone(),
        };
        if let Some(target) = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
            schema = whole.pointer(target).unwrap().clone();
        }
    }
    schema
}

/// Whether all packs have files of this kind, with the same keys.
fn has_keys_in_packs(kind: FileKind) -> bool {
    !matches!(kind, FileKind::Config | FileKind::Index)
}

/// What the reader of an index calls the keys that there are where one is unknown.
fn keys_of_index(index: Value) -> BTreeSet<String> {
    let error = serde_json::from_value::<Index>(index).unwrap_err().to_string();
    let (_, listed) = error.split_once("expected").unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn test_the_schema_of_an_index_is_what_its_reader_takes() {
    let schema = FileKind::Index.schema();
    assert_eq!(keys_of_schema(&schema), keys_of_index(json!({"zzzzzz": 1})));
    let pack = &schema["properties"]["packs"]["additionalProperties"];
    assert_eq!(keys_of_schema(pack), keys_of_index(json!({"packs": {"a": {"zzzzzz": 1}}})));
    let version = &pack["properties"]["versions"]["items"];
    assert_eq!(
        keys_of_schema(version),
        keys_of_index(json!({"packs": {"a": {"versions": [{"zzzzzz": 1}]}}}))
    );

    // Both judge the same.
    let (sum, commit) = ("0".repeat(64), "0".repeat(40));
    let check = |version: &str, is_sound: bool| {
        let text = format!("packs: {{linux: {{versions: [{{{version}}}]}}}}");
        let faults = faults(FileKind::Index, &value_of(&text));
        assert_eq!(faults.is_empty(), is_sound, "{version}: {faults:?}");
        assert_eq!(Index::parse(&text).is_ok(), is_sound, "{version}");
    };
    check(&format!("version: 1.0.0, source: a.tar.gz, sha256: '{sum}'"), true);
    check(
        &format!("version: 1.0.0, source: 'git+https://a.example/x', commit: '{commit}', subdirectory: x"),
        true,
    );
    check("version: 1.0.0, source: a.tar.gz", false);
    check("version: 1.0.0, source: a.tar.gz, sha256: abc", false);
    check(&format!("version: 1.0.0, source: a.tar.gz, sha256: '{sum}', commit: '{commit}'"), false);
    check(&format!("version: '1.0', source: a.tar.gz, sha256: '{sum}'"), false);
    check("version: 1.0.0, source: 'git+https://a.example/x'", false);
    check(
        &format!("version: 1.0.0, source: 'git+https://a.example/x', commit: '{commit}', sha256: '{sum}'"),
        false,
    );
    check(&format!("source: a.tar.gz, sha256: '{sum}'"), false);
}

#[test]
fn test_files_for_environments_have_the_settings_of_their_pack() {
    let manifest = "ref: ops\nversion: 1.0.0\nconfig_schema:\n  url: {type: string, required: true}\n  \
                    port: {type: integer, default: 1}\n  token: {type: string, secret: true}\n";
    let manifest = attune_pack::read_manifest(&files(&[("pack.yaml", manifest)])).unwrap();
    let schema = Configuration::of(&manifest.config_schema).unwrap().unwrap().schema_of_files();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let fits = |value: Value| validator.is_valid(&value);
    assert!(fits(json!({})) && fits(json!({"port": 2})) && fits(json!({"url": "https://a"})));
    assert!(!fits(json!({"port": "many"})) && !fits(json!({"prt": 1})));
    assert!(!fits(json!({"token": "x"})), "a secret is in no file");
    assert_eq!(faults(FileKind::Config, &json!({"anything": 1})), Vec::<String>::new());
    assert_ne!(faults(FileKind::Config, &json!([])), Vec::<String>::new());
}

#[test]
fn test_readers_and_schemas_have_the_same_keys() {
    let check = |kind: FileKind, place: &str, text: &str| {
        let of_reader = keys_of_reader(kind, place, text);
        assert_eq!(keys_of_schema(&schema_at(kind, place)), of_reader, "{} {place}", kind.as_str());
    };
    for kind in FileKind::ALL.iter().filter(|kind| has_keys_in_packs(**kind)) {
        check(*kind, "", "zzzzzz: 1\n");
    }
    check(FileKind::Trigger, "/webhook", "webhook: {zzzzzz: 1}\n");
    check(FileKind::Trigger, "/webhook/signature", "webhook: {signature: {zzzzzz: 1}}\n");
    check(FileKind::PermissionSet, "/grants/0", "grants: [{zzzzzz: 1}]\n");
    check(FileKind::Action, "/permissions/0", "permissions: [{zzzzzz: 1}]\n");
    check(FileKind::Action, "/artifacts/0", "artifacts: [{zzzzzz: 1}]\n");
    check(FileKind::Action, "/keys/0", "keys: [{zzzzzz: 1}]\n");
    check(FileKind::Policy, "/rate", "rate: {zzzzzz: 1}\n");
    check(FileKind::Action, "/retry", "retry: {zzzzzz: 1}\n");
    check(FileKind::Action, "/limits", "limits: {zzzzzz: 1}\n");
    check(FileKind::Action, "/sandbox", "sandbox: {zzzzzz: 1}\n");
    check(FileKind::Action, "/permissions/0", "permissions: [{zzzzzz: 1}]\n");
    check(FileKind::Action, "/artifacts/0", "artifacts: [{zzzzzz: 1}]\n");
    check(FileKind::Test, "/cases/0", "cases: [{zzzzzz: 1}]\n");
    check(FileKind::Test, "/http/0", "http: [{zzzzzz: 1}]\n");
    check(FileKind::Test, "/ssh/0", "ssh: [{zzzzzz: 1}]\n");
    check(FileKind::Rule, "/retry", "retry: {zzzzzz: 1}\n");
    check(FileKind::Rule, "/window/count", "window: {count: {zzzzzz: 1}}\n");
    check(FileKind::Rule, "/window/all_of", "window: {all_of: {zzzzzz: 1}}\n");
    check(FileKind::Rule, "/window/sequence", "window: {sequence: {zzzzzz: 1}}\n");
    check(FileKind::Rule, "/window/absent", "window: {absent: {zzzzzz: 1}}\n");
    let windows: BTreeSet<String> =
        attune_rules::window::KINDS.iter().chain(&["key"]).map(|name| (*name).to_owned()).collect();
    assert_eq!(keys_of_schema(&schema_at(FileKind::Rule, "/window")), windows);
    let parameter = &FileKind::Action.schema()["$defs"]["parameter"];
    let keywords: BTreeSet<String> = attune_expr::schema::parameter_keywords().map(str::to_owned).collect();
    assert_eq!(keys_of_schema(parameter), keywords);
}

/// Required keys, by what a reader calls missing in an empty file.
#[test]
fn test_readers_and_schemas_require_the_same_keys() {
    for kind in FileKind::ALL.iter().filter(|kind| has_keys_in_packs(**kind)) {
        let path = kind.directory().map_or("pack.yaml".to_owned(), |directory| format!("{directory}/a.yaml"));
        let mut pack = files(&[MANIFEST]);
        pack.extend(files(&[(&path, "{}\n")]));
        let findings = read(&pack).unwrap_err();
        let missing: BTreeSet<&str> = findings
            .iter()
            .filter(|finding| finding.file == path)
            .filter_map(|finding| finding.message.strip_prefix("the key `")?.split('`').next())
            .collect();
        let schema = kind.schema();
        let required: BTreeSet<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(required, missing, "{}", kind.as_str());
    }
}

#[test]
fn test_every_key_is_described() {
    fn check(schema: &Value, place: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}/{name}");
            let about = property["description"].as_str().unwrap_or_default();
            assert!(about.len() > 8, "{place} is not described");
            check(property, &place);
            check(&property["items"], &place);
        }
    }
    for kind in FileKind::ALL {
        check(&kind.schema(), kind.as_str());
    }
}

#[test]
fn test_what_a_slip_of_the_pen_makes_is_refused() {
    let check = |kind: FileKind, text: &str, place: &str| {
        let faults = faults(kind, &value_of(text));
        assert!(faults.iter().any(|fault| fault.starts_with(place)), "{text}: {faults:?}");
    };
    check(FileKind::Pack, "ref: Ops\nversion: 1.0.0", "/ref");
    check(FileKind::Pack, "ref: ops\nversion: '1.0'", "/version");
    check(
        FileKind::Action,
        "ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\ntimeout: 5 minutes",
        "/timeout",
    );
    check(
        FileKind::Action,
        "ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\nparameters: {a: {typ: string}}",
        "/parameters/a",
    );
    let keys = |keys: &str| format!("ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\nkeys: [{keys}]");
    check(FileKind::Action, &keys("Token"), "/keys/0");
    check(FileKind::Action, &keys("{required: false}"), "/keys/0");
    check(FileKind::Action, &keys("4711"), "/keys/0");
    let fits = value_of(&keys("ops.a, {ref: ops.b, required: false}"));
    assert_eq!(faults(FileKind::Action, &fits), Vec::<String>::new());
    check(
        FileKind::Rule,
        "ref: ops.r\ntrigger: ops.t\naction: ops.a\nconditions: [{field: event.payload.a, operator: equls}]",
        "/conditions/0",
    );
    check(
        FileKind::Rule,
        "ref: ops.r\ntrigger: ops.t\naction: ops.a\nwindow: {throttle: 1m, dedup: 1m}",
        "/window",
    );
    check(
        FileKind::PermissionSet,
        "ref: ops.p\ngrants: [{resource: Rule, actions: [read]}]",
        "/grants/0/resource",
    );
}

/// A value of a key, judged by the published schema and by the reader.
#[test]
fn test_schemas_and_readers_judge_values_alike() {
    let check = |kind: FileKind, path: &str, text: &str, is_sound: bool| {
        let faults = faults(kind, &value_of(text));
        assert_eq!(faults.is_empty(), is_sound, "the schema about {text}: {faults:?}");
        let mut pack = files(&[MANIFEST, ("actions/a.sh", "true\n")]);
        pack.extend(files(&[(path, text)]));
        assert_eq!(read(&pack).is_ok(), is_sound, "the reader about {text}");
    };
    let action = |line: &str, is_sound: bool| {
        let text = format!("ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\n{line}\n");
        check(FileKind::Action, "actions/a.yaml", &text, is_sound);
    };
    for (value, is_sound) in
        [("1s", true), ("010m", true), ("1", true), ("0s", false), ("00h", false), ("0", false)]
    {
        action(&format!("timeout: {value}"), is_sound);
    }
    for (value, is_sound) in [
        ("'1'", true),
        ("'05 MiB'", true),
        ("1", true),
        ("'0'", false),
        ("'0MiB'", false),
        ("'00'", false),
        ("0", false),
    ] {
        action(&format!("limits: {{memory: {value}}}"), is_sound);
    }
    let case = "cases: [{name: a, rule: ops.a, events: [{payload: {}, at: 0s}], expect: {fires: false}}]\n";
    assert_eq!(
        faults(FileKind::Test, &value_of(case)),
        Vec::<String>::new(),
        "a moment may be the first one"
    );
    for (value, is_sound) in [("'3.10'", true), ("'>=3'", true), ("3.10", false), ("3", false)] {
        check(FileKind::Pack, "pack.yaml", &format!("ref: ops\nversion: 1.0.0\npython: {value}\n"), is_sound);
        let runtime = format!("ref: ops.p\ninterpreter: [python3]\nenvironment: python\nversion: {value}\n");
        check(FileKind::Runtime, "runtimes/p.yaml", &runtime, is_sound);
    }
}
