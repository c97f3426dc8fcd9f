//! The connection pool and the migrations.

use std::io;
use std::time::Duration;

use sqlx::migrate::{MigrateError as SqlxMigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Transaction};

use crate::error::Result;
use crate::models::Timestamp;

/// The migrations, embedded in the binary.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How a process connects.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Connections at most. Few are fast: on two cores a pool of four serves faster than one of sixteen.
    pub max_connections: u32,
    /// How long a caller waits for a connection before the database counts as not available.
    pub acquire_timeout: Duration,
    /// What the connections are called in `pg_stat_activity`.
    pub application_name: String,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_connections: 12,
            acquire_timeout: Duration::from_secs(3),
            application_name: "attune".to_owned(),
        }
    }
}

/// Opens a pool and makes sure that the database answers.
pub async fn connect(url: &str, options: &PoolOptions) -> Result<PgPool> {
    let connect = connect_options(url, &options.application_name)?;
    let pool = pool_options(options).connect_with(connect).await?;
    Ok(pool)
}

/// Another pool for the same database, of at most so many connections, for the statements that write what comes in floods: events
/// and decisions. Its connections leave foreign keys to the statement, which locks and looks at what it refers to once for all of
/// its rows; PostgreSQL would do that with a query of its own for each row, a fifth of the price of an event. So it is only for
/// statements that do: they ask `attune.leaves_keys_to_statements()`, and are right on other connections as well. No trigger of the schema
/// acts here either; none is about what these statements write. Where the role may not set `session_replication_role`, the
/// connections are like any other.
pub fn bulk(pool: &PgPool, max_connections: u32) -> PgPool {
    pool.options()
        .clone()
        .max_connections(max_connections)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query(
                    "select set_config('session_replication_role', 'replica', false)
                     where has_parameter_privilege(current_user, 'session_replication_role', 'set')",
                )
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .connect_lazy_with((*pool.connect_options()).clone())
}

/// Makes one connection and closes it again. Unlike a pool, which only says that it waited in vain, this says why there is none.
pub async fn reach(url: &str, options: &PoolOptions) -> Result<()> {
    /// What a machine that is there takes at most.
    const PATIENCE: Duration = Duration::from_secs(10);
    let connect = connect_options(url, &options.application_name)?;
    let Ok(connected) = tokio::time::timeout(PATIENCE, connect.connect()).await else {
        let silent = format!("no answer within {PATIENCE:?}");
        return Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, silent)).into());
    };
    connected?.close().await?;
    Ok(())
}

/// How every connection is made. The schema stands before each name in our statements and must not be on the search path:
/// the names of types, which PostgreSQL shortens by the path, would no longer be those that the models know. (It is on the
/// path of a user called `attune` unless told otherwise.)
pub fn connect_options(url: &str, application_name: &str) -> Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.application_name(application_name).options([
        ("search_path", "public"),
        // A statement is planned when the tables are small, and kept for minutes in which they grow to millions of rows. What
        // works is in memory, where a step down an index costs about what a page of a table does: with the costs so, the plan
        // that is right for a table of any size is the cheapest one from the beginning.
        ("seq_page_cost", "10"),
        ("random_page_cost", "1"),
    ]))
}

/// Copies a database that nobody is connected to, under another name; gives back the URL of the copy. For throw-away databases:
/// whoever calls this chooses the name, of letters, digits and `_`.
pub async fn clone_database(url: &str, name: &str) -> Result<String> {
    let options = connect_options(url, "attune")?;
    let original = options.get_database().unwrap_or("attune").replace('"', "\"\"");
    let mut connection = options.clone().database("postgres").connect().await?;
    // Names cannot be parameters of a statement. Copying files takes half as long as the default, which writes a log of it.
    let statement =
        format!("create database \"{}\" template \"{original}\" strategy file_copy", name.replace('"', ""));
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(options.database(name).to_url_lossy().to_string())
}

/// Whether the database answers, found out by asking it.
pub async fn ping(pool: &PgPool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    connection.ping().await?;
    Ok(())
}

/// What time it is for the database.
pub async fn now(pool: &PgPool) -> Result<Timestamp> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?)
}

/// Begins a transaction. To be used instead of [`PgPool::begin`], which must not be dropped while it waits: the connection
/// would go back to the pool with a transaction open that nobody knows of, and what others then write would be lost. Here
/// the beginning is finished by a task of its own, and a transaction that nobody waits for any more is rolled back.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "the one place where it cannot be dropped")]
    let begun = tokio::spawn(async move { pool.begin().await });
    match begun.await {
        Ok(begun) => Ok(begun?),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_) => Err(sqlx::Error::PoolClosed.into()),
    }
}

fn pool_options(options: &PoolOptions) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        // A ping before each use doubles the price of a small query; a dead connection is found by its first use.
        .test_before_acquire(false)
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "the database has schema version {version}, which this attune does not know (its newest is {newest}): \
         it was migrated by a newer attune; run that version or a newer one"
    )]
    NewerSchema { version: i64, newest: i64 },
    #[error(
        "migration {version} was applied in another form than this attune has it: the database was migrated by a \
         different build; run that build, or start from an empty database"
    )]
    Changed { version: i64 },
    #[error("the migration failed: {0}")]
    Failed(#[source] SqlxMigrateError),
}

/// Brings the schema of the database up to date. Several processes may do so at once: they take turns.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    let newest = MIGRATOR.iter().map(|m| m.version).max().unwrap_or_default();
    let failed = |error: sqlx::Error| MigrateError::Failed(SqlxMigrateError::Execute(error));
    // A connection of its own: a migration that fails keeps its lock until the connection is closed, and would make every
    // later one wait for it.
    let mut connection = pool.acquire().await.map_err(failed)?.detach();
    MIGRATOR.run_direct(None, &mut connection, false).await.map_err(|error| match error {
        SqlxMigrateError::VersionMissing(version) => MigrateError::NewerSchema { version, newest },
        SqlxMigrateError::VersionMismatch(version) => MigrateError::Changed { version },
        other => MigrateError::Failed(other),
    })?;
    connection.close().await.map_err(failed)
}

/// Whether the database has exactly the schema of this binary. False for an older one; an error for a newer one.
pub async fn is_current(pool: &PgPool) -> Result<bool, MigrateError> {
    use sqlx::migrate::Migrate;
    let failed = |error: sqlx::Error| MigrateError::Failed(SqlxMigrateError::Execute(error));
    let mut connection = pool.acquire().await.map_err(failed)?;
    let table = MIGRATOR.table_name.as_ref();
    connection.ensure_migrations_table(table).await.map_err(MigrateError::Failed)?;
    let applied = connection.list_applied_migrations(table).await.map_err(MigrateError::Failed)?;
    let newest = MIGRATOR.iter().map(|m| m.version).max().unwrap_or_default();
    if let Some(newer) = applied.iter().find(|a| a.version > newest) {
        return Err(MigrateError::NewerSchema { version: newer.version, newest });
    }
    Ok(MIGRATOR.iter().all(|known| applied.iter().any(|a| a.version == known.version)))
}
