//! What the cases do. Each gathers everything that is not as it should be and fails at its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use attune_common::error::StoreError;
use attune_testkit::{TestTransaction, transaction};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::model::{NOW, Reference, Removal, TRANSACTION, Table, Values, file_of, table};

/// An id that no row has.
pub(crate) const NO_SUCH_ID: &str = "999000000000000000";

/// A row as the database gives it.
pub(crate) type Row = Map<String, Value>;

/// A row's columns with their SQL expressions.
pub(crate) type Expressions = Vec<(&'static str, String)>;

/// A number that no other row of any test of any process has.
fn unique_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u64::from(std::process::id()) * 1_000_000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A minimal row with other values in some columns; makes the rows that it refers to.
pub(crate) async fn minimal(
    connection: &mut PgConnection,
    table: &Table,
    changes: &[Values],
) -> sqlx::Result<Expressions> {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    for &(column, expression) in [table.required, table.also].iter().chain(changes).copied().flatten() {
        match columns.iter_mut().find(|(known, _)| *known == column) {
            Some((_, replaced)) => *replaced = expression,
            None => columns.push((column, expression)),
        }
    }
    expressions(connection, &columns).await
}

/// The columns with their values made definite.
async fn expressions(
    connection: &mut PgConnection,
    columns: &[(&'static str, &'static str)],
) -> sqlx::Result<Expressions> {
    let number = unique_number().to_string();
    let mut definite = Vec::new();
    for &(column, expression) in columns {
        let value = match expression.strip_prefix('@') {
            Some(target) => new_row(connection, self::table(target)).await?,
            None => expression.replace("{n}", &number),
        };
        definite.push((column, value));
    }
    Ok(definite)
}

/// The key of a new row; in a box, since rows need rows.
fn new_row<'a>(
    connection: &'a mut PgConnection,
    table: &'static Table,
) -> Pin<Box<dyn Future<Output = sqlx::Result<String>> + Send + 'a>> {
    Box::pin(async move {
        let row = minimal(connection, table, &[]).await?;
        let row = insert(connection, table.name, &row).await?;
        Ok(text(&row[table.identified_by[0]]))
    })
}

/// The row with the names of what it refers to where these are part of the reference.
fn named(table: &str, row: &Expressions) -> Expressions {
    let mut row = row.clone();
    let references = self::table(table).references.iter().filter(|reference| reference.is_by_name);
    for reference in references {
        let id = row.iter().find(|(column, _)| *column == reference.column).map(|(_, id)| id.clone());
        if let (Some(id), Removal::SetNull { twin: Some(twin) }) = (id, reference.removal)
            && id != "null"
            && id != NO_SUCH_ID
        {
            row.retain(|(column, _)| *column != twin);
            row.push((twin, format!("(select ref from attune.{} where id = {id})", reference.target)));
        }
    }
    row
}

/// Adds a row, ids included.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    table: &str,
    row: &Expressions,
) -> sqlx::Result<Row> {
    let row = named(table, row);
    let statement = if row.is_empty() {
        format!("insert into attune.{table} default values returning to_jsonb({table}.*)")
    } else {
        let columns: Vec<_> = row.iter().map(|(column, _)| *column).collect();
        let values: Vec<_> = row.iter().map(|(_, expression)| &**expression).collect();
        format!(
            "insert into attune.{table} ({}) overriding system value values ({}) returning to_jsonb({table}.*)",
            columns.join(", "),
            values.join(", ")
        )
    };
    let row: Value = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await?;
    Ok(row.as_object().cloned().unwrap_or_default())
}

/// Adds a row in a savepoint of its own, which is taken back: what a single statement leads to.
pub(crate) async fn try_insert(
    connection: &mut PgConnection,
    table: &str,
    row: &Expressions,
) -> Result<Row, StoreError> {
    let mut savepoint = connection.begin().await?;
    let inserted = insert(&mut savepoint, table, row).await;
    savepoint.rollback().await?;
    Ok(inserted?)
}

/// The row as it is now.
async fn read(connection: &mut PgConnection, table: &Table, row: &Row) -> Option<Row> {
    let name = table.name;
    let statement = format!("select to_jsonb({name}.*) from attune.{name} where to_jsonb({name}.*) @> $1");
    let row: Option<Value> = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(identity_of(table, row))
        .fetch_optional(connection)
        .await
        .expect("a row can be read by its key");
    row.map(|row| row.as_object().cloned().unwrap_or_default())
}

