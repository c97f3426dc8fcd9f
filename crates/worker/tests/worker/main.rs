//! What the worker does with processes and files, shown with real ones.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod claiming;
mod confinement;
mod container;
mod environment;
mod environments;
mod helpers;
mod launching;
mod leases;
mod lost_answer;
mod native;
mod native_http;
mod native_mail;
mod native_ssh;
mod orphans;
mod output;
mod parameters;
mod process_ending;
mod process_output;
mod warm;
