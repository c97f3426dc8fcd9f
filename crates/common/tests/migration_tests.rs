//! The migrations: they run up on an empty database, refuse what they do not know, and make the schema that the models
//! speak of.

mod helpers;

mod migration {
    mod columns;
    mod names;
    mod relations;
    mod sources;

    use attune_testkit::transaction;

    /// A list out of the catalogue.
    pub(crate) async fn found(query: &'static str) -> Vec<String> {
        let mut tx = transaction().await;
        sqlx::query_scalar(query).fetch_all(&mut *tx).await.expect("the catalogue can be read")
    }
}

use attune_common::db::{MIGRATOR, MigrateError, is_current, migrate};
use attune_common::models::action::{OutputFormat, ParameterDelivery, ParameterFormat, WorkerLoss};
use attune_common::models::artifact::ArtifactType;
use attune_common::models::enforcement::{ConditionMode, EnforcementStatus};
use attune_common::models::execution::{ExecutionStatus, OutputStream};
use attune_common::models::inquiry::InquiryStatus;
use attune_common::models::notification::NotificationState;
use attune_common::models::owner::OwnerType;
use attune_common::models::policy::PolicyMethod;
use attune_common::models::rule::RuleMode;
use attune_common::models::work_queue::WorkItemStatus;
use attune_common::models::worker::{WorkerStatus, WorkerType};
use attune_common::repositories::{EventRepository, RuleSetRepository};
use attune_testkit::{TestDatabase, transaction};
use helpers::*;
use sqlx::{Executor, PgConnection, PgPool};

/// A database without a schema.
async fn empty_database() -> TestDatabase {
    let database = TestDatabase::create().await;
    for statement in ["drop schema attune cascade", "drop table if exists _sqlx_migrations"] {
        database.pool().execute(statement).await.expect("the database can be emptied");
    }
    database
}

async fn applied(pool: &PgPool) -> Vec<(i64, bool)> {
    sqlx::query_as("select version, success from _sqlx_migrations order by version")
        .fetch_all(pool)
        .await
        .expect("applied migrations are recorded")
}

fn known() -> Vec<(i64, bool)> {
    MIGRATOR.iter().map(|migration| (migration.version, true)).collect()
}

fn newest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().expect("there are migrations")
}

/// The values of an enum type of the schema, in their order.
async fn check_enum(connection: &mut PgConnection, type_name: &str, expected: Vec<&str>) {
    let found: Vec<String> = sqlx::query_scalar(
        "select enumlabel::text from pg_enum where enumtypid = $1::regtype order by enumsortorder",
    )
    .bind(type_name)
    .fetch_all(connection)
    .await
    .expect("the type exists");
    assert_eq!(found, expected, "{type_name}");
}

#[tokio::test]
async fn test_migrate_an_empty_database() {
    let database = empty_database().await;
    migrate(database.pool()).await.unwrap();
    assert_eq!(applied(database.pool()).await, known());
    assert_eq!(RuleSetRepository::version(database.pool()).await.unwrap(), 1);
    assert_eq!(EventRepository::list(database.pool()).await.unwrap(), []);
}

#[tokio::test]
async fn test_migrate_again_keeps_everything() {
    let database = empty_database().await;
    migrate(database.pool()).await.unwrap();
    let mut connection = database.pool().acquire().await.unwrap();
    let event = EventFixture::new_unique().create(&mut connection).await.unwrap();
    migrate(database.pool()).await.unwrap();
    assert_eq!(EventRepository::list(database.pool()).await.unwrap(), [event]);
    assert_eq!(applied(database.pool()).await, known());
}

#[tokio::test]
async fn test_migrate_by_several_processes_at_once() {
    let database = empty_database().await;
    let pool = database.pool();
    let (one, two, three) = tokio::join!(migrate(pool), migrate(pool), migrate(pool));
    one.and(two).and(three).unwrap();
    assert_eq!(applied(pool).await, known());
}

#[tokio::test]
async fn test_migrate_refuses_a_newer_schema() {
    let database = empty_database().await;
    migrate(database.pool()).await.unwrap();
    database
        .pool()
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (29990101000000, 'from the future', true, '', 0)",
        )
        .await
        .unwrap();
    let error = migrate(database.pool()).await.unwrap_err();
    assert!(
        matches!(error, MigrateError::NewerSchema { version: 29_990_101_000_000, newest: n } if n == newest()),
        "{error:?}"
    );
    let sentence = format!(
        "the database has schema version 29990101000000, which this attune does not know (its newest is {}): it was \
         migrated by a newer attune; run that version or a newer one",
        newest()
    );
    assert_eq!(error.to_string(), sentence);
}

#[tokio::test]
async fn test_migrate_refuses_a_changed_migration() {
    let database = empty_database().await;
    migrate(database.pool()).await.unwrap();
    sqlx::query("update _sqlx_migrations set checksum = '\\x00' where version = $1")
        .bind(newest())
        .execute(database.pool())
        .await
        .unwrap();
    let error = migrate(database.pool()).await.unwrap_err();
    assert!(matches!(error, MigrateError::Changed { version } if version == newest()), "{error:?}");
    let sentence = format!(
        "migration {} was applied in another form than this attune has it: the database was migrated by a different \
         build; run that build, or start from an empty database",
        newest()
    );
    assert_eq!(error.to_string(), sentence);
}

