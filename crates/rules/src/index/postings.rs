//! The rules that share an entry of the index, in the order of their addresses, which says which rule is which without
//! looking at it.

use std::sync::Arc;

use crate::compiled::CompiledRule;

/// Most lists have one member, which then costs no allocation.
#[derive(Debug, Clone, Default)]
pub(super) enum Postings {
    #[default]
    None,
    One(Arc<CompiledRule>),
    Many(Arc<Vec<Arc<CompiledRule>>>),
}

impl Postings {
    pub(super) fn as_slice(&self) -> &[Arc<CompiledRule>] {
        match self {
            Self::None => &[],
            Self::One(rule) => std::slice::from_ref(rule),
            Self::Many(rules) => rules,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn insert(&mut self, rule: &Arc<CompiledRule>) {
        match self {
            Self::None => *self = Self::One(rule.clone()),
            Self::One(known) if Arc::ptr_eq(known, rule) => {}
            Self::One(known) => {
                let mut both = vec![known.clone(), rule.clone()];
                both.sort_unstable_by_key(Arc::as_ptr);
                *self = Self::Many(Arc::new(both));
            }
            Self::Many(rules) => {
                if let Err(position) = find(rules, rule) {
                    Arc::make_mut(rules).insert(position, rule.clone());
                }
            }
        }
    }

    pub(super) fn remove(&mut self, rule: &Arc<CompiledRule>) {
        match self {
            Self::One(known) if Arc::ptr_eq(known, rule) => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(rules) => {
                if let Ok(position) = find(rules, rule) {
                    Arc::make_mut(rules).remove(position);
                }
                if rules.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

fn find(rules: &[Arc<CompiledRule>], rule: &Arc<CompiledRule>) -> Result<usize, usize> {
    rules.binary_search_by_key(&Arc::as_ptr(rule), Arc::as_ptr)
}
