//! The API over HTTP: a real server on a real database, one of each for every test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod artifacts;
mod auth;
mod backtest;
mod declared_keys;
mod demo;
mod events;
mod executions;
mod explanations;
mod grants;
mod hooks;
mod inquiries;
mod keys;
mod limits;
mod output;
mod pack_config;
mod pack_life;
mod packs;
mod permissions;
mod plain_keys;
mod progress;
mod replay;
mod rule_settings;
mod rules;
mod run_secrets;
mod run_tokens;
mod sensor_tokens;
mod server;
mod switches;
mod waiting;
mod webhooks;
