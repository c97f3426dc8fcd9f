//! What a rule would have made of recorded events: how often and when it would have fired, why it would not, and in what
//! it differs from another version of itself.
//!
//! Judged is what the executor judges, by the same code, with the time of the event as the current time. Events come as
//! the JSON text that the database has; of a payload only what the rules touch is read ([`reader`]), which changes no
//! verdict. Windows are simulated on the time of the events ([`trial`]). Memory does not grow with the number of events,
//! only with what windows hold at one time.

mod reader;
mod trial;

use std::collections::BTreeMap;
use std::fmt;

use attune_expr::schema::ParameterSchema;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::compiled::{CompiledRule, ConditionPlace};
use crate::verdict::Verdict;

use reader::Reader;
use trial::{Decision, Trial};

/// Bars of the histogram at most.
const BARS: i64 = 60;

/// Widths of a bar, in seconds; the last is multiplied where even it is too narrow.
const WIDTHS: &[i64] = &[
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800,
];

/// A rule to be tried.
#[derive(Debug)]
pub struct Subject {
    pub rule: CompiledRule,
    /// The rule as its templates see it.
    pub view: Value,
    /// What the parameters must fit; `None` when the action is not known.
    pub schema: Option<ParameterSchema>,
}

/// A recorded event. JSON is text as the database has it.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'e> {
    pub id: i64,
    pub created: DateTime<Utc>,
    pub payload: &'e [u8],
    /// Needed where [`Needs::config`] says so, as the members below where theirs do.
    pub config: Option<&'e [u8]>,
    pub headers: Option<&'e [u8]>,
    pub source: Option<&'e str>,
    pub trace_id: Option<&'e str>,
}

/// Which parts of events matter besides their payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    pub config: bool,
    pub headers: bool,
    /// Source and trace id.
    pub origin: bool,
}

/// What a back-test is about.
#[derive(Debug)]
pub struct Options {
    /// The draft.
    pub rule: Subject,
    /// The version in force, to compare with.
    pub live: Option<Subject>,
    /// Events are from this time on ...
    pub since: DateTime<Utc>,
    /// ... and before this one.
    pub until: DateTime<Utc>,
    /// How many examples of each kind are kept.
    pub examples: usize,
    /// What the parameters of examples see of the event's config.
    pub shown_config: ConfigMask,
}

/// The config of an event as it may be shown.
pub struct ConfigMask(pub Box<dyn Fn(Value) -> Value + Send>);

impl fmt::Debug for ConfigMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigMask(..)")
    }
}

/// What came of a back-test.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Events that were judged.
    pub events: u64,
    pub counts: Counts,
    /// How each condition came out, over the events that the rule listens to.
    pub conditions: Vec<ConditionCounts>,
    /// The width of a bar in seconds, and the bars with something in them, by the time at which they begin.
    pub bar_seconds: i64,
    pub bars: BTreeMap<i64, Bar>,
    pub fired: Vec<Example>,
    pub failed: Vec<Example>,
    pub comparison: Option<Comparison>,
}

/// Events by what a rule made of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions to run the action. With a window, that may be more or fewer than the events that met its conditions.
    pub fired: u64,
    /// Events that a window took without firing at once.
    pub held: u64,
    /// The conditions do not hold.
    pub r#false: u64,
    /// A field that decides does not exist.
    pub missing: u64,
    /// A condition cannot be judged, or the parameters cannot be rendered or do not fit the action.
    pub failed: u64,
    /// The rule does not listen to such an event.
    pub unheard: u64,
}

/// How often one condition came out how, before any `not` around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionCounts {
    pub place: ConditionPlace,
    pub r#true: u64,
    pub r#false: u64,
    pub missing: u64,
    pub error: u64,
}

/// What happened within one span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bar {
    pub fired: u64,
    pub failed: u64,
    /// How often the version in force fires.
    pub live: u64,
}

/// An event on which a rule fires or fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    pub event: i64,
    /// The time of the event, or that at which a window fires about it later.
    pub at: DateTime<Utc>,
    /// The rendered parameters; where the rule fails, the reason.
    pub outcome: Result<Value, String>,
}

/// The difference to the version in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    pub live: Counts,
    pub both: Difference,
    /// Both fire, with different parameters; counted in `both` as well.
    pub changed: Difference,
    pub only_draft: Difference,
    pub only_live: Difference,
}

/// How many events, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub count: u64,
    pub events: Vec<i64>,
}

/// Why the events cannot be judged.
#[derive(Debug, thiserror::Error)]
#[error("event {event}: {part} is not JSON")]
pub struct Unreadable {
    pub event: i64,
    pub part: &'static str,
    pub source: serde_json::Error,
}

/// A back-test under way.
#[derive(Debug)]
pub struct Backtest<'o> {
    options: &'o Options,
    draft: Trial<'o>,
    live: Option<Trial<'o>>,
    event: Reader,
    conditions: Vec<ConditionCounts>,
    /// Events on which one version fires, until it is certain whether the other one does.
    undecided: BTreeMap<(DateTime<Utc>, i64), Pair>,
    /// How long that may take.
    settling: TimeDelta,
    report: Report,
}

/// The parameters of each version that fires.
#[derive(Debug, Default)]
struct Pair {
    draft: Option<Value>,
    live: Option<Value>,
}

impl Options {
    /// Which parts of events must be given.
    pub fn needs(&self) -> Needs {
        Reader::new(self).needs
    }
}

