//! The whole system as its users meet it: the real binary, real requests, real processes, a database of its own for
//! every test.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod action_keys;
mod actions;
mod alertmanager;
mod containers;
mod core_actions;
mod crash;
mod disk_full;
mod explain;
mod faults;
mod full_disk;
mod github;
mod history;
mod inquiries;
mod isolation;
mod keys;
mod late_database;
mod masking;
mod outage;
mod pack_test;
mod packs;
mod plain_keys;
mod postgres_backup;
mod python;
mod retries;
mod rotation;
mod run_api;
mod runtimes;
mod sensors;
mod shadow;
mod support;
mod up;
mod upload;
