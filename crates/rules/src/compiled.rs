//! Rules ready to be evaluated.

use attune_expr::key_marks::KeyMarks;
use attune_expr::operator::Operator;
use attune_expr::path::{FieldPath, Segment};
use attune_expr::pointer;
use attune_expr::scope::Scope;
use attune_expr::suggest::nearest;
use attune_expr::template::{KEY_FUNCTION, KeyUse, TemplateError, ValueTemplate, is_template};
use attune_expr::value::{equal, type_name};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::definition::{ConditionMode, RuleDefinition, RuleProblem};
use crate::keys;
use crate::node::Node;
use crate::selections::Selections;
use crate::settings::{SETTINGS_ROOT, Settings};
use crate::verdict::Verdict;
use crate::window::CompiledWindow;

/// The names that conditions and parameters may use. Whoever evaluates a rule puts all of them into the scope.
pub const SCOPE_ROOTS: &[&str] = &["event", "rule", "trigger"];

/// The names that templates may use: `config` is known when the rule is compiled.
const TEMPLATE_ROOTS: &[&str] = &["event", "rule", "trigger", SETTINGS_ROOT];

/// The names that the parameters of a rule with a window may use: `window` says what it made of the events.
const WINDOW_TEMPLATE_ROOTS: &[&str] = &["event", "rule", "trigger", SETTINGS_ROOT, "window"];

/// A rule with its paths, patterns, expected values and templates compiled.
///
/// What judging reads stands first, in this order: of a hundred thousand rules the one that an event concerns is in no cache.
#[derive(Debug)]
#[repr(C)]
pub struct CompiledRule {
    pub(crate) conditions: Box<[Node]>,
    pub(crate) trigger_params: Map<String, Value>,
    window: Option<Box<CompiledWindow>>,
    pub(crate) mode: ConditionMode,
    rule_ref: String,
    trigger_ref: String,
    action_ref: String,
    action_params: ValueTemplate,
    pub(crate) keys: Vec<KeyUse>,
}

/// What a rule made of an event, with every condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The rule fires only on [`Verdict::True`].
    pub verdict: Verdict,
    /// Every test and expression of the rule in its order, also those that could not change the verdict.
    pub tests: Vec<TestResult>,
}

/// One condition with what it expected and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// JSON pointer of the condition in the rule.
    pub pointer: String,
    /// The path, or the expression.
    pub field: String,
    /// Readable name of the operator; `expression` for a condition that is an expression.
    pub operator: String,
    /// The expected value after rendering; `None` when there is none or it could not be rendered.
    pub expected: Option<Value>,
    /// The value found, for a path with `[*]` the array of values; `None` when the field does not exist.
    pub actual: Option<Value>,
    /// The outcome of this condition alone, before any `not` around it.
    pub verdict: Verdict,
    /// Why, in half a sentence.
    pub reason: String,
}

/// Where a condition stands and what it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionPlace {
    /// JSON pointer of the condition in the rule.
    pub pointer: String,
    /// The path, or the expression.
    pub field: String,
    /// Readable name of the operator; `expression` for a condition that is an expression.
    pub operator: String,
}

impl CompiledRule {
    /// Compiles a rule, without values of settings. Everything that is wrong with it is reported at once.
    pub fn compile(definition: &RuleDefinition) -> Result<Self, Vec<RuleProblem>> {
        Self::compile_with(definition, &Settings::none())
    }

