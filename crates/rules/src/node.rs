//! The compiled form of conditions, and how one is judged.
//!
//! What a missing field means depends on the question: `exists`, `not_exists` and comparing with null have an answer;
//! every other operator is [`Verdict::Missing`]. A path with `[*]` asks whether *any* of its values passes: `True` wins,
//! then an error, else `False` (also for an empty array). `not_exists` with `[*]` holds when no value exists at all.

use std::borrow::Cow;
use std::sync::Arc;

use attune_expr::cache::Pool;
use attune_expr::operator::{Matcher, Operator};
use attune_expr::path::{FieldPath, Selection};
use attune_expr::scope::Scope;
use attune_expr::template::{TemplateError, TemplateErrorKind, ValueTemplate, is_template};
use attune_expr::value::type_name;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::compiled::{ConditionPlace, SCOPE_ROOTS, TestResult, compile_template, fields_of, unknown_root};
use crate::definition::{Condition, RuleProblem};
use crate::selections::Selections;
use crate::settings::Settings;
use crate::verdict::Verdict;

/// How deep conditions may nest; deeper is a generator gone wrong, and judging recurses.
const DEPTH_LIMIT: usize = 32;

#[derive(Debug)]
pub(crate) enum Node {
    Test {
        pointer: Box<str>,
        /// Shared with all rules that have the same condition.
        test: Arc<Test>,
    },
    Expression(Box<Expression>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

/// Conditions by the hundred thousand are few different ones, such as the kind of a webhook, and one that is a rule's own.
static TESTS: Pool<Test> = Pool::new();

/// `{field, operator, value}`
#[derive(Debug)]
pub(crate) struct Test {
    /// Shared by all who name this field, the index among them.
    pub(crate) path: Arc<FieldPath>,
    pub(crate) operator: Operator,
    pub(crate) expected: Expected,
}

#[derive(Debug)]
pub(crate) enum Expected {
    /// Known when the rule was compiled, which is the rule.
    Static { value: Option<Value>, matcher: Matcher },
    /// A template, rendered and compiled for every event.
    Template(ValueTemplate),
}

/// A text with one expression.
#[derive(Debug)]
pub(crate) struct Expression {
    pointer: String,
    source: String,
    template: ValueTemplate,
}

/// The outcome of a test with what an explanation needs; making one copies nothing.
struct Judgement<'v> {
    verdict: Verdict,
    expected: Option<Cow<'v, Value>>,
    selection: Selection<'v>,
    /// The reason of a failure, and of a missing field that is not the test's own.
    trouble: Option<String>,
}

impl Node {
    pub(crate) fn compile_list(
        conditions: &[Condition],
        pointer: &str,
        settings: &Settings,
        problems: &mut Vec<RuleProblem>,
    ) -> Vec<Self> {
        Compiler { settings, problems }.list(conditions, pointer, 1)
    }

    /// Compiles one condition.
    pub(crate) fn compile(
        condition: &Condition,
        pointer: &str,
        settings: &Settings,
        problems: &mut Vec<RuleProblem>,
    ) -> Option<Self> {
        Compiler { settings, problems }.node(condition, pointer, 1)
    }

    /// The outcome alone; stops as soon as it is certain.
    pub(crate) fn verdict<'p, 'v>(
        &'p self,
        scope: &Scope<'v>,
        now: DateTime<Utc>,
        selections: &mut Selections<'p, 'v>,
    ) -> Verdict {
        match self {
            Self::Test { test, .. } => test.verdict(scope, now, selections),
            Self::Expression(expression) => expression.judge(scope).verdict,
            Self::All(nodes) => Verdict::all(nodes.iter().map(|node| node.verdict(scope, now, selections))),
            Self::Any(nodes) => Verdict::any(nodes.iter().map(|node| node.verdict(scope, now, selections))),
            Self::Not(node) => !node.verdict(scope, now, selections),
        }
    }

    /// The outcome with every test below judged, each told in its order.
    pub(crate) fn tally(
        &self,
        scope: &Scope<'_>,
        now: DateTime<Utc>,
        told: &mut impl FnMut(Verdict),
    ) -> Verdict {
        let leaf = match self {
            Self::Test { test, .. } => test.judge(scope, now).verdict,
            Self::Expression(expression) => expression.judge(scope).verdict,
            Self::All(nodes) => {
                let verdicts: Vec<_> = nodes.iter().map(|node| node.tally(scope, now, told)).collect();
                return Verdict::all(verdicts);
            }
            Self::Any(nodes) => {
                let verdicts: Vec<_> = nodes.iter().map(|node| node.tally(scope, now, told)).collect();
                return Verdict::any(verdicts);
            }
            Self::Not(node) => return !node.tally(scope, now, told),
        };
        told(leaf);
        leaf
    }

