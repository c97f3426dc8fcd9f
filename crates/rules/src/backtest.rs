//! What a rule would have made of recorded events: how often and when it would have fired, why it would not, and in what
//! it differs from another version of itself.
//!
//! Judged is what the executor judges, by the same code, with the time of the event as the current time. Events come as
//! the JSON text that the database has; of a payload only what the rules touch is read ([`Projection`]), which changes no
//! verdict. Memory is bounded, however many events there are.

use std::collections::BTreeMap;
use std::fmt;

use attune_expr::projection::Projection;
use attune_expr::schema::ParameterSchema;
use attune_expr::scope::Scope;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::compiled::{CompiledRule, ConditionPlace};
use crate::verdict::Verdict;

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
    pub fired: u64,
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
    pub created: DateTime<Utc>,
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
pub struct Backtest {
    draft: Trial,
    live: Option<Trial>,
    event: Reader,
    until: DateTime<Utc>,
    examples: usize,
    shown_config: ConfigMask,
    conditions: Vec<ConditionCounts>,
    report: Report,
}

/// What a rule makes of an event.
enum Outcome {
    Fires(Value),
    Fails(String),
    False,
    Missing,
    Unheard,
}

#[derive(Debug)]
struct Trial {
    subject: Subject,
    /// What the parameters touch of the payload.
    parameters: Projection,
    counts: Counts,
}

impl Backtest {
    pub fn new(options: Options) -> Self {
        let Options { rule, live, since, until, examples, shown_config } = options;
        let mut judged = Projection::default();
        let mut rendered = Projection::default();
        let mut compares_config = false;
        for subject in std::iter::once(&rule).chain(&live) {
            judged.merge(&Projection::of(&subject.rule.condition_fields()));
            rendered.merge(&Projection::of(&subject.rule.parameter_fields()));
            compares_config |= subject.rule.has_trigger_params();
        }
        let conditions = rule.rule.conditions().into_iter().map(ConditionCounts::of).collect();
        let bar_seconds = bar_width(until - since);
        Self {
            event: Reader::new(&judged, &rendered, compares_config, rule.rule.trigger_ref()),
            draft: Trial::new(rule),
            live: live.map(Trial::new),
            until,
            examples,
            shown_config,
            conditions,
            report: Report {
                events: 0,
                counts: Counts::default(),
                conditions: Vec::new(),
                bar_seconds,
                bars: BTreeMap::new(),
                fired: Vec::new(),
                failed: Vec::new(),
                comparison: None,
            },
        }
    }

    /// Which parts of events must be given.
    pub fn needs(&self) -> Needs {
        self.event.needs
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
        let scope = event.scope();
        let verdict = draft.tally(&scope, event.config(), recorded.created, conditions);
        let live_verdict = live.as_ref().map(|live| live.verdict(&scope, event.config(), recorded.created));
        let outcome = self.draft.outcome(verdict, &mut self.event, recorded)?;
        self.draft.counts.count(&outcome);
        if self.report.fired.len() < self.examples && matches!(outcome, Outcome::Fires(_)) {
            let shown = self.event.with_config(&self.shown_config, |scope| self.draft.fire(scope));
            let outcome = match shown {
                Outcome::Fires(parameters) => Ok(parameters),
                // Only the masked secret does not fit.
                _ => Ok(Value::Null),
            };
            let (event, created) = (recorded.id, recorded.created);
            self.report.fired.push(Example { event, created, outcome });
        }
        let live_outcome = match (&mut self.live, live_verdict) {
            (Some(live), Some(verdict)) => {
                let outcome = live.outcome(verdict, &mut self.event, recorded)?;
                live.counts.count(&outcome);
                Some(outcome)
            }
            _ => None,
        };
        self.note(recorded, outcome, live_outcome);
        Ok(())
    }

    /// What came of it.
    pub fn finish(self) -> Report {
        let Self { draft, live, conditions, mut report, .. } = self;
        report.counts = draft.counts;
        report.conditions = conditions;
        if let Some(live) = live {
            report.comparison.get_or_insert_default().live = live.counts;
        }
        report
    }

