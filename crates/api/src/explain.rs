//! Why a rule fired on an event, or did not: the rule as it was when the event was matched, judged with the time of the
//! matching by the code that judged it then ([`attune_rules::Judgement`]), beside what was recorded.
//!
//! Conditions show what they compare, so that a secret in the configuration of the trigger could be read from them: what
//! other views mask is masked here too, wherever it turns up.

use attune_client::types::{
    ConditionResult, EnforcementLink, ExecutionLink, ParameterError, RuleExplanation, WindowResult,
};
use attune_common::models::enforcement::{Enforcement, EnforcementStatus};
use attune_common::models::event::Event;
use attune_common::models::rule::{Rule, RuleMode, RuleVersion};
use attune_common::models::window::WindowOutcome;
use attune_expr::path::{FieldPath, Segment};
use attune_expr::scope::Scope;
use attune_rules::{
    CompiledRule, EventFields, Judgement, Outcome, Recorded, RuleFields, RuleProblem, SeenEvent, Settings,
    Standing, Subject, TestResult, WindowJudgement, outcome,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::rule_checks::stored_definition;
use crate::views::{MASK, Mask, Masks};

/// An event that was matched, ready to be judged by any rule.
pub(crate) struct Explainer<'e> {
    event: &'e Event,
    seen: SeenEvent,
    now: DateTime<Utc>,
    veil: Veil<'e>,
}

/// A decision that was recorded, with what came of it.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) enforcement: Enforcement,
    pub(crate) executions: Vec<ExecutionLink>,
}

/// What is recorded of a rule and an event.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) decided: Option<Decided>,
    /// What the rule's window made of the event, where it did not fire at once.
    pub(crate) window: Option<WindowOutcome>,
}

impl<'e> Explainer<'e> {
    /// `matched` is the time that the event was judged with, `trigger` the mask of its trigger.
    pub(crate) fn new(event: &'e Event, matched: DateTime<Utc>, trigger: &'e Mask) -> Self {
        // As the matching pass sees it.
        let seen = EventFields {
            id: event.id.into(),
            trigger_ref: event.trigger_ref.clone(),
            config: event.config.clone(),
            payload: event.payload.clone(),
            headers: event.headers.clone().unwrap_or_default(),
            source: event.source_ref.clone().into(),
            trace_id: event.trace_id.clone().into(),
            created: event.created.to_rfc3339().into(),
        }
        .seen();
        Self { event, seen, now: matched, veil: Veil::new(trigger, &event.config) }
    }

    /// What the rule of this version made of the event.
    pub(crate) fn explain(
        &self,
        version: &RuleVersion,
        record: Record,
        actions: &Masks,
    ) -> Result<RuleExplanation, ApiError> {
        let Record { decided, window } = record;
        let rule = version.rule().map_err(ApiError::internal)?;
        let judgement = compiled(&rule).ok().map(|compiled| self.judge(&rule, &compiled));
        let judgement = judgement
            .map(|judgement| Judgement { window: window.as_ref().map(window_judgement), ..judgement });
        let recorded = decided.as_ref().map(|decided| Recorded {
            error: decided.enforcement.error.as_deref(),
            without_acting: decided.enforcement.status == EnforcementStatus::Disabled,
        });
        let standing = Standing { enabled: rule.enabled, shadow: rule.mode == RuleMode::Shadow };
        let (outcome, reason) = if rule.trigger_ref == self.event.trigger_ref {
            outcome(standing, judgement.as_ref(), recorded)
        } else {
            let reason = format!(
                "the rule listens to {}; this event is of {}",
                rule.trigger_ref, self.event.trigger_ref
            );
            (Outcome::OtherTrigger, reason)
        };
        let mask = actions.get(&rule.action_ref);
        let judged = judgement.map(|judgement| self.veil.judgement(judgement, mask));
        let (trigger, conditions) = match &judged {
            Some(judged) => (results(&judged.trigger), results(&judged.conditions)),
            None => (Vec::new(), Vec::new()),
        };
        let verdict = judged.as_ref().map(|judged| judged.verdict.to_string());
        let (window, action_params, action_params_error) = match judged {
            Some(judged) => (judged.window, judged.action_params, judged.action_params_error),
            None => (None, None, None),
        };
        Ok(RuleExplanation {
            rule: version.rule_ref.clone(),
            version: Some(version.version),
            mode: Some(rule.mode.as_str().to_owned()),
            action: Some(rule.action_ref),
            outcome: outcome.as_str().to_owned(),
            reason: self.veil.text(reason),
            verdict,
            trigger,
            conditions,
            window: window.map(|window| WindowResult {
                passed: window.passed,
                reason: self.veil.text(window.reason),
                state: self.veil.value(window.state),
            }),
            action_params,
            action_params_error: action_params_error.map(|error| ParameterError {
                pointer: error.pointer,
                template: error.template,
                message: error.message,
                suggestion: error.suggestion,
            }),
            enforcement: decided.map(|decided| EnforcementLink {
                id: decided.enforcement.id,
                status: decided.enforcement.status.as_str().to_owned(),
                error: decided.enforcement.error.map(|error| self.veil.text(error)),
                executions: decided.executions,
            }),
        })
    }