    /// The tests below, in the order in which they are told.
    pub(crate) fn places(&self, places: &mut Vec<ConditionPlace>) {
        match self {
            Self::Test { pointer, test } => places.push(ConditionPlace {
                pointer: pointer.to_string(),
                field: test.path.to_string(),
                operator: test.operator.name().to_owned(),
            }),
            Self::Expression(expression) => places.push(ConditionPlace {
                pointer: expression.pointer.clone(),
                field: expression.source.clone(),
                operator: "expression".to_owned(),
            }),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.places(places)),
            Self::Not(node) => node.places(places),
        }
    }

    /// Paths that cover everything that the tests below can read.
    pub(crate) fn fields(&self, fields: &mut Vec<FieldPath>) {
        match self {
            Self::Test { test, .. } => {
                fields.push(FieldPath::clone(&test.path));
                match &test.expected {
                    Expected::Static { .. } => {}
                    Expected::Template(template) => fields.extend(fields_of(template)),
                }
            }
            Self::Expression(expression) => fields.extend(fields_of(&expression.template)),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.fields(fields)),
            Self::Not(node) => node.fields(fields),
        }
    }

    /// The outcome with every test below judged and written down.
    pub(crate) fn explain(
        &self,
        scope: &Scope<'_>,
        now: DateTime<Utc>,
        results: &mut Vec<TestResult>,
    ) -> Verdict {
        let mut each = |nodes: &[Self]| -> Vec<Verdict> {
            nodes.iter().map(|node| node.explain(scope, now, results)).collect()
        };
        match self {
            Self::Test { pointer, test } => {
                let result = test.explain(scope, now, pointer);
                let verdict = result.verdict;
                results.push(result);
                verdict
            }
            Self::Expression(expression) => expression.explain(scope, results),
            Self::All(nodes) => Verdict::all(each(nodes)),
            Self::Any(nodes) => Verdict::any(each(nodes)),
            Self::Not(node) => !node.explain(scope, now, results),
        }
    }
}

impl Test {
    fn verdict<'p, 'v>(
        &'p self,
        scope: &Scope<'v>,
        now: DateTime<Utc>,
        selections: &mut Selections<'p, 'v>,
    ) -> Verdict {
        match &self.expected {
            Expected::Static { value, matcher } => {
                let selection = selections.of(&self.path, scope);
                self.outcome(matcher, value.as_ref(), selection, now).0
            }
            Expected::Template(_) => self.judge(scope, now).verdict,
        }
    }

    fn judge<'v>(&'v self, scope: &Scope<'v>, now: DateTime<Utc>) -> Judgement<'v> {
        let selection = self.path.select(scope);
        match &self.expected {
            Expected::Static { value, matcher } => {
                let expected = value.as_ref().map(Cow::Borrowed);
                self.judge_with(matcher, expected, selection, now)
            }
            Expected::Template(template) => match template.render(scope) {
                Ok(value) => match Matcher::compile(self.operator, Some(&value)) {
                    Ok(matcher) => self.judge_with(&matcher, Some(Cow::Owned(value)), selection, now),
                    Err(problem) => Judgement {
                        verdict: Verdict::Error,
                        expected: Some(Cow::Owned(value)),
                        selection,
                        trouble: Some(format!("the rendered value does not fit: {problem}")),
                    },
                },
                Err(error) => Judgement {
                    verdict: verdict_of(&error),
                    expected: None,
                    selection,
                    trouble: Some(format!("the expected value: {error}")),
                },
            },
        }
    }

