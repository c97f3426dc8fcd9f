//! The passes of the executor against a database.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod admission;
mod caution;
mod dispatch;
mod helpers;
mod inquiries;
mod internal;
mod many_waiting;
mod matching;
mod retention;
mod waiting;
