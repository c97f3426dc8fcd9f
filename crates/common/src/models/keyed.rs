//! Parameters that name keys: with marks in the place of the values, until a worker puts these there.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a worker makes the parameters of.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyedParameters {
    /// The nonce of the marks; whoever knows it can write marks.
    pub nonce: String,
    /// Ref of the pack of the rule, whose keys it may use.
    pub pack: Option<String>,
    /// The parameters with marks.
    pub parameters: Value,
}

impl fmt::Debug for KeyedParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedParameters").field("pack", &self.pack).finish_non_exhaustive()
    }
}
