//! A map from fingerprints that is cheap to copy: copies share everything that neither of them has changed since.
//!
//! Phil Bagwell's hash array mapped trie in its plainest form. A level is one piece of memory, its children or its entries
//! inside it, so that a look-up among a hundred thousand touches four pieces, of which the first three are small together
//! and stay in the caches. A change copies one path, about a kilobyte.

use std::array;
use std::sync::Arc;

const BITS: u32 = 5;
const WIDTH: usize = 1 << BITS;
const LEAF_LIMIT: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct HashTrie<V> {
    root: Option<Arc<Level<V>>>,
    length: usize,
}

#[derive(Debug, Clone)]
enum Level<V> {
    Leaf(Leaf<V>),
    Branch([Option<Arc<Level<V>>>; WIDTH]),
    /// Keys that are the same in all bits: none in practice, but a map must hold them.
    Overflow(Vec<(u64, V)>),
}

/// Entries that are filled from the front. The keys stand together, so that all of them are compared at once.
#[derive(Debug, Clone)]
struct Leaf<V> {
    keys: [u64; LEAF_LIMIT],
    values: [Option<V>; LEAF_LIMIT],
}

impl<V> Default for HashTrie<V> {
    fn default() -> Self {
        Self { root: None, length: 0 }
    }
}

impl<V> HashTrie<V> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        let mut level = self.root.as_deref()?;
        let mut rest = key;
        loop {
            match level {
                Level::Leaf(leaf) => return leaf.values[leaf.position(key)?].as_ref(),
                Level::Branch(children) => {
                    level = children[slot(rest)].as_deref()?;
                    rest >>= BITS;
                }
                Level::Overflow(entries) => {
                    return entries.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
                }
            }
        }
    }

    /// Visits every value, in no particular order.
    pub(super) fn for_each<'t>(&'t self, visit: &mut impl FnMut(&'t V)) {
        if let Some(root) = &self.root {
            root.for_each(visit);
        }
    }
}

impl<V: Clone> HashTrie<V> {
    /// The value under a key for changing it, made when there is none.
    pub(super) fn entry(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        self.length += usize::from(self.get(key).is_none());
        Level::entry(&mut self.root, key, 0, make)
    }

    pub(super) fn remove(&mut self, key: u64) {
        if self.get(key).is_some() {
            self.length -= 1;
            Level::remove(&mut self.root, key, key);
        }
    }
}

impl<V> Leaf<V> {
    fn new() -> Self {
        Self { keys: [0; LEAF_LIMIT], values: array::from_fn(|_| None) }
    }

    /// Where a key stands. There is no branch before the answer: where in a leaf a key is cannot be predicted.
    fn position(&self, key: u64) -> Option<usize> {
        let equal = self.keys.iter().zip(&self.values).enumerate().fold(
            0_u32,
            |equal, (position, (known, value))| {
                equal | u32::from(*known == key && value.is_some()) << position
            },
        );
        (equal != 0).then_some(equal.trailing_zeros() as usize)
    }

    fn end(&self) -> usize {
        self.values.iter().position(Option::is_none).unwrap_or(LEAF_LIMIT)
    }

    /// Adds an entry if there is room.
    fn push(&mut self, key: u64, value: V) {
        let end = self.end();
        if let Some(place) = self.values.get_mut(end) {
            *place = Some(value);
            self.keys[end] = key;
        }
    }

    fn take(&mut self) -> impl Iterator<Item = (u64, V)> {
        let keys = self.keys;
        keys.into_iter().zip(self.values.iter_mut()).filter_map(|(key, value)| Some((key, value.take()?)))
    }
}

impl<V> Level<V> {
    fn leaf() -> Self {
        Self::Leaf(Leaf::new())
    }

