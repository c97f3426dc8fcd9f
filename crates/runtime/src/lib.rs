//! What the code of packs needs to run, for whoever starts it: the worker for actions, the sensor role for sensors.
//!
//! - [`environments`]: what is installed for a pack besides its own files, built once on each machine.
//! - [`pack_config`]: the settings of a pack, with its secrets in plain.
//! - [`keys`]: where the values of secrets come from.
//! - [`masking`]: what hides them in whatever the code says.

pub mod environments;
pub mod keys;
pub mod pack_config;
mod tool;

pub use attune_expr::masking;
