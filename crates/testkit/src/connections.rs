//! Connections that outlive a test. Every test has a runtime of its own that ends with it, and a connection ends with the
//! runtime it was opened in; so these are opened, and given back, in a runtime that lives as long as the process. A
//! connection that was used before is faster than a new one by some milliseconds: the server's caches are warm.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::runtime::Runtime;

use crate::{server_url, template};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("testkit")
        .enable_all()
        .build()
        .unwrap_or_else(|error| {
            panic!("cannot start a runtime for the connections to the test server: {error}")
        })
});

/// To the server's own database: to create and drop others.
pub(crate) static SERVER: LazyLock<PgPool> = LazyLock::new(|| pool(server_options(), 2));

/// To the shared database.
pub(crate) static SHARED: LazyLock<PgPool> =
    LazyLock::new(|| pool(server_options().database(&template::shared_name()), 64));

pub(crate) fn server_options() -> PgConnectOptions {
    attune_common::db::connect_options(&server_url(), "attune tests")
        .unwrap_or_else(|error| panic!("{} is not a valid URL: {error}", crate::SERVER_URL_VARIABLE))
}

/// Runs the future in the runtime that lives on.
pub(crate) async fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    match RUNTIME.spawn(future).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs the future in the runtime that lives on, without waiting for it.
pub(crate) fn run_detached(future: impl Future<Output = ()> + Send + 'static) {
    RUNTIME.spawn(future);
}

/// Drops a value that has to tell the server: what it starts runs on after the test has ended.
pub(crate) fn drop_in_background<T>(value: T) {
    let _entered = RUNTIME.enter();
    drop(value);
}

fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let _entered = RUNTIME.enter();
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options)
}
