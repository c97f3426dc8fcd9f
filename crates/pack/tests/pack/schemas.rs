//! The published schemas: the packs that come with Attune fit them, every key is described, and slips are refused. That
//! they say what the readers do is in `alike`.

use std::fs;
use std::path::{Path, PathBuf};

use attune_pack::config::Configuration;
use attune_pack::index::Index;
use attune_pack::{FileKind, PackFiles, read};
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

/// A text as the readers take YAML.
fn value_of(text: &str) -> Value {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 1_000_000, max_events: 4_000_000 },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

/// Fails if the schema of any file of a pack refuses it.
#[track_caller]
pub(crate) fn check_files(files: &PackFiles) {
    for (path, file) in files.iter().filter(|(path, _)| path.ends_with(".yaml")) {
        let Some(kind) = kind_of(Path::new(path)).filter(|_| path.split('/').count() <= 2) else { continue };
        let text = std::str::from_utf8(&file.content).unwrap();
        assert_eq!(faults(kind, &value_of(text)), [""; 0], "{path}: {text}");
    }
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

#[test]
fn test_sources_in_an_index_are_judged_alike() {
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
    let definition = attune_pack::read_manifest(&files(&[("pack.yaml", manifest)])).unwrap();
    let schema = Configuration::of(&definition.config_schema).unwrap().unwrap().schema_of_files();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let fits = |value: Value| validator.is_valid(&value);
    assert!(fits(json!({})) && fits(json!({"port": 2})) && fits(json!({"url": "https://a"})));
    assert!(!fits(json!({"port": "many"})) && !fits(json!({"prt": 1})));
    assert!(!fits(json!({"token": "x"})), "a secret is in no file");
    // Readers judge as the schema does.
    for name in ["url", "port", "token", "prt"] {
        for value in [json!(null), json!(true), json!(1), json!(1.5), json!("x"), json!([]), json!({"a": 1})]
        {
            let value = json!({ name: value });
            let pack = files(&[("pack.yaml", manifest), ("config/production.yaml", &value.to_string())]);
            assert_eq!(read(&pack).is_ok(), fits(value.clone()), "{value}");
        }
    }
    assert_eq!(faults(FileKind::Config, &json!({"anything": 1})), Vec::<String>::new());
    assert_ne!(faults(FileKind::Config, &json!([])), Vec::<String>::new());
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
    for (value, is_sound) in [("'3.10'", true), ("'>=3'", true), ("3.10", false), ("3", false)] {
        check(FileKind::Pack, "pack.yaml", &format!("ref: ops\nversion: 1.0.0\npython: {value}\n"), is_sound);
        let runtime = format!("ref: ops.p\ninterpreter: [python3]\nenvironment: python\nversion: {value}\n");
        check(FileKind::Runtime, "runtimes/p.yaml", &runtime, is_sound);
    }
}
