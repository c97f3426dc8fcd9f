//! The schema as PostgreSQL's catalogue has it, against the cases: what is in one and not in the other fails by name, with
//! what to add where.

use std::collections::{BTreeMap, BTreeSet};

use attune_common::error::CHECKS;
use attune_testkit::{TestDatabase, transaction};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::model::{Table, file_of, tables};
use super::run::{assert_none, common, insert, minimal, with};

/// Names of the schema with the table they belong to.
type Names = BTreeMap<String, String>;

async fn names(query: &'static str) -> Names {
    let mut tx = transaction().await;
    sqlx::query_as::<_, (String, String)>(query)
        .fetch_all(&mut *tx)
        .await
        .expect("the catalogue can be read")
        .into_iter()
        .collect()
}

/// Compares names of the schema with those of the cases.
fn compare(schema: &Names, cases: impl Iterator<Item = (&'static str, &'static str)>, list: &str) {
    let cases: Vec<_> = cases.collect();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for &(name, table) in &cases {
        if !seen.insert(name) {
            faults.push(format!("{name} has two cases in the {list} of {table}, {}", file_of(table)));
        }
        if schema.get(name).map(String::as_str) != Some(table) {
            faults.push(format!(
                "{name} is in the {list} of {table} ({}), but table attune.{table} has nothing of this name: remove \
                 the case, or rename it with the schema",
                file_of(table)
            ));
        }
    }
    for (name, table) in schema.iter().filter(|(name, _)| !seen.contains(&***name)) {
        faults.push(format!(
            "{name} of attune.{table} has no case: add it to the {list} of {table} in {}",
            file_of(table)
        ));
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_every_table_has_its_cases() {
    let mut tx = transaction().await;
    let schema: BTreeSet<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'attune'::regnamespace and relkind in ('r', 'p')",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let mut faults = Vec::new();
    for name in &schema {
        if tables().all(|table| table.name != name) {
            faults.push(format!("attune.{name} has no cases: add a Table to {}", file_of(name)));
        }
    }
    for table in tables().filter(|table| !schema.contains(table.name)) {
        faults.push(format!("{} has cases of {}, which is no table", file_of(table.name), table.name));
    }
    assert_none(&faults);
}

#[test]
fn test_every_case_is_run() {
    let tested: BTreeMap<_, _> = crate::TESTED.iter().copied().collect();
    let mut faults = Vec::new();
    for table in tables() {
        let run = tested.get(table.name).copied().unwrap_or_default();
        if run != table.kinds() {
            faults.push(format!(
                "tests/constraint_tests.rs: the line of {name} in `tables!` should be `{name}: {kinds};`",
                name = table.name,
                kinds = table.kinds().join(" ")
            ));
        }
    }
    for name in tested.keys().filter(|name| tables().all(|table| table.name != **name)) {
        faults.push(format!("tests/constraint_tests.rs: {name} in `tables!` has no cases"));
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_every_check_has_a_case() {
    let schema = names(
        "select conname::text, relname::text
         from pg_constraint
         join pg_class on pg_class.oid = conrelid
         where connamespace = 'attune'::regnamespace and contype = 'c'",
    )
    .await;
    let cases = tables().flat_map(|table| table.checks.iter().map(|check| (check.name, table.name)));
    compare(&schema, cases, "checks");
}

#[tokio::test]
async fn test_every_reference_has_a_case() {
    let schema = names(
        "select conname::text, relname::text
         from pg_constraint
         join pg_class on pg_class.oid = conrelid
         where connamespace = 'attune'::regnamespace and contype = 'f'",
    )
    .await;
    let cases = tables().flat_map(|table| table.references.iter().map(|key| (key.name, table.name)));
    compare(&schema, cases, "references");
}

#[tokio::test]
async fn test_every_key_has_a_case() {
    // Unique constraints and primary keys are indexes as well; there may be more indexes than constraints.
    let schema = names(
        "select index.relname::text, owner.relname::text
         from pg_index
         join pg_class index on index.oid = indexrelid
         join pg_class owner on owner.oid = indrelid
         where owner.relnamespace = 'attune'::regnamespace and indisunique",
    )
    .await;
    let cases = tables().flat_map(|table| table.keys.iter().map(|key| (key.name, table.name)));
    compare(&schema, cases, "keys");
}

#[tokio::test]
async fn test_keys_have_the_columns_of_their_cases() {
    let mut tx = transaction().await;
    let schema: BTreeMap<String, Vec<String>> = sqlx::query_as::<_, (String, Vec<String>)>(
        "select indexrelid::regclass::text, array_agg(attname::text order by place)
         from pg_index
         cross join unnest(indkey::smallint[]) with ordinality as part (number, place)
         join pg_attribute on attrelid = indrelid and attnum = number
         where indisunique and indrelid in (select oid from pg_class where relnamespace = 'attune'::regnamespace)
         group by indexrelid",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let mut faults = Vec::new();
    for key in tables().flat_map(|table| table.keys) {
        let found = schema.get(&format!("attune.{}", key.name)).cloned().unwrap_or_default();
        if found != key.columns {
            faults.push(format!("{} is of {found:?}, its case says {:?}", key.name, key.columns));
        }
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_every_column_that_must_be_given_has_a_case() {
    let schema = names(
        "select relname || '.' || attname, relname::text
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
           and attnotnull and not atthasdef and attidentity = ''",
    )
    .await;
    compare_columns(&schema, "required", |table| table.required.iter().map(|(column, _)| *column).collect());
}

#[tokio::test]
async fn test_every_column_with_a_default_has_a_case() {
    // A column with a default is never null: one way to leave it out is enough.
    let schema = names(
        "select relname || '.' || attname, relname::text
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
           and atthasdef",
    )
    .await;
    compare_columns(&schema, "defaults", |table| table.defaults.iter().map(|(column, _)| *column).collect());
}

fn compare_columns(schema: &Names, list: &str, columns: impl Fn(&Table) -> Vec<&'static str>) {
    let mut faults = Vec::new();
    let mut named = BTreeSet::new();
    for table in tables() {
        for column in columns(table) {
            let name = format!("{}.{column}", table.name);
            if !schema.contains_key(&name) {
                faults.push(format!(
                    "{name} is in the {list} of {}, but not so in the schema",
                    file_of(table.name)
                ));
            }
            named.insert(name);
        }
    }
    for (name, table) in schema.iter().filter(|(name, _)| !named.contains(*name)) {
        faults.push(format!(
            "attune.{name} has no case: add it to the {list} of {table} in {}",
            file_of(table)
        ));
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_every_row_trigger_has_a_case() {
    let schema = names(
        "select tgname::text, relname::text
         from pg_trigger
         join pg_class on pg_class.oid = tgrelid
         where relnamespace = 'attune'::regnamespace and not tgisinternal and tgtype & 1 = 1",
    )
    .await;
    let cases: BTreeMap<String, &str> = tables()
        .filter(|table| !table.change.is_empty())
        .map(|table| (format!("{}_updated", table.name), table.name))
        .collect();
    let mut faults = Vec::new();
    for (name, table) in schema.iter().filter(|(name, _)| !cases.contains_key(*name)) {
        faults.push(format!(
            "trigger {name} has no case: row triggers only set `updated` and are called {table}_updated; add a \
             `change` to {table} in {}",
            file_of(table)
        ));
    }
    for (name, table) in cases.iter().filter(|(name, _)| !schema.contains_key(*name)) {
        faults.push(format!("{table} has a `change` in {}, but no trigger {name}", file_of(table)));
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_the_field_of_every_check_is_one_of_its_columns() {
    let mut tx = transaction().await;
    let schema: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select conname::text, array_agg(attname::text)
         from pg_constraint
         join pg_attribute on attrelid = conrelid and attnum = any(conkey)
         where connamespace = 'attune'::regnamespace and contype = 'c'
         group by conname
         order by conname",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    let fields: BTreeMap<_, _> = CHECKS.iter().copied().collect();
    let cases: BTreeMap<_, _> =
        tables().flat_map(|table| table.checks).map(|check| (check.name, check.field)).collect();
    let mut faults = Vec::new();
    for (name, columns) in &schema {
        match fields.get(&**name) {
            None => faults.push(format!(
                "CHECKS in crates/common/src/error.rs lacks (\"{name}\", one of {columns:?})"
            )),
            Some(field) if columns.iter().all(|column| column != field) => faults.push(format!(
                "CHECKS in crates/common/src/error.rs says that {name} is about {field}; it is about {columns:?}"
            )),
            Some(field) => {
                if let Some(case) = cases.get(&**name).filter(|case| *case != field) {
                    faults.push(format!("{name} is about {field} by CHECKS and about {case} by its case"));
                }
            }
        }
    }
    for name in fields.keys().filter(|name| schema.iter().all(|(known, _)| known != **name)) {
        faults.push(format!(
            "CHECKS in crates/common/src/error.rs has {name}, which is no check of the schema"
        ));
    }
    assert_none(&faults);
}

#[test]
fn test_checks_are_sorted_and_named_once() {
    let out_of_order: Vec<_> = CHECKS.windows(2).filter(|pair| pair[0].0 >= pair[1].0).collect();
    assert!(out_of_order.is_empty(), "in CHECKS of crates/common/src/error.rs: {out_of_order:?}");
}

/// Removes a constraint, or a unique index, as long as this transaction lasts.
async fn without(connection: &mut PgConnection, table: &str, name: &str) {
    let constraint: bool = sqlx::query_scalar("select exists (select from pg_constraint where conname = $1)")
        .bind(name)
        .fetch_one(&mut *connection)
        .await
        .expect("the catalogue can be read");
    let statement = if constraint {
        format!("alter table attune.{table} drop constraint {name} cascade")
    } else {
        format!("drop index attune.{name}")
    };
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.expect("it can be dropped");
}

#[tokio::test]
async fn test_what_a_check_refuses_is_accepted_without_it() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let mut faults = Vec::new();
    for table in tables() {
        for check in table.checks {
            let mut tx = connection.begin().await.unwrap();
            without(&mut tx, table.name, check.name).await;
            for &change in check.refused {
                let row = minimal(&mut tx, table, &[change]).await.unwrap();
                let mut savepoint = tx.begin().await.unwrap();
                if let Err(error) = insert(&mut savepoint, table.name, &row).await {
                    faults.push(format!("{change:?} should violate {} alone: {error}", check.name));
                }
                savepoint.rollback().await.unwrap();
            }
            tx.rollback().await.unwrap();
        }
    }
    assert_none(&faults);
}

#[tokio::test]
async fn test_what_a_key_refuses_is_accepted_without_it() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let mut faults = Vec::new();
    for table in tables() {
        for key in table.keys.iter().filter(|key| key.is_violable()) {
            let mut tx = connection.begin().await.unwrap();
            without(&mut tx, table.name, key.name).await;
            let values = common(&mut tx, key.common).await;
            for _ in 0..2 {
                let row = with(&mut tx, table, &values).await;
                if let Err(error) = insert(&mut tx, table.name, &row).await {
                    faults.push(format!("two rows of {values:?} should violate {} alone: {error}", key.name));
                    break;
                }
            }
            tx.rollback().await.unwrap();
        }
    }
    assert_none(&faults);
}
