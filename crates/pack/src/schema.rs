//! What a pack's files may say, as JSON Schema: for editors, which complete and check by it while one writes.
//!
//! The readers in `read` decide; [`FileKind::schema`] says the same in the form that other programs know. Values that are
//! one of a few names come from the enums that the readers use, operators and keywords from the tables of `attune_expr`
//! and `attune_rules`. Which keys there are stands in `files`, and a test asks every reader for the keys that it takes and
//! compares: neither can have a key that the other does not know. What only a reader can tell - refs that lead nowhere,
//! settings without effect - is not in a schema.

mod files;
mod index;
mod parts;
mod tests;

use serde_json::{Map, Value, json};

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
        let mut schema = files::shape(self).object();
        if self == Self::Config {
            // By names that only the pack knows.
            schema.insert("additionalProperties".to_owned(), json!(true));
        }
        self.head(&mut schema);
        let definitions = parts::definitions(&Value::Object(schema.clone()));
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), Value::Object(definitions));
        }
        Value::Object(schema)
    }

    /// What stands above the schema itself.
    pub(crate) fn head(self, schema: &mut Map<String, Value>) {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!(format!("Attune: {}", self.place())));
    }
}

/// A mapping: what it is and the keys that it has.
struct Shape {
    about: &'static str,
    keys: Vec<Key>,
}

/// A key of a mapping.
struct Key {
    name: &'static str,
    required: bool,
    schema: Value,
}

/// A key that may be left out. `about` is shown by editors.
fn key(name: &'static str, about: &str, schema: Value) -> Key {
    Key { name, required: false, schema: described(schema, about) }
}

/// A key that has to be there.
fn required(name: &'static str, about: &str, schema: Value) -> Key {
    Key { required: true, ..key(name, about, schema) }
}

fn described(schema: Value, about: &str) -> Value {
    let mut members = match schema {
        Value::Object(members) => members,
        other => return other,
    };
    members.insert("description".to_owned(), json!(about));
    Value::Object(members)
}

impl Shape {
    /// The schema of a mapping with these keys and no others.
    fn object(&self) -> Map<String, Value> {
        let properties: Map<String, Value> =
            self.keys.iter().map(|key| (key.name.to_owned(), key.schema.clone())).collect();
        let required: Vec<&str> = self.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        let mut schema = Map::new();
        schema.insert("description".to_owned(), json!(self.about));
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema
    }

    fn into_schema(self) -> Value {
        Value::Object(self.object())
    }
}
