//! Hiding secret parameters. What counts as secret is what the action's (or trigger's) schema says now; a value that the
//! schema can no longer tell anything about is hidden too.

use std::collections::{BTreeSet, HashMap};

use attune_common::error::Result;
use attune_common::repositories::{ActionRepository, TriggerRepository};
use attune_expr::schema::ParameterSchema;
use attune_expr::template::ValueTemplate;
use serde_json::{Map, Value};
use sqlx::PgPool;

/// What stands in place of a secret.
pub(crate) const MASK: &str = "********";

/// What to hide of one definition's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mask {
    /// The secret parameters and, of a closed schema, those that it does not know: an older version may have called them
    /// secret.
    Declared { secret: BTreeSet<String>, known: Option<BTreeSet<String>> },
    /// Every value: the definition is gone, and with it the knowledge of what is secret.
    Everything,
}

/// The masks of several definitions, by ref.
#[derive(Debug, Default)]
pub(crate) struct Masks(HashMap<String, Mask>);

impl Masks {
    /// The masks of actions.
    pub(crate) async fn of_actions<'a>(pool: &PgPool, refs: impl Iterator<Item = &'a str>) -> Result<Self> {
        let refs = distinct(refs);
        if refs.is_empty() {
            return Ok(Self::default());
        }
        let actions = ActionRepository::list_by_refs(pool, &refs).await?;
        Ok(Self(actions.into_iter().map(|action| (action.r#ref, Mask::of(&action.param_schema))).collect()))
    }

    /// The masks of triggers.
    pub(crate) async fn of_triggers<'a>(pool: &PgPool, refs: impl Iterator<Item = &'a str>) -> Result<Self> {
        let refs = distinct(refs);
        if refs.is_empty() {
            return Ok(Self::default());
        }
        let triggers = TriggerRepository::list_by_refs(pool, &refs).await?;
        Ok(Self(
            triggers.into_iter().map(|trigger| (trigger.r#ref, Mask::of(&trigger.param_schema))).collect(),
        ))
    }

    /// Whether there is this definition.
    pub(crate) fn has(&self, definition: &str) -> bool {
        self.0.contains_key(definition)
    }

    /// The mask of one definition; of one that is gone, the mask that hides everything.
    pub(crate) fn get(&self, definition: &str) -> &Mask {
        self.0.get(definition).unwrap_or(&Mask::Everything)
    }
}

fn distinct<'a>(refs: impl Iterator<Item = &'a str>) -> Vec<String> {
    refs.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

impl Mask {
    /// The mask of a parameter schema.
    pub(crate) fn of(schema: &Value) -> Self {
        let Ok(compiled) = ParameterSchema::compile(schema) else { return Self::Everything };
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        let names = || match schema.get("properties") {
            Some(Value::Object(properties)) => properties.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        Self::Declared {
            secret: compiled.secret_names().iter().cloned().collect(),
            known: closed.then(names),
        }
    }

    /// The parameters as they may be shown.
    pub(crate) fn parameters(&self, parameters: Value) -> Value {
        self.apply(parameters, |_| false)
    }

    /// The parameters of a rule as they may be shown: a template shows how a secret is found, and not the secret.
    pub(crate) fn rule_parameters(&self, parameters: Value) -> Value {
        self.apply(parameters, |value| {
            ValueTemplate::compile(value).is_ok_and(|template| !template.is_static())
        })
    }

    fn apply(&self, parameters: Value, harmless: impl Fn(&Value) -> bool) -> Value {
        match parameters {
            Value::Object(members) => {
                let shown: Map<String, Value> = members
                    .into_iter()
                    .map(|(name, value)| {
                        let value =
                            if self.hides(&name) && !harmless(&value) { Value::from(MASK) } else { value };
                        (name, value)
                    })
                    .collect();
                Value::Object(shown)
            }
            Value::Null => Value::Null,
            other if *self == Self::Everything && !harmless(&other) => Value::from(MASK),
            other => other,
        }
    }

    /// Whether the value of this name is hidden.
    pub(crate) fn hides(&self, name: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Declared { secret, known } => {
                secret.contains(name) || known.as_ref().is_some_and(|known| !known.contains(name))
            }
        }
    }
}

/// A schema as it may be shown: without the defaults of secret parameters.
pub(crate) fn schema_view(schema: Value) -> Value {
    match schema {
        Value::Object(members) => {
            let secret = members.get("secret") == Some(&Value::Bool(true));
            let shown: Map<String, Value> = members
                .into_iter()
                .map(|(keyword, value)| {
                    let hidden = secret && matches!(keyword.as_str(), "default" | "const" | "examples");
                    let value = if hidden { Value::from(MASK) } else { schema_view(value) };
                    (keyword, value)
                })
                .collect();
            Value::Object(shown)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(schema_view).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "host": {"type": "string"},
                "token": {"type": "string", "secret": true, "default": "hunter2"},
                "login": {"type": "object", "properties": {"password": {"type": "string", "secret": true}}},
            },
            "required": [],
            "additionalProperties": false,
        })
    }

    #[test]
    fn test_secret_nested_and_unknown_parameters_are_hidden() {
        let given = json!({"host": "a", "token": "x", "login": {"password": "y"}, "former": "z"});
        let shown = Mask::of(&schema()).parameters(given);
        assert_eq!(shown, json!({"host": "a", "token": MASK, "login": MASK, "former": MASK}));
    }

    #[test]
    fn test_an_open_schema_hides_only_what_it_calls_secret() {
        assert_eq!(Mask::of(&json!({})).parameters(json!({"any": 1})), json!({"any": 1}));
    }

    #[test]
    fn test_without_a_definition_everything_is_hidden() {
        let masks = Masks::default();
        assert_eq!(masks.get("gone.action").parameters(json!({"host": "a"})), json!({"host": MASK}));
        assert_eq!(masks.get("gone.action").parameters(json!("text")), json!(MASK));
        assert_eq!(masks.get("gone.action").parameters(json!({})), json!({}));
    }

    #[test]
    fn test_a_rule_shows_templates_but_no_secrets() {
        let given = json!({"token": "{{ event.payload.token }}", "login": {"password": "plain"}});
        let shown = Mask::of(&schema()).rule_parameters(given);
        assert_eq!(shown, json!({"token": "{{ event.payload.token }}", "login": MASK}));
    }

    #[test]
    fn test_a_schema_is_shown_without_secret_defaults() {
        let shown = schema_view(schema());
        assert_eq!(shown.pointer("/properties/token/default"), Some(&json!(MASK)));
        assert_eq!(shown.pointer("/properties/host"), Some(&json!({"type": "string"})));
    }
}