    fn judge_with<'v>(
        &self,
        matcher: &Matcher,
        expected: Option<Cow<'v, Value>>,
        selection: Selection<'v>,
        now: DateTime<Utc>,
    ) -> Judgement<'v> {
        let (verdict, trouble) = self.outcome(matcher, expected.as_deref(), &selection, now);
        Judgement { verdict, expected, selection, trouble }
    }

    /// The verdict and, for an error, its reason.
    fn outcome(
        &self,
        matcher: &Matcher,
        expected: Option<&Value>,
        selection: &Selection<'_>,
        now: DateTime<Utc>,
    ) -> (Verdict, Option<String>) {
        let mut trouble = None;
        let mut test = |value: &Value| match matcher.test(value, now) {
            Ok(truth) => Verdict::from(truth),
            Err(error) => {
                trouble.get_or_insert_with(|| error.to_string());
                Verdict::Error
            }
        };
        let verdict = match selection {
            Selection::One(value) => test(value),
            // "No value exists" is the only question about all values at once.
            Selection::Many(values) if self.operator == Operator::NotExists => {
                Verdict::all(values.iter().map(|value| test(value)))
            }
            Selection::Many(values) => Verdict::any(values.iter().map(|value| test(value))),
            Selection::None => match self.operator {
                Operator::Exists | Operator::NotExists => test(&Value::Null),
                Operator::Equals | Operator::NotEquals if expected.is_some_and(Value::is_null) => {
                    test(&Value::Null)
                }
                _ => Verdict::Missing,
            },
        };
        (verdict, trouble.filter(|_| verdict == Verdict::Error))
    }

    fn explain(&self, scope: &Scope<'_>, now: DateTime<Utc>, pointer: &str) -> TestResult {
        let judgement = self.judge(scope, now);
        let reason = match (judgement.verdict, &judgement.trouble, &judgement.selection) {
            (_, Some(trouble), _) => trouble.clone(),
            (Verdict::Missing | Verdict::Error, None, _) => self.path.explain_missing(scope),
            (Verdict::True, None, Selection::Many(values)) => format!("holds among {} values", values.len()),
            (Verdict::False, None, Selection::Many(values)) => {
                format!("holds for none of {} values", values.len())
            }
            (Verdict::True, None, Selection::None) => "holds, as the field does not exist".to_owned(),
            (Verdict::False, None, Selection::None) => self.path.explain_missing(scope),
            (Verdict::True, None, Selection::One(_)) => "holds".to_owned(),
            (Verdict::False, None, Selection::One(_)) => "does not hold".to_owned(),
        };
        TestResult {
            pointer: pointer.to_owned(),
            field: self.path.to_string(),
            operator: self.operator.name().to_owned(),
            expected: judgement.expected.map(Cow::into_owned),
            actual: match judgement.selection {
                Selection::None => None,
                Selection::One(value) => Some(value.clone()),
                Selection::Many(values) => Some(values.into_iter().cloned().collect()),
            },
            verdict: judgement.verdict,
            reason,
        }
    }
}

/// What an expression gave.
struct Answer {
    verdict: Verdict,
    value: Option<Value>,
    trouble: Option<String>,
}

impl Expression {
    fn judge(&self, scope: &Scope<'_>) -> Answer {
        match self.template.render(scope) {
            Ok(Value::Bool(truth)) => {
                Answer { verdict: truth.into(), value: Some(Value::Bool(truth)), trouble: None }
            }
            Ok(other) => {
                // Truthiness would let the text "false" fire a rule.
                let trouble = format!("the expression gave {}, expected true or false", type_name(&other));
                Answer { verdict: Verdict::Error, value: Some(other), trouble: Some(trouble) }
            }
            Err(error) => Answer { verdict: verdict_of(&error), value: None, trouble: Some(error.message) },
        }
    }

    fn explain(&self, scope: &Scope<'_>, results: &mut Vec<TestResult>) -> Verdict {
        let answer = self.judge(scope);
        let decided = if answer.verdict == Verdict::True { "holds" } else { "does not hold" };
        results.push(TestResult {
            pointer: self.pointer.clone(),
            field: self.source.clone(),
            operator: "expression".to_owned(),
            expected: None,
            actual: answer.value,
            verdict: answer.verdict,
            reason: answer.trouble.unwrap_or_else(|| decided.to_owned()),
        });
        answer.verdict
    }
}

fn verdict_of(error: &TemplateError) -> Verdict {
    match error.kind {
        TemplateErrorKind::Undefined => Verdict::Missing,
        TemplateErrorKind::Syntax | TemplateErrorKind::Limit | TemplateErrorKind::Failed => Verdict::Error,
    }
}

struct Compiler<'p> {
    settings: &'p Settings,
    problems: &'p mut Vec<RuleProblem>,
}

