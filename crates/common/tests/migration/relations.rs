//! How tables hang together: keys, references with the names beside them, and indexes.

use std::collections::BTreeSet;

use super::found;

const NONE: [&str; 0] = [];

/// Names of things without a key beside them, and why.
const NAMES_ALONE: &[(&str, &str)] = &[
    ("admission_lane.action_ref", "what its executions have in common, whose action may be gone"),
    ("audit_event.entity_ref", "of any kind of thing"),
    ("enforcement.trigger_ref", "found by its event; kept for lists when that is gone"),
    ("execution.action_ref", "its key is looked up once for many rows, not for each by a foreign key"),
    ("pause.action_ref", "a pause outlives its action, which may come back"),
    ("pause.pack_ref", "a pause outlives its pack, which may come back"),
    ("policy.action_ref", "a limit outlives its action, which may come back"),
    ("rule_version.trigger_ref", "of the rule as it was; the trigger may be gone"),
];

/// Indexes that another one begins with, and what they are for.
const NARROWER: &[(&str, &str)] = &[
    ("admission_unsorted_idx", "a queue: only the few rows that are to be sorted"),
    ("event_batch_waiting_idx", "a queue: only the few rows that wait"),
];

#[tokio::test]
async fn test_every_table_has_a_primary_key() {
    let without = found(
        "select relname::text
         from pg_class
         where relnamespace = 'attune'::regnamespace and relkind = 'r'
           and not exists (select from pg_constraint where conrelid = pg_class.oid and contype = 'p')
         order by 1",
    )
    .await;
    assert_eq!(without, NONE);
}

#[tokio::test]
async fn test_references_are_by_id_and_hold_at_once() {
    // Not deferred, not unchecked, and never by changing an id. With the id there may be the name beside it, which stays.
    let others = found(
        "select conname::text
         from pg_constraint
         where connamespace = 'attune'::regnamespace
           and contype = 'f'
           and (
               not (
                   cardinality(conkey) = 1
                   or cardinality(conkey) = 2
                   and (
                       select field.attname || '_ref' = name.attname
                       from pg_attribute field
                       join pg_attribute name on name.attrelid = field.attrelid and name.attnum = conkey[2]
                       where field.attrelid = conrelid and field.attnum = conkey[1]
                   )
                   and confdelsetcols = conkey[1:1]
               )
               or condeferrable or not convalidated or confupdtype <> 'a'
               or confdeltype not in ('a', 'c', 'n')
           )
         order by 1",
    )
    .await;
    assert_eq!(others, NONE);
}

#[tokio::test]
async fn test_references_that_may_be_lost_keep_the_name() {
    // History outlives its target: what has a ref is still named by it.
    let nameless = found(
        "select key.conname::text
         from pg_constraint key
         join pg_attribute field on field.attrelid = key.conrelid and field.attnum = key.conkey[1]
         where key.connamespace = 'attune'::regnamespace
           and key.confdeltype = 'n'
           and exists (select from pg_attribute where attrelid = key.confrelid and attname = 'ref')
           and not exists (
               select from pg_attribute
               where attrelid = key.conrelid and attname = field.attname || '_ref' and atttypid = 'text'::regtype
           )
         order by 1",
    )
    .await;
    assert_eq!(nameless, NONE, "a column `<key>_ref text` keeps the name of what is gone");
}

#[tokio::test]
async fn test_references_that_may_be_lost_may_be_null() {
    let stuck = found(
        "select conname::text
         from pg_constraint
         join pg_attribute on attrelid = conrelid and attnum = conkey[1]
         where connamespace = 'attune'::regnamespace and confdeltype = 'n' and attnotnull
         order by 1",
    )
    .await;
    assert_eq!(stuck, NONE, "set null would always fail");
}

