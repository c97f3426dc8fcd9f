//! What actions and rules say about how their executions are tried again.

use attune_expr::form::Described;
use serde_json::{Value, json};

use crate::form::Readable;
use crate::reader::Item;
use crate::retry::Retry;

/// A reference to [`Retry::definition`].
impl Described for Retry {
    fn schema() -> Value {
        json!({"$ref": "#/$defs/retry"})
    }
}

impl Readable for Retry {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        match Self::parse(&item.json()) {
            Ok(retry) => Some(retry),
            Err(problems) => {
                for problem in problems {
                    item.report(&problem.pointer, &problem.message, problem.suggestion);
                }
                None
            }
        }
    }
}
