//! Why a rule fired on an event, or did not: the one definition of an explanation.
//!
//! [`Judgement`] is what a rule makes of an event, judged as the matching pass judges: first whether it listens, then its
//! conditions, then its parameters. [`outcome`] adds what is recorded of the event and how the rule stood then. Whoever
//! explains - `attune rule test` from files, the API from the database - gives the values and shows the same result.

use std::fmt;

use attune_expr::operator::Operator;
use attune_expr::scope::Scope;
use attune_expr::template::TemplateError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::compiled::{CompiledRule, TestResult};
use crate::verdict::Verdict;

/// An event as its recorder knows it; null for what is not known.
#[derive(Debug, Clone, Default)]
pub struct EventFields {
    pub id: Value,
    pub trigger_ref: String,
    pub config: Value,
    pub payload: Value,
    pub headers: Value,
    pub source: Value,
    pub trace_id: Value,
    pub created: Value,
}

/// An event with the names that conditions and templates see.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenEvent {
    /// The root `event`.
    pub event: Value,
    /// The root `trigger`.
    pub trigger: Value,
}

/// A rule as its own templates see it; null for what is not known.
#[derive(Debug, Clone, Default)]
pub struct RuleFields {
    pub id: Value,
    pub rule_ref: String,
    pub label: Value,
    pub pack: Value,
    pub version: Value,
}

/// What an event is judged with.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The trigger of the event; None where only its payload is known, and it is taken for one that the rule listens to.
    pub trigger_ref: Option<&'a str>,
    /// What `trigger_params` are compared with; None where it is not known.
    pub config: Option<&'a Value>,
    /// The roots `event`, `trigger` and `rule`.
    pub scope: &'a Scope<'a>,
    /// The current time to the rule.
    pub now: DateTime<Utc>,
}

/// What a rule makes of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whether an enabled rule fires, and can.
    pub fires: bool,
    pub verdict: Verdict,
    pub reason: String,
    /// Whether the rule listens to the event, test by test; empty where nothing is known about it.
    pub trigger: Vec<TestResult>,
    /// Every condition, also those that could not change the verdict.
    pub conditions: Vec<TestResult>,
    /// What the rule's window made of it, where it has one and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowJudgement>,
    /// What the action gets.
    pub action_params: Option<Value>,
    pub action_params_error: Option<RenderingError>,
}

/// What a window (throttle, debounce, count, ...) made of an event on which the conditions hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowJudgement {
    /// Whether it let the rule fire.
    pub passed: bool,
    /// Why, in half a sentence.
    pub reason: String,
    /// The key that the event fell under, and what else is known.
    #[serde(default)]
    pub state: Value,
}

/// Why the parameters cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderingError {
    /// JSON pointer into the parameters, which begins with `/action_params`.
    pub pointer: String,
    pub template: String,
    pub message: String,
    pub suggestion: Option<String>,
}

/// What came of a rule and an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It fired, and its action was started.
    Fired,
    /// It decided, and no execution came of that: a condition or the parameters failed, or the action could not run.
    Failed,
    /// It is in shadow mode: it would have fired, and that was recorded.
    Shadowed,
    /// The conditions hold, but its window kept it from firing.
    Held,
    /// Its conditions do not hold.
    NotFired,
    /// Its `trigger_params` are for other events of the trigger.
    NotListening,
    /// It listens to another trigger.
    OtherTrigger,
    /// It was disabled.
    Disabled,
    /// There was no such rule when the event was matched.
    Absent,
    /// By its conditions it fires, but nothing is recorded of that.
    Unrecorded,
}

/// How a rule stood when an event was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub enabled: bool,
    pub shadow: bool,
}

/// What is recorded of a rule's decision about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// Why no execution came of it, where that was a failure.
    pub error: Option<&'a str>,
    /// It was recorded without acting.
    pub without_acting: bool,
}

impl EventFields {
    /// The event as rules see it: every name is there.
    pub fn seen(self) -> SeenEvent {
        SeenEvent {
            event: json!({
                "id": self.id,
                "trigger": self.trigger_ref,
                "payload": self.payload,
                "headers": self.headers,
                "source": self.source,
                "trace_id": self.trace_id,
                "created": self.created,
            }),
            trigger: json!({ "ref": self.trigger_ref, "config": self.config }),
        }
    }
}

impl RuleFields {
    /// The root `rule`.
    pub fn seen(self) -> Value {
        json!({
            "id": self.id,
            "ref": self.rule_ref,
            "label": self.label,
            "pack": self.pack,
            "version": self.version,
        })
    }
}