    fn note(&mut self, recorded: &Recorded<'_>, outcome: Outcome, live: Option<Outcome>) {
        let Self { report, examples, .. } = self;
        let width = report.bar_seconds;
        let begins = recorded.created.min(self.until).timestamp().div_euclid(width) * width;
        let mut bar = |change: fn(&mut Bar)| change(report.bars.entry(begins).or_default());
        match &outcome {
            Outcome::Fires(_) => bar(|bar| bar.fired += 1),
            Outcome::Fails(_) => bar(|bar| bar.failed += 1),
            Outcome::False | Outcome::Missing | Outcome::Unheard => {}
        }
        if matches!(live, Some(Outcome::Fires(_))) {
            bar(|bar| bar.live += 1);
        }
        if let Some(live) = &live {
            let comparison = report.comparison.get_or_insert_default();
            let add = |difference: &mut Difference| {
                difference.count += 1;
                if difference.events.len() < *examples {
                    difference.events.push(recorded.id);
                }
            };
            match (&outcome, live) {
                (Outcome::Fires(draft), Outcome::Fires(live)) => {
                    add(&mut comparison.both);
                    if draft != live {
                        add(&mut comparison.changed);
                    }
                }
                (Outcome::Fires(_), _) => add(&mut comparison.only_draft),
                (_, Outcome::Fires(_)) => add(&mut comparison.only_live),
                _ => {}
            }
        }
        if let Outcome::Fails(reason) = outcome
            && report.failed.len() < *examples
        {
            let (event, created) = (recorded.id, recorded.created);
            report.failed.push(Example { event, created, outcome: Err(reason) });
        }
    }
}

impl Trial {
    fn new(subject: Subject) -> Self {
        let fields = Projection::of(&subject.rule.parameter_fields());
        let parameters = touched(&fields, "payload").cloned().unwrap_or_default();
        Self { subject, parameters, counts: Counts::default() }
    }

    /// The verdict of the conditions; `None` when the rule does not listen to the event.
    fn verdict(&self, scope: &Scope<'_>, config: &Value, now: DateTime<Utc>) -> Option<Verdict> {
        let rule = &self.subject.rule;
        let scope = scope.clone().with("rule", &self.subject.view);
        rule.listens_to(config).then(|| rule.verdict(&scope, now))
    }

    /// The verdict with every condition counted.
    fn tally(
        &self,
        scope: &Scope<'_>,
        config: &Value,
        now: DateTime<Utc>,
        conditions: &mut [ConditionCounts],
    ) -> Option<Verdict> {
        let rule = &self.subject.rule;
        let scope = scope.clone().with("rule", &self.subject.view);
        let count = |number: usize, verdict| conditions[number].count(verdict);
        rule.listens_to(config).then(|| rule.tally(&scope, now, count))
    }

    fn outcome(
        &self,
        verdict: Option<Verdict>,
        event: &mut Reader,
        recorded: &Recorded<'_>,
    ) -> Result<Outcome, Unreadable> {
        Ok(match verdict {
            None => Outcome::Unheard,
            Some(Verdict::False) => Outcome::False,
            Some(Verdict::Missing) => Outcome::Missing,
            // The reasons of a failure are about values as they are in full.
            Some(Verdict::Error) => {
                event.read_payload(recorded, None)?;
                let scope = event.scope().with("rule", &self.subject.view);
                Outcome::Fails(self.subject.rule.reason_of_error(&scope, recorded.created))
            }
            Some(Verdict::True) => {
                event.read_payload(recorded, Some(&self.parameters))?;
                self.fire(&event.scope())
            }
        })
    }

    fn fire(&self, scope: &Scope<'_>) -> Outcome {
        let scope = scope.clone().with("rule", &self.subject.view);
        let rendered = match self.subject.rule.render_parameters(&scope) {
            Ok(rendered) => rendered,
            Err(error) => return Outcome::Fails(format!("the parameters cannot be rendered: {error}")),
        };
        let Some(schema) = &self.subject.schema else { return Outcome::Fires(rendered) };
        match schema.check(rendered) {
            Ok(parameters) => Outcome::Fires(parameters),
            Err(violations) => {
                let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
                let action = self.subject.rule.action_ref();
                Outcome::Fails(format!("the parameters do not fit {action}: {}", reasons.join("; ")))
            }
        }
    }
}

/// The roots of the scope, filled anew for every event, as far as the rules touch them.
#[derive(Debug)]
struct Reader {
    needs: Needs,
    /// What the conditions touch of the payload.
    payload: Projection,
    id: bool,
    created: bool,
    event: Value,
    trigger: Value,
    /// The text of the config that `trigger` holds: of most triggers it is the same for every event.
    config_text: Vec<u8>,
}

