//! The rules that share an entry of the index, as a sorted list of their slots.

use std::sync::Arc;

/// Most lists have one member, which then costs no allocation.
#[derive(Debug, Clone, Default)]
pub(super) enum Postings {
    #[default]
    None,
    One(u32),
    Many(Arc<Vec<u32>>),
}

impl Postings {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Self::None => *self = Self::One(slot),
            Self::One(known) if *known == slot => {}
            Self::One(known) => *self = Self::Many(Arc::new(vec![slot.min(*known), slot.max(*known)])),
            Self::Many(slots) => {
                if let Err(position) = slots.binary_search(&slot) {
                    Arc::make_mut(slots).insert(position, slot);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        match self {
            Self::One(known) if *known == slot => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(slots) => {
                if let Ok(position) = slots.binary_search(&slot) {
                    Arc::make_mut(slots).remove(position);
                }
                if slots.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}
