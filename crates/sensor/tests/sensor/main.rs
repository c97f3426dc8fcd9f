//! The sensor role with real processes and a real database.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod exclusion;
mod failing;
mod helpers;
mod outage;
mod provision;
mod reporting;
mod supervision;
