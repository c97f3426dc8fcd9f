//! Pure rule language: conditions, compiled rules and matching.
//!
//! [`RuleDefinition`] is what an author wrote, [`CompiledRule`] what the executor evaluates. Compiling checks everything
//! that can be known without an event and reports all of it at once; evaluating does no I/O and gets the time as a value.
//! [`Verdict`] keeps `false`, `missing` and `error` apart all the way, so that "why did it not fire?" has an answer.

pub mod compiled;
pub mod definition;
pub mod index;
mod node;
mod selections;
pub mod verdict;

pub use compiled::{CompiledRule, Evaluation, SCOPE_ROOTS, TestResult};
pub use definition::{Condition, ConditionMode, RuleDefinition, RuleProblem};
pub use index::RuleIndex;
pub use verdict::Verdict;
