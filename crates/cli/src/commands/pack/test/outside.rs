//! What the executions of a case would have sent over HTTP and SSH and by mail.

use attune_pack::{Expectation, ExpectedRequest};
use attune_worker::native::recorded::{Seen, SeenRequest};
use serde_json::{Map, Value};

use super::compare::{Extent, differences};

/// Each place where it is not as expected.
pub(super) fn not_as_expected(seen: &Seen, expect: &Expectation) -> Vec<String> {
    let mut failures = Vec::new();
    if let Some(expected) = &expect.requests {
        failures.extend(requests(expected, &seen.requests));
    }
    if let Some(expected) = &expect.commands {
        let sent: Vec<Value> = seen
            .commands
            .iter()
            .map(|command| {
                let given = [
                    ("host", Some(&command.host)),
                    ("command", Some(&command.command)),
                    ("user", command.user.as_ref()),
                    ("stdin", command.stdin.as_ref()),
                ];
                members(given)
            })
            .collect();
        let expected: Vec<Value> = expected
            .iter()
            .map(|command| {
                let wanted = [
                    ("host", Some(&command.host)),
                    ("command", Some(&command.command)),
                    ("user", command.user.as_ref()),
                    ("stdin", command.stdin.as_ref()),
                ];
                members(wanted)
            })
            .collect();
        let line = |command: &Value| {
            let text = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("host"), text("command"))
        };
        failures.extend(compared("commands", &expected, &sent, line));
    }
    if let Some(expected) = &expect.mail {
        let expected: Vec<Value> = expected.iter().cloned().map(Value::Object).collect();
        let sent: Vec<Value> = seen.messages.iter().cloned().map(Value::Object).collect();
        failures.extend(compared("mail", &expected, &sent, |message| {
            format!("to {}: {}", message["to"], message["subject"])
        }));
    }
    failures
}

fn requests(expected: &[ExpectedRequest], seen: &[SeenRequest]) -> Vec<String> {
    let mut failures = Vec::new();
    if expected.len() != seen.len() {
        let sent: Vec<String> =
            seen.iter().map(|request| format!("{} {}", request.method, request.url)).collect();
        let told = format!("requests: expected {}, but there were {}", expected.len(), sent.len());
        failures.push(std::iter::once(told).chain(sent).collect::<Vec<_>>().join("\n"));
    }
    for (index, (expected, request)) in expected.iter().zip(seen).enumerate() {
        let name = format!("requests[{index}]");
        let (wanted, sent) =
            (format!("{} {}", expected.method, expected.url), format!("{} {}", request.method, request.url));
        failures.extend(differences(&name, &wanted.into(), &sent.into(), Extent::Whole));
        let value_of = |name: &str| {
            request.headers.iter().find(|(sent, _)| sent == name).map(|(_, value)| value.as_str())
        };
        for (header, wanted) in &expected.headers {
            let (place, sent) = (format!("{name}.headers.{header}"), value_of(header));
            let wanted = Value::from(wanted.as_str());
            failures.extend(differences(&place, &wanted, &sent.into(), Extent::Whole));
        }
        if let Some(body) = &expected.body {
            failures.extend(differences(&format!("{name}.body"), body, &request.body, Extent::Whole));
        }
    }
    failures
}

fn members<const N: usize>(given: [(&str, Option<&String>); N]) -> Value {
    let members: Map<String, Value> = given
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str()))))
        .collect();
    Value::Object(members)
}

/// All that was sent, in its order; each has what is expected at least.
fn compared(name: &str, expected: &[Value], sent: &[Value], line: impl Fn(&Value) -> String) -> Vec<String> {
    let mut failures = Vec::new();
    if expected.len() != sent.len() {
        let told = format!("{name}: expected {}, but there were {}", expected.len(), sent.len());
        failures.push(std::iter::once(told).chain(sent.iter().map(line)).collect::<Vec<_>>().join("\n"));
    }
    for (index, (expected, sent)) in expected.iter().zip(sent).enumerate() {
        failures.extend(differences(&format!("{name}[{index}]"), expected, sent, Extent::AtLeast));
    }
    failures
}
