//! What rules would have made of recorded events, were the plan carried out.

use std::collections::BTreeSet;
use std::time::Duration;

use attune_client::types::{
    BacktestDifference, BacktestReport, BacktestRequest, KeptEdit, PackPlan, PackPlans, PlannedChange,
    RuleRequest, RuleView,
};
use attune_client::{Client, ClientError};
use attune_pack::PackDefinition;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::super::install::Packs;
use crate::commands::rule::request_of;

/// How far back the events of a plan go where nobody says.
const LAST_DAYS: chrono::Days = chrono::Days::new(3);
/// For how long all rules of such a plan are tried at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Members of a rule that say when it fires and what its action gets.
const BEHAVIOUR: &[&str] = &[
    "enabled",
    "mode",
    "trigger",
    "trigger_params",
    "condition",
    "conditions",
    "window",
    "action",
    "action_params",
    "config",
];
/// Those among them that no back-test judges by.
const SWITCHES: &[&str] = &["enabled", "mode", "config"];
/// How many events are named of each kind.
const EXAMPLES: usize = 5;

/// What a rule would have made of recorded events, compared with the one in force.
#[derive(Debug, Serialize)]
pub(super) struct Behaviour {
    rule: String,
    since: DateTime<Utc>,
    /// Events of its trigger.
    events: u64,
    /// How often the rule in force fires.
    before: u64,
    /// How often the new one fires.
    after: u64,
    only_before: Difference,
    only_after: Difference,
    /// Both fire, with other parameters.
    other_parameters: Difference,
    /// Why it was not, or not wholly, tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Difference {
    count: u64,
    /// The first of them.
    events: Vec<i64>,
}

impl Behaviour {
    /// Of a rule that was not tried.
    fn untried(rule: &str, since: DateTime<Utc>) -> Self {
        Self {
            rule: rule.to_owned(),
            since,
            events: 0,
            before: 0,
            after: 0,
            only_before: Difference::default(),
            only_after: Difference::default(),
            other_parameters: Difference::default(),
            notes: Vec::new(),
        }
    }

    /// Whether there is a difference, or may be one.
    fn differs(&self) -> bool {
        let differences = [&self.only_before, &self.only_after, &self.other_parameters];
        !self.notes.is_empty() || differences.iter().any(|difference| difference.count > 0)
    }

    /// What people are shown of it.
    pub(super) fn text(&self) -> String {
        let events = |difference: &Difference| {
            let ids: Vec<String> = difference.events.iter().map(i64::to_string).collect();
            let more = if difference.count > difference.events.len() as u64 { ", ..." } else { "" };
            if ids.is_empty() { String::new() } else { format!(" (events {}{more})", ids.join(", ")) }
        };
        let Self { rule, before, after, .. } = self;
        let mut text = match self.events {
            0 => format!("rule {rule}: no events\n"),
            1 => format!("rule {rule}: fires on {after} of 1 event, before on {before}\n"),
            count => format!("rule {rule}: fires on {after} of {count} events, before on {before}\n"),
        };
        for (what, difference) in [
            ("would fire and does not now", &self.only_after),
            ("would no longer fire", &self.only_before),
            ("would fire with other parameters", &self.other_parameters),
        ] {
            if difference.count > 0 {
                text.push_str(&format!("  {what}: {}{}\n", difference.count, events(difference)));
            }
        }
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        text
    }
}

/// The events that rules are tried on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span {
    /// Those of the last days from this time on, as far as that is soon done.
    LastDays(DateTime<Utc>),
    /// Those from a time on that somebody has asked for.
    Since(DateTime<Utc>),
}

impl Span {
    pub(super) fn last_days(now: DateTime<Utc>) -> Self {
        Self::LastDays(now - LAST_DAYS)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) rules: Vec<Behaviour>,
    /// Why rules were not tried.
    pub(super) notes: Vec<String>,
}

