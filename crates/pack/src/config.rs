//! The configuration of a pack: what its schema asks for, and where each value comes from.
//!
//! A value is taken from the first of these that has it: what was set on the server; the pack's own file for the environment
//! that the server is (`config/production.yaml`); the default in the schema. Secrets are not among the values: each is a key,
//! named by [`secret_ref`], and only what uses them opens them.

use std::collections::{BTreeMap, BTreeSet};

use attune_expr::schema::{ParameterSchema, SchemaProblem, SchemaViolation};
use serde_json::{Map, Value};

use crate::FileKind;

/// The ref of the key that holds a secret of a pack's configuration.
pub fn secret_ref(pack_ref: &str, name: &str) -> String {
    format!("{pack_ref}.config.{}", name.to_lowercase())
}

/// The longest value of a key, in bytes: room for any certificate chain.
pub const MAX_KEY_VALUE: usize = 64 << 10;

/// Whether a key is one of those that hold the secrets of configurations, by its ref.
pub fn is_secret_ref(key_ref: &str) -> bool {
    key_ref.split_once('.').is_some_and(|(_, name)| name.starts_with("config."))
}

/// The configuration that a schema describes.
#[derive(Debug)]
pub struct Configuration {
    compiled: ParameterSchema,
    schema: Value,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueSource {
    /// Nowhere: there is none.
    None,
    /// The default of the schema.
    Default,
    /// The pack's file for the environment.
    Environment,
    /// It was set on the server.
    Set,
}

impl ValueSource {
    /// The name as answers spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Default => "default",
            Self::Environment => "environment",
            Self::Set => "set",
        }
    }
}

/// A setting with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Without it the pack's actions do not run.
    pub is_required: bool,
    /// Its value is a key, and not here.
    pub is_secret: bool,
    /// None for a secret, and where there is none.
    pub value: Option<Value>,
    /// Where it comes from.
    pub source: ValueSource,
}

/// What is set, apart from secrets.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// By the pack's file for the environment.
    pub environment: &'a Value,
    /// On the server.
    pub set: &'a Value,
}