impl<'o> Backtest<'o> {
    pub fn new(options: &'o Options) -> Self {
        let draft = Trial::new(&options.rule);
        let live = options.live.as_ref().map(Trial::new);
        let settling = live.as_ref().map_or(draft.settling(), |live| live.settling().max(draft.settling()));
        Self {
            options,
            draft,
            event: Reader::new(options),
            conditions: options.rule.rule.conditions().into_iter().map(ConditionCounts::of).collect(),
            undecided: BTreeMap::new(),
            settling,
            report: Report {
                events: 0,
                counts: Counts::default(),
                conditions: Vec::new(),
                bar_seconds: bar_width(options.until - options.since),
                bars: BTreeMap::new(),
                fired: Vec::new(),
                failed: Vec::new(),
                comparison: live.is_some().then(Comparison::default),
            },
            live,
        }
    }

    /// How many events were judged so far.
    pub fn events(&self) -> u64 {
        self.report.events
    }

    /// Judges the next event; they come in the order in which they were recorded.
    pub fn judge(&mut self, recorded: &Recorded<'_>) -> Result<(), Unreadable> {
        self.event.read(recorded)?;
        self.report.events += 1;
        let Self { draft, live, event, conditions, .. } = self;
        let verdict = draft.tally(event, recorded.created, conditions);
        let live_verdict = live.as_ref().map(|live| live.verdict(event, recorded.created));
        let decisions = self.draft.take(verdict, &mut self.event, recorded)?;
        self.note(decisions);
        if let (Some(live), Some(verdict)) = (&mut self.live, live_verdict) {
            let decisions = live.take(verdict, &mut self.event, recorded)?;
            self.note_live(decisions);
        }
        if !self.undecided.is_empty() {
            self.compare(recorded.created - self.settling);
        }
        Ok(())
    }

    /// What came of it.
    pub fn finish(mut self) -> Report {
        let decisions = self.draft.finish(self.options.until);
        self.note(decisions);
        if let Some(live) = &mut self.live {
            let decisions = live.finish(self.options.until);
            self.note_live(decisions);
        }
        self.compare(DateTime::<Utc>::MAX_UTC);
        let Self { draft, live, conditions, mut report, .. } = self;
        report.counts = draft.counts;
        report.conditions = conditions;
        if let (Some(live), Some(comparison)) = (live, &mut report.comparison) {
            comparison.live = live.counts;
        }
        report
    }

    fn note(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            let Decision { event, created, at, outcome, masked } = decision;
            let examples = self.options.examples;
            match outcome {
                Ok(parameters) => {
                    self.bar(at).fired += 1;
                    if self.report.fired.len() < examples {
                        let shown = match masked {
                            Some(masked) => masked.render(&self.options.shown_config, &self.draft),
                            None => parameters.clone(),
                        };
                        self.report.fired.push(Example { event, at, outcome: Ok(shown) });
                    }
                    if self.live.is_some() {
                        self.undecided.entry((created, event)).or_default().draft = Some(parameters);
                    }
                }
                Err(reason) => {
                    self.bar(at).failed += 1;
                    if self.report.failed.len() < examples {
                        self.report.failed.push(Example { event, at, outcome: Err(reason) });
                    }
                }
            }
        }
    }

    fn note_live(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            if let Ok(parameters) = decision.outcome {
                self.bar(decision.at).live += 1;
                let pair = self.undecided.entry((decision.created, decision.event)).or_default();
                pair.live = Some(parameters);
            }
        }
    }

    fn bar(&mut self, at: DateTime<Utc>) -> &mut Bar {
        let width = self.report.bar_seconds;
        self.report.bars.entry(at.timestamp().div_euclid(width) * width).or_default()
    }

    /// Compares what the versions made of the events up to this time.
    fn compare(&mut self, until: DateTime<Utc>) {
        let Some(comparison) = &mut self.report.comparison else { return };
        let examples = self.options.examples;
        while let Some(entry) = self.undecided.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((_, event), pair) = entry.remove_entry();
            let add = |difference: &mut Difference| {
                difference.count += 1;
                if difference.events.len() < examples {
                    difference.events.push(event);
                }
            };
            match (pair.draft, pair.live) {
                (Some(draft), Some(live)) => {
                    add(&mut comparison.both);
                    if draft != live {
                        add(&mut comparison.changed);
                    }
                }
                (Some(_), None) => add(&mut comparison.only_draft),
                (None, Some(_)) => add(&mut comparison.only_live),
                (None, None) => {}
            }
        }
    }
}

fn bar_width(span: TimeDelta) -> i64 {
    let fits = |width: &&i64| span.num_seconds() / **width < BARS;
    let widest = WIDTHS.last().copied().unwrap_or(1);
    WIDTHS.iter().find(fits).copied().unwrap_or_else(|| (span.num_seconds() / BARS / widest + 1) * widest)
}

impl ConditionCounts {
    fn of(place: ConditionPlace) -> Self {
        Self { place, r#true: 0, r#false: 0, missing: 0, error: 0 }
    }

    fn count(&mut self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::True => &mut self.r#true,
            Verdict::False => &mut self.r#false,
            Verdict::Missing => &mut self.missing,
            Verdict::Error => &mut self.error,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_bars_are_as_narrow_as_there_is_room_for() {
        let check = |span: TimeDelta, expect: i64| assert_eq!(bar_width(span), expect, "{span}");
        check(TimeDelta::zero(), 1);
        check(TimeDelta::seconds(59), 1);
        check(TimeDelta::seconds(60), 2);
        check(TimeDelta::hours(1), 120);
        check(TimeDelta::days(7), 10_800);
        check(TimeDelta::days(365), 604_800);
        check(TimeDelta::days(3650), 9 * 604_800);
    }
}
