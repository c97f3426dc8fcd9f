//! `docs/data-model.md` says what the schema is. It is made from the catalogue of a migrated database, here; where
//! [`WRITE_VARIABLE`] is set it is written instead of compared.

use std::fmt::Write;
use std::path::Path;

use attune_testkit::transaction;
use sqlx::PgConnection;

/// Set by `scripts/write-docs`.
const WRITE_VARIABLE: &str = "ATTUNE_WRITE_DOCS";

/// The default of an id.
const COUNTED: &str = "counted up";

#[derive(sqlx::FromRow)]
struct Table {
    name: String,
    description: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Column {
    name: String,
    type_name: String,
    required: bool,
    default_value: Option<String>,
    description: Option<String>,
    /// `table, what happens when its row is removed` of the foreign key that starts here.
    reference: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Relation {
    source: String,
    target: String,
    columns: String,
    required: bool,
    one: bool,
}

#[derive(sqlx::FromRow)]
struct Named {
    name: String,
    definition: String,
}

async fn tables(connection: &mut PgConnection) -> Vec<Table> {
    sqlx::query_as(
        "select relname::text as name, obj_description(oid, 'pg_class') as description
         from pg_class
         where relnamespace = 'attune'::regnamespace and relkind = 'r'
         order by relname",
    )
    .fetch_all(connection)
    .await
    .expect("the catalogue lists tables")
}

async fn columns(connection: &mut PgConnection, table: &str) -> Vec<Column> {
    sqlx::query_as(
        "select attname::text as name, format_type(atttypid, atttypmod) as type_name, attnotnull as required,
                case attidentity when 'a' then 'counted up' else pg_get_expr(adbin, adrelid) end as default_value,
                col_description(attrelid, attnum) as description,
                (
                    select confrelid::regclass::text || ', '
                           || case confdeltype when 'c' then 'removed with it' when 'n' then 'null when it goes'
                                               else 'which it keeps' end
                    from pg_constraint
                    where contype = 'f' and conrelid = attrelid and conkey[1] = attnum
                ) as reference
         from pg_attribute
         left join pg_attrdef on adrelid = attrelid and adnum = attnum
         where attrelid = ('attune.' || quote_ident($1))::regclass and attnum > 0 and not attisdropped
         order by attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .expect("the catalogue lists columns")
}

async fn relations(connection: &mut PgConnection) -> Vec<Relation> {
    sqlx::query_as(
        "select source.relname::text as source, target.relname::text as target, attname::text as columns,
                attnotnull as required,
                exists (
                    select from pg_index
                    where indrelid = conrelid and indisunique and indnkeyatts = 1 and indkey[0] = conkey[1]
                ) as one
         from pg_constraint
         join pg_class source on source.oid = conrelid
         join pg_class target on target.oid = confrelid
         join pg_attribute on attrelid = conrelid and attnum = conkey[1]
         where contype = 'f' and connamespace = 'attune'::regnamespace
         order by target.relname, source.relname, attname",
    )
    .fetch_all(connection)
    .await
    .expect("the catalogue lists foreign keys")
}

async fn checks(connection: &mut PgConnection, table: &str) -> Vec<Named> {
    sqlx::query_as(
        "select conname::text as name, pg_get_constraintdef(oid, true) as definition
         from pg_constraint
         where contype = 'c' and conrelid = ('attune.' || quote_ident($1))::regclass
         order by conname",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .expect("the catalogue lists checks")
}

async fn indexes(connection: &mut PgConnection, table: &str) -> Vec<Named> {
    sqlx::query_as(
        "select relname::text as name,
                case when indisunique then 'unique ' else '' end
                    || regexp_replace(pg_get_indexdef(indexrelid), '^.* USING (btree )?', '') as definition
         from pg_index
         join pg_class on pg_class.oid = indexrelid
         where indrelid = ('attune.' || quote_ident($1))::regclass
         order by indisprimary desc, relname",
    )
    .bind(table)
    .fetch_all(connection)
    .await
    .expect("the catalogue lists indexes")
}

async fn enums(connection: &mut PgConnection) -> Vec<Named> {
    sqlx::query_as(
        "select typname::text as name,
                string_agg('`' || enumlabel || '`', ', ' order by enumsortorder) as definition
         from pg_type
         join pg_enum on enumtypid = pg_type.oid
         where typnamespace = 'attune'::regnamespace
         group by typname
         order by typname",
    )
    .fetch_all(connection)
    .await
    .expect("the catalogue lists enums")
}

/// A cell of a table in Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn without_schema(text: &str) -> String {
    text.replace("attune.", "")
}

async fn page(connection: &mut PgConnection) -> Result<String, std::fmt::Error> {
    let mut page = String::from(
        "# Data model\n\n\
         Made from the schema `attune` of a migrated database by `./scripts/write-docs`; a test fails when it is out of\n\
         date. Times are `timestamp with time zone`; `created` and `updated` are set by the database.\n\n\
         ## Relations\n\n```mermaid\nerDiagram\n",
    );
    for relation in relations(connection).await {
        let target = if relation.required { "||" } else { "|o" };
        let source = if relation.one { "o|" } else { "o{" };
        writeln!(
            page,
            "    {} {target}--{source} {} : {}",
            relation.target, relation.source, relation.columns
        )?;
    }
    page.push_str("```\n\n## Tables\n");
    for table in tables(connection).await {
        let description = table.description.unwrap_or_default();
        write!(page, "\n### {}\n\n{description}\n\n", table.name)?;
        page.push_str("| column | type | null | default | |\n|---|---|---|---|---|\n");
        for column in columns(connection, &table.name).await {
            let reference = column.reference.map(|reference| {
                let (target, removal) = reference.split_once(", ").unwrap_or_default();
                let target = without_schema(target);
                format!("[{target}](#{target}), {removal}")
            });
            let notes: Vec<String> = [column.description, reference].into_iter().flatten().collect();
            let default = column.default_value.map(|value| match value.as_str() {
                COUNTED => value,
                _ => format!("`{}`", cell(&without_schema(&value))),
            });
            writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                column.name,
                without_schema(&column.type_name),
                if column.required { "" } else { "null" },
                default.unwrap_or_default(),
                cell(&notes.join(" ")),
            )?;
        }
        let checks = checks(connection, &table.name).await;
        if !checks.is_empty() {
            page.push_str("\nChecks:\n\n");
            for check in checks {
                let definition = without_schema(&check.definition).replace('\n', " ");
                writeln!(page, "- `{}`: `{definition}`", check.name)?;
            }
        }
        page.push_str("\nIndexes:\n\n");
        for index in indexes(connection, &table.name).await {
            writeln!(page, "- `{}`: `{}`", index.name, without_schema(&index.definition))?;
        }
    }
    page.push_str("\n## Enums\n\n");
    for type_name in enums(connection).await {
        writeln!(page, "- `{}`: {}", type_name.name, type_name.definition)?;
    }
    Ok(page)
}

#[tokio::test]
async fn test_the_page_is_up_to_date() {
    let mut tx = transaction().await;
    let page = page(&mut tx).await.unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/data-model.md");
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::write(&path, &page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let line = written.lines().zip(page.lines()).position(|(written, made)| written != made);
    assert!(
        written == page,
        "docs/data-model.md is not what the schema is (first difference in line {}); run ./scripts/write-docs",
        line.unwrap_or_else(|| written.lines().count().min(page.lines().count())) + 1,
    );
}

#[tokio::test]
async fn test_every_table_is_described() {
    let mut tx = transaction().await;
    let without: Vec<String> = tables(&mut tx)
        .await
        .into_iter()
        .filter(|table| table.description.is_none())
        .map(|t| t.name)
        .collect();
    assert_eq!(without, [] as [&str; 0], "a comment in the last migration is missing");
}
