//! How things are called: errors are told apart by these names, and columns are read out of them.

use super::found;

const NONE: [&str; 0] = [];

#[tokio::test]
async fn test_names_of_constraints_tell_their_table_columns_and_kind() {
    // <table>_pkey, <table>_<column>_fkey, <table>_.._key; checks tell what they ask for.
    let others = found(
        "select conname || ' should be ' || expected
         from (
             select conname, contype,
                 case contype
                     when 'p' then relname || '_pkey'
                     when 'f' then relname || '_' || attname || '_fkey'
                     when 'u' then relname || '_.._key'
                 end as expected
             from pg_constraint
             join pg_class on pg_class.oid = conrelid
             left join pg_attribute on attrelid = conrelid and attnum = conkey[1]
             where connamespace = 'attune'::regnamespace and contype in ('p', 'f', 'u')
         ) named
         where case contype when 'u' then conname !~ '_key$' else conname <> expected end
         order by 1",
    )
    .await;
    assert_eq!(others, NONE);
}

#[tokio::test]
async fn test_names_of_unique_constraints_have_their_columns() {
    // A key of one column is called after it; one of several may be called after what it is for.
    let others = found(
        "select conname::text
         from pg_constraint
         join pg_class on pg_class.oid = conrelid
         join pg_attribute on attrelid = conrelid and attnum = conkey[1]
         where connamespace = 'attune'::regnamespace
           and contype = 'u'
           and cardinality(conkey) = 1
           and conname <> relname || '_' || attname || '_key'
         order by 1",
    )
    .await;
    assert_eq!(others, NONE, "should be called <table>_<column>_key");
}

#[tokio::test]
async fn test_names_of_indexes_tell_their_table_and_kind() {
    let others = found(
        "select index.relname || ' of ' || owner.relname
         from pg_index
         join pg_class index on index.oid = indexrelid
         join pg_class owner on owner.oid = indrelid
         where owner.relnamespace = 'attune'::regnamespace
           and index.relname !~ ('^' || owner.relname || '_.*'
               || case when indisunique then '(key|pkey)' else 'idx' end || '$')
         order by 1",
    )
    .await;
    assert_eq!(others, NONE, "should be called <table>_.._idx, a unique one <table>_.._key");
}

#[tokio::test]
async fn test_names_need_no_quotes() {
    // Quotes would turn up in the keys of errors, and in every statement.
    let quoted = found(
        "select relname || '.' || attname
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
           and (quote_ident(attname) <> attname or quote_ident(relname) <> relname)
         order by 1",
    )
    .await;
    assert_eq!(quoted, NONE);
}

#[tokio::test]
async fn test_names_of_references_are_those_of_their_columns() {
    // `pack`, `rule`, `owner`: what a row has; the id of it is the value.
    let others = found(
        "select relname || '.' || attname
         from pg_attribute
         join pg_class on pg_class.oid = attrelid
         where relnamespace = 'attune'::regnamespace and relkind = 'r' and attnum > 0 and attname ~ '_ids?$'
         order by 1",
    )
    .await;
    assert_eq!(others, ["event.trace_id", "execution.trace_id"], "a key is called after what it points at");
}
