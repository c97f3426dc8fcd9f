//! The migrated databases that tests start from: the template that is cloned, and the shared one that is only ever used in
//! transactions. Their names contain a checksum of the migrations, so an edited migration makes new ones. A database of
//! this name is complete: it is made under another one.

use std::str::FromStr;
use std::sync::LazyLock;

use anyhow::Context;
use attune_common::db::{self, MIGRATOR, PoolOptions};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// Held while the databases are made; any number that nobody else uses.
const PREPARE_LOCK: i64 = 0x0a77_07e5;

static CHECKSUM: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for migration in MIGRATOR.iter() {
        digest.update(migration.version.to_be_bytes());
        digest.update(&migration.checksum);
    }
    hex::encode(&digest.finalize()[..6])
});

/// The database that [`TestDatabase`](crate::TestDatabase) clones.
pub(crate) fn template_name() -> String {
    format!("attune_template_{}", *CHECKSUM)
}

/// The database that every [`transaction`](crate::transaction) uses.
pub(crate) fn shared_name() -> String {
    format!("attune_shared_{}", *CHECKSUM)
}

/// Makes the databases that tests start from, unless they are there. Several processes may do so at once.
pub async fn prepare(server_url: &str) -> anyhow::Result<()> {
    let server = PgConnectOptions::from_str(server_url).context("the URL of the test server is not valid")?;
    let mut connection = server.connect().await.context("cannot connect to the test server")?;
    // Given back when the connection closes.
    sqlx::query("select pg_advisory_lock($1)").bind(PREPARE_LOCK).execute(&mut connection).await?;
    if !exists(&mut connection, &template_name()).await? {
        let building = format!("{}_building", template_name());
        execute(&mut connection, format!("drop database if exists {building} with (force)")).await?;
        execute(&mut connection, format!("create database {building} template template0")).await?;
        let url = database_url(&server, &building);
        let pool = db::connect(&url, &PoolOptions { max_connections: 1, ..PoolOptions::default() }).await?;
        let migrated = db::migrate(&pool).await;
        pool.close().await;
        migrated?;
        execute(&mut connection, format!("alter database {building} rename to {}", template_name())).await?;
    }
    if !exists(&mut connection, &shared_name()).await? {
        clone_template(&mut connection, &shared_name()).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Makes a copy of the template.
pub(crate) async fn clone_template(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    // Copying files takes half as long as the default, which writes every page to the log.
    let statement = format!("create database {name} template {} strategy file_copy", template_name());
    execute(connection, statement).await
}

/// The URL of another database of the same server.
pub(crate) fn database_url(server: &PgConnectOptions, database: &str) -> String {
    server.clone().database(database).to_url_lossy().to_string()
}

/// Runs a statement that has no parameters because it names a database. Names come from this crate only.
pub(crate) async fn execute(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

async fn exists(connection: &mut PgConnection, database: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(database)
        .fetch_one(connection)
        .await
}