    fn judge(&self, rule: &Rule, compiled: &CompiledRule) -> Judgement {
        let view = RuleFields {
            id: rule.id.into(),
            rule_ref: rule.r#ref.clone(),
            label: rule.label.clone().into(),
            pack: rule.pack_ref.clone().into(),
            version: rule.version.into(),
        }
        .seen();
        let scope = Scope::new()
            .with("event", &self.seen.event)
            .with("trigger", &self.seen.trigger)
            .with("rule", &view);
        let subject = Subject {
            trigger_ref: Some(&self.event.trigger_ref),
            config: Some(&self.event.config),
            scope: &scope,
            now: self.now,
        };
        Judgement::of(compiled, &subject)
    }
}

/// What a window that did not fire at once made of an event, as explanations tell it.
fn window_judgement(recorded: &WindowOutcome) -> WindowJudgement {
    let read = serde_json::from_value::<attune_rules::window::WindowOutcome>(recorded.outcome.clone());
    // Only a newer version of Attune writes others.
    let reason = read.map_or_else(|_| recorded.outcome.to_string(), |outcome| outcome.to_string());
    let state = json!({"key": recorded.key, "outcome": recorded.outcome});
    WindowJudgement { passed: false, reason, state }
}

/// An explanation of a rule that was not there when the event was matched.
pub(crate) fn absent(rule_ref: &str, reason: String) -> RuleExplanation {
    RuleExplanation {
        rule: rule_ref.to_owned(),
        version: None,
        mode: None,
        action: None,
        outcome: Outcome::Absent.as_str().to_owned(),
        reason,
        verdict: None,
        trigger: Vec::new(),
        conditions: Vec::new(),
        window: None,
        action_params: None,
        action_params_error: None,
        enforcement: None,
    }
}

/// A rule that was stored, with the settings that it had.
fn compiled(rule: &Rule) -> Result<CompiledRule, Vec<RuleProblem>> {
    CompiledRule::compile_with(&stored_definition(rule)?, &Settings::kept(rule.config.as_ref()))
}

fn results(tests: &[TestResult]) -> Vec<ConditionResult> {
    let result = |test: &TestResult| ConditionResult {
        pointer: test.pointer.clone(),
        field: test.field.clone(),
        operator: test.operator.clone(),
        expected: test.expected.clone(),
        actual: test.actual.clone(),
        verdict: test.verdict.to_string(),
        reason: test.reason.clone(),
    };
    tests.iter().map(result).collect()
}

/// Hides the secrets of a trigger's configuration in what rules made of an event.
struct Veil<'m> {
    mask: &'m Mask,
    /// Every text within the hidden values, the longest first.
    secrets: Vec<String>,
    /// Whether anything of the configuration is hidden.
    hides: bool,
}

impl<'m> Veil<'m> {
    fn new(mask: &'m Mask, config: &Value) -> Self {
        let mut secrets = Vec::new();
        let mut hides = false;
        for (_, value) in config.as_object().into_iter().flatten().filter(|(name, _)| mask.hides(name)) {
            hides = true;
            collect_texts(value, &mut secrets);
        }
        secrets.sort_by(|left, right| right.len().cmp(&left.len()).then_with(|| left.cmp(right)));
        secrets.dedup();
        Self { mask, secrets, hides }
    }

    /// `action` is the mask of the rule's action.
    fn judgement(&self, judgement: Judgement, action: &Mask) -> Judgement {
        let tests = |tests: Vec<TestResult>| tests.into_iter().map(|test| self.test(test)).collect();
        Judgement {
            trigger: tests(judgement.trigger),
            conditions: tests(judgement.conditions),
            action_params: judgement.action_params.map(|params| self.value(action.parameters(params))),
            action_params_error: judgement.action_params_error.map(|mut error| {
                error.message = self.text(error.message);
                error.template = self.text(error.template);
                error
            }),
            ..judgement
        }
    }

    fn test(&self, test: TestResult) -> TestResult {
        let shown = |value: Option<Value>| {
            value.map(|value| if self.is_hidden(&test.field) { Value::from(MASK) } else { self.value(value) })
        };
        TestResult {
            expected: shown(test.expected.clone()),
            actual: shown(test.actual.clone()),
            reason: self.text(test.reason.clone()),
            ..test
        }
    }

    /// Whether a field is, or may hold, something of the configuration that is hidden.
    fn is_hidden(&self, field: &str) -> bool {
        let Ok(path) = FieldPath::parse(field) else { return false };
        if !self.hides || path.root() != "trigger" {
            return false;
        }
        match path.segments() {
            [Segment::Key(first), Segment::Key(name), ..] if first == "config" => self.mask.hides(name),
            [Segment::Key(first), ..] => first == "config",
            _ => true,
        }
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(elements) => elements.into_iter().map(|element| self.value(element)).collect(),
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(name, member)| (name, self.value(member))).collect())
            }
            other => other,
        }
    }

    fn text(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), MASK) } else { text }
        })
    }
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.is_empty() => texts.push(text.clone()),
        Value::Array(elements) => elements.iter().for_each(|element| collect_texts(element, texts)),
        Value::Object(members) => members.values().for_each(|member| collect_texts(member, texts)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