/// Tries the rules that would be others, and those that would not but whose actions would take other parameters. What keeps
/// a rule from being tried is noted: the plan stands all the same.
pub(super) async fn try_rules(
    client: &Client,
    packs: &Packs,
    plans: &PackPlans,
    span: Span,
) -> anyhow::Result<Tried> {
    let definitions: Vec<PackDefinition> =
        plans.packs.iter().filter_map(|plan| packs.definition(&plan.pack_ref)).collect();
    let (since, deadline) = match span {
        Span::LastDays(since) => (since, Some(Instant::now() + PATIENCE)),
        Span::Since(since) => (since, None),
    };
    let trial = Trial { client, definitions: &definitions, since, deadline };
    let mut tried = Tried::default();
    let changed = plans.packs.iter().flat_map(|plan| plan.changes.iter().map(move |change| (plan, change)));
    let rules: Vec<_> = changed.filter(|(_, change)| change.kind == "rule").collect();
    let mut candidates: Vec<Candidate<'_>> = rules
        .iter()
        .filter(|(_, change)| is_behaviour(change))
        .map(|(plan, change)| Candidate::Changed { plan, change })
        .collect();
    let known: BTreeSet<&str> = rules.iter().map(|(_, change)| change.component.as_str()).collect();
    match trial.users(plans, &known).await {
        Ok(users) => candidates.extend(users.into_iter().map(|rule| Candidate::User(Box::new(rule)))),
        Err(stop) => {
            tried.notes.push(stop.note(&candidates));
            return Ok(tried);
        }
    }
    for (at, candidate) in candidates.iter().enumerate() {
        match trial.of(candidate).await? {
            Ok(behaviour) => tried.rules.extend(behaviour),
            Err(stop) => {
                tried.notes.push(stop.note(&candidates[at..]));
                break;
            }
        }
    }
    Ok(tried)
}

/// A rule that may behave differently.
#[derive(Debug)]
enum Candidate<'p> {
    /// It would be another.
    Changed { plan: &'p PackPlan, change: &'p PlannedChange },
    /// It stays as it is, and its action would take other parameters.
    User(Box<RuleView>),
}

impl Candidate<'_> {
    fn rule(&self) -> &str {
        match self {
            Self::Changed { change, .. } => &change.component,
            Self::User(rule) => &rule.rule_ref,
        }
    }
}

/// Why no further rule is tried.
#[derive(Debug)]
enum Stop {
    Failed(ClientError),
    /// It would take too long.
    Late,
}

impl Stop {
    /// What it means for these rules.
    fn note(&self, rules: &[Candidate<'_>]) -> String {
        let rules: Vec<&str> = rules.iter().map(Candidate::rule).collect();
        let whose = if rules.is_empty() { String::new() } else { format!(" ({})", rules.join(", ")) };
        match self {
            Self::Failed(error) => format!("rules were not tried on recorded events{whose}: {error}"),
            Self::Late => format!(
                "not all rules were tried on recorded events{whose}: it takes more than {} s; --since 3d waits for it",
                PATIENCE.as_secs()
            ),
        }
    }
}

struct Trial<'t> {
    client: &'t Client,
    definitions: &'t [PackDefinition],
    since: DateTime<Utc>,
    /// None: however long it takes.
    deadline: Option<Instant>,
}

