//! Test support: a real, isolated database for every test.
//!
//! - [`transaction`] for tests of single statements: a transaction on a shared, migrated, empty database that is never
//!   committed. It costs less than a millisecond. Tests see nothing of each other, but two that insert the same unique
//!   key wait for each other: use unique names.
//! - [`TestDatabase`] for tests of whole services: a database of its own, cloned from a migrated template.
//!
//! Both come from the server that [`SERVER_URL_VARIABLE`] names, a throw-away one that the program `with-postgres` starts
//! around a test run. What it needs to hold is prepared once, and again when a migration has changed.

mod connections;
mod database;
mod scratch;
mod skip;
mod template;
mod transaction;

pub use database::TestDatabase;
pub use scratch::{scratch_base, scratch_directory};
pub use skip::skipped;
pub use template::prepare;
pub use transaction::{TestTransaction, transaction};

/// The environment variable with the URL of the server that tests use.
pub const SERVER_URL_VARIABLE: &str = "ATTUNE_TEST_DATABASE_URL";

/// The server's URL.
fn server_url() -> String {
    match std::env::var(SERVER_URL_VARIABLE) {
        Ok(url) if !url.is_empty() => url,
        _ => panic!(
            "{SERVER_URL_VARIABLE} is not set: run the tests with ./scripts/test, which starts a PostgreSQL for them"
        ),
    }
}
