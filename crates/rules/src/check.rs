//! What can be wrong with a rule although it compiles: fields that no event of its trigger has, and questions that have
//! the same answer for every event. Told when a rule is saved, where its author still looks.
//!
//! What is known of an event is its frame, which is the same everywhere, and what the trigger says of its payload
//! (`out_schema`) and of its configuration (`parameters`). Where a schema leaves something open, nothing is said.

use std::sync::LazyLock;

use attune_expr::operator::Operator;
use attune_expr::path::{FieldPath, Segment};
use attune_expr::pointer;
use attune_expr::schema::{Cause, Possible, Types, Unreachable, reach};
use attune_expr::suggest::nearest;
use attune_expr::template::ValueTemplate;
use attune_expr::value::equal;
use serde_json::{Value, json};

use crate::definition::{Condition, RuleDefinition, RuleProblem};
use crate::webhook::{self, Listener};

/// What the trigger of a rule says about its events.
#[derive(Debug, Clone, Copy, Default)]
pub struct TriggerSchemas<'s> {
    /// JSON schema of the payload.
    pub payload: Option<&'s Value>,
    /// JSON schema of the configuration, which is that of `trigger_params`.
    pub config: Option<&'s Value>,
}

/// Everything that is wrong with the fields of a rule; pointers are those of [`CompiledRule::compile`], whose problems are
/// not repeated.
///
/// [`CompiledRule::compile`]: crate::CompiledRule::compile
pub fn check(rule: &RuleDefinition, trigger: TriggerSchemas<'_>) -> Vec<RuleProblem> {
    let mut checker = Checker { rule, trigger, problems: Vec::new() };
    checker.conditions(&rule.conditions, "/conditions");
    checker.templates(&rule.action_params, "/action_params");
    if rule.trigger_ref == webhook::TRIGGER {
        checker.problems.extend(Listener::read(&rule.trigger_params).err().unwrap_or_default());
    }
    checker.problems
}

/// The frame of an event and of what stands beside it; payload and configuration are the trigger's.
static EVENT: LazyLock<Value> = LazyLock::new(|| {
    let text_or_null = json!({"type": ["string", "null"]});
    frame(json!({
        "id": {"type": ["integer", "null"]},
        "trigger": {"type": "string"},
        "payload": {},
        "headers": {"type": ["object", "null"]},
        "source": text_or_null,
        "trace_id": text_or_null,
        "created": {"type": "string"},
    }))
});
static TRIGGER: LazyLock<Value> =
    LazyLock::new(|| frame(json!({"ref": {"type": "string"}, "config": {"type": "object"}})));
static RULE: LazyLock<Value> = LazyLock::new(|| {
    let text_or_null = json!({"type": ["string", "null"]});
    frame(json!({
        "id": {"type": ["integer", "null"]},
        "ref": {"type": "string"},
        "label": text_or_null,
        "pack": text_or_null,
        "version": {"type": ["integer", "null"]},
    }))
});

fn frame(properties: Value) -> Value {
    let mut schema = json!({"type": "object", "additionalProperties": false});
    schema["properties"] = properties;
    schema
}

struct Checker<'r> {
    rule: &'r RuleDefinition,
    trigger: TriggerSchemas<'r>,
    problems: Vec<RuleProblem>,
}

