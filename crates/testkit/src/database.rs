//! A database for one test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attune_common::db::{self, PoolOptions};
use sqlx::PgPool;

use crate::connections::{self, SERVER};
use crate::transaction::is_missing_database;
use crate::{server_url, template};

/// A migrated database that nobody else uses; dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    pool: PgPool,
}

impl TestDatabase {
    /// Clones the template.
    ///
    /// # Panics
    /// If there is no test server, or it cannot be used.
    pub async fn create() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("attune_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let created = connections::run({
            let name = name.clone();
            async move {
                match clone(&name).await {
                    Err(error) if is_missing_database(&error) => {
                        template::prepare(&server_url()).await.unwrap_or_else(|error| panic!("{error:#}"));
                        clone(&name).await
                    }
                    cloned => cloned,
                }
            }
        });
        if let Err(error) = created.await {
            panic!("cannot create the test database {name}: {error}");
        }
        let url = template::database_url(&connections::server_options(), &name);
        let options = PoolOptions {
            max_connections: 16,
            // A machine that compiles and tests at once may be slow.
            acquire_timeout: Duration::from_secs(30),
            application_name: "attune-test".to_owned(),
        };
        match db::connect(&url, &options).await {
            Ok(pool) => Self { name, url, pool },
            Err(error) => panic!("cannot connect to the test database {name}: {error}"),
        }
    }

    /// Connections of this process.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Lets new connections be made, or refuses them; those that exist stay.
    ///
    /// # Panics
    /// If the server cannot be told.
    pub async fn accept_connections(&self, accepts: bool) {
        let statement = format!("alter database {} allow_connections {accepts}", self.name);
        let told = connections::run(async move {
            let mut connection = SERVER.acquire().await?;
            template::execute(&mut connection, statement).await
        });
        if let Err(error) = told.await {
            panic!("cannot change the test database {}: {error}", self.name);
        }
    }

    /// For other processes.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("drop database if exists {} with (force)", self.name);
        // Best effort: the last ones may survive the process, and go with the server.
        connections::run_detached(async move {
            if let Ok(mut connection) = SERVER.acquire().await {
                let _ = template::execute(&mut connection, statement).await;
            }
        });
    }
}

async fn clone(name: &str) -> sqlx::Result<()> {
    template::clone_template(&mut *SERVER.acquire().await?, name).await
}
