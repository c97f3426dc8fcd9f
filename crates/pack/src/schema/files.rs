//! The keys of every kind of file.

use serde_json::{Value, json};

use super::parts::{
    any_object, component_ref, duration, grants, labels, one_of, pack_ref, parameters, payload_schema,
    reference, semantic_version, size, text, texts, version, whole_number,
};
use super::{FileKind, Key, Shape, key, required};
use crate::definition::{
    ArtifactScope, ArtifactType, OnWorkerLoss, OutputFormat, ParameterDelivery, ParameterFormat,
    PolicyMethod, RuleMode, RuntimeLanguage, SignatureScheme,
};
use crate::isolation::{FilesystemAccess, NetworkAccess};

/// The keys of a file of this kind; there are none that files of `config/` have in common.
pub(super) fn shape(kind: FileKind) -> Shape {
    match kind {
        FileKind::Pack => pack(),
        FileKind::Runtime => runtime(),
        FileKind::Action => action(),
        FileKind::Trigger => trigger(),
        FileKind::Sensor => sensor(),
        FileKind::Rule => rule(),
        FileKind::PermissionSet => permission_set(),
        FileKind::Policy => policy(),
        FileKind::Queue => queue(),
        FileKind::Key => declared_key(),
        FileKind::Test => super::tests::shape(),
        FileKind::Config => Shape {
            about: "Values of the pack's settings in an environment, by their names.",
            keys: Vec::new(),
        },
        FileKind::Index => super::index::shape(),
    }
}

/// What names every component.
fn its_ref() -> Key {
    required(
        "ref",
        "Its name in all of Attune: the pack's ref, a dot, and a name of its own.",
        component_ref(),
    )
}

/// What components have that people are shown, and then its own.
fn component(own: impl IntoIterator<Item = Key>) -> Vec<Key> {
    let common = [
        its_ref(),
        key("label", "Its name for people.", text()),
        key("description", "What it is for.", text()),
    ];
    common.into_iter().chain(own).collect()
}

fn enabled(about: &str) -> Key {
    key("enabled", about, json!({"type": "boolean", "default": true}))
}

fn pack() -> Shape {
    Shape {
        about: "The manifest: what makes a directory a pack.",
        keys: vec![
            required(
                "ref",
                "The name of the pack, before the dot in the refs of all it defines.",
                pack_ref(),
            ),
            required("version", "The semantic version: three numbers, as `1.2.0`.", semantic_version()),
            key("label", "The name for people.", text()),
            key("description", "What the pack is for.", text()),
            key("author", "Who made it.", text()),
            key("email", "Where its author can be reached.", text()),
            key("tags", "Words to find it by.", texts()),
            key("python", "The versions of Python that its actions and sensors can use.", version()),
            key("node", "The versions of Node that its actions and sensors can use.", version()),
            key("meta", "Anything else that is to be kept with it.", any_object()),
            key("config_schema", "Its settings by name, as the parameters of an action.", parameters()),
            key("dependencies", "The packs that it needs, each with a range of versions.", dependencies()),
        ],
    }
}

fn dependencies() -> Value {
    json!({
        "type": "object",
        "propertyNames": pack_ref(),
        "additionalProperties": {"type": "string", "examples": ["*", "^1.2", ">=1.2, <3"]},
    })
}

fn runtime() -> Shape {
    let own = [
        key(
            "interpreter",
            "Program and arguments before the entrypoint; without it the entrypoint itself is executed.",
            texts(),
        ),
        key("native", "The worker runs it itself; only in the pack `core`.", json!({"type": "boolean"})),
        key(
            "environment",
            "The language of the interpreter: it is that of the pack's environment, with what the pack requires.",
            one_of(RuntimeLanguage::ALL.iter().map(|value| value.as_str())),
        ),
        key("version", "The versions of that interpreter that will do.", version()),
    ];
    Shape { about: "A runtime: how entrypoints are started.", keys: component(own) }
}