impl Trial<'_> {
    /// The rules in force, of whatever pack, that stay as they are while their actions would take other parameters.
    async fn users(&self, plans: &PackPlans, changed: &BTreeSet<&str>) -> Result<Vec<RuleView>, Stop> {
        let changes = plans.packs.iter().flat_map(|plan| &plan.changes);
        let actions: BTreeSet<&str> = changes
            .filter(|change| change.kind == "action" && change.change == "changed")
            .filter(|change| change.members.iter().any(|member| member.member == "parameters"))
            .map(|change| change.component.as_str())
            .collect();
        if actions.is_empty() {
            return Ok(Vec::new());
        }
        let mut rules = self.within(self.client.rules()).await?.items;
        rules.retain(|rule| {
            rule.enabled
                && actions.contains(rule.action.as_str())
                && !changed.contains(rule.rule_ref.as_str())
        });
        Ok(rules)
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, ClientError>>) -> Result<T, Stop> {
        match self.deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, asked).await {
                Ok(answer) => answer.map_err(Stop::Failed),
                // The server ends what nobody waits for.
                Err(_) => Err(Stop::Late),
            },
            None => asked.await.map_err(Stop::Failed),
        }
    }

    /// What the rule would do; None where there is nothing to tell.
    async fn of(&self, candidate: &Candidate<'_>) -> anyhow::Result<Result<Option<Behaviour>, Stop>> {
        match candidate {
            Candidate::Changed { plan, change } => self.changed(plan, change).await,
            Candidate::User(rule) => Ok(self.user(rule).await),
        }
    }

    /// Which versions of a rule are in force before and after; a disabled one is not.
    async fn changed(
        &self,
        plan: &PackPlan,
        change: &PlannedChange,
    ) -> anyhow::Result<Result<Option<Behaviour>, Stop>> {
        let own = self.definitions.iter().find(|definition| definition.manifest.r#ref == plan.pack_ref);
        let draft = match own {
            Some(definition) if change.change != "removed" => draft(plan, definition, &change.component)?,
            _ => None,
        };
        let draft = draft.filter(|draft| draft.enabled);
        let stored = match change.change.as_str() {
            "added" => None,
            _ => match self.within(self.client.rule(&change.component)).await {
                Ok(rule) => Some(rule).filter(|rule| rule.enabled),
                Err(stop) => return Ok(Err(stop)),
            },
        };
        let request = match (&draft, &stored) {
            (None, None) => return Ok(Ok(None)),
            (Some(draft), _) => BacktestRequest {
                rule: Some(draft.clone()),
                config: change.config.as_ref().and_then(Value::as_object).cloned(),
                // What is installed with the rule judges it, not what is there now.
                action_schema: self.schema_of(&draft.action),
                kept: kept_of(plan, &change.component).map(|kept| kept.member.clone()).collect(),
                ..self.request()
            },
            (None, Some(stored)) => {
                BacktestRequest { rule_ref: Some(stored.rule_ref.clone()), ..self.request() }
            }
        };
        let compared = |report| compared(&change.component, &report, draft.is_some(), stored.is_some());
        Ok(self
            .report(&change.component, &request)
            .await
            .map(|report| Some(report.map_or_else(|told| told, compared))))
    }

    /// The rule as it is, by the parameters that its action would take.
    async fn user(&self, rule: &RuleView) -> Result<Option<Behaviour>, Stop> {
        let request = BacktestRequest {
            rule: Some(as_it_is(rule)),
            action_schema: self.schema_of(&rule.action),
            // What is secret in it is shown to nobody.
            kept: judged().map(str::to_owned).collect(),
            ..self.request()
        };
        Ok(match self.report(&rule.rule_ref, &request).await? {
            Ok(report) => Some(compared(&rule.rule_ref, &report, true, true)).filter(Behaviour::differs),
            Err(told) => Some(told),
        })
    }

    /// The parameters that an action of the plan would take.
    fn schema_of(&self, action: &str) -> Option<Value> {
        let mut actions = self.definitions.iter().flat_map(|definition| &definition.actions);
        actions.find(|known| known.r#ref == action).map(|action| action.parameters.clone())
    }

    fn request(&self) -> BacktestRequest {
        BacktestRequest { examples: Some(EXAMPLES), ..BacktestRequest::since(self.since) }
    }

    /// The report, or what is to be told of a rule that cannot be tried.
    async fn report(
        &self,
        rule: &str,
        request: &BacktestRequest,
    ) -> Result<Result<BacktestReport, Behaviour>, Stop> {
        match self.within(self.client.backtest(request, |_| {})).await {
            Ok(report) => Ok(Ok(report)),
            // A trigger or an action that comes with the pack has no events yet, or cannot be judged by yet.
            Err(Stop::Failed(ClientError::Problem(problem))) if matches!(problem.status, 404 | 409 | 422) => {
                let notes = vec![format!("not tried: {}", problem.detail)];
                Ok(Err(Behaviour { notes, ..Behaviour::untried(rule, self.since) }))
            }
            Err(stop) => Err(stop),
        }
    }
}

/// Members of a rule that a back-test judges by.
fn judged() -> impl Iterator<Item = &'static str> {
    BEHAVIOUR.iter().copied().filter(|member| !SWITCHES.contains(member))
}

/// A stored rule as a draft of itself.
fn as_it_is(rule: &RuleView) -> RuleRequest {
    let rule = rule.clone();
    RuleRequest {
        rule_ref: rule.rule_ref,
        label: rule.label,
        description: rule.description,
        enabled: rule.enabled,
        mode: rule.mode,
        trigger: rule.trigger,
        trigger_params: rule.trigger_params,
        condition: rule.condition,
        conditions: rule.conditions,
        window: rule.window,
        action: rule.action,
        action_params: rule.action_params,
        retry: None,
    }
}

