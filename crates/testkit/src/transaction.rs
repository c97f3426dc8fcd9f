//! A transaction that is never committed, on a database that is always empty.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, Postgres, Transaction};

use crate::connections::{self, SHARED};
use crate::{server_url, template};

/// Behaves as the connection it holds; whatever is done with it is undone when it is dropped. `begin` on it makes a
/// savepoint, which a test needs to go on after a statement that fails.
#[derive(Debug)]
pub struct TestTransaction {
    /// None only while it is being dropped.
    inner: Option<Transaction<'static, Postgres>>,
}

/// Begins a transaction on the shared, migrated, empty database.
///
/// # Panics
/// If there is no test server, or it cannot be used.
pub async fn transaction() -> TestTransaction {
    let inner = connections::run(async {
        match begin().await {
            Err(error) if is_missing_database(&error) => {
                template::prepare(&server_url()).await.unwrap_or_else(|error| panic!("{error:#}"));
                begin().await
            }
            begun => begun,
        }
    })
    .await;
    match inner {
        Ok(inner) => TestTransaction { inner: Some(inner) },
        Err(error) => panic!("cannot begin a transaction on the test server: {error}"),
    }
}

async fn begin() -> sqlx::Result<Transaction<'static, Postgres>> {
    #[expect(clippy::disallowed_methods, reason = "it runs in a task of its own, which nobody drops")]
    SHARED.begin().await
}

/// `invalid_catalog_name`
pub(crate) fn is_missing_database(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "3D000")
}

const DROPPED: &str = "only Drop takes the transaction out";

impl Deref for TestTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.inner.as_ref().expect(DROPPED)
    }
}

impl DerefMut for TestTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.inner.as_mut().expect(DROPPED)
    }
}

impl Drop for TestTransaction {
    fn drop(&mut self) {
        connections::drop_in_background(self.inner.take());
    }
}