/// The columns that tell a row from the others.
fn identity_of(table: &Table, row: &Row) -> Value {
    table.identified_by.iter().map(|&column| (column.to_owned(), row[column].clone())).collect()
}

/// A value as PostgreSQL's messages and the cases spell it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string()[..1].to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(text).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name:?}: {value}")).collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

fn time(row: &Row, column: &str) -> DateTime<Utc> {
    let written = row[column].as_str().expect("a time");
    DateTime::parse_from_rfc3339(written).expect("times are written so").to_utc()
}

/// Fails with everything that was found.
#[track_caller]
pub(crate) fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Fails with what was found about the cases of a table, and says where they are.
#[track_caller]
fn assert_promises(table: &Table, faults: &[String]) {
    let file = file_of(table.name);
    assert!(
        faults.is_empty(),
        "\n{}\nThe cases of attune.{} are in {file}: either they or the schema are wrong.",
        faults.join("\n"),
        table.name
    );
}

/// Columns without a default refuse to be null.
pub(crate) async fn required(name: &str) {
    let table = table(name);
    let columns = table.required.iter().map(|(column, _)| *column);
    assert_promises(table, &never_null(table, columns).await);
}

/// Columns with a default have it in a row that does not give them, refuse to be null, and are the only ones that a
/// minimal row has.
pub(crate) async fn defaults(name: &str) {
    let table = table(name);
    let mut faults = never_null(table, table.defaults.iter().map(|(column, _)| *column)).await;
    let mut tx = empty(table).await;
    let before: DateTime<Utc> = now(&mut tx).await;
    let transaction: String = sqlx::query_scalar("select pg_current_xact_id()::text")
        .fetch_one(&mut *tx)
        .await
        .expect("a transaction has an id");
    let row = minimal(&mut tx, table, &[]).await.expect("what it refers to can be made");
    let row = insert(&mut tx, name, &row).await.expect("the minimal row is accepted");
    let after = now(&mut tx).await;
    for &(column, expected) in table.defaults {
        let found = &row[column];
        let as_expected = match expected {
            NOW => (before..=after).contains(&time(&row, column)),
            TRANSACTION => text(found) == transaction,
            spelled => {
                found.as_str() == Some(spelled) || serde_json::from_str(spelled).ok().as_ref() == Some(found)
            }
        };
        if !as_expected {
            faults.push(format!("{name}.{column} is {found} by default, not {expected}"));
        }
    }
    let given = [table.required, table.also, table.defaults];
    for (column, value) in &row {
        let known = given.iter().copied().flatten().any(|(given, _)| given == column);
        if !known && !table.identified_by.contains(&&**column) && !value.is_null() {
            faults.push(format!(
                "{name}.{column} is {value} in a row that does not give it: add it to the defaults of {name} in {}",
                file_of(name)
            ));
        }
    }
    assert_promises(table, &faults);
}

/// A transaction in which the table is empty: the migrations put a row into one of them.
async fn empty(table: &Table) -> TestTransaction {
    let mut tx = transaction().await;
    if table.name == "rule_set" {
        sqlx::query("delete from attune.rule_set").execute(&mut *tx).await.expect("it can be emptied");
    }
    tx
}

async fn now(connection: &mut PgConnection) -> DateTime<Utc> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(connection).await.expect("the time")
}

async fn never_null(table: &'static Table, columns: impl Iterator<Item = &'static str>) -> Vec<String> {
    let mut tx = empty(table).await;
    let mut faults = Vec::new();
    let row = minimal(&mut tx, table, &[]).await.expect("what it refers to can be made");
    for column in columns {
        let mut without = row.clone();
        without.retain(|(given, _)| *given != column);
        without.push((column, "null".to_owned()));
        match try_insert(&mut tx, table.name, &without).await {
            Err(StoreError::InvalidValue { entity, field, constraint, value: None })
                if entity == table.name
                    && field == column
                    && constraint == format!("{}_{column}_not_null", table.name) => {}
            other => faults.push(format!("{}.{column} = null led to {other:?}", table.name)),
        }
    }
    faults
}