    fn for_each<'t>(&'t self, visit: &mut impl FnMut(&'t V)) {
        match self {
            Self::Leaf(leaf) => leaf.values.iter().flatten().for_each(visit),
            Self::Branch(children) => children.iter().flatten().for_each(|child| child.for_each(visit)),
            Self::Overflow(entries) => entries.iter().for_each(|(_, value)| visit(value)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.values[0].is_none(),
            Self::Branch(children) => children.iter().all(Option::is_none),
            Self::Overflow(entries) => entries.is_empty(),
        }
    }
}

impl<V: Clone> Level<V> {
    /// `shift` is how many bits of the key the levels above have used; after the last nothing tells keys apart.
    fn entry(place: &mut Option<Arc<Self>>, key: u64, shift: u32, make: impl FnOnce() -> V) -> &mut V {
        let level = Arc::make_mut(place.get_or_insert_with(|| Arc::new(Self::leaf())));
        if let Self::Leaf(leaf) = level
            && leaf.end() == LEAF_LIMIT
            && leaf.position(key).is_none()
        {
            let entries = leaf.take();
            *level = if shift < u64::BITS {
                Self::spread(entries, shift)
            } else {
                Self::Overflow(entries.collect())
            };
        }
        match level {
            Self::Leaf(leaf) => {
                let position = leaf.position(key).unwrap_or_else(|| {
                    // There is room: a full leaf without the key was spread above.
                    let end = leaf.end().min(LEAF_LIMIT - 1);
                    leaf.keys[end] = key;
                    end
                });
                leaf.values[position].get_or_insert_with(make)
            }
            Self::Branch(children) => Self::entry(&mut children[slot(key >> shift)], key, shift + BITS, make),
            Self::Overflow(entries) => {
                let position = entries.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                    entries.push((key, make()));
                    entries.len() - 1
                });
                &mut entries[position].1
            }
        }
    }

    /// A branch over the entries of a leaf, which are at most as many as a leaf holds.
    fn spread(entries: impl Iterator<Item = (u64, V)>, shift: u32) -> Self {
        let mut children: [Option<Arc<Self>>; WIDTH] = array::from_fn(|_| None);
        for (key, value) in entries {
            let child = children[slot(key >> shift)].get_or_insert_with(|| Arc::new(Self::leaf()));
            if let Self::Leaf(leaf) = Arc::make_mut(child) {
                leaf.push(key, value);
            }
        }
        Self::Branch(children)
    }

    fn remove(place: &mut Option<Arc<Self>>, key: u64, rest: u64) {
        let Some(level) = place.as_mut().map(Arc::make_mut) else { return };
        match level {
            Self::Leaf(leaf) => {
                if let Some(position) = leaf.position(key) {
                    leaf.values[position] = None;
                    leaf.values[position..].rotate_left(1);
                    leaf.keys[position..].rotate_left(1);
                }
            }
            Self::Branch(children) => Self::remove(&mut children[slot(rest)], key, rest >> BITS),
            Self::Overflow(entries) => entries.retain(|(known, _)| *known != key),
        }
        // Keys that come and go must not leave their branches behind.
        if level.is_empty() {
            *place = None;
        }
    }
}

fn slot(rest: u64) -> usize {
    (rest & (WIDTH as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys that share low bits reach the deepest levels; the copy made half-way must not see what comes later.
        #[test]
        fn prop_it_is_a_map_and_copies_stand_still(
            changes in proptest::collection::vec((any::<bool>(), 0..60_u64, any::<u8>()), 0..300),
        ) {
            let spread = |key: u64| if key.is_multiple_of(2) { key << 58 } else { key };
            let (mut trie, mut map) = (HashTrie::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (position, (insert, key, value)) in changes.into_iter().enumerate() {
                let key = spread(key);
                if insert {
                    *trie.entry(key, || value) = value;
                    map.insert(key, value);
                } else {
                    trie.remove(key);
                    map.remove(&key);
                }
                if position % 50 == 0 {
                    copies.push((trie.clone(), map.clone()));
                }
            }
            copies.push((trie, map));
            for (trie, map) in copies {
                prop_assert_eq!(trie.len(), map.len());
                for key in 0..60 {
                    prop_assert_eq!(trie.get(spread(key)), map.get(&spread(key)));
                }
                let mut values = Vec::new();
                trie.for_each(&mut |value| values.push(*value));
                values.sort_unstable();
                let mut expected: Vec<_> = map.into_values().collect();
                expected.sort_unstable();
                prop_assert_eq!(values, expected);
            }
        }
    }
}
