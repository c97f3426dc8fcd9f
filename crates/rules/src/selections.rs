//! What the fields of one event hold, looked up once for all rules that ask.

use std::sync::Arc;

use attune_expr::path::{FieldPath, Selection};
use attune_expr::scope::Scope;
use serde_json::Value;

/// More fields than this are not remembered: going through the memory would cost what following the path does.
const LIMIT: usize = 16;

/// The fields that have been looked up in one scope. Paths are told apart by where they stand in memory, as those of
/// compiled rules are shared.
#[derive(Debug, Default)]
pub(crate) struct Selections<'p, 'v> {
    known: Vec<(&'p Arc<FieldPath>, Selection<'v>)>,
    unremembered: Option<Selection<'v>>,
}

impl<'p, 'v> Selections<'p, 'v> {
    /// What a path finds.
    pub(crate) fn of(&mut self, path: &'p Arc<FieldPath>, scope: &Scope<'v>) -> &Selection<'v> {
        if let Some(position) = self.known.iter().position(|(known, _)| Arc::ptr_eq(known, path)) {
            return &self.known[position].1;
        }
        let selection = path.select(scope);
        if self.known.len() < LIMIT {
            self.known.push((path, selection));
            &self.known[self.known.len() - 1].1
        } else {
            self.unremembered.insert(selection)
        }
    }

    /// Remembers what a path without `[*]` found.
    pub(crate) fn remember(&mut self, path: &'p Arc<FieldPath>, value: &'v Value) {
        if self.known.len() < LIMIT {
            self.known.push((path, Selection::One(value)));
        }
    }
}