/// Each value of a check's case is refused by this check, about the field, or accepted.
pub(crate) async fn checks(name: &str) {
    let table = table(name);
    let mut tx = empty(table).await;
    let mut faults = Vec::new();
    for check in table.checks {
        for &change in check.refused {
            let row = minimal(&mut tx, table, &[change]).await.expect("what it refers to can be made");
            match try_insert(&mut tx, name, &row).await {
                Err(StoreError::InvalidValue { entity, field, constraint, value: None })
                    if entity == name && field == check.field && constraint == check.name => {}
                other => faults.push(format!("{} should refuse {change:?}, got {other:?}", check.name)),
            }
        }
        if check.refused.is_empty() {
            faults.push(format!("{}: no value that it refuses", check.name));
        }
        for &change in check.accepted {
            let row = minimal(&mut tx, table, &[change]).await.expect("what it refers to can be made");
            if let Err(error) = try_insert(&mut tx, name, &row).await {
                faults.push(format!("{} should accept {change:?}, got {error:?}", check.name));
            }
        }
    }
    assert_promises(table, &faults);
}

/// A second row with the same key is refused, and the error says which.
pub(crate) async fn keys(name: &str) {
    let table = table(name);
    let mut tx = empty(table).await;
    let mut faults = Vec::new();
    for key in table.keys.iter().filter(|key| key.is_violable()) {
        let mut savepoint = tx.begin().await.expect("a savepoint");
        let common = expressions(&mut savepoint, key.common).await.expect("what it refers to can be made");
        let first = with(&mut savepoint, table, &common).await;
        let first = insert(&mut savepoint, name, &first).await.expect("the first row is accepted");
        let second = with(&mut savepoint, table, &common).await;
        let taken: Vec<_> = key.columns.iter().map(|&column| text(&first[column])).collect();
        let expected = key.named_value.then(|| taken.join(", "));
        match try_insert(&mut savepoint, name, &second).await {
            Err(StoreError::AlreadyExists { entity, field, constraint, value })
                if entity == name && field == key.field && constraint == key.name && value == expected => {}
            other => faults.push(format!("{}: a second {expected:?} led to {other:?}", key.name)),
        }
        for &values in key.repeatable {
            let common = expressions(&mut savepoint, values).await.expect("what it refers to can be made");
            for _ in 0..2 {
                let row = with(&mut savepoint, table, &common).await;
                if let Err(error) = insert(&mut savepoint, name, &row).await {
                    faults.push(format!("{} should not count for {values:?}: {error:?}", key.name));
                    break;
                }
            }
        }
        savepoint.rollback().await.expect("the savepoint is there");
    }
    assert_promises(table, &faults);
}

/// A minimal row of its own with these values.
pub(crate) async fn with(connection: &mut PgConnection, table: &Table, common: &Expressions) -> Expressions {
    let mut row = minimal(connection, table, &[]).await.expect("what it refers to can be made");
    row.retain(|(column, _)| common.iter().all(|(given, _)| given != column));
    row.extend(common.iter().cloned());
    row
}

/// The values that two rows have in common, made definite.
pub(crate) async fn common(connection: &mut PgConnection, values: Values) -> Expressions {
    expressions(connection, values).await.expect("what they refer to can be made")
}

/// A reference to nothing is refused; the removal of its target does what the case says.
pub(crate) async fn references(name: &str) {
    let table = table(name);
    let mut tx = empty(table).await;
    let mut faults = Vec::new();
    for reference in table.references {
        let nowhere = [(reference.column, NO_SUCH_ID.to_owned())];
        let mut row =
            minimal(&mut tx, table, &[reference.with]).await.expect("its other targets can be made");
        row.retain(|(column, _)| *column != reference.column);
        row.extend(nowhere);
        let inserted = try_insert(&mut tx, name, &row).await;
        if let Some(fault) = not_a_reference_to(reference, name, NO_SUCH_ID, &inserted) {
            faults.push(fault);
        }
        let mut savepoint = tx.begin().await.expect("a savepoint");
        if let Err(fault) = removal(&mut savepoint, table, reference).await {
            faults.push(format!("{}: {fault}", reference.name));
        }
        savepoint.rollback().await.expect("the savepoint is there");
    }
    assert_promises(table, &faults);
}