impl Checker<'_> {
    fn conditions(&mut self, conditions: &[Condition], here: &str) {
        for (position, condition) in conditions.iter().enumerate() {
            let at = format!("{here}/{position}");
            match conditions[..position].iter().position(|other| other == condition) {
                Some(first) => {
                    let message = format!("this condition has no effect: {here}/{first} is the same");
                    self.problems.push(RuleProblem::new(at, message));
                }
                None => self.condition(condition, &at),
            }
        }
    }

    fn condition(&mut self, condition: &Condition, here: &str) {
        match condition {
            Condition::Test { field, operator, value } => self.test(field, operator, value.as_ref(), here),
            Condition::All { all } => self.conditions(all, &format!("{here}/all")),
            Condition::Any { any } => self.conditions(any, &format!("{here}/any")),
            Condition::Not { not } => self.condition(not, &format!("{here}/not")),
            Condition::Expression(text) => self.templates(&Value::String(text.clone()), here),
        }
    }

    fn test(&mut self, field: &str, operator: &str, value: Option<&Value>, here: &str) {
        let value_here = format!("{here}/value");
        if let Some(value) = value {
            self.templates(value, &value_here);
        }
        // What cannot be read was told when the rule was compiled.
        let (Ok(path), Ok(operator)) = (FieldPath::parse(field), Operator::parse(operator)) else { return };
        let possible = match self.reach(&path) {
            Ok(possible) => possible,
            Err(problem) => return self.problems.push(problem.under(&format!("{here}/field"))),
        };
        let subject = Subject { path: &path, operator, source: self.source(&path), possible: &possible };
        if let Some(problem) = subject.wrong_type(value) {
            return self.problems.push(problem.under(&format!("{here}/operator")));
        }
        if let Some(value) = value.filter(|value| is_static(value)) {
            let found = subject.impossible_values(value);
            self.problems.extend(found.into_iter().map(|problem| problem.under(&value_here)));
        }
    }

    /// Fields that templates name and that cannot be there.
    fn templates(&mut self, value: &Value, here: &str) {
        let Ok(template) = ValueTemplate::compile(value) else { return };
        for used in template.paths() {
            if let Err(problem) = self.reach(&used.path) {
                self.problems.push(problem.under(&format!("{here}{}", used.pointer)));
            }
        }
    }

    /// What can stand at a path. The problem, when nothing can, has no pointer yet.
    fn reach(&self, path: &FieldPath) -> Result<Possible, RuleProblem> {
        let (schema, skipped) = self.schema_of(path);
        let Some(schema) = schema else { return Ok(Possible { types: Types::ALL, values: None }) };
        if let ("event", [Segment::Key(first), Segment::Key(name), ..]) = (path.root(), path.segments())
            && first == "headers"
            && name.chars().any(char::is_uppercase)
        {
            let message = format!("`{path}` cannot be there: the names of headers are in lower case");
            let lower = self.with_step(path, 1, &name.to_lowercase());
            return Err(RuleProblem::new("", message).suggest(Some(&lower)));
        }
        reach(schema, &path.segments()[skipped..]).map_err(|unreachable| {
            let followed = skipped + unreachable.followed;
            self.no_such_field(path, &Unreachable { followed, ..unreachable })
        })
    }

    /// The schema that says most about a path, and how many of its steps lead there.
    fn schema_of(&self, path: &FieldPath) -> (Option<&Value>, usize) {
        let first = match path.segments().first() {
            Some(Segment::Key(first)) => first.as_str(),
            _ => "",
        };
        match (path.root(), first) {
            ("event", "payload") => (self.trigger.payload, 1),
            ("trigger", "config") => (self.trigger.config, 1),
            ("event", _) => (Some(&EVENT), 0),
            ("trigger", _) => (Some(&TRIGGER), 0),
            ("rule", _) => (Some(&RULE), 0),
            // An unknown root was told when the rule was compiled.
            _ => (None, 0),
        }
    }

    fn no_such_field(&self, path: &FieldPath, unreachable: &Unreachable) -> RuleProblem {
        let reached = FieldPath::new(path.root(), path.segments()[..unreachable.followed].to_vec());
        let step = &path.segments()[unreachable.followed];
        let source = self.source(path);
        match (&unreachable.cause, step) {
            (Cause::NoMember { known }, Segment::Key(key)) => {
                let near = nearest(key, known.iter().map(String::as_str));
                let has = match (near, known.as_slice()) {
                    (None, []) => "; it has no members".to_owned(),
                    (None, known) => format!("; it has {}", quoted(known)),
                    (Some(_), _) => String::new(),
                };
                let message = format!("{source} `{reached}` has no `{key}`{has}");
                let meant = near.map(|near| self.with_step(path, unreachable.followed, near));
                RuleProblem::new("", message).suggest(meant.as_deref())
            }
            (Cause::NoMember { .. }, _) | (Cause::NoElement, _) => {
                RuleProblem::new("", format!("{source} `{reached}` has no element `{step}`"))
            }
            (Cause::WrongType { types }, _) => {
                RuleProblem::new("", format!("{source} `{reached}` is {types}, so it has no `{step}`"))
            }
        }
    }

    /// Who says so.
    fn source(&self, path: &FieldPath) -> String {
        match self.schema_of(path) {
            (Some(_), 1) => format!("by the schema of `{}`,", self.rule.trigger_ref),
            _ => "a rule sees no such field:".to_owned(),
        }
    }

    /// The path with another key at a step.
    fn with_step(&self, path: &FieldPath, at: usize, key: &str) -> String {
        let mut segments = path.segments().to_vec();
        segments[at] = Segment::Key(key.to_owned());
        FieldPath::new(path.root(), segments).to_string()
    }
}

/// A condition on a field of which something is known.
struct Subject<'p> {
    path: &'p FieldPath,
    operator: Operator,
    source: String,
    possible: &'p Possible,
}

