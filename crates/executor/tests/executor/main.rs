//! The passes of the executor on a real database.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod admission;
mod dispatch;
mod helpers;
mod internal;
mod retention;
mod waiting;