impl Judgement {
    /// Judges an event by a rule, and writes down all that led to the verdict.
    pub fn of(rule: &CompiledRule, subject: &Subject<'_>) -> Self {
        let trigger = listening(rule, subject);
        let evaluation = rule.evaluate(subject.scope, subject.now);
        // What a window fires with is known only when it fires.
        let rendered = rule.window().is_none().then(|| rule.render_parameters(subject.scope)).transpose();
        let listens = trigger.iter().all(|test| test.verdict == Verdict::True);
        let (verdict, reason) = match (listens, evaluation.verdict, &rendered) {
            (false, _, _) => (Verdict::False, "the rule does not listen to such an event"),
            (true, Verdict::True, Ok(Some(_))) => (Verdict::True, "it would fire"),
            (true, Verdict::True, Ok(None)) => (Verdict::True, "it reaches the window"),
            (true, Verdict::True, Err(_)) => (Verdict::Error, "the action parameters cannot be rendered"),
            (true, Verdict::False, _) => (Verdict::False, "the conditions do not hold"),
            (true, Verdict::Missing, _) => (Verdict::Missing, "a field that decides does not exist"),
            (true, Verdict::Error, _) => (Verdict::Error, "a condition that decides cannot be judged"),
        };
        let (action_params, action_params_error) = match rendered {
            Ok(params) => (params, None),
            Err(error) => (None, Some(RenderingError::from(error))),
        };
        Self {
            fires: verdict == Verdict::True,
            verdict,
            reason: reason.to_owned(),
            trigger,
            conditions: evaluation.tests,
            window: None,
            action_params,
            action_params_error,
        }
    }

    /// Whether the rule listens to the event, whatever its conditions say.
    pub fn listens(&self) -> bool {
        self.trigger.iter().all(|test| test.verdict == Verdict::True)
    }
}

/// What came of a rule and an event, with the reason. What is recorded counts more than what is judged again; without a
/// judgement (the rule can no longer be compiled) it is all there is.
pub fn outcome(
    standing: Standing,
    judgement: Option<&Judgement>,
    recorded: Option<Recorded<'_>>,
) -> (Outcome, String) {
    let told = |outcome, reason: &str| (outcome, reason.to_owned());
    match recorded {
        Some(Recorded { error: Some(error), .. }) => return told(Outcome::Failed, error),
        Some(Recorded { error: None, without_acting: true }) => {
            return told(Outcome::Shadowed, "it would have fired; in shadow mode that is only recorded");
        }
        Some(Recorded { error: None, without_acting: false }) => return told(Outcome::Fired, "it fired"),
        None => {}
    }
    let Some(judgement) = judgement else {
        let reason = "nothing is recorded of it, and the rule as it was then can no longer be read";
        return told(Outcome::Unrecorded, reason);
    };
    if !standing.enabled {
        let otherwise = match (judgement.fires, judgement.verdict) {
            (true, _) => "otherwise it would have fired".to_owned(),
            (false, Verdict::Error) => format!("besides, {}", judgement.reason),
            (false, _) => format!("it would not have fired either: {}", judgement.reason),
        };
        return (Outcome::Disabled, format!("the rule was disabled; {otherwise}"));
    }
    if !judgement.listens() {
        return told(Outcome::NotListening, "its trigger_params are for other events of this trigger");
    }
    if let Some(window) = judgement.window.as_ref().filter(|window| !window.passed) {
        return (Outcome::Held, window.reason.clone());
    }
    match judgement.verdict {
        Verdict::False | Verdict::Missing => told(Outcome::NotFired, &judgement.reason),
        Verdict::True | Verdict::Error => {
            let would = if judgement.fires { "by its conditions it fires" } else { &judgement.reason };
            let shadow = if standing.shadow { "; it is in shadow mode" } else { "" };
            let reason = format!(
                "{would}, but no enforcement is there{shadow}: the trigger was disabled or missing when the event was \
                 matched, or the enforcement was deleted since"
            );
            (Outcome::Unrecorded, reason)
        }
    }
}

/// Whether the event is one that the rule listens to, test by test.
fn listening(rule: &CompiledRule, subject: &Subject<'_>) -> Vec<TestResult> {
    let mut tests = Vec::new();
    if let Some(given) = subject.trigger_ref {
        let is_same = given == rule.trigger_ref();
        tests.push(TestResult {
            pointer: "/trigger".to_owned(),
            field: "trigger.ref".to_owned(),
            operator: Operator::Equals.name().to_owned(),
            expected: Some(rule.trigger_ref().into()),
            actual: Some(given.into()),
            verdict: is_same.into(),
            reason: if is_same { "holds" } else { "the event is of another trigger" }.to_owned(),
        });
    }
    if let Some(config) = subject.config {
        tests.extend(rule.explain_trigger_params(config));
    }
    tests
}

impl From<TemplateError> for RenderingError {
    fn from(error: TemplateError) -> Self {
        let TemplateError { kind: _, pointer, expression, message, suggestion } = error;
        Self { pointer, template: expression, message, suggestion }
    }
}

impl fmt::Display for RenderingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.pointer, self.template, self.message)?;
        self.suggestion.as_ref().map_or(Ok(()), |near| write!(f, "; did you mean `{near}`?"))
    }
}

impl Outcome {
    /// The name, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Failed => "failed",
            Self::Shadowed => "shadowed",
            Self::Held => "held",
            Self::NotFired => "not_fired",
            Self::NotListening => "not_listening",
            Self::OtherTrigger => "other_trigger",
            Self::Disabled => "disabled",
            Self::Absent => "absent",
            Self::Unrecorded => "unrecorded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::RuleDefinition;

