//! The user commands, one file per noun. Each parses what only it needs, calls the client or one of the pure crates, and
//! writes the answer.

pub(crate) mod action;
pub(crate) mod artifact;
pub(crate) mod completion;
pub(crate) mod db;
pub(crate) mod enforcement;
pub(crate) mod environment;
pub(crate) mod event;
pub(crate) mod execution;
pub(crate) mod expr;
pub(crate) mod help;
pub(crate) mod inquiry;
pub(crate) mod judgement;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod pack;
pub(crate) mod pause;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod rule;
pub(crate) mod run;
pub(crate) mod sensor;
pub(crate) mod trigger;
pub(crate) mod whoami;
pub(crate) mod worker;