impl Reader {
    fn new(judged: &Projection, rendered: &Projection, compares_config: bool, trigger_ref: &str) -> Self {
        let touches = |member: &str| touched(judged, member).is_some() || touched(rendered, member).is_some();
        let of_trigger = |projection: &Projection| {
            projection.member("trigger").and_then(|trigger| trigger.member("config")).is_some()
        };
        Self {
            needs: Needs {
                config: compares_config || of_trigger(judged) || of_trigger(rendered),
                headers: touches("headers"),
                origin: touches("source") || touches("trace_id"),
            },
            payload: touched(judged, "payload").cloned().unwrap_or_default(),
            id: touches("id"),
            created: touches("created"),
            event: json!({
                "id": null,
                "trigger": trigger_ref,
                "payload": null,
                "headers": null,
                "source": null,
                "trace_id": null,
                "created": null,
            }),
            trigger: json!({ "ref": trigger_ref, "config": {} }),
            config_text: b"{}".to_vec(),
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope::new().with("event", &self.event).with("trigger", &self.trigger)
    }

    /// Works with the scope in which the config is masked.
    fn with_config<T>(&mut self, mask: &ConfigMask, work: impl FnOnce(&Scope<'_>) -> T) -> T {
        if !self.needs.config {
            return work(&self.scope());
        }
        let config = self.trigger["config"].clone();
        self.trigger["config"] = (mask.0)(config.clone());
        let outcome = work(&self.scope());
        self.trigger["config"] = config;
        outcome
    }

    fn config(&self) -> &Value {
        &self.trigger["config"]
    }

    /// Takes the event, of its payload what the conditions touch.
    fn read(&mut self, recorded: &Recorded<'_>) -> Result<(), Unreadable> {
        let unreadable = |part| move |source| Unreadable { event: recorded.id, part, source };
        self.event["payload"] = self.payload.read(recorded.payload).map_err(unreadable("the payload"))?;
        if self.needs.headers {
            let headers = recorded.headers.map(serde_json::from_slice).transpose();
            self.event["headers"] = headers.map_err(unreadable("the headers"))?.unwrap_or_default();
        }
        if self.needs.origin {
            self.event["source"] = recorded.source.into();
            self.event["trace_id"] = recorded.trace_id.into();
        }
        if self.id {
            self.event["id"] = recorded.id.into();
        }
        if self.created {
            self.event["created"] = recorded.created.to_rfc3339().into();
        }
        if self.needs.config
            && let Some(config) = recorded.config
            && config != self.config_text
        {
            self.trigger["config"] = serde_json::from_slice(config).map_err(unreadable("the config"))?;
            config.clone_into(&mut self.config_text);
        }
        Ok(())
    }

    /// Takes another part of the payload; all of it where no part is named.
    fn read_payload(&mut self, recorded: &Recorded<'_>, part: Option<&Projection>) -> Result<(), Unreadable> {
        let read = match part {
            Some(part) => part.read(recorded.payload),
            None => serde_json::from_slice(recorded.payload),
        };
        let unreadable = |source| Unreadable { event: recorded.id, part: "the payload", source };
        self.event["payload"] = read.map_err(unreadable)?;
        Ok(())
    }
}

/// What is touched of a member of the event.
fn touched<'p>(projection: &'p Projection, member: &str) -> Option<&'p Projection> {
    projection.member("event").and_then(|event| event.member(member))
}

fn bar_width(span: TimeDelta) -> i64 {
    let fits = |width: &&i64| span.num_seconds() / **width < BARS;
    let widest = WIDTHS.last().copied().unwrap_or(1);
    WIDTHS.iter().find(fits).copied().unwrap_or_else(|| (span.num_seconds() / BARS / widest + 1) * widest)
}

impl Counts {
    /// Events that the rule listens to.
    pub fn heard(&self) -> u64 {
        self.fired + self.r#false + self.missing + self.failed
    }

    fn count(&mut self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Fires(_) => &mut self.fired,
            Outcome::Fails(_) => &mut self.failed,
            Outcome::False => &mut self.r#false,
            Outcome::Missing => &mut self.missing,
            Outcome::Unheard => &mut self.unheard,
        };
        *counter += 1;
    }
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