impl Subject<'_> {
    /// The problem of an operator that can judge nothing of what the field can be.
    fn wrong_type(&self, value: Option<&Value>) -> Option<RuleProblem> {
        let needed = needed(self.operator, value);
        if self.possible.types.meets(needed) {
            return None;
        }
        let message = format!(
            "`{}` needs {needed}, but {} `{}` is {}",
            self.operator, self.source, self.path, self.possible.types
        );
        Some(RuleProblem::new("", message))
    }

    /// The problems of values that the field can never have; pointers start at the value.
    fn impossible_values(&self, value: &Value) -> Vec<RuleProblem> {
        match (self.operator, value) {
            (Operator::Equals | Operator::NotEquals, value) => {
                self.impossible(value, equal).map(|problem| vec![problem]).unwrap_or_default()
            }
            (Operator::IEquals, value) => {
                let same = |left: &Value, right: &Value| match (left, right) {
                    (Value::String(left), Value::String(right)) => {
                        left.to_lowercase() == right.to_lowercase()
                    }
                    _ => false,
                };
                self.impossible(value, same).map(|problem| vec![problem]).unwrap_or_default()
            }
            (Operator::In | Operator::NotIn, Value::Array(values)) => values
                .iter()
                .enumerate()
                .filter_map(|(at, value)| {
                    Some(self.impossible(value, equal)?.under(&pointer::child("", &at.to_string())))
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn impossible(&self, value: &Value, same: impl Fn(&Value, &Value) -> bool) -> Option<RuleProblem> {
        let shown = shortened(value);
        let Some(values) = &self.possible.values else {
            if self.possible.can_equal(value) {
                return None;
            }
            let (path, types) = (self.path, self.possible.types);
            let message = format!("{} `{path}` is {types}, never {shown}", self.source);
            return Some(RuleProblem::new("", message));
        };
        if values.iter().any(|possible| same(possible, value)) {
            return None;
        }
        let near = value.as_str().and_then(|text| nearest(text, values.iter().filter_map(Value::as_str)));
        let one_of = match near {
            Some(_) => String::new(),
            None => format!("; it is one of {}", values.iter().map(shortened).collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{} `{}` is never {shown}{one_of}", self.source, self.path);
        Some(RuleProblem::new("", message).suggest(near))
    }
}

/// The types of which at least one must be possible for the operator to make sense.
fn needed(operator: Operator, value: Option<&Value>) -> Types {
    match operator {
        Operator::Equals | Operator::NotEquals | Operator::Exists | Operator::NotExists => Types::ALL,
        Operator::IEquals
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::IStartsWith
        | Operator::IEndsWith
        | Operator::Regex
        | Operator::IRegex
        | Operator::MatchRegex
        | Operator::Wildcard
        | Operator::InCidr
        | Operator::NotInCidr
        | Operator::VersionEquals
        | Operator::VersionLessThan
        | Operator::VersionLessOrEqual
        | Operator::VersionGreaterThan
        | Operator::VersionGreaterOrEqual
        | Operator::VersionMatches => Types::STRING,
        Operator::Contains | Operator::NotContains => Types::STRING.or(Types::ARRAY).or(Types::OBJECT),
        Operator::IContains | Operator::NotIContains => Types::STRING.or(Types::ARRAY),
        Operator::LessThan | Operator::LessOrEqual | Operator::GreaterThan | Operator::GreaterOrEqual => {
            ordered_with(value)
        }
        Operator::Between => ordered_with(value.and_then(|bounds| bounds.get(0))),
        Operator::In | Operator::NotIn => match value {
            Some(Value::String(text)) if !attune_expr::template::is_template(text) => Types::STRING,
            _ => Types::ALL,
        },
        Operator::YoungerThan | Operator::OlderThan => Types::STRING.or(Types::NUMBER),
        Operator::IsEmpty | Operator::IsNotEmpty => {
            Types::NULL.or(Types::STRING).or(Types::ARRAY).or(Types::OBJECT)
        }
        Operator::Search => Types::ARRAY,
    }
}

/// What can be ordered with a value. True and false would count as 1 and 0, which nobody means by an order.
fn ordered_with(value: Option<&Value>) -> Types {
    match value {
        Some(Value::Number(_)) => Types::NUMBER,
        Some(Value::Array(_)) => Types::ARRAY,
        Some(Value::String(text)) if !attune_expr::template::is_template(text) => Types::STRING,
        _ => Types::NUMBER.or(Types::STRING).or(Types::ARRAY),
    }
}

fn is_static(value: &Value) -> bool {
    ValueTemplate::compile(value).is_ok_and(|template| template.is_static())
}

fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

/// A value of a rule as a message shows it.
fn shortened(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Value {
        json!({
            "type": "object",
            "properties": {
                "severity": {"enum": ["critical", "warning"]},
                "host": {"type": "string"},
                "used": {"type": "number"},
                "count": {"type": "integer"},
                "acknowledged": {"type": "boolean"},
                "closed": {"type": ["string", "null"]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "alerts": {"type": "array", "items": {
                    "type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": false,
                }},
                "extra": {},
            },
            "additionalProperties": false,
        })
    }

    fn problems(rule: &Value) -> Vec<(String, String, Option<String>)> {
        let config = json!({"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": false});
        let mut whole = json!({"rule_ref": "ops.r", "trigger_ref": "ops.alert", "action_ref": "ops.a"});
        for (name, value) in rule.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let rule: RuleDefinition = serde_json::from_value(whole).unwrap();
        let payload = payload();
        let schemas = TriggerSchemas { payload: Some(&payload), config: Some(&config) };
        assert_eq!(
            check(&rule, TriggerSchemas::default()).iter().filter(|p| p.message.contains("schema")).count(),
            0
        );
        check(&rule, schemas).into_iter().map(|p| (p.pointer, p.message, p.suggestion)).collect()
    }

    fn of_condition(condition: &Value) -> Vec<(String, String, Option<String>)> {
        problems(&json!({"conditions": [condition]}))
    }

    #[track_caller]
    fn fine(field: &str, operator: &str, value: Value) {
        let mut condition = json!({"field": field, "operator": operator});
        if !value.is_null() {
            condition["value"] = value;
        }
        assert_eq!(of_condition(&condition), [], "{field} {operator}");
    }

    #[track_caller]
    fn wrong(field: &str, operator: &str, value: &Value, place: &str, message: &str, meant: Option<&str>) {
        let condition = json!({"field": field, "operator": operator, "value": value});
        let expected = (format!("/conditions/0{place}"), message.to_owned(), meant.map(str::to_owned));
        assert_eq!(of_condition(&condition), [expected]);
    }

    #[test]
    fn test_fields_that_cannot_be_there_are_told_with_what_was_meant() {
        wrong(
            "event.payload.severty",
            "equals",
            &json!("critical"),
            "/field",
            "by the schema of `ops.alert`, `event.payload` has no `severty`",
            Some("event.payload.severity"),
        );
        wrong(
            "event.payload.alerts[*].nam",
            "equals",
            &json!("x"),
            "/field",
            "by the schema of `ops.alert`, `event.payload.alerts[*]` has no `nam`",
            Some("event.payload.alerts[*].name"),
        );
        wrong(
            "event.payload.alerts[0].zone",
            "equals",
            &json!("x"),
            "/field",
            "by the schema of `ops.alert`, `event.payload.alerts[0]` has no `zone`; it has `name`",
            None,
        );
        wrong(
            "event.payload.host.name",
            "equals",
            &json!("x"),
            "/field",
            "by the schema of `ops.alert`, `event.payload.host` is string, so it has no `.name`",
            None,
        );
        wrong(
            "trigger.config.pth",
            "equals",
            &json!("x"),
            "/field",
            "by the schema of `ops.alert`, `trigger.config` has no `pth`",
            Some("trigger.config.path"),
        );
    }

    #[test]
    fn test_the_frame_of_an_event_is_known_without_any_schema() {
        wrong(
            "event.paylod.severity",
            "equals",
            &json!("x"),
            "/field",
            "a rule sees no such field: `event` has no `paylod`",
            Some("event.payload.severity"),
        );
        wrong(
            "event.headers.X-GitHub-Event",
            "equals",
            &json!("push"),
            "/field",
            "`event.headers.X-GitHub-Event` cannot be there: the names of headers are in lower case",
            Some("event.headers.x-github-event"),
        );
        fine("event.headers.x-github-event", "equals", json!("push"));
        fine("rule.version", "greater_than", json!(1));
        fine("event.created", "younger_than", json!("15m"));
    }

    #[test]
    fn test_what_the_schema_leaves_open_is_let_be() {
        fine("event.payload.labels.anything", "equals", json!("x"));
        fine("event.payload.extra.deep[0].down", "greater_than", json!(1));
        fine("event.payload.closed", "not_exists", Value::Null);
        fine("event.payload.closed", "starts_with", json!("2026"));
        fine("event.payload.severity", "in", json!(["critical", "warning"]));
        fine("event.payload.count", "equals", json!("{{ event.payload.host }}"));
        fine("event.payload.count", "less_than", json!("{{ event.payload.used }}"));
        fine(
            "event.payload.alerts",
            "search",
            json!({"condition": "any", "pattern": {"item.name": {"type": "equals", "pattern": "x"}}}),
        );
    }

    #[test]
    fn test_operators_that_can_judge_nothing_of_the_field_are_told() {
        wrong(
            "event.payload.acknowledged",
            "greater_than",
            &json!(3),
            "/operator",
            "`greater_than` needs number, but by the schema of `ops.alert`, `event.payload.acknowledged` is boolean",
            None,
        );
        for (field, operator, value) in [
            ("event.payload.count", "starts_with", json!("1")),
            ("event.payload.host", "less_than", json!(1)),
            ("event.payload.used", "between", json!(["a", "b"])),
            ("event.payload.labels", "regex", json!("x")),
            ("event.payload.labels", "icontains", json!("x")),
            ("event.payload.acknowledged", "contains", json!("x")),
            ("event.payload.acknowledged", "older_than", json!("5m")),
            ("event.payload.count", "in_cidr", json!("10.0.0.0/8")),
            ("event.payload.count", "version_equals", json!("1.2.3")),
            ("event.payload.count", "in", json!("text")),
            (
                "event.payload.host",
                "search",
                json!({"condition": "any", "pattern": {"item": {"type": "equals", "pattern": "x"}}}),
            ),
        ] {
            let found = of_condition(&json!({"field": field, "operator": operator, "value": value}));
            assert_eq!(found.len(), 1, "{field} {operator}: {found:?}");
            assert_eq!(found[0].0, "/conditions/0/operator", "{field} {operator}");
        }
        let found = of_condition(&json!({"field": "event.payload.count", "operator": "is_empty"}));
        assert_eq!(found[0].0, "/conditions/0/operator");
    }

    #[test]
    fn test_values_that_the_field_can_never_have_are_told() {
        wrong(
            "event.payload.severity",
            "equals",
            &json!("critcal"),
            "/value",
            "by the schema of `ops.alert`, `event.payload.severity` is never \"critcal\"",
            Some("critical"),
        );
        wrong(
            "event.payload.severity",
            "not_equals",
            &json!("info"),
            "/value",
            "by the schema of `ops.alert`, `event.payload.severity` is never \"info\"; it is one of \"critical\", \
             \"warning\"",
            None,
        );
        wrong(
            "event.payload.count",
            "equals",
            &json!("3"),
            "/value",
            "by the schema of `ops.alert`, `event.payload.count` is integer, never \"3\"",
            None,
        );
        wrong(
            "event.payload.severity",
            "in",
            &json!(["critical", "warnin"]),
            "/value/1",
            "by the schema of `ops.alert`, `event.payload.severity` is never \"warnin\"",
            Some("warning"),
        );
        wrong(
            "event.payload.alerts[*].name",
            "equals",
            &json!(7),
            "/value",
            "by the schema of `ops.alert`, `event.payload.alerts[*].name` is string, never 7",
            None,
        );
        fine("event.payload.severity", "iequals", json!("CRITICAL"));
        fine("event.payload.used", "equals", json!(3));
    }

    #[test]
    fn test_a_condition_that_stands_there_twice_has_no_effect() {
        let is = |n: i64| json!({"field": "event.payload.count", "operator": "equals", "value": n});
        let found = problems(&json!({"conditions": [{"any": [is(1), is(2), is(1)]}, is(1)]}));
        let expected = "this condition has no effect: /conditions/0/any/0 is the same".to_owned();
        assert_eq!(found, [("/conditions/0/any/2".to_owned(), expected, None)]);
    }

    #[test]
    fn test_templates_name_only_fields_that_can_be_there() {
        let found = problems(&json!({
            "conditions": [
                {"any": [{"not": "{{ event.payload.usd > 3 }}"}]},
                {"field": "event.payload.used", "operator": "less_than", "value": "{{ event.payload.cout }}"},
            ],
            "action_params": {
                "fine": "{{ event.payload.labels.items() | list }} {{ event.payload.extra.x.y }}",
                "text": "on {{ event.payload.hst }}",
                "deep": [{"a": "{{ event.payload.alerts | map(attribute='x') | list ~ event.payload.host.name }}"}],
            },
        }));
        let found: Vec<_> = found.iter().map(|(at, _, meant)| (at.as_str(), meant.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("/conditions/0/any/0/not", Some("event.payload.used")),
                ("/conditions/1/value", Some("event.payload.count")),
                ("/action_params/deep/0/a", None),
                ("/action_params/text", Some("event.payload.host")),
            ]
        );
    }
}
