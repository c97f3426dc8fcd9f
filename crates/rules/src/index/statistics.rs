//! How many different keys the rules ask for, field by field.
//!
//! This is what a good entry is told by: of a hundred thousand repositories an event reaches one, of ten kinds of webhook
//! every tenth event reaches each. The keys of all conditions count, also of those that a rule is not entered through.

use super::fingerprint::of;
use super::paths::Place;
use super::probe::Probe;
use super::trie::HashTrie;

const REGISTERS: usize = 64;

/// The keys asked for, by field and look-up.
#[derive(Debug, Clone, Default)]
pub(super) struct Statistics {
    sketches: HashTrie<Sketch>,
}

/// Flajolet's HyperLogLog: counts different keys, within about an eighth of the truth. What rules asked for once is not
/// forgotten, which does no harm: it is an estimate.
#[derive(Debug, Clone)]
struct Sketch([u8; REGISTERS]);

impl Statistics {
    /// Counts a key and estimates how many different ones its field has.
    pub(super) fn count(&mut self, place: &Place, probe: Probe, key: u64) -> u64 {
        let sketch = self.sketches.entry(of(&(place, probe)), || Sketch([0; REGISTERS]));
        sketch.add(key);
        sketch.estimate()
    }
}

impl Sketch {
    fn add(&mut self, key: u64) {
        let register = &mut self.0[(key % REGISTERS as u64) as usize];
        // At most 64.
        let rank = ((key / REGISTERS as u64).trailing_zeros() + 1).min(u64::BITS) as u8;
        *register = rank.max(*register);
    }

    fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
        let raw = 0.709 * registers * registers / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count();
        let estimate = if raw <= 2.5 * registers && empty > 0 {
            // Few keys are counted better by the registers that none of them met.
            registers * (registers / empty as f64).ln()
        } else {
            raw
        };
        estimate.round().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_estimates_are_near_the_truth() {
        for count in [1_u64, 10, 100, 1_000, 100_000] {
            let mut sketch = Sketch([0; REGISTERS]);
            // A fixed mixer, as the fingerprints are seeded: the same keys every time.
            let keys = (0..count).map(|number| (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            keys.map(|key| (key ^ (key >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)).for_each(|key| {
                sketch.add(key ^ (key >> 32));
            });
            let estimate = sketch.estimate();
            assert!((count * 6 / 10..=count * 14 / 10).contains(&estimate), "{estimate} for {count}");
        }
    }
}
