//! What columns are: their types, and those that every table has.

use super::found;

const NONE: [&str; 0] = [];

/// Tables without a `created`, and why.
const WITHOUT_CREATED: &[(&str, &str)] = &[
    ("artifact_chunk", "a part of its version, made with it"),
    ("enforcement_event", "a part of its enforcement, made with it"),
    ("event_batch", "a part of its events, made with them"),
    ("execution_attempt", "written when the attempt has ended: it has `started` and `finished`"),
    ("rule_set", "one row, which the migrations make"),
    ("window_outcome", "written when its event was matched"),
    ("window_state", "changed by every event of its key; its state has the times that matter"),
];

#[tokio::test]
async fn test_columns_have_the_types_of_this_schema() {
    // No json, varchar, numeric or timestamp without its zone: one type for one kind of thing.
    let types = found(
        "select distinct format_type(atttypid, atttypmod)
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         join pg_type on pg_type.oid = atttypid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
           and typtype <> 'e'
         order by 1",
    )
    .await;
    let known = [
        "bigint",
        "bigint[]",
        "boolean",
        "bytea",
        "double precision",
        "integer",
        "jsonb",
        "smallint",
        "text",
        "text[]",
        "timestamp with time zone",
        "xid8",
    ];
    assert_eq!(types, known, "the types of the schema (left) and those it should have (right)");
}

#[tokio::test]
async fn test_columns_of_json_hold_what_their_name_says() {
    // What is null in a column of JSON is null in SQL; JSON's own null as a default would be neither there nor absent.
    let others = found(
        "select relname || '.' || attname || ' ' || pg_get_expr(adbin, adrelid)
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         join pg_attrdef on adrelid = attrelid and adnum = attnum
         where relnamespace = 'attune'::regnamespace and atttypid = 'jsonb'::regtype
           and pg_get_expr(adbin, adrelid) not in ('''{}''::jsonb', '''[]''::jsonb')
         order by 1",
    )
    .await;
    assert_eq!(others, NONE);
}

#[tokio::test]
async fn test_columns_called_id_are_generated() {
    // Always: an id that somebody chose would meet the one that is generated later.
    let others = found(
        "select relname || '.' || attname
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attname = 'id'
           and (atttypid <> 'bigint'::regtype or attidentity <> 'a')
         order by 1",
    )
    .await;
    // The one row of the rule set is not one of many.
    assert_eq!(others, ["rule_set.id"]);
}

#[tokio::test]
async fn test_columns_with_a_default_are_never_null() {
    let others = found(
        "select relname || '.' || attname
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and atthasdef and not attnotnull
         order by 1",
    )
    .await;
    assert_eq!(others, NONE, "null and the default would be two words for one thing");
}

#[tokio::test]
async fn test_columns_of_enums_are_never_null() {
    let others = found(
        "select relname || '.' || attname
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         join pg_type on pg_type.oid = atttypid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and typtype = 'e' and not attnotnull
         order by 1",
    )
    .await;
    assert_eq!(others, NONE);
}

#[tokio::test]
async fn test_every_enum_is_the_type_of_a_column() {
    let unused = found(
        "select typname::text
         from pg_type
         where typnamespace = 'attune'::regnamespace and typtype = 'e'
           and not exists (select from pg_attribute where atttypid = pg_type.oid)
         order by 1",
    )
    .await;
    assert_eq!(unused, NONE);
}

#[tokio::test]
async fn test_every_table_tells_when_a_row_was_made() {
    let without = found(
        "select relname::text
         from pg_class
         where relnamespace = 'attune'::regnamespace and relkind = 'r'
           and not exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'created')
         order by 1",
    )
    .await;
    let expected: Vec<_> = WITHOUT_CREATED.iter().map(|(table, _)| *table).collect();
    assert_eq!(
        without, expected,
        "a table has `created`, or a reason in WITHOUT_CREATED of tests/migration/columns.rs"
    );
}

#[tokio::test]
async fn test_created_and_updated_are_times_of_the_statement() {
    // now() would give all rows of a transaction the time of its beginning.
    let others = found(
        "select relname || '.' || attname
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         left join pg_attrdef on adrelid = attrelid and adnum = attnum
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attname in ('created', 'updated')
           and (
               atttypid <> 'timestamptz'::regtype
               or not attnotnull
               or pg_get_expr(adbin, adrelid) is distinct from 'clock_timestamp()'
           )
         order by 1",
    )
    .await;
    assert_eq!(others, NONE);
}
