//! Evaluates one expression on data.

use attune_expr::path::{FieldPath, Selection};
use attune_expr::scope::Scope;
use attune_expr::suggest::nearest;
use attune_expr::template::{TemplateError, TemplateErrorKind, ValueTemplate, is_template};
use attune_rules::{CompiledRule, Condition, ConditionMode, Evaluation, RuleDefinition, RuleProblem};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Language;

/// The name of data that has no names of its own.
const WHOLE: &str = "data";

/// Where expressions are evaluated: all on the same data.
#[derive(Debug)]
pub(super) struct Workbench {
    pub(super) language: Language,
    /// Whether results are text, as a template would put them into other text.
    pub(super) text: bool,
    pub(super) data: Value,
    /// The current time; none for the clock's.
    pub(super) now: Option<DateTime<Utc>>,
}

/// What an expression gave.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Value(Value),
    Text(String),
    Judged(Evaluation),
}

/// Why an expression gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) message: String,
    /// What might have been meant.
    pub(super) hint: Option<String>,
}

/// What kind of failure it is; the names are what other programs see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The request cannot be understood.
    Malformed,
    /// This version does not evaluate such expressions.
    NotAvailable,
    /// The expression cannot be read, or names what does not exist in the language.
    Syntax,
    /// A name or field is not in the data.
    Undefined,
    /// The expression did more work than it may.
    Limit,
    /// An operator or function does not take such a value.
    Failed,
}

impl Workbench {
    pub(super) fn evaluate(&self, expression: &str) -> Result<Answer, Failure> {
        match self.language {
            Language::Jinja if self.text => text_of(expression, &self.data).map(Answer::Text),
            Language::Jinja => jinja(expression, &self.data).map(Answer::Value),
            Language::Yaql => Err(Failure::not_available("YAQL")),
            Language::Condition => {
                condition(expression, &self.data, self.now.unwrap_or_else(Utc::now)).map(Answer::Judged)
            }
        }
    }

    /// The names that expressions can use.
    pub(super) fn names(&self) -> Vec<String> {
        scope_of(&self.data).names().map(str::to_owned).collect()
    }
}

/// Evaluates an expression, or renders a text with templates in it. A whole `{{ expression }}` keeps its type.
pub(super) fn jinja(source: &str, data: &Value) -> Result<Value, Failure> {
    let template = if is_template(source) {
        ValueTemplate::compile(&Value::String(source.to_owned()))
    } else {
        ValueTemplate::compile_expression(source)
    };
    render(template, source, data)
}

/// Renders a template to text.
pub(super) fn jinja_text(template: &str, data: &Value) -> Result<String, Failure> {
    match render(ValueTemplate::compile_text(template), template, data)? {
        Value::String(text) => Ok(text),
        // Not met: the result of a text template is text.
        other => Ok(other.to_string()),
    }
}

/// The result of an expression, or of a text with templates in it, as text.
fn text_of(source: &str, data: &Value) -> Result<String, Failure> {
    if is_template(source) {
        return jinja_text(source, data);
    }
    // Compiled by itself first: with braces around it, `a }} {{ b` would be something else.
    ValueTemplate::compile_expression(source).map_err(Failure::from)?;
    jinja_text(&format!("{{{{ {} }}}}", source.trim()), data)
}

fn render(
    template: Result<ValueTemplate, TemplateError>,
    source: &str,
    data: &Value,
) -> Result<Value, Failure> {
    let scope = scope_of(data);
    template.and_then(|template| template.render(&scope)).map_err(|error| {
        let how_far = (error.kind == TemplateErrorKind::Undefined).then(|| explain(source, &scope)).flatten();
        let failure = Failure::from(error);
        Failure { hint: failure.hint.or(how_far), ..failure }
    })
}

fn scope_of(data: &Value) -> Scope<'_> {
    match data {
        Value::Null => Scope::new(),
        Value::Object(members) => Scope::of_members(members),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Scope::new().with(WHOLE, data)
        }
    }
}

/// How far a path got that leads nowhere; `None` for an expression that is more than a path.
fn explain(source: &str, scope: &Scope<'_>) -> Option<String> {
    let bare = source.trim();
    let bare = bare.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or(bare);
    let path = FieldPath::parse(bare.trim()).ok()?;
    if path.segments().is_empty() {
        return nearest(path.root(), scope.names()).map(did_you_mean);
    }
    (path.select(scope) == Selection::None).then(|| path.explain_missing(scope))
}

/// Judges a condition as it would stand in a rule.
fn condition(source: &str, data: &Value, now: DateTime<Utc>) -> Result<Evaluation, Failure> {
    let condition =
        Condition::parse(&condition_value(source)?).map_err(|problems| bad_condition(&problems))?;
    let definition = RuleDefinition {
        // Nobody sees these: a rule is only the place where a condition can stand.
        rule_ref: String::new(),
        trigger_ref: String::new(),
        trigger_params: Value::Null,
        condition: ConditionMode::All,
        conditions: vec![condition],
        window: None,
        action_ref: String::new(),
        action_params: Value::Null,
    };
    let rule = CompiledRule::compile(&definition).map_err(|problems| bad_condition(&problems))?;
    let mut evaluation = rule.evaluate(&scope_of(data), now);
    for test in &mut evaluation.tests {
        test.pointer = within(&test.pointer).to_owned();
    }
    Ok(evaluation)
}

fn condition_value(source: &str) -> Result<Value, Failure> {
    // To YAML, two braces are a mapping in a mapping.
    if source.trim_start().starts_with("{{") {
        return Ok(Value::String(source.trim().to_owned()));
    }
    // As in a rule's file, where `no` is a text.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(source, options).map_err(|error| Failure {
        kind: FailureKind::Syntax,
        message: format!("the condition is neither YAML nor JSON: {error}"),
        hint: Some(
            "write {field: \"event.payload.list[0]\", operator: gt, value: 3}; brackets need quotes"
                .to_owned(),
        ),
    })
}

fn bad_condition(problems: &[RuleProblem]) -> Failure {
    let told = problems.iter().map(|problem| match within(&problem.pointer) {
        "" => problem.message.clone(),
        place => format!("{place}: {}", problem.message),
    });
    let message = told.collect::<Vec<_>>().join("; ");
    let suggestion = problems.iter().find_map(|problem| problem.suggestion.as_deref());
    Failure { kind: FailureKind::Syntax, message, hint: suggestion.map(did_you_mean) }
}

/// A pointer into the rule as one into its only condition.
fn within(pointer: &str) -> &str {
    pointer.strip_prefix("/conditions/0").unwrap_or(pointer)
}

pub(super) fn did_you_mean(suggestion: &str) -> String {
    format!("did you mean `{suggestion}`?")
}

impl Failure {
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Malformed, message: message.into(), hint: None }
    }

    pub(super) fn not_available(what: &str) -> Self {
        let message = format!("{what} is not available in this version");
        Self { kind: FailureKind::NotAvailable, message, hint: None }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        let kind = match error.kind {
            TemplateErrorKind::Syntax => FailureKind::Syntax,
            TemplateErrorKind::Undefined => FailureKind::Undefined,
            TemplateErrorKind::Limit => FailureKind::Limit,
            TemplateErrorKind::Failed => FailureKind::Failed,
        };
        Self { kind, message: error.message, hint: error.suggestion.as_deref().map(did_you_mean) }
    }
}

impl FailureKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAvailable => "not available",
            Self::Syntax => "syntax",
            Self::Undefined => "undefined",
            Self::Limit => "limit",
            Self::Failed => "failed",
        }
    }
}
