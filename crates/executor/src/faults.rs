//! What becomes of faults of Attune itself: a panic, or an error that nobody foresaw, while something is judged.
//!
//! Each panic is caught where the least is lost by it: a rule that cannot be compiled, or judged, or whose window cannot take
//! an event fails about that event, as one whose condition fails does ([`caught`]). What gets past that makes a whole pass
//! fail, which takes the same events again. [`Caution`] sees to it that this comes to an end.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use attune_common::error::{Result, StoreError};
use futures::FutureExt;

/// How often passes fail in a row until they take as little as can be taken, to tell the fault from what it only came with.
/// Something that is about to be changed back, as by whoever changes the schema, harms nothing.
const FAILURES: u32 = 3;

/// How often they fail in a row until the little that they take is given up: with the pauses after failures, some ten seconds.
const GIVING_UP: u32 = 8;

/// Does the work, or says with what words it panicked.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    // Whatever was half done is the work's own, and gone with it.
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let fault = words_of(&*panic);
        metrics::counter!("attune_judging_faults_total").increment(1);
        tracing::error!(fault, "a fault while rules were judged");
        fault
    })
}

/// A pass whose panic is an error: it is tried again, and neither other passes nor the process end with it.
pub(crate) async fn guarded<T>(pass: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(pass).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Err(StoreError::Database(sqlx::Error::InvalidArgument(words_of(&*panic)))),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a fault of Attune, please report it: {}", words.unwrap_or("a panic without words"))
}

/// Whether what was handled is the reason, so that the same will fail again. What has its reason elsewhere, as in a schema that
/// is being changed, is tried for as long as it lasts: it would fail whatever is handled.
pub(crate) fn is_lasting(error: &StoreError) -> bool {
    use sqlx::Error as E;
    // A panic, or a value that cannot be put into words for the database.
    let is_of_the_program = matches!(error, StoreError::Database(E::InvalidArgument(_) | E::Encode(_)));
    is_of_the_program || error.is_refusal()
}

/// The error and its source, to be stored.
pub(crate) fn reason_of(error: &StoreError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default()).replace('\0', "\u{fffd}")
}

/// How careful the next pass is, after what became of those before it. `T` tells what passes take, so that the failures of one
/// thing end with that thing, however many others are handled, or cannot be had, meanwhile.
#[derive(Debug)]
pub(crate) struct Caution<T> {
    /// In a row, but for what else was handled.
    failures: u32,
    /// The first of what the pass had taken that failed last.
    failing: Option<T>,
    /// So many passes take as little as can be taken: what failed may be the last of what one pass takes.
    careful: i64,
}

impl<T> Default for Caution<T> {
    fn default() -> Self {
        Self { failures: 0, failing: None, careful: 0 }
    }
}

impl<T> Caution<T> {
    /// Notes that a pass failed that had taken up to `batch`, from `first` on, while it judged and recorded that.
    pub(crate) fn failed(&mut self, error: &StoreError, first: T, batch: i64) {
        if !is_lasting(error) {
            return;
        }
        self.failures += 1;
        self.failing = Some(first);
        if self.failures >= FAILURES {
            self.careful = batch;
        }
    }

    /// Notes that a pass did its work.
    pub(crate) fn passed(&mut self) {
        self.careful = (self.careful - 1).max(0);
    }

    /// What failed last and has not been handled since, as far as is known.
    pub(crate) fn failing(&self) -> Option<&T> {
        self.failing.as_ref()
    }

    /// Notes that what had failed has been handled, by whomever. Others may be like it.
    pub(crate) fn settled(&mut self) {
        self.failures = 0;
        self.failing = None;
    }

    /// Notes that there is nothing to do, not even what another pass has taken.
    pub(crate) fn rested(&mut self) {
        *self = Self::default();
    }

    /// Whether the next pass is to take as little as it can, and to look at each decision that it records.
    pub(crate) fn is_careful(&self) -> bool {
        self.careful > 0 || self.is_giving_up()
    }

    /// Whether the next pass is to take what it handles one by one, and to give up what fails.
    pub(crate) fn is_giving_up(&self) -> bool {
        self.failures >= GIVING_UP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_panic_becomes_its_words() {
        assert_eq!(caught(|| 7), Ok(7));
        let words = "no rule is so";
        let fault = caught(|| if words.is_empty() { 7 } else { panic!("{words}") });
        assert_eq!(fault, Err("a fault of Attune, please report it: no rule is so".to_owned()));
    }

    #[tokio::test]
    async fn test_a_pass_that_panics_has_failed() {
        let words = "nobody has seen this";
        let pass = guarded(async { if words.is_empty() { Ok(7) } else { panic!("{words}") } });
        let error = pass.await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "a fault of Attune, please report it: nobody has seen this");
        assert_eq!(guarded(async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn test_what_fails_again_and_again_is_taken_alone_and_then_given_up() {
        let fault = || StoreError::Database(sqlx::Error::InvalidArgument("odd".to_owned()));
        let elsewhere = [
            StoreError::Unavailable(sqlx::Error::PoolTimedOut),
            StoreError::Database(sqlx::Error::ColumnNotFound("of another version".to_owned())),
        ];
        let mut caution = Caution::default();
        let mut fail = |times: u32| {
            for _ in 0..times {
                caution.failed(&fault(), 7, 20);
                elsewhere.iter().for_each(|error| caution.failed(error, 8, 20));
                // That others are handled changes nothing.
                caution.passed();
            }
            (caution.is_careful(), caution.is_giving_up())
        };
        assert_eq!(fail(FAILURES - 1), (false, false));
        assert_eq!(fail(1), (true, false));
        assert_eq!(fail(GIVING_UP - FAILURES), (true, true));
        assert_eq!(caution.failing(), Some(&7));
        caution.settled();
        assert_eq!((caution.is_careful(), caution.is_giving_up()), (true, false), "others may be like it");
        for _ in 0..20 {
            caution.passed();
        }
        assert!(!caution.is_careful());
        caution.failed(&fault(), 9, 20);
        caution.rested();
        assert_eq!((caution.failures, caution.failing(), caution.careful), (0, None, 0));
    }
}