    /// Compiles a rule with the settings of its pack. What is wrong with it does not depend on their values: what they are
    /// no good for is told when an event is judged.
    pub fn compile_with(definition: &RuleDefinition, settings: &Settings) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let trigger_params = compile_trigger_params(&definition.trigger_params, &mut problems);
        let conditions = Node::compile_list(&definition.conditions, "/conditions", settings, &mut problems);
        let window = definition
            .window
            .as_ref()
            .and_then(|window| CompiledWindow::compile(window, settings, &mut problems));
        let roots = if definition.window.is_some() { WINDOW_TEMPLATE_ROOTS } else { TEMPLATE_ROOTS };
        let action_params = compile_action_params(&definition.action_params, roots, &mut problems);
        let action_params = action_params.map(|params| settings.bind(params));
        let keys = action_params.as_ref().map(|params| keys::of(params, &mut problems)).unwrap_or_default();
        match action_params {
            Some(action_params) if problems.is_empty() => Ok(Self {
                keys,
                rule_ref: definition.rule_ref.clone(),
                trigger_ref: definition.trigger_ref.clone(),
                action_ref: definition.action_ref.clone(),
                trigger_params,
                mode: definition.condition,
                conditions: conditions.into(),
                window: window.map(Box::new),
                action_params,
            }),
            _ => Err(problems),
        }
    }

    /// The rule's own reference.
    pub fn rule_ref(&self) -> &str {
        &self.rule_ref
    }

    /// The trigger whose events it listens to.
    pub fn trigger_ref(&self) -> &str {
        &self.trigger_ref
    }

    /// The action it runs.
    pub fn action_ref(&self) -> &str {
        &self.action_ref
    }

    /// What it makes of several events, if it has a window.
    pub fn window(&self) -> Option<&CompiledWindow> {
        self.window.as_deref()
    }

    /// Whether every entry of the rule's `trigger_params` is equal in the event's config.
    pub fn listens_to(&self, event_config: &Value) -> bool {
        self.trigger_params
            .iter()
            .all(|(name, expected)| event_config.get(name).is_some_and(|actual| equal(actual, expected)))
    }

    /// What [`CompiledRule::listens_to`] compares, explained: one test for each entry of `trigger_params`. The rule listens
    /// when all of them are true.
    pub fn explain_trigger_params(&self, event_config: &Value) -> Vec<TestResult> {
        let explain = |(name, expected): (&String, &Value)| {
            let actual = event_config.get(name);
            let verdict = actual.map_or(Verdict::Missing, |actual| Verdict::from(equal(actual, expected)));
            let reason = match verdict {
                Verdict::True => "holds".to_owned(),
                Verdict::False | Verdict::Error => format!("`{name}` differs"),
                Verdict::Missing => format!("the event's config has no `{name}`"),
            };
            TestResult {
                pointer: pointer::child("/trigger_params", name),
                field: format!("trigger.config{}", Segment::Key(name.clone())),
                operator: Operator::Equals.name().to_owned(),
                expected: Some(expected.clone()),
                actual: actual.cloned(),
                verdict,
                reason,
            }
        };
        self.trigger_params.iter().map(explain).collect()
    }

    /// The verdict alone, found with as little work as possible: the hot path.
    ///
    /// An event on which a rule with a window is `True` reaches the window: it meets the conditions of the rule, and at
    /// least one of the window if that has its own. Whether anything fires, the window says.
    pub fn verdict(&self, scope: &Scope<'_>, now: DateTime<Utc>) -> Verdict {
        self.verdict_with(scope, now, &mut Selections::default())
    }

    /// The same for one of several rules that are asked about one scope.
    pub(crate) fn verdict_with<'p, 'v>(
        &'p self,
        scope: &Scope<'v>,
        now: DateTime<Utc>,
        selections: &mut Selections<'p, 'v>,
    ) -> Verdict {
        let verdict = self.combine(self.conditions.iter().map(|node| node.verdict(scope, now, selections)));
        match &self.window {
            Some(window) if verdict != Verdict::False => {
                Verdict::all([verdict, window.verdict(scope, now, selections)])
            }
            Some(_) | None => verdict,
        }
    }

    /// The verdict with every condition judged and explained. It is always the verdict that [`CompiledRule::verdict`] gives.
    pub fn evaluate(&self, scope: &Scope<'_>, now: DateTime<Utc>) -> Evaluation {
        let mut tests = Vec::new();
        let verdicts: Vec<_> =
            self.conditions.iter().map(|node| node.explain(scope, now, &mut tests)).collect();
        let verdict = self.combine(verdicts);
        let nodes = self.window_conditions();
        if nodes.is_empty() {
            return Evaluation { verdict, tests };
        }
        let verdicts: Vec<_> = nodes.iter().map(|node| node.explain(scope, now, &mut tests)).collect();
        Evaluation { verdict: Verdict::all([verdict, Verdict::any(verdicts)]), tests }
    }

    /// The conditions in the order in which [`CompiledRule::tally`] numbers them.
    pub fn conditions(&self) -> Vec<ConditionPlace> {
        let mut places = Vec::new();
        let nodes = self.conditions.iter().chain(self.window_conditions());
        nodes.for_each(|node| node.places(&mut places));
        places
    }

    /// The verdict with every condition judged; `told` gets the number of each and what it came to, before any `not`
    /// around it. It is always the verdict that [`CompiledRule::verdict`] gives.
    pub fn tally(
        &self,
        scope: &Scope<'_>,
        now: DateTime<Utc>,
        mut told: impl FnMut(usize, Verdict),
    ) -> Verdict {
        let mut number = 0;
        let mut told = |verdict| {
            told(number, verdict);
            number += 1;
        };
        // Written down before they are combined, which stops at the first that decides.
        let verdicts: Vec<_> = self.conditions.iter().map(|node| node.tally(scope, now, &mut told)).collect();
        let verdict = self.combine(verdicts);
        let nodes = self.window_conditions();
        if nodes.is_empty() {
            return verdict;
        }
        let verdicts: Vec<_> = nodes.iter().map(|node| node.tally(scope, now, &mut told)).collect();
        Verdict::all([verdict, Verdict::any(verdicts)])
    }

    /// Why the conditions cannot be judged: each one that is an error, with its reason.
    pub fn reason_of_error(&self, scope: &Scope<'_>, now: DateTime<Utc>) -> String {
        let Evaluation { tests, .. } = self.evaluate(scope, now);
        let reasons: Vec<String> = tests
            .iter()
            .filter(|test| test.verdict == Verdict::Error)
            .map(|test| format!("{} ({} {}): {}", test.pointer, test.field, test.operator, test.reason))
            .collect();
        format!("a condition cannot be judged: {}", reasons.join("; "))
    }

    /// Paths that cover everything that the conditions and the window can read.
    pub fn condition_fields(&self) -> Vec<FieldPath> {
        let mut fields = Vec::new();
        let nodes = self.conditions.iter().chain(self.window_conditions());
        nodes.for_each(|node| node.fields(&mut fields));
        fields.extend(self.window.iter().flat_map(|window| window.key_fields()));
        fields
    }

    /// Paths that cover everything that the parameters of the action can read.
    pub fn parameter_fields(&self) -> Vec<FieldPath> {
        let mut fields = fields_of(&self.action_params);
        fields.retain(|field| field.root() != KEY_FUNCTION);
        fields
    }

    /// Whether it compares the event's config with `trigger_params`.
    pub fn has_trigger_params(&self) -> bool {
        !self.trigger_params.is_empty()
    }

    /// The parameters for the action as they may be shown, with a mask in the place of the values of keys
    /// ([`CompiledRule::render_marked`] has what the action is given); the pointers of errors start with `/action_params`.
    pub fn render_parameters(&self, scope: &Scope<'_>) -> Result<Value, TemplateError> {
        keys::render_masked(self, &self.action_params, scope).map_err(|error| error.under("/action_params"))
    }

    /// The parameters for the action with these marks in the place of the values of keys.
    pub fn render_marked(&self, scope: &Scope<'_>, marks: &KeyMarks) -> Result<Value, TemplateError> {
        keys::render(self, &self.action_params, scope, marks).map_err(|error| error.under("/action_params"))
    }

    /// The conditions that the window has itself.
    pub(crate) fn window_conditions(&self) -> &[Node] {
        self.window.as_ref().map(|window| window.conditions.as_slice()).unwrap_or_default()
    }

    fn combine(&self, verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        match self.mode {
            // Without conditions there is nothing to ask for, in either mode.
            ConditionMode::Any if !self.conditions.is_empty() => Verdict::any(verdicts),
            ConditionMode::Any | ConditionMode::All => Verdict::all(verdicts),
        }
    }
}