#[tokio::test]
async fn test_names_accompany_a_key() {
    let alone = found(
        "select relname || '.' || twin.attname
         from pg_attribute twin
         join pg_class on pg_class.oid = twin.attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and twin.attname ~ '_ref$'
           and not exists (
               select from pg_constraint
               join pg_attribute field on field.attrelid = conrelid and field.attnum = conkey[1]
               where conrelid = twin.attrelid and contype = 'f' and field.attname || '_ref' = twin.attname
           )
         order by 1",
    )
    .await;
    let expected: Vec<_> = NAMES_ALONE.iter().map(|(column, _)| *column).collect();
    assert_eq!(
        alone, expected,
        "a reference `<name>`, or a reason in NAMES_ALONE of tests/migration/relations.rs"
    );
}

#[tokio::test]
async fn test_what_packs_own_goes_with_them_and_knows_their_ref() {
    let others = found(
        "select relname::text
         from pg_constraint
         join pg_class on pg_class.oid = conrelid
         join pg_attribute on attrelid = conrelid and attnum = conkey[1]
         where connamespace = 'attune'::regnamespace and confrelid = 'attune.pack'::regclass and attname = 'pack'
           and not (
               confdeltype = 'c'
               and exists (select from pg_attribute where attrelid = conrelid and attname = 'pack_ref')
           )
         order by 1",
    )
    .await;
    // A file is found by its pack only.
    assert_eq!(others, ["pack_file"]);
}

#[tokio::test]
async fn test_no_index_is_the_beginning_of_another() {
    // It costs at every write and answers nothing that the longer one does not. The longer one must have all rows, or
    // the same.
    let narrower: BTreeSet<_> = found(
        "select short.indexrelid::regclass::text
         from pg_index short
         join pg_index long on long.indrelid = short.indrelid and long.indexrelid <> short.indexrelid
         where short.indrelid in (select oid from pg_class where relnamespace = 'attune'::regnamespace)
           and not short.indisunique
           and (long.indpred is null or pg_get_expr(long.indpred, long.indrelid)
               is not distinct from pg_get_expr(short.indpred, short.indrelid))
           and short.indnkeyatts <= long.indnkeyatts
           and (short.indkey::smallint[])[0:short.indnkeyatts - 1]
               = (long.indkey::smallint[])[0:short.indnkeyatts - 1]
           and (short.indoption::smallint[])[0:short.indnkeyatts - 1]
               = (long.indoption::smallint[])[0:short.indnkeyatts - 1]",
    )
    .await
    .into_iter()
    .collect();
    let expected: BTreeSet<_> = NARROWER.iter().map(|(index, _)| format!("attune.{index}")).collect();
    assert_eq!(narrower, expected, "drop it, or give a reason in NARROWER of tests/migration/relations.rs");
}

#[tokio::test]
async fn test_schema_holds_tables_types_and_few_functions() {
    let functions =
        found("select proname::text from pg_proc where pronamespace = 'attune'::regnamespace order by 1")
            .await;
    assert_eq!(
        functions,
        [
            "apply_artifact_retention",
            "expire_audit_events",
            "forget_in_execution",
            "is_retry",
            "leaves_keys_to_statements",
            "note_empty_artifacts",
            "refuse_audit_change",
            "refuse_reference",
            "retry_delay",
            "set_updated",
            "supersede_artifact_version"
        ]
    );
    let others = found(
        "select relname::text
         from pg_class
         where relnamespace = 'attune'::regnamespace
           and relkind not in ('r', 'i')
           and not (relkind = 'S' and exists (
               select from pg_depend where objid = pg_class.oid and deptype = 'i'
           ))
         order by 1",
    )
    .await;
    assert_eq!(others, NONE, "views, sequences of nobody");
}

#[tokio::test]
async fn test_nothing_is_made_outside_of_the_schema() {
    let outside = found(
        "select relname::text
         from pg_class
         join pg_namespace on pg_namespace.oid = relnamespace
         where relkind in ('r', 'v', 'm', 'S', 'p')
           and nspname not in ('attune', 'pg_catalog', 'information_schema', 'pg_toast')
         order by 1",
    )
    .await;
    assert_eq!(outside, ["_sqlx_migrations"]);
}