fn is_behaviour(change: &PlannedChange) -> bool {
    change.change != "changed"
        || change.members.iter().any(|member| BEHAVIOUR.contains(&member.member.as_str()))
}

/// What was changed of a rule on the server and stays, of that which says when it fires and what its action gets.
fn kept_of<'p>(plan: &'p PackPlan, rule_ref: &'p str) -> impl Iterator<Item = &'p KeptEdit> {
    let of_rule = move |kept: &&KeptEdit| kept.kind == "rule" && kept.component == rule_ref;
    plan.kept.iter().filter(of_rule).filter(|kept| judged().any(|member| member == kept.member))
}

/// What the report says of the two. Where one of them is not in force, everything that the other fires on differs.
fn compared(rule: &str, report: &BacktestReport, has_draft: bool, has_stored: bool) -> Behaviour {
    let fired = || Difference {
        count: report.counts.fired,
        events: report.fired_examples.iter().map(|example| example.event).collect(),
    };
    let mut behaviour = Behaviour {
        events: report.events,
        notes: report.notes.clone(),
        ..Behaviour::untried(rule, report.since)
    };
    match (&report.comparison, has_draft, has_stored) {
        (Some(comparison), true, true) => {
            let difference = |difference: &BacktestDifference| Difference {
                count: difference.count,
                events: difference.events.clone(),
            };
            behaviour.before = comparison.live.fired;
            behaviour.after = report.counts.fired;
            behaviour.only_before = difference(&comparison.only_live);
            behaviour.only_after = difference(&comparison.only_draft);
            behaviour.other_parameters = difference(&comparison.changed);
        }
        (_, true, _) => {
            behaviour.after = report.counts.fired;
            behaviour.only_after = fired();
        }
        (_, false, _) => {
            behaviour.before = report.counts.fired;
            behaviour.only_before = fired();
        }
    }
    behaviour
}

/// A rule as it would be stored: as its file says, with what was changed on the server and stays. What is secret in that is
/// masked here; the server puts in what it has (`kept_of`).
fn draft(
    plan: &PackPlan,
    definition: &PackDefinition,
    rule_ref: &str,
) -> anyhow::Result<Option<RuleRequest>> {
    let Some(entry) = definition.rules.iter().find(|rule| rule.definition.rule_ref == rule_ref) else {
        return Ok(None);
    };
    let request = request_of(entry)?;
    let mut members = serde_json::to_value(&request)?;
    let of_rule = plan.kept.iter().filter(|kept| kept.kind == "rule" && kept.component == rule_ref);
    for kept in of_rule.filter(|kept| kept.member != "retry") {
        members[kept.member.as_str()] = kept.here.clone();
    }
    Ok(Some(serde_json::from_value(members)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(rule_ref: &str) -> Candidate<'static> {
        let rule = json!({
            "ref": rule_ref, "pack": null, "label": null, "description": null, "enabled": true, "trigger": "ops.alert",
            "trigger_params": {}, "condition": "all", "conditions": [], "action": "ops.page", "action_params": {},
            "version": 1, "created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
        });
        Candidate::User(Box::new(serde_json::from_value(rule).unwrap()))
    }

    #[tokio::test]
    async fn test_what_takes_too_long_is_left_and_named() {
        let client = Client::new("http://127.0.0.1:9", None).unwrap();
        let (since, deadline) = (DateTime::UNIX_EPOCH, Some(Instant::now()));
        let trial = Trial { client: &client, definitions: &[], since, deadline };
        let stop = trial.within(std::future::pending::<Result<(), ClientError>>()).await.unwrap_err();
        assert_eq!(
            stop.note(&[rule("ops.one"), rule("web.two")]),
            "not all rules were tried on recorded events (ops.one, web.two): it takes more than 30 s; --since 3d waits for it"
        );
        // What was asked for is waited for.
        let patient = Trial { deadline: None, ..trial };
        assert!(patient.within(std::future::ready(Ok(()))).await.is_ok());
    }
}