fn action() -> Shape {
    let own = [
        enabled("Whether it may be run."),
        required(
            "runtime",
            "What runs it: `core.shell`, `core.python`, `core.executable`, or a runtime of a pack.",
            component_ref(),
        ),
        required(
            "entrypoint",
            "The script, relative to `actions/`; a handler's name for `core.native`.",
            text(),
        ),
        key("parameters", "Its parameters by name.", parameters()),
        key(
            "parameter_delivery",
            "How the parameters reach the process; `stdin` unless said.",
            one_of(ParameterDelivery::ALL.iter().map(|value| value.as_str())),
        ),
        key(
            "parameter_format",
            "How parameters are written on standard input or in a file; `json` unless said.",
            one_of(ParameterFormat::ALL.iter().map(|value| value.as_str())),
        ),
        key(
            "output_format",
            "How standard output becomes the result; `text` unless said.",
            one_of(OutputFormat::ALL.iter().map(|value| value.as_str())),
        ),
        key("out_schema", "The JSON schema of its result.", payload_schema()),
        key(
            "image",
            "The container image that its process runs in.",
            json!({"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z._/:@-]*$"}),
        ),
        key("limits", "What a run may use at most.", limits()),
        key("sandbox", "What a run is kept apart from.", sandbox()),
        key(
            "warm",
            "Whether a run may be forked from an interpreter that has started; yes unless said.",
            json!({"type": "boolean"}),
        ),
        key("timeout", "How long a run may take; a minute unless said.", duration()),
        key(
            "timeout_parameter",
            "The parameter that says in how many seconds a run has to end, within `timeout`.",
            text(),
        ),
        key(
            "on_worker_loss",
            "What becomes of a run whose worker vanished; `retry` only where running it twice is safe.",
            one_of(OnWorkerLoss::ALL.iter().map(|value| value.as_str())),
        ),
        key("retry", "When and how a run is tried again.", reference("retry")),
        key("worker_selector", "Labels or capabilities that the worker has to have.", labels()),
        key("tolerations", "Taints of the worker that do no harm.", texts()),
        key("permissions", "What its runs may ask of the API besides what is about themselves.", grants()),
        key("artifacts", "What its runs leave.", artifacts()),
        key("keys", "The keys whose values its runs get, in `ATTUNE_KEYS`.", used_keys()),
    ];
    Shape { about: "An action: something that can be done.", keys: component(own) }
}

fn limits() -> Value {
    let count = || json!({"type": "integer", "minimum": 1});
    let limits = Shape {
        about: "What a run may use at most.",
        keys: vec![
            key("memory", "Memory of each of its processes.", size()),
            key("cpu_time", "Time of a processor for each of its processes.", duration()),
            key("processes", "Processes and threads of the account at once.", count()),
            key("open_files", "Files that each of its processes has open at once.", count()),
            key("file_size", "The largest file that it writes.", size()),
        ],
    };
    limits.into_schema()
}

fn sandbox() -> Value {
    let paths = || json!({"type": "array", "items": {"type": "string", "pattern": "^/"}});
    let sandbox = Shape {
        about: "What a run is kept apart from: `filesystem`, `network` or both.",
        keys: vec![
            key(
                "filesystem",
                "Which files it sees.",
                one_of(FilesystemAccess::ALL.iter().map(|value| value.as_str())),
            ),
            key(
                "network",
                "Whether it reaches others.",
                one_of(NetworkAccess::ALL.iter().map(|value| value.as_str())),
            ),
            key("read", "Absolute paths that it may read all the same.", paths()),
            key("write", "Absolute paths that it may write all the same.", paths()),
        ],
    };
    sandbox.into_schema()
}

fn artifacts() -> Value {
    let count = || whole_number(1, 100_000);
    let artifact = Shape {
        about: "Something that runs leave under a name.",
        keys: vec![
            required(
                "name",
                "The last part of the artifact's ref.",
                json!({"type": "string", "pattern": "^[a-z0-9_.-]{1,100}$"}),
            ),
            key(
                "type",
                "What it holds; `file` unless said.",
                one_of(ArtifactType::ALL.iter().map(|value| value.as_str())),
            ),
            key("description", "What it is.", text()),
            key(
                "scope",
                "Whose contents become versions of one another: of all runs of the action, unless each execution is to have its own.",
                one_of(ArtifactScope::ALL.iter().map(|value| value.as_str())),
            ),
            key("keep_versions", "How many of the newest versions are kept; all unless said.", count()),
            key(
                "keep_days",
                "For how many days versions are kept; unless said, for ever, or for 30 days where each execution has its own.",
                count(),
            ),
        ],
    };
    json!({"type": "array", "items": artifact.into_schema()})
}

fn used_keys() -> Value {
    let used = Shape {
        about: "A key: its ref alone, or with whether it is needed.",
        keys: vec![
            required("ref", "The ref of the key.", component_ref()),
            key(
                "required",
                "Whether nothing runs without it; yes unless said.",
                json!({"type": "boolean", "default": true}),
            ),
        ],
    };
    let mut schema = used.object();
    schema.insert("type".to_owned(), json!(["string", "object"]));
    // Says nothing of what is no text, as the members say nothing of what is no object.
    schema.insert("pattern".to_owned(), component_ref()["pattern"].take());
    json!({"type": "array", "items": schema})
}

fn trigger() -> Shape {
    let own = [
        enabled("Whether its events are accepted."),
        key("parameters", "What a rule may give as `trigger_params`, by name.", parameters()),
        key("out_schema", "The JSON schema of the payload of its events.", payload_schema()),
        key("webhook", "With this key the trigger has a webhook; `{}` takes whatever is sent.", webhook()),
    ];
    Shape { about: "A trigger: a kind of thing that can happen.", keys: component(own) }
}

