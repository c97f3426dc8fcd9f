//! The settings of a pack in its rules: `{{ config.url }}` in the parameters of the action, in the values of conditions and
//! in expressions.
//!
//! A rule is compiled with the values that its pack has, so that reading them costs nothing when it is judged. Secrets are
//! never among them.

use std::sync::{Arc, LazyLock};

use attune_expr::path::{FieldPath, Segment};
use attune_expr::schema::{ParameterSchema, reach};
use attune_expr::suggest::nearest;
use attune_expr::template::{MembersRead, ValueTemplate};
use serde_json::{Map, Value};

use crate::definition::{Condition, RuleDefinition, RuleProblem};

/// The name of the settings to templates.
pub const SETTINGS_ROOT: &str = "config";

/// The values that a rule is compiled with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings(Arc<Value>);

impl Settings {
    /// No setting has a value.
    pub fn none() -> Self {
        static NONE: LazyLock<Settings> = LazyLock::new(|| Settings::of(Map::new()));
        NONE.clone()
    }

    /// The values by name.
    pub fn of(values: Map<String, Value>) -> Self {
        Self(Arc::new(Value::Object(values)))
    }

    /// What was kept with a rule: an object, or nothing.
    pub fn kept(values: Option<&Value>) -> Self {
        values
            .filter(|values| values.is_object())
            .map_or_else(Self::none, |values| Self(Arc::new(values.clone())))
    }

    /// A text that is the same for the same values.
    pub(crate) fn fingerprint(&self) -> String {
        self.0.to_string()
    }

    pub(crate) fn bind(&self, template: ValueTemplate) -> ValueTemplate {
        template.with_constant(SETTINGS_ROOT, &self.0)
    }
}

/// Of all values the ones that a rule uses; `parts` are what may hold templates: conditions, window and parameters. None
/// when it uses no setting at all.
pub fn used(parts: &[&Value], values: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut used = None;
    for part in parts {
        // What cannot be compiled is told elsewhere.
        let Ok(template) = ValueTemplate::compile(part) else { continue };
        match template.members_read(SETTINGS_ROOT) {
            MembersRead::Any => return Some(values.clone()),
            MembersRead::Named(names) if names.is_empty() => {}
            MembersRead::Named(names) => {
                let of = |name: String| values.get(&name).map(|value| (name, value.clone()));
                used.get_or_insert_with(Map::new).extend(names.into_iter().filter_map(of));
            }
        }
    }
    used
}

/// The pack whose settings a rule may use.
#[derive(Debug, Clone, Copy)]
pub enum SettingsOf<'p> {
    /// It belongs to none.
    NoPack,
    /// The pack of this ref; the JSON schema of its settings, with `secret: true` at those that are secret.
    Pack { pack_ref: &'p str, schema: &'p Value },
}

/// Settings that the rule names and cannot read; pointers are those of [`CompiledRule::compile`](crate::CompiledRule::compile).
pub fn check_settings(rule: &RuleDefinition, pack: SettingsOf<'_>) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    let mut look = |value: &Value, here: &str| {
        let Ok(template) = ValueTemplate::compile(value) else { return };
        for used in template.paths().iter().filter(|used| used.path.root() == SETTINGS_ROOT) {
            let found = problem(&used.path, pack);
            problems.extend(found.map(|problem| problem.under(&format!("{here}{}", used.pointer))));
        }
    };
    each_condition(&rule.conditions, "/conditions", &mut look);
    if let Some(window) = &rule.window {
        for (place, condition) in window.kind.conditions() {
            each_of(condition, &format!("/window{place}"), &mut look);
        }
    }
    look(&rule.action_params, "/action_params");
    problems
}

fn each_condition(conditions: &[Condition], here: &str, look: &mut impl FnMut(&Value, &str)) {
    for (position, condition) in conditions.iter().enumerate() {
        each_of(condition, &format!("{here}/{position}"), look);
    }
}

fn each_of(condition: &Condition, here: &str, look: &mut impl FnMut(&Value, &str)) {
    match condition {
        Condition::Test { value, .. } => {
            if let Some(value) = value {
                look(value, &format!("{here}/value"));
            }
        }
        Condition::All { all } => each_condition(all, &format!("{here}/all"), look),
        Condition::Any { any } => each_condition(any, &format!("{here}/any"), look),
        Condition::Not { not } => each_of(not, &format!("{here}/not"), look),
        Condition::Expression(text) => look(&Value::String(text.clone()), here),
    }
}

/// What is wrong with a setting that is named; without a pointer yet.
fn problem(path: &FieldPath, pack: SettingsOf<'_>) -> Option<RuleProblem> {
    let SettingsOf::Pack { pack_ref, schema } = pack else {
        let message = "the rule belongs to no pack, so that there is no `config`; write the value itself, or keep it as a \
                       key and use `key('pack.name')`";
        return Some(RuleProblem::new("", message));
    };
    let nothing = Map::new();
    let compiled = ParameterSchema::compile(schema).ok();
    let secrets = compiled.as_ref().map(ParameterSchema::secret_names).unwrap_or_default();
    let properties = schema["properties"].as_object().unwrap_or(&nothing);
    // Which one it is may be for the event to say.
    let Some(Segment::Key(name)) = path.segments().first() else { return None };
    if !properties.contains_key(name) {
        let plain = properties.keys().filter(|name| !secrets.contains(name)).map(String::as_str);
        let near = nearest(name, plain.clone()).map(|near| format!("{SETTINGS_ROOT}.{near}"));
        let known: Vec<String> = plain.map(|name| format!("`{name}`")).collect();
        let has = match (&near, known.as_slice()) {
            (Some(_), _) => String::new(),
            (None, []) => "; it has none that a rule can read".to_owned(),
            (None, known) => format!("; it has {}", known.join(", ")),
        };
        let message = format!("the pack `{pack_ref}` has no setting `{name}` in its config_schema{has}");
        return Some(RuleProblem::new("", message).suggest(near.as_deref()));
    }
    if secrets.contains(name) {
        let message = format!(
            "`{name}` is a secret setting, which no rule reads; an action of the pack finds it in ATTUNE_PACK_CONFIG, and \
             another one is given it by `{{{{ key('{pack_ref}.config.{}') }}}}`",
            name.to_lowercase()
        );
        return Some(RuleProblem::new("", message));
    }
    let unreachable = reach(schema, path.segments()).err()?;
    let (reached, step) = path.segments().split_at_checked(unreachable.followed)?;
    let reached = FieldPath::new(path.root(), reached.to_vec());
    let step = match step.first()? {
        Segment::Key(key) => key.clone(),
        other => other.to_string(),
    };
    Some(RuleProblem::new("", format!("by the config_schema of `{pack_ref}`, `{reached}` has no `{step}`")))
}
