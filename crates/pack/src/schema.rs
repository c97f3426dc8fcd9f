//! What a pack's files may say, as JSON Schema: for editors, which complete and check by it while one writes.
//!
//! Nothing of it is written here. A schema is that of the form by which the file is read (`crate::form`), with what the kinds
//! of its values say of themselves; see ADR 20. What only a reader can tell - refs that lead nowhere, settings without effect -
//! is not in a schema.

use attune_expr::form::{Form, Shape};
use attune_expr::schema::specification_schema;
use attune_rules::{Condition, Window};
use serde_json::{Map, Value, json};

use crate::Retry;
use crate::index::IndexForm;
use crate::read::{
    ActionForm, KeyForm, ManifestForm, PermissionSetForm, PolicyForm, QueueForm, RuleForm, RuntimeForm,
    SensorForm, TestForm, TriggerForm,
};
use crate::value::specification;

/// A kind of file in a pack, or of packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// `pack.yaml`.
    Pack,
    /// `runtimes/*.yaml`.
    Runtime,
    /// `actions/*.yaml`.
    Action,
    /// `triggers/*.yaml`.
    Trigger,
    /// `sensors/*.yaml`.
    Sensor,
    /// `rules/*.yaml`.
    Rule,
    /// `permissions/*.yaml`.
    PermissionSet,
    /// `policies/*.yaml`.
    Policy,
    /// `queues/*.yaml`.
    Queue,
    /// `keys/*.yaml`.
    Key,
    /// `tests/*.yaml`.
    Test,
    /// `config/*.yaml`.
    Config,
    /// An index of packs, which stands in none of them.
    Index,
}

impl FileKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Pack,
        Self::Runtime,
        Self::Action,
        Self::Trigger,
        Self::Sensor,
        Self::Rule,
        Self::PermissionSet,
        Self::Policy,
        Self::Queue,
        Self::Key,
        Self::Test,
        Self::Config,
        Self::Index,
    ];

    /// The name for commands and for the schema's file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Runtime => "runtime",
            Self::Action => "action",
            Self::Trigger => "trigger",
            Self::Sensor => "sensor",
            Self::Rule => "rule",
            Self::PermissionSet => "permission-set",
            Self::Policy => "policy",
            Self::Queue => "queue",
            Self::Key => "key",
            Self::Test => "test",
            Self::Config => "config",
            Self::Index => "index",
        }
    }

    /// The directory of a pack whose files are of this kind; None for what stands in none.
    pub const fn directory(self) -> Option<&'static str> {
        Some(match self {
            Self::Pack | Self::Index => return None,
            Self::Runtime => "runtimes",
            Self::Action => "actions",
            Self::Trigger => "triggers",
            Self::Sensor => "sensors",
            Self::Rule => "rules",
            Self::PermissionSet => "permissions",
            Self::Policy => "policies",
            Self::Queue => "queues",
            Self::Key => "keys",
            Self::Test => "tests",
            Self::Config => "config",
        })
    }

    /// Where such files are, for people.
    pub fn place(self) -> String {
        match (self, self.directory()) {
            (_, Some(directory)) => format!("{directory}/*.yaml"),
            (Self::Index, None) => "an index of packs".to_owned(),
            (_, None) => "pack.yaml".to_owned(),
        }
    }

    /// The JSON Schema (draft 2020-12) of such a file. What a file of `config/` may say depends on the pack:
    /// [`Configuration::schema_of_files`](crate::config::Configuration::schema_of_files) knows it.
    pub fn schema(self) -> Value {
        let mut schema = self.shape().object();
        if self == Self::Config {
            // By names that only the pack knows.
            schema.insert("additionalProperties".to_owned(), json!(true));
        }
        self.head(&mut schema);
        let definitions = definitions(&Value::Object(schema.clone()));
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), Value::Object(definitions));
        }
        Value::Object(schema)
    }

    /// What the reader of such files takes; there are no keys that files of `config/` have in common.
    fn shape(self) -> Shape {
        match self {
            Self::Pack => ManifestForm::shape(),
            Self::Runtime => RuntimeForm::shape(),
            Self::Action => ActionForm::shape(),
            Self::Trigger => TriggerForm::shape(),
            Self::Sensor => SensorForm::shape(),
            Self::Rule => RuleForm::shape(),
            Self::PermissionSet => PermissionSetForm::shape(),
            Self::Policy => PolicyForm::shape(),
            Self::Queue => QueueForm::shape(),
            Self::Key => KeyForm::shape(),
            Self::Test => TestForm::shape(),
            Self::Config => Shape::new("Values of the pack's settings in an environment, by their names."),
            Self::Index => IndexForm::shape(),
        }
    }

    /// What stands above the schema itself.
    pub(crate) fn head(self, schema: &mut Map<String, Value>) {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!(format!("Attune: {}", self.place())));
    }
}

type Definition = (&'static str, fn() -> Value);

/// What is too large, or too recursive, to be written where it is used.
const DEFINITIONS: &[Definition] = &[
    ("condition", Condition::definition),
    ("parameter", || specification_schema(&specification())),
    ("retry", Retry::definition),
    ("window", Window::definition),
];

/// The definitions that a schema refers to, and those that these refer to.
fn definitions(schema: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open = vec![schema.to_string()];
    while let Some(text) = open.pop() {
        for (name, make) in DEFINITIONS {
            if !found.contains_key(*name) && text.contains(&format!("#/$defs/{name}\"")) {
                let definition = make();
                open.push(definition.to_string());
                found.insert((*name).to_owned(), definition);
            }
        }
    }
    found
}
