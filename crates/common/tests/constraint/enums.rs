//! The enum types of the schema, value by value: the same in PostgreSQL, in Rust and in JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use attune_common::error::StoreError;
use attune_common::models::{
    action, artifact, enforcement, execution, inquiry, notification, owner, policy, rule, work_queue, worker,
};
use attune_testkit::transaction;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Decode, Encode, Postgres, Type};

use super::run::assert_none;

/// A module of tests for each type, called as in the schema: its Rust type, its values in the order of the schema.
macro_rules! enums {
    ($($name:ident: $rust:ty = $($value:literal),+;)+) => {
        /// The types with their values.
        const IN_RUST: &[(&str, &[&str])] = &[$((stringify!($name), &[$($value),+])),+];

        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn test_values_are_the_same_everywhere() {
                assert_eq!(<$rust>::TYPE_NAME, concat!("attune.", stringify!($name)));
                check_values(<$rust>::ALL, &[$($value),+], <$rust>::TYPE_NAME).await;
            }

            #[tokio::test]
            async fn test_other_values_are_refused_everywhere() {
                check_unknown::<$rust>(&[$($value),+], <$rust>::TYPE_NAME).await;
            }
        })+
    };
}

enums! {
    artifact_type: artifact::ArtifactType = "file", "table", "link";
    enforcement_status: enforcement::EnforcementStatus = "created", "processed", "disabled";
    execution_status: execution::ExecutionStatus =
        "requested", "scheduling", "scheduled", "running", "completed", "failed", "canceling", "cancelled", "timeout",
        "abandoned";
    inquiry_status: inquiry::InquiryStatus = "pending", "responded", "timeout", "cancelled";
    notification_state: notification::NotificationState =
        "created", "queued", "processing", "delivered", "error";
    output_format: action::OutputFormat = "text", "json", "yaml", "jsonl";
    output_stream: execution::OutputStream = "stdout", "stderr";
    owner_type: owner::OwnerType = "system", "identity", "pack", "action", "sensor";
    parameter_delivery: action::ParameterDelivery = "stdin", "env", "file";
    parameter_format: action::ParameterFormat = "json", "yaml", "dotenv";
    policy_method: policy::PolicyMethod = "enqueue", "cancel";
    rule_mode: rule::RuleMode = "active", "shadow";
    work_item_status: work_queue::WorkItemStatus = "ready", "leased", "done", "dead";
    worker_loss: action::WorkerLoss = "abandon", "retry";
    worker_status: worker::WorkerStatus = "active", "inactive", "busy", "error";
    worker_type: worker::WorkerType = "local", "remote", "container";
}

/// The types that no model speaks of, with their values.
const IN_SCHEMA_ONLY: &[(&str, &[&str])] = &[];

async fn check_values<E>(all: &[E], values: &[&str], type_name: &str)
where
    E: Copy + Eq + Debug + Display + FromStr<Err = String> + Serialize + DeserializeOwned + Send + Unpin,
    E: for<'q> Encode<'q, Postgres> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(names, values, "{type_name} in Rust");
    let mut tx = transaction().await;
    for (&value, &name) in all.iter().zip(values) {
        assert_eq!(name.parse(), Ok(value));
        assert_eq!(serde_json::to_value(value).expect("JSON"), json!(name));
        assert_eq!(serde_json::from_value::<E>(json!(name)).expect("a value"), value);
        // Written, read as text, and read as what it is. A statement of its own for each type: a connection remembers
        // what its parameters were.
        let statement = format!("select $1::{type_name}::text, $1::{type_name}");
        let read: (String, E) = sqlx::query_as(AssertSqlSafe(statement))
            .bind(value)
            .fetch_one(&mut *tx)
            .await
            .expect("it is read back");
        assert_eq!(read, (name.to_owned(), value));
    }
}

async fn check_unknown<E>(values: &[&str], type_name: &str)
where
    E: Debug + FromStr<Err = String> + DeserializeOwned,
{
    let capital = values[0].to_uppercase();
    for unknown in ["", "nonsense", &*capital] {
        let expected = format!("{unknown:?} is none of {}", values.join(", "));
        assert_eq!(E::from_str(unknown).expect_err("not a value"), expected);
        assert!(serde_json::from_value::<E>(json!(unknown)).is_err(), "{unknown:?} in JSON as {type_name}");
        let mut tx = transaction().await;
        let statement = format!("select '{unknown}'::{type_name}::text");
        let read = sqlx::query_scalar::<_, String>(AssertSqlSafe(statement)).fetch_one(&mut *tx).await;
        let error = StoreError::from(read.expect_err("not a value"));
        assert!(matches!(&error, StoreError::Unstorable(words) if words.contains(type_name)), "{error:?}");
    }
    assert!(serde_json::from_value::<E>(Value::Null).is_err(), "null as {type_name}");
}

/// Every enum type of the schema with its values in their order.
pub(crate) async fn of_schema() -> BTreeMap<String, Vec<String>> {
    let mut tx = transaction().await;
    sqlx::query_as::<_, (String, Vec<String>)>(
        "select typname::text, array_agg(enumlabel::text order by enumsortorder)
         from pg_enum
         join pg_type on pg_type.oid = enumtypid
         where typnamespace = 'attune'::regnamespace
         group by typname",
    )
    .fetch_all(&mut *tx)
    .await
    .expect("the catalogue can be read")
    .into_iter()
    .collect()
}

/// The enum types that the models define, by `named_enum!`.
pub(crate) fn of_models() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/models");
    let mut types = BTreeSet::new();
    for entry in directory.read_dir().expect("the models have a directory") {
        let text = std::fs::read_to_string(entry.expect("a file").path()).expect("a source file");
        for named in text.split(" as \"attune.").skip(1) {
            types.extend(named.split('"').next().map(str::to_owned));
        }
    }
    types
}

#[tokio::test]
async fn test_every_enum_value_of_the_schema_has_a_case() {
    let schema = of_schema().await;
    let cases: BTreeMap<_, _> = IN_RUST.iter().chain(IN_SCHEMA_ONLY).copied().collect();
    assert_eq!(cases.len(), IN_RUST.len() + IN_SCHEMA_ONLY.len(), "a type is named twice");
    let mut faults = Vec::new();
    for (name, values) in &schema {
        match cases.get(&**name) {
            None => faults.push(format!(
                "attune.{name} has no case: add a line with {values:?} to `enums!` in tests/constraint/enums.rs"
            )),
            Some(known) if known != values => faults.push(format!(
                "attune.{name} is {values:?}; its line in tests/constraint/enums.rs says {known:?}"
            )),
            Some(_) => {}
        }
    }
    for name in cases.keys().filter(|name| !schema.contains_key(**name)) {
        faults.push(format!("tests/constraint/enums.rs has a case of attune.{name}, which does not exist"));
    }
    assert_none(&faults);
}

#[test]
fn test_every_enum_of_the_models_is_compared_with_the_schema() {
    let models = of_models();
    let compared: BTreeSet<_> = IN_RUST.iter().map(|(name, _)| (*name).to_owned()).collect();
    let faults: Vec<_> = models
        .symmetric_difference(&compared)
        .map(|name| {
            format!(
                "attune.{name} is now an enum of the models: move its line from IN_SCHEMA_ONLY to `enums!` in \
                 tests/constraint/enums.rs, as `{name}: <module>::<Type> = <values>;`"
            )
        })
        .collect();
    assert_none(&faults);
}