fn not_a_reference_to<T: std::fmt::Debug>(
    reference: &Reference,
    table: &str,
    target: &str,
    result: &Result<T, StoreError>,
) -> Option<String> {
    match result {
        Err(StoreError::InvalidReference { entity, field, constraint, value })
            if entity == table
                && field == reference.column
                && constraint == reference.name
                && value.as_deref() == Some(target) =>
        {
            None
        }
        other => {
            Some(format!("{}: {table}.{} = {target} led to {other:?}", reference.name, reference.column))
        }
    }
}

/// Removes what a row refers to.
async fn removal(
    connection: &mut PgConnection,
    table: &'static Table,
    reference: &Reference,
) -> Result<(), String> {
    let target_table = self::table(reference.target);
    let target = new_row(&mut *connection, target_table).await.map_err(|error| error.to_string())?;
    let mut row = minimal(&mut *connection, table, &[reference.with]).await.map_err(|e| e.to_string())?;
    row.retain(|(column, _)| *column != reference.column);
    row.push((reference.column, target.clone()));
    if let Removal::SetNull { twin: Some(twin) } = reference.removal
        && row.iter().all(|(column, _)| *column != twin)
    {
        row.push((twin, "'test.twin'".to_owned()));
    }
    let before = insert(&mut *connection, table.name, &row).await.map_err(|error| format!("{error:?}"))?;
    let statement =
        format!("delete from attune.{} where {} = {target}", reference.target, target_table.identified_by[0]);
    let mut savepoint = connection.begin().await.map_err(|error| error.to_string())?;
    let removed = sqlx::query(AssertSqlSafe(statement)).execute(&mut *savepoint).await;
    if reference.removal == Removal::Refused {
        savepoint.rollback().await.map_err(|error| error.to_string())?;
        let removed = removed.map_err(StoreError::from);
        return not_a_reference_to(reference, table.name, &target, &removed).map_or(Ok(()), Err);
    }
    removed.map_err(|error| format!("the target cannot be removed: {error}"))?;
    savepoint.commit().await.map_err(|error| error.to_string())?;
    let after = read(connection, table, &before).await;
    match (reference.removal, after) {
        (Removal::Cascade, None) => Ok(()),
        (Removal::SetNull { twin }, Some(after)) => {
            if !after[reference.column].is_null() {
                return Err("still refers to what was removed".to_owned());
            }
            match twin {
                Some(twin) if after[twin].is_null() || after[twin] != before[twin] => {
                    Err(format!("{twin} became {} of {}", after[twin], before[twin]))
                }
                _ => Ok(()),
            }
        }
        (expected, after) => Err(format!("expected {expected:?}, the row is now {after:?}")),
    }
}

/// A change raises `updated` and leaves `created`; what changes nothing leaves both.
pub(crate) async fn updated(name: &str) {
    let table = table(name);
    let mut tx = transaction().await;
    let row = minimal(&mut tx, table, &[]).await.expect("what it refers to can be made");
    let before = insert(&mut tx, name, &row).await.expect("the minimal row is accepted");
    let nothing = &[(table.required[0].0, table.required[0].0)];
    let same = update(&mut tx, table, &before, nothing).await;
    assert_eq!(same, before, "an update of {name} that changes nothing");
    let after = update(&mut tx, table, &before, table.change).await;
    assert!(time(&after, "updated") > time(&before, "updated"), "{:?} leaves {name}.updated", table.change);
    assert_eq!(after["created"], before["created"], "{name}.created");
    let again = update(&mut tx, table, &before, table.change).await;
    assert_eq!(again, after, "a change of {name} made twice");
    if !table.unnoticed.is_empty() {
        let unnoticed = update(&mut tx, table, &before, table.unnoticed).await;
        assert_ne!(unnoticed, after, "{:?} changes nothing of {name}", table.unnoticed);
        assert_eq!(unnoticed["updated"], after["updated"], "{:?} raises {name}.updated", table.unnoticed);
    }
}

async fn update(connection: &mut PgConnection, table: &Table, row: &Row, change: &[(&str, &str)]) -> Row {
    let name = table.name;
    let changes: Vec<_> = change.iter().map(|(column, value)| format!("{column} = {value}")).collect();
    let statement = format!(
        "update attune.{name} set {} where to_jsonb({name}.*) @> $1 returning to_jsonb({name}.*)",
        changes.join(", ")
    );
    let row: Value = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(identity_of(table, row))
        .fetch_one(connection)
        .await
        .expect("the row can be changed");
    row.as_object().cloned().unwrap_or_default()
}
