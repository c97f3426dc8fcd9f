//! What every role of Attune shares: the domain models, everything that is stored and all SQL that stores it, the
//! signals that wake the roles, secrets, and the privately managed PostgreSQL.
//!
//! Invariants kept here: PostgreSQL is the only state that processes share; only [`repositories`] contains SQL; a
//! notification carries no data; a secret is decrypted only by [`vault`].

pub mod artifact_content;
pub mod auth;
pub mod bus;
pub mod crypto;
pub mod db;
pub mod environment;
pub mod error;
pub mod managed_postgres;
pub mod models;
pub mod moment;
pub mod pack_cache;
pub mod pack_store;
pub mod pass;
pub mod process;
pub mod python_sdk;
pub mod repositories;
pub mod run_token;
pub mod sensor_token;
mod signed;
pub mod vault;

pub use error::{Result, StoreError};