impl Compiler<'_> {
    fn list(&mut self, conditions: &[Condition], pointer: &str, depth: usize) -> Vec<Node> {
        let compile = |(position, condition)| self.node(condition, &format!("{pointer}/{position}"), depth);
        conditions.iter().enumerate().filter_map(compile).collect()
    }

    fn node(&mut self, condition: &Condition, pointer: &str, depth: usize) -> Option<Node> {
        if depth > DEPTH_LIMIT {
            self.problems
                .push(RuleProblem::new(pointer, format!("conditions nest deeper than {DEPTH_LIMIT} levels")));
            return None;
        }
        match condition {
            Condition::Test { field, operator, value } => self.test(field, operator, value.as_ref(), pointer),
            Condition::All { all } => self.group(all, &format!("{pointer}/all"), depth).map(Node::All),
            Condition::Any { any } => self.group(any, &format!("{pointer}/any"), depth).map(Node::Any),
            Condition::Not { not } => {
                self.node(not, &format!("{pointer}/not"), depth + 1).map(|node| Node::Not(Box::new(node)))
            }
            Condition::Expression(source) => self.expression(source, pointer),
        }
    }

    fn group(&mut self, conditions: &[Condition], pointer: &str, depth: usize) -> Option<Vec<Node>> {
        if conditions.is_empty() {
            self.problems.push(RuleProblem::new(pointer, "the list is empty; write at least one condition"));
            return None;
        }
        Some(self.list(conditions, pointer, depth + 1))
    }

    fn test(&mut self, field: &str, operator: &str, value: Option<&Value>, pointer: &str) -> Option<Node> {
        let problems = self.problems.len();
        let path = self.path(field, &format!("{pointer}/field"));
        let operator = match Operator::parse(operator) {
            Ok(operator) => Some(operator),
            Err(unknown) => {
                let problem = RuleProblem::new(format!("{pointer}/operator"), unknown.to_string());
                self.problems.push(problem.suggest(unknown.suggestion));
                None
            }
        };
        // Known conditions have been checked before.
        let expected = value.map(Value::to_string).unwrap_or_default();
        // A template is another one with other settings.
        let settings = if is_template(&expected) { self.settings.fingerprint() } else { String::new() };
        let known = format!("{field}\n{operator:?}\n{expected}\n{settings}");
        let test = TESTS.share(&known, || {
            let expected =
                operator.and_then(|operator| self.expected(operator, value, &format!("{pointer}/value")));
            match (path, operator, expected) {
                (Some(path), Some(operator), Some(expected)) if self.problems.len() == problems => {
                    Ok(Test { path, operator, expected })
                }
                _ => Err(()),
            }
        });
        test.ok().map(|test| Node::Test { pointer: pointer.into(), test })
    }

    fn path(&mut self, field: &str, pointer: &str) -> Option<Arc<FieldPath>> {
        match FieldPath::shared(field) {
            Ok(path) if SCOPE_ROOTS.contains(&path.root()) => Some(path),
            Ok(path) => {
                self.problems.push(unknown_root(pointer, path.root()));
                None
            }
            Err(error) => {
                self.problems.push(RuleProblem::new(pointer, error.to_string()));
                None
            }
        }
    }

    fn expected(&mut self, operator: Operator, value: Option<&Value>, pointer: &str) -> Option<Expected> {
        if let Some(value) = value.filter(|_| operator.takes_value()) {
            let template = compile_template(value, pointer, self.settings, self.problems)?;
            match template.as_static() {
                None => return Some(Expected::Template(template)),
                Some(known) if known == value => {}
                // Settings have decided it; what they are no good for is told when it is asked for.
                Some(known) => {
                    return Some(match Matcher::compile(operator, Some(known)) {
                        Ok(matcher) => Expected::Static { value: Some(known.clone()), matcher },
                        Err(_) => Expected::Template(template),
                    });
                }
            }
        }
        match Matcher::compile(operator, value) {
            Ok(matcher) => {
                Some(Expected::Static { value: value.filter(|_| operator.takes_value()).cloned(), matcher })
            }
            Err(problem) => {
                let place = format!("{pointer}{}", problem.pointer);
                self.problems
                    .push(RuleProblem::new(place, problem.message).suggest(problem.suggestion.as_deref()));
                None
            }
        }
    }

    fn expression(&mut self, source: &str, pointer: &str) -> Option<Node> {
        let text = source.trim();
        if !text.starts_with("{{") || !text.ends_with("}}") {
            let message = format!(
                "a condition in text is one expression such as `{{{{ event.payload.n > 3 }}}}`, got `{text}`"
            );
            self.problems.push(RuleProblem::new(pointer, message));
            return None;
        }
        let template =
            compile_template(&Value::String(source.to_owned()), pointer, self.settings, self.problems)?;
        let expression = Expression { pointer: pointer.to_owned(), source: text.to_owned(), template };
        Some(Node::Expression(Box::new(expression)))
    }
}
