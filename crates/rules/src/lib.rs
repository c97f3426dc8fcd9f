//! Pure rule language: conditions, compiled rules and matching.
//!
//! [`RuleDefinition`] is what an author wrote, [`CompiledRule`] what the executor evaluates. Compiling checks everything
//! that can be known without an event and reports all of it at once; evaluating does no I/O and gets the time as a value.
//! [`check`](check::check) finds what can be wrong all the same, given what the trigger says of its events.
//! A rule with a [`Window`] decides about several events; its arithmetic is [`window::step`].
//! [`Verdict`] keeps `false`, `missing` and `error` apart all the way, so that "why did it not fire?" has an answer: a
//! [`Judgement`].

pub mod backtest;
pub mod check;
pub mod compiled;
pub mod definition;
pub mod explanation;
pub mod index;
pub mod keys;
mod node;
mod selections;
pub mod settings;
pub mod verdict;
pub mod webhook;
pub mod window;

pub use check::{TriggerSchemas, check};
pub use compiled::{CompiledRule, ConditionPlace, Evaluation, SCOPE_ROOTS, TestResult};
pub use definition::{Condition, ConditionMode, RuleDefinition, RuleProblem};
pub use explanation::{
    EventFields, Judgement, Outcome, Recorded, RenderingError, RuleFields, SeenEvent, Standing, Subject,
    WindowJudgement, outcome,
};
pub use index::RuleIndex;
pub use settings::{Settings, SettingsOf, check_settings};
pub use verdict::Verdict;
pub use window::{CompiledWindow, Window};