#[tokio::test]
async fn test_migrate_is_all_or_nothing() {
    let database = empty_database().await;
    // Something that the last migration makes is there already.
    database.pool().execute("create schema attune create table audit_event ()").await.unwrap();
    let error = migrate(database.pool()).await.unwrap_err();
    assert!(matches!(error, MigrateError::Failed(_)), "{error:?}");
    assert!(error.to_string().starts_with("the migration failed: "), "{error}");
    assert_eq!(applied(database.pool()).await, []);
    database.pool().execute("drop schema attune cascade").await.unwrap();
    migrate(database.pool()).await.unwrap();
    assert_eq!(applied(database.pool()).await, known());
}

#[tokio::test]
async fn test_is_current_tells_an_older_schema() {
    let database = empty_database().await;
    assert!(!is_current(database.pool()).await.unwrap());
    migrate(database.pool()).await.unwrap();
    assert!(is_current(database.pool()).await.unwrap());
    let remove = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    database.pool().execute(remove).await.unwrap();
    assert!(!is_current(database.pool()).await.unwrap());
}

#[tokio::test]
async fn test_is_current_refuses_a_newer_schema() {
    let database = TestDatabase::create().await;
    database
        .pool()
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (29990101000000, 'from the future', true, '', 0)",
        )
        .await
        .unwrap();
    let error = is_current(database.pool()).await.unwrap_err();
    assert!(
        matches!(error, MigrateError::NewerSchema { version: 29_990_101_000_000, newest: n } if n == newest()),
        "{error:?}"
    );
}

#[test]
fn test_migrations_have_their_names() {
    let event = MIGRATOR.iter().find(|migration| migration.version == 20_240_101_000_007);
    assert_eq!(event.map(|migration| &*migration.description), Some("create event enforcement"));
}

#[tokio::test]
async fn test_enums_are_those_of_the_schema() {
    let mut tx = transaction().await;
    macro_rules! check {
        ($($name:ty),+ $(,)?) => {
            $(
                let values = <$name>::ALL.iter().map(|value| value.as_str()).collect();
                check_enum(&mut tx, <$name>::TYPE_NAME, values).await;
            )+
        };
    }
    check!(
        ArtifactType,
        EnforcementStatus,
        ExecutionStatus,
        InquiryStatus,
        NotificationState,
        OutputFormat,
        OutputStream,
        OwnerType,
        ParameterDelivery,
        ParameterFormat,
        PolicyMethod,
        RuleMode,
        WorkItemStatus,
        WorkerLoss,
        WorkerStatus,
        WorkerType,
    );
}

#[tokio::test]
async fn test_enums_are_read_back_as_they_were_written() {
    let mut tx = transaction().await;
    let statuses: Vec<ExecutionStatus> = sqlx::query_scalar("select unnest($1::attune.execution_status[])")
        .bind(ExecutionStatus::ALL)
        .fetch_all(&mut *tx)
        .await
        .unwrap();
    assert_eq!(statuses, ExecutionStatus::ALL);
    for &status in ExecutionStatus::ALL {
        assert_eq!(status.as_str().parse(), Ok(status));
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}

#[tokio::test]
async fn test_condition_is_checked_by_the_schema() {
    for table in ["rule", "enforcement"] {
        let mut tx = transaction().await;
        let constraint = format!("{table}_condition_check");
        let definition: String =
            sqlx::query_scalar("select pg_get_constraintdef(oid) from pg_constraint where conname = $1")
                .bind(&constraint)
                .fetch_one(&mut *tx)
                .await
                .unwrap();
        let mut allowed: Vec<_> = definition.split('\'').skip(1).step_by(2).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, [ConditionMode::All.as_str(), ConditionMode::Any.as_str()], "{definition}");
    }
}

#[tokio::test]
async fn test_every_foreign_key_is_indexed() {
    let mut tx = transaction().await;
    // A key without an index makes the removal of its target read the whole table.
    let without: Vec<String> = sqlx::query_scalar(
        "select conname::text
         from pg_constraint key
         where key.contype = 'f'
           and key.connamespace = 'attune'::regnamespace
           and not exists (
               select from pg_index
               where indrelid = key.conrelid and indisvalid and indkey[0] = any(key.conkey)
           )
         order by 1",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(without, [] as [&str; 0]);
}

#[tokio::test]
async fn test_every_constraint_is_named_after_its_table() {
    let mut tx = transaction().await;
    // Errors are told apart by these names, and the field is read out of them.
    let others: Vec<String> = sqlx::query_scalar(
        "select conname::text
         from pg_constraint
         join pg_class on pg_class.oid = conrelid
         where connamespace = 'attune'::regnamespace and not starts_with(conname, relname || '_')
         order by 1",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(others, [] as [&str; 0]);
}

#[tokio::test]
async fn test_updated_is_set_by_the_database_wherever_it_exists() {
    let mut tx = transaction().await;
    let differences: Vec<String> = sqlx::query_scalar(
        "with updated as (
             select attrelid as relation from pg_attribute
             where attname = 'updated' and attrelid in (
                 select oid from pg_class where relnamespace = 'attune'::regnamespace and relkind = 'r'
             )
         ),
         triggered as (
             select tgrelid as relation from pg_trigger where tgfoid = 'attune.set_updated'::regproc
         )
         select coalesce(updated.relation, triggered.relation)::regclass::text
         from updated
         full join triggered on triggered.relation = updated.relation
         where updated.relation is null or triggered.relation is null
         order by 1",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(differences, [] as [&str; 0]);
}
