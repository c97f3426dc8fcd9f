//! Two ways not to hold the same thing often.
//!
//! A system has a hundred thousand rules and few shapes of them: the same fields, the same templates. And what a template
//! or a regular expression is compiled to is large, some kilobytes each, whatever its length. So fields are shared by all
//! who name them ([`Pool`]), and compiled forms are kept for those in use and made again for the others ([`Cache`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// Below this many, values that nobody holds any more are not looked for.
const SWEEP_FROM: usize = 1_024;

/// Values that are shared while somebody holds them, by the text that they were made from.
pub struct Pool<V> {
    known: LazyLock<Mutex<Known<V>>>,
}

struct Known<V> {
    values: HashMap<Box<str>, Weak<V>>,
    sweep_at: usize,
}

impl<V> Pool<V> {
    /// A pool that holds nothing.
    #[expect(clippy::new_without_default, reason = "pools are statics, which `default` cannot make")]
    pub const fn new() -> Self {
        let empty = || Mutex::new(Known { values: HashMap::new(), sweep_at: SWEEP_FROM });
        Self { known: LazyLock::new(empty) }
    }

    /// The value of a text, made when nobody holds it. It is made without holding the lock, as that may take a while.
    pub fn share<E>(&self, text: &str, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(value) = lock(&self.known).held(text) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        let mut known = lock(&self.known);
        if let Some(value) = known.held(text) {
            return Ok(value);
        }
        if known.values.len() >= known.sweep_at {
            known.values.retain(|_, value| value.strong_count() > 0);
            known.sweep_at = SWEEP_FROM.max(2 * known.values.len());
        }
        known.values.insert(text.into(), Arc::downgrade(&value));
        Ok(value)
    }
}

impl<V> Known<V> {
    fn held(&self, text: &str) -> Option<Arc<V>> {
        self.values.get(text).and_then(Weak::upgrade)
    }
}

impl<V> fmt::Debug for Pool<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// The values that were asked for lately, by the text that they are made from; the others are made again.
///
/// There are two generations. What is asked for is in the young one; when that is full, it becomes the old one, whose
/// values are dropped unless they are asked for until the next time. So at most twice `size` values are held.
pub struct Cache<V> {
    generations: LazyLock<Mutex<Generations<V>>>,
    size: usize,
}

struct Generations<V> {
    young: HashMap<Box<str>, Arc<V>>,
    old: HashMap<Box<str>, Arc<V>>,
}

impl<V> Cache<V> {
    /// A cache that holds nothing yet.
    pub const fn new(size: usize) -> Self {
        let empty = || Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() });
        Self { generations: LazyLock::new(empty), size }
    }

    /// The value of a text. It is made without holding the lock, as that may take a while.
    pub fn get<E>(&self, text: &str, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        if let Some(value) = lock(&self.generations).recall(text, self.size) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        lock(&self.generations).keep(text.into(), value.clone(), self.size);
        Ok(value)
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<V> Generations<V> {
    fn recall(&mut self, text: &str, size: usize) -> Option<Arc<V>> {
        if let Some(value) = self.young.get(text) {
            return Some(value.clone());
        }
        let (text, value) = self.old.remove_entry(text)?;
        self.keep(text, value.clone(), size);
        Some(value)
    }

    fn keep(&mut self, text: Box<str>, value: Arc<V>, size: usize) {
        if self.young.len() >= size {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, value);
    }
}

/// What a panic elsewhere interrupted is a map all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn test_a_pool_shares_what_is_held_and_forgets_the_rest() {
        let pool = Pool::new();
        let share = |text: &str| pool.share(text, || Ok::<_, Infallible>(text.to_owned())).unwrap();
        let held = share("a");
        assert!(Arc::ptr_eq(&held, &share("a")));
        (0..10 * SWEEP_FROM).for_each(|number| drop(share(&number.to_string())));
        assert!(lock(&pool.known).values.len() <= SWEEP_FROM);
        assert!(Arc::ptr_eq(&held, &share("a")));
        assert_eq!(pool.share("b", || Err::<String, _>("a fault")), Err("a fault"));
    }

    #[test]
    fn test_a_cache_keeps_what_is_asked_for_and_bounds_the_rest() {
        let cache = Cache::new(10);
        let mut made = 0;
        let mut get = |number: u32| {
            let make = || {
                made += 1;
                Ok::<_, Infallible>(number)
            };
            *cache.get(&number.to_string(), make).unwrap()
        };
        for number in 1..=100 {
            assert_eq!((get(number), get(0)), (number, 0));
        }
        assert_eq!(made, 101, "the one in use is made once");
        let generations = lock(&cache.generations);
        assert!(generations.young.len() <= 10 && generations.old.len() <= 10);
        drop(generations);
        assert_eq!(cache.get("x", || Err::<u32, _>("a fault")), Err("a fault"));
    }
}