impl Configuration {
    /// The configuration of a JSON schema as the manifest's reader makes it; None for a pack without one.
    pub fn of(schema: &Value) -> Result<Option<Self>, SchemaProblem> {
        if schema.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty) {
            return Ok(None);
        }
        Ok(Some(Self { compiled: ParameterSchema::compile(schema)?, schema: schema.clone() }))
    }

    /// The names of secrets.
    pub fn secret_names(&self) -> &[String] {
        self.compiled.secret_names()
    }

    /// Whether there is a setting of this name.
    pub fn has(&self, name: &str) -> bool {
        self.properties().any(|(known, _)| known == name)
    }

    /// Whether its value is secret.
    pub fn is_secret(&self, name: &str) -> bool {
        self.secret_names().iter().any(|secret| secret == name)
    }

    /// The JSON Schema of the pack's files for environments: any of the settings, but no secrets.
    pub fn schema_of_files(&self) -> Value {
        let settings: Map<String, Value> = self
            .properties()
            .filter(|(name, _)| !self.is_secret(name))
            .map(|(name, property)| (name.clone(), property.clone()))
            .collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), Value::Object(settings));
        schema.insert("additionalProperties".to_owned(), false.into());
        FileKind::Config.head(&mut schema);
        Value::Object(schema)
    }

    /// What is wrong with values by themselves: unknown names, and what does not fit. What is missing may come from elsewhere.
    pub fn faults(&self, values: &Map<String, Value>) -> Vec<SchemaViolation> {
        let given = Value::Object(values.clone());
        let violations = self.compiled.check(given).err().unwrap_or_default();
        let is_given = |violation: &SchemaViolation| {
            let name = violation.pointer.split('/').nth(1).unwrap_or_default();
            values.contains_key(&name.replace("~1", "/").replace("~0", "~"))
        };
        violations.into_iter().filter(is_given).collect()
    }

    /// Every setting with its value; `secrets` are the names of the secrets that are set.
    pub fn settings(&self, layers: Layers<'_>, secrets: &BTreeSet<String>) -> Vec<Setting> {
        let required = self.schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let setting = |(name, property): (&String, &Value)| {
            let is_secret = self.is_secret(name);
            let (value, source) = if is_secret {
                let source = if secrets.contains(name) { ValueSource::Set } else { ValueSource::None };
                (None, source)
            } else if let Some(value) = layers.set.get(name) {
                (Some(value.clone()), ValueSource::Set)
            } else if let Some(value) = layers.environment.get(name) {
                (Some(value.clone()), ValueSource::Environment)
            } else if let Some(value) = property.get("default") {
                (Some(value.clone()), ValueSource::Default)
            } else {
                (None, ValueSource::None)
            };
            Setting {
                name: name.clone(),
                description: property["description"].as_str().map(str::to_owned),
                is_required: required.iter().any(|required| required == name),
                is_secret,
                value,
                source,
            }
        };
        self.properties().map(setting).collect()
    }

    /// The values of all settings that have one and are no secrets: what rules may read.
    pub fn plain(&self, layers: Layers<'_>) -> Map<String, Value> {
        let settings = self.settings(layers, &BTreeSet::new());
        settings.into_iter().filter_map(|setting| Some((setting.name, setting.value?))).collect()
    }

    /// The whole configuration, with its secrets, for what uses it.
    pub fn effective(
        &self,
        layers: Layers<'_>,
        secrets: BTreeMap<String, String>,
    ) -> Result<Value, Vec<SchemaViolation>> {
        let mut values = Map::new();
        for layer in [layers.environment, layers.set] {
            if let Value::Object(members) = layer {
                values.extend(members.clone());
            }
        }
        values.extend(secrets.into_iter().map(|(name, value)| (name, Value::String(value))));
        self.compiled.check(Value::Object(values))
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.schema["properties"].as_object().into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use attune_expr::schema::to_json_schema;
    use serde_json::json;

    use super::*;

    fn configuration() -> Configuration {
        let author = json!({
            "url": {"type": "string", "required": true, "description": "Where it is"},
            "port": {"type": "integer", "default": 443},
            "retries": {"type": "integer", "maximum": 5},
            "token": {"type": "string", "secret": true, "required": true},
        });
        Configuration::of(&to_json_schema(author.as_object().unwrap())).unwrap().unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn test_a_value_comes_from_the_first_place_that_has_it() {
        let (environment, set) = (json!({"url": "https://e", "port": 1, "retries": 2}), json!({"port": 2}));
        let layers = Layers { environment: &environment, set: &set };
        let shown: Vec<_> = configuration()
            .settings(layers, &names(&["token"]))
            .into_iter()
            .map(|setting| (setting.name, setting.value, setting.source))
            .collect();
        let row = |name: &str, value: Value, source| (name.to_owned(), Some(value), source);
        let expected = [
            row("port", json!(2), ValueSource::Set),
            row("retries", json!(2), ValueSource::Environment),
            ("token".to_owned(), None, ValueSource::Set),
            row("url", json!("https://e"), ValueSource::Environment),
        ];
        assert_eq!(shown, expected);
        let none = json!({});
        let layers = Layers { environment: &none, set: &none };
        let sources: Vec<_> =
            configuration().settings(layers, &names(&[])).iter().map(|setting| setting.source).collect();
        assert_eq!(sources, [ValueSource::Default, ValueSource::None, ValueSource::None, ValueSource::None]);
    }

    #[test]
    fn test_rules_read_what_has_a_value_and_is_no_secret() {
        let (environment, set) = (json!({"url": "https://e", "token": "no"}), json!({"port": 2, "gone": 1}));
        let plain = configuration().plain(Layers { environment: &environment, set: &set });
        assert_eq!(Value::Object(plain), json!({"url": "https://e", "port": 2}));
    }

    #[test]
    fn test_the_whole_has_defaults_and_secrets_and_must_be_complete() {
        let (environment, set) = (json!({"url": "https://e"}), json!({"retries": 3}));
        let layers = Layers { environment: &environment, set: &set };
        let secrets = BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]);
        let whole = configuration().effective(layers, secrets).unwrap();
        assert_eq!(whole, json!({"url": "https://e", "port": 443, "retries": 3, "token": "s3cret"}));
        let missing = configuration().effective(layers, BTreeMap::new()).unwrap_err();
        assert_eq!(missing[0].to_string(), "/token: required `token` is missing");
    }

    #[test]
    fn test_values_are_judged_by_themselves() {
        let faults = |values: Value| {
            let faults = configuration().faults(values.as_object().unwrap());
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(faults(json!({"port": 1})), [""; 0]);
        assert_eq!(faults(json!({"prt": 1})), ["/prt: unknown `prt`; did you mean `port`?"]);
        assert_eq!(faults(json!({"port": "x"})), ["/port: expected integer, got string"]);
        assert_eq!(faults(json!({"retries": 9})).len(), 1);
    }

    #[test]
    fn test_without_settings_there_is_no_configuration() {
        assert!(Configuration::of(&json!({})).unwrap().is_none());
        assert!(Configuration::of(&to_json_schema(&Map::new())).unwrap().is_none());
    }
}
