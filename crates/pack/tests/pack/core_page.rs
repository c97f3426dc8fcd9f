//! `docs/core-pack.md` says what the core pack brings. It is made from the definitions of the pack, here; where
//! [`WRITE_VARIABLE`] is set it is written instead of compared.

use std::fmt::Write;
use std::path::Path;

use attune_expr::schema::holds_secret;
use attune_pack::{ActionDefinition, OnWorkerLoss, PackDefinition};
use serde_json::{Map, Value};

use crate::examples::pack;

/// Set by `scripts/write-docs`.
const WRITE_VARIABLE: &str = "ATTUNE_WRITE_DOCS";

const INTRODUCTION: &str = "\
# The core pack

What every installation has. This page is made from the definitions of the pack in `packs/core`; `attune action show REF` shows
the same of an installation. Native actions run in the worker itself, without a process.

Secrets reach parameters by `{{ key('ops.token') }}` in the `action_params` of a rule ([rules.md](rules.md#secrets-in-parameters));
`core.key_get` gives the values of keys that are [no secrets](packs.md#keys-that-are-no-secrets).

## What `core.http` may reach

Addresses often come out of events, which anybody may have written. So `core.http` connects to the public internet only: loopback,
private and link-local addresses, those of cloud metadata and all others of special purpose are refused, in whatever form they
are written, also behind redirects, by the address that is connected to and not by the name. The operator of a worker says what
else may be reached, and what never:

```sh
export ATTUNE_HTTP_ALLOW=10.20.0.0/16,127.0.0.1     # besides the public internet
export ATTUNE_HTTP_DENY=10.20.0.5                   # goes before it
```

Without `proxy` in the parameters no proxy is used. A proxy has to be at an address that may be reached, and so has what it is asked
for, as far as the worker can resolve it; what only the proxy can resolve is the proxy's to judge. `core.mail` and `core.ssh` connect
to wherever a rule says: give them hosts by constants, not out of events.
";

#[test]
fn test_the_page_is_up_to_date() {
    let page = page(&pack("core"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/core-pack.md");
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(path, page).unwrap();
        return;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == page, "docs/core-pack.md is not what the pack is: run scripts/write-docs");
}

#[test]
fn test_everything_is_described() {
    let core = pack("core");
    for action in &core.actions {
        assert!(action.description.is_some(), "{} says nothing of itself", action.r#ref);
        for (name, parameter) in properties(&action.parameters) {
            assert!(
                parameter["description"].is_string(),
                "{name} of {} says nothing of itself",
                action.r#ref
            );
        }
    }
    for trigger in &core.triggers {
        assert!(trigger.description.is_some(), "{} says nothing of itself", trigger.r#ref);
    }
}

fn page(core: &PackDefinition) -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Actions\n");
    for action in &core.actions {
        write_action(&mut page, action);
    }
    page.push_str("\n## Triggers\n\n| trigger | an event of it says |\n|---|---|\n");
    for trigger in &core.triggers {
        writeln!(page, "| `{}` | {} |", trigger.r#ref, cell(trigger.description.as_deref())).unwrap();
    }
    page.push_str("\n[internal-events.md](internal-events.md) has what their events hold.\n");
    page.push_str("\n## Runtimes\n\n| runtime | how it starts an entrypoint |\n|---|---|\n");
    for runtime in &core.runtimes {
        writeln!(page, "| `{}` | {} |", runtime.r#ref, cell(runtime.description.as_deref())).unwrap();
    }
    page.push_str("\n## Permission sets\n\n| set | what it allows |\n|---|---|\n");
    for set in &core.permission_sets {
        writeln!(page, "| `{}` | {} |", set.r#ref, cell(set.description.as_deref())).unwrap();
    }
    page
}

fn write_action(page: &mut String, action: &ActionDefinition) {
    let description = action.description.as_deref().unwrap_or_default().trim();
    write!(page, "\n### `{}`\n\n{description}\n", action.r#ref).unwrap();
    let again = match action.on_worker_loss {
        OnWorkerLoss::Abandon => "is not run again when its worker is lost",
        OnWorkerLoss::Retry => "is run again when its worker is lost",
    };
    writeln!(page, "\nIt has {} and {again}.", time(action.timeout.as_secs())).unwrap();
    let parameters = properties(&action.parameters);
    if parameters.is_empty() {
        return;
    }
    page.push_str("\n| parameter | type | default | |\n|---|---|---|---|\n");
    let required: Vec<&str> =
        action.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // Those that have to be given first.
    let (first, then): (Vec<_>, Vec<_>) =
        parameters.into_iter().partition(|(name, _)| required.contains(&name.as_str()));
    for (name, parameter) in first.into_iter().chain(then) {
        let default = match parameter.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let secret = if holds_secret(&parameter) { ", secret" } else { "" };
        let described = cell(parameter["description"].as_str());
        let choices = match parameter["enum"].as_array() {
            Some(choices) => {
                let choices: Vec<_> = choices.iter().filter_map(Value::as_str).collect();
                format!(" One of `{}`.", choices.join("`, `"))
            }
            None => String::new(),
        };
        let kind = kind_of(&parameter);
        writeln!(page, "| `{name}` | {kind}{secret} | {default} | {described}{choices} |").unwrap();
        for (inner, parameter) in properties(&parameter) {
            let described = cell(parameter["description"].as_str());
            let secret = if holds_secret(&parameter) { ", secret" } else { "" };
            writeln!(page, "| `{name}.{inner}` | {}{secret} | | {described} |", kind_of(&parameter)).unwrap();
        }
    }
}

fn properties(schema: &Value) -> Vec<(String, Value)> {
    let properties: Map<String, Value> = schema["properties"].as_object().cloned().unwrap_or_default();
    properties.into_iter().collect()
}

fn kind_of(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        3600 => "an hour".to_owned(),
        hours if hours.is_multiple_of(3600) => format!("{} hours", hours / 3600),
        60 => "a minute".to_owned(),
        minutes if minutes.is_multiple_of(60) => format!("{} minutes", minutes / 60),
        seconds => format!("{seconds} seconds"),
    }
}

/// Text within a table.
fn cell(text: Option<&str>) -> String {
    text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
