//! The keys of the files in `tests/`.

use serde_json::{Value, json};

use super::parts::{any_object, component_ref, duration, one_of, text, texts};
use super::{Key, Shape, key, required};
use crate::read::{METHODS, STATUSES};

pub(super) fn shape() -> Shape {
    let cases = json!({"type": "array", "items": case(), "minItems": 1});
    let keys = vec![
        required("cases", "The cases.", cases),
        values_of_keys(),
        values_of_settings(),
        answers(),
        ssh_answers(),
    ];
    Shape { about: "Tests of the pack: cases, and what they share.", keys }
}

fn case() -> Value {
    let events = json!({"type": "array", "items": event(), "minItems": 1});
    let case = Shape {
        about: "A rule that gets events, or an action that is run.",
        keys: vec![
            required("name", "What it shows.", text()),
            key("rule", "The rule of this pack that is tested.", component_ref()),
            key("action", "The action of this pack that is tested.", component_ref()),
            key("events", "The events that the rule gets, in the order of time.", events),
            key("until", "How long after the first moment the test of a rule ends.", moment()),
            key("parameters", "The parameters of the action.", any_object()),
            required("expect", "What has to come of it.", json!({"anyOf": [of_rule(), expectation()]})),
            values_of_keys(),
            values_of_settings(),
            answers(),
            ssh_answers(),
        ],
    };
    case.into_schema()
}

fn event() -> Value {
    let event = Shape {
        about: "An event.",
        keys: vec![
            required("payload", "What happened.", json!({})),
            key("headers", "The headers of the request that brought it.", any_object()),
            key("config", "The configuration of its trigger.", any_object()),
            key("at", "How long after the first moment it is recorded.", moment()),
        ],
    };
    event.into_schema()
}

/// How long after the first moment.
fn moment() -> Value {
    let mut moment = duration();
    moment["minimum"] = json!(0);
    moment["pattern"] = json!("^[0-9]+[smh]$");
    moment
}

fn of_rule() -> Value {
    let fires = json!({"type": ["boolean", "integer"], "minimum": 0});
    let parameters = json!({"anyOf": [any_object(), {"type": "array", "items": any_object()}]});
    let expect = Shape {
        about: "What a rule makes of the events.",
        keys: vec![
            required("fires", "Whether it fires, or how often.", fires),
            key("parameters", "Those of the action, in a list where it fires more than once.", parameters),
            key("error", "Part of the reason why the rule fails.", text()),
            key("execution", "How what it starts ends; without it nothing is run.", expectation()),
        ],
    };
    expect.into_schema()
}

fn expectation() -> Value {
    let requests = json!({"type": "array", "items": request()});
    let expectation = Shape {
        about: "How an execution ends. What is not named is not compared.",
        keys: vec![
            key("status", "`completed` unless said.", one_of(STATUSES.iter().copied())),
            key("result", "The whole result.", json!({})),
            key("result_has", "What the result has at least.", json!({})),
            key("error", "Part of the error.", text()),
            key("stdout", "Part of the standard output.", text()),
            key("stderr", "Part of the standard error.", text()),
            key("requests", "The requests of `core.http`, in their order.", requests),
            key(
                "commands",
                "The commands of `core.ssh`, in their order.",
                json!({"type": "array", "items": command()}),
            ),
            key(
                "mail",
                "The messages of `core.mail`, in their order; what each has at least.",
                json!({"type": "array", "items": message()}),
            ),
        ],
    };
    expectation.into_schema()
}

fn request() -> Value {
    let keys = [
        key("method", "`GET` unless said.", one_of(METHODS.iter().copied())),
        required("url", "The whole address.", text()),
        key("headers", "Headers that it has at least.", any_object()),
    ];
    Shape { about: "A request that is expected.", keys: keys.into_iter().chain(body()).collect() }
        .into_schema()
}

fn command() -> Value {
    let keys = vec![
        required("host", "The host as the action names it.", text()),
        required("command", "The whole command.", text()),
        key("user", "The account on the host.", text()),
        key("stdin", "What the command is given to read.", text()),
    ];
    Shape { about: "A command that is expected.", keys }.into_schema()
}

fn message() -> Value {
    let attachment = Shape {
        about: "An attachment.",
        keys: vec![
            required("name", "The name of the file.", text()),
            key("content_type", "Its media type.", text()),
            key("text", "Its content, where it was given as text.", text()),
        ],
    };
    let attachments = json!({"type": "array", "items": attachment.into_schema()});
    let keys = vec![
        key("host", "The server that would have been asked.", text()),
        key("from", "The sender.", text()),
        key("to", "The recipients.", texts()),
        key("cc", "Those who get a copy.", texts()),
        key("bcc", "Those who get a copy that nobody sees.", texts()),
        key("reply_to", "Where answers go.", text()),
        key("subject", "The subject.", text()),
        key("text", "The text.", text()),
        key("html", "The text as HTML.", text()),
        key("attachments", "The attachments, all of them.", attachments),
    ];
    Shape { about: "A message that is expected.", keys }.into_schema()
}

fn ssh_answers() -> Key {
    let times = json!({"type": "integer", "minimum": 1, "maximum": 1000});
    let code = json!({"type": "integer", "minimum": 0, "maximum": 255});
    let keys = vec![
        key("host", "Which host; any unless said.", text()),
        required("command", "The whole command.", text()),
        key("exit_code", "The exit code; 0 unless said.", code),
        key("stdout", "The standard output.", text()),
        key("stderr", "The standard error.", text()),
        key("times", "How often; always unless said.", times),
    ];
    let answer = Shape { about: "What a command on a host is answered.", keys };
    key("ssh", "What `core.ssh` is answered.", json!({"type": "array", "items": answer.into_schema()}))
}

fn answers() -> Key {
    let keys = [
        key("method", "Which method; any unless said.", one_of(METHODS.iter().copied())),
        required("url", "The whole address.", text()),
        key(
            "status",
            "The status; 200 unless said.",
            json!({"type": "integer", "minimum": 100, "maximum": 599}),
        ),
        key(
            "times",
            "How often; always unless said.",
            json!({"type": "integer", "minimum": 1, "maximum": 1000}),
        ),
        key("headers", "The headers of the answer.", any_object()),
    ];
    let answer =
        Shape { about: "What a request is answered.", keys: keys.into_iter().chain(body()).collect() };
    key("http", "What `core.http` is answered.", json!({"type": "array", "items": answer.into_schema()}))
}

fn body() -> [Key; 2] {
    [key("json", "The body as JSON.", json!({})), key("text", "The body as text.", json!({"type": "string"}))]
}

fn values_of_settings() -> Key {
    key("config", "Values of the pack's settings by their names.", any_object())
}

fn values_of_keys() -> Key {
    let values = json!({"type": "object", "propertyNames": component_ref(), "additionalProperties": {"type": "string"}});
    key("keys", "Values of keys by their refs.", values)
}
