//! Outcomes that keep "it is not so" apart from "there is nothing to judge" and "it could not be judged".
//!
//! Outcomes combine as in Kleene's logic with two kinds of unknown. A decided outcome wins wherever the unknown could not
//! change it; otherwise the unknown stays, an error before a missing field, because it needs somebody's attention:
//!
//! | | wins over everything | then | then | else |
//! |---|---|---|---|---|
//! | all | `False` | `Error` | `Missing` | `True` |
//! | any | `True` | `Error` | `Missing` | `False` |
//!
//! `not` swaps `True` and `False` and keeps the unknown. A rule fires on `True` only.

use std::fmt;
use std::ops::Not;

use serde::{Deserialize, Serialize};

/// The outcome of a condition or a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// The field does not exist.
    Missing,
    /// It could not be judged: a value of the wrong type, a failing expression.
    Error,
}

impl Verdict {
    /// The outcome of "all of these"; stops at the first `False`. All of nothing is `True`.
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        Self::combine(verdicts, Self::False, Self::True)
    }

    /// The outcome of "any of these"; stops at the first `True`. Any of nothing is `False`.
    pub fn any(verdicts: impl IntoIterator<Item = Self>) -> Self {
        Self::combine(verdicts, Self::True, Self::False)
    }

    fn combine(verdicts: impl IntoIterator<Item = Self>, winning: Self, neutral: Self) -> Self {
        let mut combined = neutral;
        for verdict in verdicts {
            if verdict == winning {
                return winning;
            }
            combined = match (combined, verdict) {
                (Self::Error, _) | (_, Self::Error) => Self::Error,
                (Self::Missing, _) | (_, Self::Missing) => Self::Missing,
                _ => neutral,
            };
        }
        combined
    }
}

impl From<bool> for Verdict {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

impl Not for Verdict {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            unknown @ (Self::Missing | Self::Error) => unknown,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::True => "true",
            Self::False => "false",
            Self::Missing => "missing",
            Self::Error => "error",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Verdict::{self, Error, False, Missing, True};

    #[test]
    fn test_all_and_any_follow_the_documented_table() {
        for (verdicts, all, any) in [
            (vec![], True, False),
            (vec![True, True], True, True),
            (vec![True, False], False, True),
            (vec![False, Missing, Error], False, Error),
            (vec![True, Missing, Error], Error, True),
            (vec![True, Missing], Missing, True),
            (vec![False, Missing], False, Missing),
            (vec![Missing, Error], Error, Error),
        ] {
            assert_eq!(Verdict::all(verdicts.clone()), all, "all {verdicts:?}");
            assert_eq!(Verdict::any(verdicts.clone()), any, "any {verdicts:?}");
        }
        assert_eq!([True, False, Missing, Error].map(|verdict| !verdict), [False, True, Missing, Error]);
    }

    #[test]
    fn test_combining_stops_at_the_winner() {
        let mut seen = 0;
        let mut counted = [True, False, Error].into_iter().inspect(|_| seen += 1);
        assert_eq!(Verdict::all(&mut counted), False);
        assert_eq!(seen, 2);
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(True), Just(False), Just(Missing), Just(Error)]
    }

    proptest! {
        #[test]
        fn prop_order_does_not_matter(mut verdicts in proptest::collection::vec(any_verdict(), 0..8)) {
            let (all, any) = (Verdict::all(verdicts.clone()), Verdict::any(verdicts.clone()));
            verdicts.reverse();
            prop_assert_eq!(Verdict::all(verdicts.clone()), all);
            prop_assert_eq!(Verdict::any(verdicts), any);
        }

        #[test]
        fn prop_de_morgan_and_double_negation(verdicts in proptest::collection::vec(any_verdict(), 0..8)) {
            let negated: Vec<_> = verdicts.iter().map(|verdict| !*verdict).collect();
            prop_assert_eq!(!Verdict::all(verdicts.clone()), Verdict::any(negated.clone()));
            prop_assert_eq!(!Verdict::any(verdicts.clone()), Verdict::all(negated));
            for verdict in verdicts {
                prop_assert_eq!(!!verdict, verdict);
            }
        }

        #[test]
        fn prop_grouping_does_not_matter(
            left in proptest::collection::vec(any_verdict(), 0..5),
            right in proptest::collection::vec(any_verdict(), 0..5),
        ) {
            let together = [left.clone(), right.clone()].concat();
            let all = [Verdict::all(left.clone()), Verdict::all(right.clone())];
            let any = [Verdict::any(left), Verdict::any(right)];
            prop_assert_eq!(Verdict::all(all), Verdict::all(together.clone()));
            prop_assert_eq!(Verdict::any(any), Verdict::any(together));
        }

        /// What is decided stays decided whatever the unknown turns out to be: the heart of Kleene's logic.
        #[test]
        fn prop_decisions_survive_learning(
            verdicts in proptest::collection::vec(any_verdict(), 0..8),
            truths in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let learned: Vec<_> = verdicts.iter().zip(truths).map(|(verdict, truth)| match verdict {
                Missing | Error => Verdict::from(truth),
                known => *known,
            }).collect();
            for combine in [|v: Vec<Verdict>| Verdict::all(v), |v: Vec<Verdict>| Verdict::any(v)] {
                let before = combine(verdicts.clone());
                if matches!(before, True | False) {
                    prop_assert_eq!(combine(learned.clone()), before);
                }
            }
        }
    }
}
