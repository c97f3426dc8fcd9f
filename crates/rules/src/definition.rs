//! A rule as its author wrote it, and how its conditions are read.

use attune_expr::pointer;
use attune_expr::suggest::nearest;
use attune_expr::value::type_name;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use crate::window::Window;

/// A rule: which events it listens to, when it fires and what it runs then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDefinition {
    /// The rule's own reference, `pack.name`.
    pub rule_ref: String,
    /// The trigger whose events it listens to.
    pub trigger_ref: String,
    /// Entries that must be equal in the event's config; an object, or null for none.
    #[serde(default)]
    pub trigger_params: Value,
    /// How the list of conditions combines.
    #[serde(default)]
    pub condition: ConditionMode,
    /// The conditions; without any the rule fires on every event it listens to, whatever the mode.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// What it makes of several events; without one it decides about each event for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The action it runs.
    pub action_ref: String,
    /// Parameters of the action, whose strings may be templates; an object, or null for none.
    #[serde(default)]
    pub action_params: Value,
}

/// How a list of conditions combines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionMode {
    /// Every condition must hold.
    #[default]
    All,
    /// At least one condition must hold.
    Any,
}

/// One condition. In JSON and YAML the form is told by the keys: `{field, operator, value}`, `{all: [..]}`, `{any: [..]}`,
/// `{not: {..}}`, or a text that is one Jinja expression. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Condition {
    /// `{field, operator, value}`
    Test {
        /// Path of the field, e.g. `event.payload.severity`.
        field: String,
        /// Name of the operator.
        operator: String,
        /// The expected value, whose strings may be templates; `None` when the key is absent, which is not the same as
        /// null.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    },
    /// `{all: [..]}`
    All {
        /// Every one must hold.
        all: Vec<Condition>,
    },
    /// `{any: [..]}`
    Any {
        /// At least one must hold.
        any: Vec<Condition>,
    },
    /// `{not: {..}}`
    Not {
        /// Must not hold.
        not: Box<Condition>,
    },
    /// A text that is one whole Jinja expression giving true or false.
    Expression(String),
}

/// A fault in a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct RuleProblem {
    /// JSON pointer into the rule, e.g. `/conditions/0/any/1/operator`.
    pub pointer: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// A nearby valid spelling.
    pub suggestion: Option<String>,
}

impl Condition {
    /// Reads a list of conditions and reports every fault at once; pointers start at the list (`/0/any/1/operator`).
    pub fn parse_list(value: &Value) -> Result<Vec<Self>, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let conditions = read_list(value, "", &mut problems);
        if problems.is_empty() { Ok(conditions) } else { Err(problems) }
    }

    /// Reads one condition and reports every fault at once; pointers start at the condition.
    pub fn parse(value: &Value) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        match read(value, "", &mut problems) {
            Some(condition) if problems.is_empty() => Ok(condition),
            _ => Err(problems),
        }
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value).map_err(|problems| {
            let shown: Vec<_> = problems.iter().map(RuleProblem::to_string).collect();
            de::Error::custom(format!("invalid condition: {}", shown.join("; ")))
        })
    }
}

impl RuleProblem {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), suggestion: None }
    }

    #[must_use]
    pub(crate) fn suggest(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }

    /// The same fault seen from further outside: `prefix` is put before the pointer.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

fn read_list(value: &Value, pointer: &str, problems: &mut Vec<RuleProblem>) -> Vec<Condition> {
    let Value::Array(elements) = value else {
        problems.push(RuleProblem::new(
            pointer,
            format!("expected an array of conditions, got {}", type_name(value)),
        ));
        return Vec::new();
    };
    let read = |(position, element)| read(element, &format!("{pointer}/{position}"), problems);
    elements.iter().enumerate().filter_map(read).collect()
}

fn read(value: &Value, pointer: &str, problems: &mut Vec<RuleProblem>) -> Option<Condition> {
    let members = match value {
        Value::String(expression) => return Some(Condition::Expression(expression.clone())),
        Value::Object(members) => members,
        other => {
            let message = format!(
                "expected a condition, got {}; write {{field, operator, value}}, {{all: [..]}}, {{any: [..]}}, \
                 {{not: {{..}}}} or a text with one expression",
                type_name(other)
            );
            problems.push(RuleProblem::new(pointer, message));
            return None;
        }
    };
    let group = ["all", "any", "not"].into_iter().find(|key| members.contains_key(*key));
    let known: &[&str] = match &group {
        Some(group) => std::slice::from_ref(group),
        None => &["field", "operator", "value"],
    };
    refuse_unknown(members, known, pointer, problems);
    let Some(group) = group else { return read_test(members, pointer, problems) };
    let (inner, here) = (&members[group], format!("{pointer}/{group}"));
    match group {
        "not" => read(inner, &here, problems).map(|not| Condition::Not { not: Box::new(not) }),
        "all" => Some(Condition::All { all: read_list(inner, &here, problems) }),
        _ => Some(Condition::Any { any: read_list(inner, &here, problems) }),
    }
}

fn read_test(
    members: &Map<String, Value>,
    pointer: &str,
    problems: &mut Vec<RuleProblem>,
) -> Option<Condition> {
    let mut text = |key: &str, example: &str| match members.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => {
            let message = format!("expected {example}, got {}", type_name(other));
            problems.push(RuleProblem::new(format!("{pointer}/{key}"), message));
            None
        }
        None => {
            problems
                .push(RuleProblem::new(pointer, format!("the condition has no `{key}`; expected {example}")));
            None
        }
    };
    let field = text("field", "a path such as `event.payload.severity`");
    let operator = text("operator", "the name of an operator such as `equals`");
    Some(Condition::Test { field: field?, operator: operator?, value: members.get("value").cloned() })
}

fn refuse_unknown(
    members: &Map<String, Value>,
    known: &[&str],
    pointer: &str,
    problems: &mut Vec<RuleProblem>,
) {
    for key in members.keys().filter(|key| !known.contains(&key.as_str())) {
        let message = if known.len() == 1 {
            format!("`{}` stands alone in its condition; move `{key}` into a condition of its own", known[0])
        } else {
            format!("unknown key `{key}` in a condition")
        };
        let every_key = ["field", "operator", "value", "all", "any", "not"];
        let suggestion = if known.len() == 1 { None } else { nearest(key, every_key) };
        problems.push(RuleProblem::new(pointer::child(pointer, key), message).suggest(suggestion));
    }
}
