//! What the roles that start processes share: a group for each of them ([`ProcessGroup`]), an environment into which
//! nothing slips unnamed ([`InheritedEnvironment`]), and words for why a program cannot be started ([`StartError`]).
//!
//! Invariant: a child is the leader of a group of its own, every signal goes to the whole group, and dropping a
//! [`ProcessGroup`] kills it.

mod confinement;
mod environment;
mod group;
mod leader;
#[cfg(target_os = "linux")]
mod spawn;
mod start;

pub use confinement::{Confinement, Limit, Resource, Step};
pub use environment::{InheritedEnvironment, PACK_DIR, PrivateVariable};
pub use group::{Pipes, ProcessGroup};
pub use start::{Program, StartError, start};
