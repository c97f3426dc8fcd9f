//! The tests that a pack brings for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::finding::Located;

/// `tests/*.yaml`: cases, and what they share.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    /// Path in the pack.
    pub path: String,
    pub cases: Vec<TestCase>,
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    pub name: Located<String>,
    pub subject: CaseSubject,
    /// Values of keys by their refs: those of the file, then those of the case.
    pub keys: BTreeMap<String, String>,
    /// Values of the pack's settings, secrets too: those of the file, then those of the case.
    pub config: Map<String, Value>,
    /// What `core.http` is answered; those of the case go before those of the file.
    pub http: Vec<HttpAnswer>,
    /// What `core.ssh` is answered, in the same order.
    pub ssh: Vec<SshAnswer>,
}

/// What is tested.
#[derive(Debug, Clone, PartialEq)]
pub enum CaseSubject {
    Rule(RuleCase),
    Action(ActionCase),
}

/// A rule that gets events.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleCase {
    pub rule: String,
    pub events: Vec<SampleEvent>,
    /// How long after the first moment the test ends; None: with the last event.
    pub until: Option<Duration>,
    /// How often the rule fires.
    pub fires: u64,
    /// The parameters of the action each time it fires; None: not compared.
    pub parameters: Option<Vec<Value>>,
    /// What is part of the reason why the rule fails; None: it does not fail.
    pub error: Option<String>,
    /// How the executions that it starts end; None: nothing is run.
    pub execution: Option<Expectation>,
}

/// An event of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleEvent {
    pub payload: Value,
    /// In lower case.
    pub headers: Map<String, Value>,
    pub config: Map<String, Value>,
    /// How long after the first moment it is recorded.
    pub at: Duration,
}

/// An action that is run.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionCase {
    pub action: String,
    pub parameters: Map<String, Value>,
    pub expect: Expectation,
}

/// How an execution ends. What is None is not compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    pub status: String,
    pub result: Option<Value>,
    /// What the result has at least: members that are not named may be there.
    pub result_has: Option<Value>,
    /// Part of the error.
    pub error: Option<String>,
    /// Part of the output.
    pub stdout: Option<String>,
    pub stderr: Option<String>,
    /// The requests of `core.http`, in their order.
    pub requests: Option<Vec<ExpectedRequest>>,
    /// The commands of `core.ssh`, in their order.
    pub commands: Option<Vec<ExpectedCommand>>,
    /// The messages of `core.mail`, in their order: what their parameters have at least. None: there is no mail.
    pub mail: Option<Vec<Map<String, Value>>>,
}

/// What `core.http` is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpAnswer {
    /// None: whatever the method.
    pub method: Option<String>,
    pub url: String,
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: HttpBody,
    /// How often; None: always.
    pub times: Option<u32>,
}

/// What `core.ssh` is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAnswer {
    /// None: whatever the host.
    pub host: Option<String>,
    /// The whole command.
    pub command: String,
    pub exit_code: u8,
    pub stdout: String,
    pub stderr: String,
    /// How often; None: always.
    pub times: Option<u32>,
}

/// A command that is expected. What is None is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedCommand {
    pub host: String,
    pub command: String,
    pub user: Option<String>,
    pub stdin: Option<String>,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpBody {
    Empty,
    Json(Value),
    Text(String),
}

/// A request that is expected.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedRequest {
    pub method: String,
    pub url: String,
    /// Those it has at least; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// None: not compared.
    pub body: Option<Value>,
}
