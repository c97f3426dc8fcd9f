//! The real binary as its users meet it, against a server that answers what a test tells it to. No database.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod downloads;
mod errors;
mod explanation;
mod expressions;
mod guide;
mod inquiries;
mod limits;
mod packs;
mod reading;
mod rule_files;
mod rule_test;
mod runs;
mod signing_in;
mod support;
mod writing;