/// Paths that cover everything that the templates can read.
pub(crate) fn fields_of(template: &ValueTemplate) -> Vec<FieldPath> {
    let mut fields = template.fields();
    if template.has_slices() {
        fields.extend(SCOPE_ROOTS.iter().map(|root| FieldPath::new(*root, Vec::new())));
    }
    fields
}

fn compile_trigger_params(params: &Value, problems: &mut Vec<RuleProblem>) -> Map<String, Value> {
    match params {
        Value::Null => Map::new(),
        Value::Object(members) => {
            refuse_templates(params, "/trigger_params", problems);
            members.clone()
        }
        other => {
            problems.push(expected_object("/trigger_params", other));
            Map::new()
        }
    }
}

/// Trigger parameters choose events before any event is there, so that a template would never be rendered.
fn refuse_templates(value: &Value, pointer: &str, problems: &mut Vec<RuleProblem>) {
    match value {
        Value::String(text) if is_template(text) => {
            let message = "trigger parameters are compared as they stand; a template has no effect here";
            problems.push(RuleProblem::new(pointer, message));
        }
        Value::Array(elements) => {
            for (position, element) in elements.iter().enumerate() {
                refuse_templates(element, &format!("{pointer}/{position}"), problems);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                refuse_templates(member, &pointer::child(pointer, name), problems);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn compile_action_params(
    params: &Value,
    roots: &[&str],
    problems: &mut Vec<RuleProblem>,
) -> Option<ValueTemplate> {
    let nothing = Value::Object(Map::new());
    let params = match params {
        Value::Null => &nothing,
        Value::Object(_) => params,
        other => {
            problems.push(expected_object("/action_params", other));
            return None;
        }
    };
    compile_template_of(params, "/action_params", &[roots, &[KEY_FUNCTION]].concat(), problems)
}

/// Compiles the templates of a value with these settings and checks that they only use names which the scope will have.
pub(crate) fn compile_template(
    value: &Value,
    pointer: &str,
    settings: &Settings,
    problems: &mut Vec<RuleProblem>,
) -> Option<ValueTemplate> {
    compile_template_of(value, pointer, TEMPLATE_ROOTS, problems).map(|template| settings.bind(template))
}

fn compile_template_of(
    value: &Value,
    pointer: &str,
    roots: &[&str],
    problems: &mut Vec<RuleProblem>,
) -> Option<ValueTemplate> {
    match ValueTemplate::compile(value) {
        Ok(template) => {
            let unknown = template.roots().into_iter().filter(|used| !roots.contains(&used.root.as_str()));
            problems.extend(
                unknown.map(|used| unknown_of(format!("{pointer}{}", used.pointer), &used.root, roots)),
            );
            Some(template)
        }
        Err(_) => {
            problems.extend(ValueTemplate::faults(value).into_iter().map(|fault| {
                let message = format!("template `{}`: {}", fault.expression, fault.message);
                RuleProblem::new(format!("{pointer}{}", fault.pointer), message)
                    .suggest(fault.suggestion.as_deref())
            }));
            None
        }
    }
}

pub(crate) fn unknown_root(pointer: impl Into<String>, root: &str) -> RuleProblem {
    unknown_of(pointer, root, SCOPE_ROOTS)
}

fn unknown_of(pointer: impl Into<String>, root: &str, roots: &[&str]) -> RuleProblem {
    let message = if root == KEY_FUNCTION {
        keys::MISPLACED.to_owned()
    } else if root == SETTINGS_ROOT {
        "`config` is no field of an event; a setting can stand in a value, as `{{ config.name }}`, and in an expression"
            .to_owned()
    } else if root == "window" {
        "there is no `window` here; the parameters of a rule with a window see it".to_owned()
    } else {
        let seen: Vec<&str> = roots.iter().copied().filter(|root| *root != KEY_FUNCTION).collect();
        format!("there is no `{root}`; a rule sees {}", seen.join(", "))
    };
    RuleProblem::new(pointer, message).suggest(nearest(root, roots.iter().copied()))
}

fn expected_object(pointer: &str, value: &Value) -> RuleProblem {
    RuleProblem::new(pointer, format!("expected an object, got {}", type_name(value)))
}