    fn judged(rule: &Value, payload: Value) -> Judgement {
        let mut whole = json!({
            "rule_ref": "ops.r", "trigger_ref": "ops.alert", "action_ref": "ops.a", "trigger_params": {"team": "ops"},
            "conditions": [{"field": "event.payload.n", "operator": "greater_than", "value": 3}],
        });
        for (name, value) in rule.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let definition: RuleDefinition = serde_json::from_value(whole).unwrap();
        let compiled = CompiledRule::compile(&definition).unwrap();
        let config = json!({"team": "ops"});
        let fields = EventFields {
            trigger_ref: "ops.alert".to_owned(),
            config: config.clone(),
            payload,
            ..EventFields::default()
        };
        let seen = fields.seen();
        let view = RuleFields { rule_ref: "ops.r".to_owned(), ..RuleFields::default() }.seen();
        let scope =
            Scope::new().with("event", &seen.event).with("trigger", &seen.trigger).with("rule", &view);
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let subject = Subject { trigger_ref: Some("ops.alert"), config: Some(&config), scope: &scope, now };
        Judgement::of(&compiled, &subject)
    }

    const ACTIVE: Standing = Standing { enabled: true, shadow: false };

    fn told(standing: Standing, judgement: &Judgement, recorded: Option<Recorded<'_>>) -> (Outcome, String) {
        outcome(standing, Some(judgement), recorded)
    }

    #[test]
    fn test_a_judgement_keeps_its_verdicts_apart() {
        for (payload, verdict) in [
            (json!({"n": 4}), Verdict::True),
            (json!({"n": 3}), Verdict::False),
            (json!({}), Verdict::Missing),
            (json!({"n": "4"}), Verdict::Error),
        ] {
            let judgement = judged(&json!({}), payload);
            assert_eq!(judgement.verdict, verdict);
            assert_eq!(judgement.fires, verdict == Verdict::True);
            assert_eq!(judgement.conditions[0].verdict, verdict);
            assert_eq!(judgement.trigger.len(), 2);
        }
        let failing = judged(&json!({"action_params": {"a": ["{{ event.payload.m }}"]}}), json!({"n": 4}));
        assert_eq!((failing.fires, failing.verdict), (false, Verdict::Error));
        assert_eq!(failing.action_params_error.unwrap().pointer, "/action_params/a/0");
    }

    #[test]
    fn test_what_is_recorded_counts_more_than_what_is_judged() {
        let no = judged(&json!({}), json!({"n": 1}));
        let recorded = |error, without_acting| Some(Recorded { error, without_acting });
        assert_eq!(told(ACTIVE, &no, recorded(None, false)).0, Outcome::Fired);
        assert_eq!(told(ACTIVE, &no, recorded(None, true)).0, Outcome::Shadowed);
        let failed = told(ACTIVE, &no, recorded(Some("the action ops.a is disabled"), false));
        assert_eq!(failed, (Outcome::Failed, "the action ops.a is disabled".to_owned()));
        assert_eq!(outcome(ACTIVE, None, recorded(Some("broken"), false)).0, Outcome::Failed);
    }

    #[test]
    fn test_without_a_record_the_judgement_says_why() {
        let yes = judged(&json!({}), json!({"n": 4}));
        let no = judged(&json!({}), json!({}));
        let other = judged(&json!({"trigger_params": {"team": "dev"}}), json!({"n": 4}));
        assert_eq!(told(ACTIVE, &no, None).1, "a field that decides does not exist");
        assert_eq!(told(ACTIVE, &no, None).0, Outcome::NotFired);
        assert_eq!(told(ACTIVE, &other, None).0, Outcome::NotListening);
        assert_eq!(told(ACTIVE, &yes, None).0, Outcome::Unrecorded);
        assert_eq!(outcome(ACTIVE, None, None).0, Outcome::Unrecorded);
        let disabled = Standing { enabled: false, shadow: false };
        let reason = |judgement| told(disabled, judgement, None);
        assert_eq!(reason(&yes).1, "the rule was disabled; otherwise it would have fired");
        assert_eq!(
            reason(&no),
            (
                Outcome::Disabled,
                "the rule was disabled; it would not have fired either: a field that decides does not exist"
                    .to_owned()
            )
        );
    }

    #[test]
    fn test_a_window_that_held_the_rule_is_the_reason() {
        let window = |passed| WindowJudgement { passed, reason: "throttled".to_owned(), state: Value::Null };
        let held = Judgement { window: Some(window(false)), ..judged(&json!({}), json!({"n": 4})) };
        assert_eq!(told(ACTIVE, &held, None), (Outcome::Held, "throttled".to_owned()));
        let shown = serde_json::to_value(&held).unwrap();
        assert_eq!(shown["window"]["passed"], json!(false));
        let passed = Judgement { window: Some(window(true)), ..held };
        assert_eq!(told(ACTIVE, &passed, None).0, Outcome::Unrecorded);
    }
}
