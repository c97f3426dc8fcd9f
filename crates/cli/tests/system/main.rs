//! The whole system as its users meet it: the real binary, real requests, real processes, a database of its own for
//! every test.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod actions;
mod crash;
mod explain;
mod faults;
mod github;
mod history;
mod keys;
mod outage;
mod retries;
mod rotation;
mod run_api;
mod shadow;
mod support;
mod up;
