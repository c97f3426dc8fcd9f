//! A rule as its author wrote it, and how its conditions are read.

use attune_expr::form;
use attune_expr::form::{AnyText, AnyValue, Described, Form, JsonMapping, one_of};
use attune_expr::operator::Operator;
use attune_expr::pointer;
use attune_expr::suggest::nearest;
use attune_expr::value::type_name;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value, json};

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

impl ConditionMode {
    /// Every mode.
    pub const ALL: &'static [Self] = &[Self::All, Self::Any];

    /// The name in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
        }
    }
}

impl Described for ConditionMode {
    fn schema() -> Value {
        one_of(Self::ALL.iter().map(|mode| mode.as_str()))
    }
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

form! {
    /// A test of one field.
    struct TestForm<'v> of JsonMapping<'v> {
        /// The path of the field, as `event.payload.severity`.
        required field: AnyText,
        /// How the field is compared.
        required operator: Operators,
        /// What it is compared with; texts may be templates.
        optional value: AnyValue,
    }
}

form! {
    /// A group of conditions: one of these keys, alone.
    struct GroupForm<'v> of JsonMapping<'v> {
        /// Every one must hold.
        optional all: Vec<Condition>,
        /// At least one must hold.
        optional any: Vec<Condition>,
        /// Must not hold.
        optional not: Condition,
    }
}

/// The names of operators.
#[derive(Debug)]
struct Operators;

impl Described for Operators {
    fn schema() -> Value {
        one_of(
            Operator::all().flat_map(|operator| {
                std::iter::once(operator.name()).chain(operator.aliases().iter().copied())
            }),
        )
    }
}

/// A reference to [`Condition::definition`], which is recursive.
impl Described for Condition {
    fn schema() -> Value {
        json!({"$ref": "#/$defs/condition"})
    }
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
    /// The JSON Schema of a condition, to stand under `$defs/condition` of a schema that has conditions.
    pub fn definition() -> Value {
        let about = "A group of conditions.".to_owned();
        let group = |mut key: form::Key| {
            key.need = form::Need::Required;
            form::Shape { about: about.clone(), keys: vec![key] }.schema()
        };
        let mut forms = vec![TestForm::shape().schema()];
        forms.extend(GroupForm::shape().keys.into_iter().map(group));
        forms
            .push(json!({"type": "string", "description": "One Jinja expression that gives true or false."}));
        json!({"description": "A condition.", "anyOf": forms})
    }

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
    let (groups, _) = JsonMapping::read::<GroupForm<'_>>(members);
    let GroupForm { all, any, not } = groups;
    let given = [(all.name, all.value), (any.name, any.value), (not.name, not.value)];
    let Some((group, inner)) = given.into_iter().find_map(|(name, value)| Some((name, value?))) else {
        return read_test(members, pointer, problems);
    };
    let here = format!("{pointer}/{group}");
    for key in members.keys().filter(|key| *key != group) {
        let message =
            format!("`{group}` stands alone in its condition; move `{key}` into a condition of its own");
        problems.push(RuleProblem::new(pointer::child(pointer, key), message));
    }
    if not.name == group {
        read(inner, &here, problems).map(|not| Condition::Not { not: Box::new(not) })
    } else if all.name == group {
        Some(Condition::All { all: read_list(inner, &here, problems) })
    } else {
        Some(Condition::Any { any: read_list(inner, &here, problems) })
    }
}

fn read_test(
    members: &Map<String, Value>,
    pointer: &str,
    problems: &mut Vec<RuleProblem>,
) -> Option<Condition> {
    let (form, mapping) = JsonMapping::read::<TestForm<'_>>(members);
    let mut known = mapping.known();
    known.extend(GroupForm::shape().keys.iter().map(|key| key.name));
    for unknown in mapping.unknown() {
        let message = format!("unknown key `{}` in a condition", unknown.name);
        let problem = RuleProblem::new(pointer::child(pointer, unknown.name), message);
        problems.push(problem.suggest(nearest(unknown.name, known.iter().copied())));
    }
    let mut text = |key: &str, value: Option<&Value>, example: &str| match value {
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
    let field = text(form.field.name, form.field.value, "a path such as `event.payload.severity`");
    let operator = text(form.operator.name, form.operator.value, "the name of an operator such as `equals`");
    Some(Condition::Test { field: field?, operator: operator?, value: form.value.value.cloned() })
}