fn webhook() -> Value {
    let signature = Shape {
        about: "How the sender proves itself.",
        keys: vec![
            required(
                "scheme",
                "The way of signing.",
                one_of(SignatureScheme::ALL.iter().map(|value| value.as_str())),
            ),
            required(
                "secret",
                "Ref of the key that holds the secret, never the secret itself.",
                component_ref(),
            ),
            key("header", "The header with the signature; for `hmac_sha256`, and only there.", text()),
        ],
    };
    let webhook = Shape {
        about: "How the webhook takes its requests.",
        keys: vec![
            key("signature", "Without it, whoever knows the address may send.", signature.into_schema()),
            key("delivery_id_header", "The header that names the delivery: each counts once.", text()),
        ],
    };
    webhook.into_schema()
}

fn sensor() -> Shape {
    let triggers = json!({"type": "array", "items": component_ref(), "minItems": 1, "uniqueItems": true});
    let own = [
        enabled("Whether it is started."),
        required("runtime", "What runs it: a runtime that starts a process.", component_ref()),
        required("entrypoint", "The program, relative to `sensors/`.", text()),
        required("triggers", "The triggers that it may report.", triggers),
        key("config", "Its settings, which it reads from standard input.", any_object()),
        key("permissions", "What its process may ask of the API.", grants()),
    ];
    Shape { about: "A sensor: a program that watches something and reports events.", keys: component(own) }
}

fn rule() -> Shape {
    let own = [
        enabled("Whether it judges events at all."),
        key(
            "mode",
            "`active` runs its action; `shadow` only records what it would have done.",
            one_of(RuleMode::ALL.iter().map(|value| value.as_str())),
        ),
        required("trigger", "The trigger whose events it judges.", component_ref()),
        key("trigger_params", "What must be equal in the configuration of the event.", any_object()),
        key("condition", "How the conditions combine; `all` unless said.", one_of(["all", "any"])),
        key(
            "conditions",
            "What must hold; without any, the rule fires on every event of its trigger.",
            json!({"type": "array", "items": reference("condition")}),
        ),
        key("window", "What it makes of several events.", reference("window")),
        required("action", "The action that it runs.", component_ref()),
        key("action_params", "The parameters of the action; texts may be templates.", any_object()),
        key("retry", "How its runs are tried again, in place of what the action says.", reference("retry")),
    ];
    Shape { about: "A rule: which events lead to which action.", keys: component(own) }
}

fn permission_set() -> Shape {
    let own = [required("grants", "What it allows.", grants())];
    Shape { about: "A permission set: a named list of grants.", keys: component(own) }
}

fn policy() -> Shape {
    let rate = Shape {
        about: "So many starts in a period.",
        keys: vec![
            required("count", "How many.", whole_number(1, i32::MAX.unsigned_abs())),
            required("period", "In how long.", duration()),
        ],
    };
    let keys = vec![
        its_ref(),
        enabled("Whether it limits anything."),
        key("action", "The action that is limited; without it every action of the pack.", component_ref()),
        key("concurrency", "How many may run at once.", whole_number(1, i32::MAX.unsigned_abs())),
        key(
            "parameters",
            "Parameters whose values the concurrency is counted by, each combination for itself.",
            json!({"type": "array", "items": text(), "minItems": 1, "uniqueItems": true}),
        ),
        key("rate", "How many may start in a period.", rate.into_schema()),
        key(
            "method",
            "What becomes of what is more; `enqueue` unless said.",
            one_of(PolicyMethod::ALL.iter().map(|value| value.as_str())),
        ),
    ];
    Shape { about: "A policy: a limit on runs. `concurrency`, `rate` or both.", keys }
}

fn queue() -> Shape {
    let own = [
        enabled("Whether items are handed out."),
        required("action", "The action that works on the items.", component_ref()),
        key("item", "The members of an item by name, as `parameters` of an action.", parameters()),
        key(
            "batch_size",
            "How many items a run gets; 1 unless said.",
            whole_number(1, crate::read::LARGEST_BATCH),
        ),
        key(
            "concurrency",
            "How many runs at once; 10 unless said.",
            whole_number(1, crate::read::MOST_AT_ONCE),
        ),
        key(
            "max_attempts",
            "How often an item is handed out at most; 5 unless said.",
            whole_number(1, crate::read::MOST_ATTEMPTS),
        ),
        key("retry_delay", "How long an item waits after its first failure; 10 s unless said.", duration()),
    ];
    Shape { about: "A work queue: items that an action works off.", keys: component(own) }
}

fn declared_key() -> Shape {
    let yes = json!({"type": "boolean", "default": true});
    let own = [
        key("required", "Whether the pack is no good without it; yes unless said.", yes.clone()),
        key("secret", "Whether its value is never shown; yes unless said.", yes),
        key("default", "The value where none is set, of a key with `secret: false`.", text()),
    ];
    Shape { about: "A key that the pack needs. Its value is set on the server.", keys: component(own) }
}
