//! The change feed as subscribers see it, with a real database.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod access;
mod feed;
mod helpers;
mod lifetime;
