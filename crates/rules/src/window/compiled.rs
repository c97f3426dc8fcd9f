//! A window ready to read events: its key and its own conditions.

use attune_expr::path::FieldPath;
use attune_expr::scope::Scope;
use attune_expr::template::ValueTemplate;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{Firing, Meets, Window, WindowKind};
use crate::compiled::{TestResult, compile_template, fields_of};
use crate::definition::RuleProblem;
use crate::node::Node;
use crate::selections::Selections;
use crate::settings::Settings;
use crate::verdict::Verdict;

/// A window with its templates and conditions compiled.
#[derive(Debug)]
pub struct CompiledWindow {
    window: Window,
    key: Option<ValueTemplate>,
    pub(crate) conditions: Vec<Node>,
}

impl CompiledWindow {
    /// Compiles a window; pointers start with `/window`.
    pub(crate) fn compile(
        window: &Window,
        settings: &Settings,
        problems: &mut Vec<RuleProblem>,
    ) -> Option<Self> {
        let before = problems.len();
        let key = window.key.as_ref().and_then(|key| compile_key(key, settings, problems));
        let conditions = window.kind.conditions();
        let conditions: Vec<Node> = conditions
            .into_iter()
            .filter_map(|(place, condition)| {
                Node::compile(condition, &format!("/window{place}"), settings, problems)
            })
            .collect();
        (problems.len() == before).then(|| Self { window: window.clone(), key, conditions })
    }

    /// The window as it was written.
    pub fn definition(&self) -> &Window {
        &self.window
    }

    /// What the window does, for [`step`](super::step).
    pub fn kind(&self) -> &WindowKind {
        &self.window.kind
    }

    /// The key of an event; empty for a window without keys. Text stands as it is, anything else as JSON. The error says
    /// why there is none: a field that does not exist, a template that fails, null.
    pub fn key(&self, scope: &Scope<'_>) -> Result<String, String> {
        let Some(key) = &self.key else { return Ok(String::new()) };
        match key.render(scope) {
            Ok(Value::String(key)) => Ok(key),
            Ok(Value::Null) => {
                Err("the key of the window is null; `default(.., true)` gives it another value".to_owned())
            }
            Ok(key) => Ok(key.to_string()),
            Err(error) => {
                Err(format!("the key of the window cannot be rendered: {}", error.under("/window/key")))
            }
        }
    }

    /// Paths that cover everything that the key can read.
    pub(crate) fn key_fields(&self) -> Vec<FieldPath> {
        self.key.as_ref().map(fields_of).unwrap_or_default()
    }

    /// Which of the window's own conditions an event meets. The error tells those that could not be judged.
    pub fn meets(&self, scope: &Scope<'_>, now: DateTime<Utc>) -> Result<Meets, Vec<TestResult>> {
        let mut met = Vec::new();
        let mut failed = false;
        let mut selections = Selections::default();
        for (position, condition) in self.conditions.iter().enumerate() {
            match condition.verdict(scope, now, &mut selections) {
                Verdict::True => met.push(position),
                Verdict::False | Verdict::Missing => {}
                Verdict::Error => failed = true,
            }
        }
        if !failed {
            return Ok(Meets::of(met));
        }
        let mut tests = Vec::new();
        for condition in &self.conditions {
            condition.explain(scope, now, &mut tests);
        }
        tests.retain(|test| test.verdict == Verdict::Error);
        Err(tests)
    }

    /// Whether an event concerns the window: it has no conditions of its own, or one that holds.
    pub(crate) fn verdict<'p, 'v>(
        &'p self,
        scope: &Scope<'v>,
        now: DateTime<Utc>,
        selections: &mut Selections<'p, 'v>,
    ) -> Verdict {
        if self.conditions.is_empty() {
            return Verdict::True;
        }
        Verdict::any(self.conditions.iter().map(|condition| condition.verdict(scope, now, selections)))
    }

    /// `window` to the parameters of the action.
    pub fn view(&self, key: &str, firing: &Firing) -> Value {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, false);
        json!({
            "kind": self.window.kind.name(),
            "key": self.key.as_ref().map(|_| key),
            "count": firing.count,
            "first": time(firing.first),
            "last": time(firing.event.at),
            "events": firing.events,
        })
    }
}

fn compile_key(key: &str, settings: &Settings, problems: &mut Vec<RuleProblem>) -> Option<ValueTemplate> {
    const PLACE: &str = "/window/key";
    let template = compile_template(&Value::String(key.to_owned()), PLACE, settings, problems)?;
    // A key that all events share is the key that a window without keys has.
    if !template.roots().iter().any(|used| used.root != "rule") {
        let message = format!(
            "the key does not depend on the event, so that it has no effect; expected a template such as \
             `{{{{ event.payload.host }}}}`, got `{key}`"
        );
        problems.push(RuleProblem::new(PLACE, message));
        return None;
    }
    Some(template)
}
