//! A map from fingerprints that is cheap to copy: copies share everything that neither of them has changed since.
//!
//! Phil Bagwell's hash array mapped trie in its plainest form: sixteen children a level, short lists as leaves. A change
//! copies one path of it, some kilobytes, however many entries there are.

use std::sync::Arc;

const BITS: u32 = 4;
const LEAF_LIMIT: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct HashTrie<V> {
    root: Arc<Level<V>>,
    length: usize,
}

#[derive(Debug, Clone)]
enum Level<V> {
    Leaf(Vec<(u64, V)>),
    Branch(Vec<Arc<Level<V>>>),
}

impl<V> Default for HashTrie<V> {
    fn default() -> Self {
        Self { root: Arc::default(), length: 0 }
    }
}

impl<V> Default for Level<V> {
    fn default() -> Self {
        Self::Leaf(Vec::new())
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
        let mut level = &*self.root;
        let mut rest = key;
        loop {
            match level {
                Level::Leaf(entries) => {
                    return entries.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
                }
                Level::Branch(children) => {
                    level = &children[slot(rest)];
                    rest >>= BITS;
                }
            }
        }
    }

    /// Visits every value, in no particular order.
    pub(super) fn for_each<'t>(&'t self, visit: &mut impl FnMut(&'t V)) {
        self.root.for_each(visit);
    }
}

impl<V: Clone> HashTrie<V> {
    /// The value under a key for changing it, made when there is none.
    pub(super) fn entry(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        if self.get(key).is_none() {
            self.length += 1;
            Arc::make_mut(&mut self.root).insert(key, make(), 0);
        }
        let mut level = Arc::make_mut(&mut self.root);
        let mut rest = key;
        loop {
            match level {
                Level::Leaf(entries) => {
                    let known = entries.iter().position(|(known, _)| *known == key);
                    // It was inserted above, so that the end is never meant.
                    let position = known.unwrap_or(entries.len() - 1);
                    return &mut entries[position].1;
                }
                Level::Branch(children) => {
                    level = Arc::make_mut(&mut children[slot(rest)]);
                    rest >>= BITS;
                }
            }
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        if self.get(key).is_some() {
            self.length -= 1;
            if self.is_empty() {
                // The empty branches of a map that once was large are not kept.
                self.root = Arc::default();
            } else {
                Arc::make_mut(&mut self.root).remove(key, key);
            }
        }
    }
}

impl<V> Level<V> {
    fn for_each<'t>(&'t self, visit: &mut impl FnMut(&'t V)) {
        match self {
            Self::Leaf(entries) => entries.iter().for_each(|(_, value)| visit(value)),
            Self::Branch(children) => children.iter().for_each(|child| child.for_each(visit)),
        }
    }
}

impl<V: Clone> Level<V> {
    fn insert(&mut self, key: u64, value: V, shift: u32) {
        match self {
            Self::Leaf(entries) if entries.len() < LEAF_LIMIT || shift >= u64::BITS => {
                entries.push((key, value));
            }
            Self::Leaf(entries) => {
                let mut lists: Vec<Vec<(u64, V)>> = (0..1 << BITS).map(|_| Vec::new()).collect();
                for entry in entries.drain(..).chain([(key, value)]) {
                    lists[slot(entry.0 >> shift)].push(entry);
                }
                *self = Self::Branch(lists.into_iter().map(|list| Arc::new(Self::Leaf(list))).collect());
            }
            Self::Branch(children) => {
                Arc::make_mut(&mut children[slot(key >> shift)]).insert(key, value, shift + BITS);
            }
        }
    }

    fn remove(&mut self, key: u64, rest: u64) {
        match self {
            Self::Leaf(entries) => entries.retain(|(known, _)| *known != key),
            Self::Branch(children) => {
                Arc::make_mut(&mut children[slot(rest)]).remove(key, rest >> BITS);
                // Keys that come and go must not leave their branches behind.
                let is_hollow = |child: &Arc<Self>| matches!(&**child, Self::Leaf(list) if list.is_empty());
                if children.iter().all(is_hollow) {
                    *self = Self::default();
                }
            }
        }
    }
}

fn slot(rest: u64) -> usize {
    (rest & ((1 << BITS) - 1)) as usize
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
