//! Why rules fired on an event, or did not.

use std::collections::HashMap;

use attune_client::types::{EventExplanation, ExecutionLink, RuleExplanation};
use attune_common::models::acting_run::execution_of_source;
use attune_common::models::event::Event;
use attune_common::models::identity::Subject;
use attune_common::models::rule::RuleVersion;
use attune_common::models::window::WindowOutcome;
use attune_common::repositories::{
    EnforcementRepository, EventRepository, ExecutionRepository, RuleRepository, WindowRepository,
};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::explain::{Decided, Explainer, Record, absent};
use crate::extract::{At, Params};
use crate::handlers::enforcements::link;
use crate::paging::RefPaging;
use crate::responses::OfOne;
use crate::state::AppState;
use crate::views::Masks;

/// Which rules to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplanationQuery {
    /// Only the rule with this ref, whatever trigger it listens to, and also when it was made later or is gone.
    rule: Option<String>,
    /// Rules at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Why the rules of its trigger fired on an event, or did not: every condition with what it expected and found, each rule
/// as it was when the event was matched.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}/explanation",
    tag = "events",
    operation_id = "explain_event",
    params(("id" = i64, Path), ExplanationQuery),
    responses((status = OK, body = EventExplanation), OfOne)
)]
pub(crate) async fn explain(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
    query: Result<Params<ExplanationQuery>, ApiError>,
) -> Result<Json<EventExplanation>, ApiError> {
    caller.require_some("event", "read")?;
    let Params(query) = query?;
    let paging = RefPaging::new(query.limit, query.cursor.as_deref())?;
    let event = EventRepository::get_by_id(&state.pool, id).await?;
    caller.require_for("event", "read", &Subject::of(&event.trigger_ref))?;
    // An explanation shows rules. Whether there is such an event may be known without them.
    match &query.rule {
        Some(rule_ref) => caller.require_for("rule", "read", &Subject::of(rule_ref))?,
        None => caller.require("rule", "read")?,
    }
    // First whether it was judged, then what came of it, as for the event itself.
    let matching = EventRepository::matching(&state.pool, id).await?;
    let Some((matched, version)) = matching.and_then(|found| found.matched.zip(found.rule_set_version))
    else {
        if let Some(rule_ref) = &query.rule {
            last_version(&state, rule_ref).await?;
        }
        let reason = "the event waits to be matched: no rule has judged it yet";
        return Ok(Json(explanation(event, None, reason.to_owned(), Vec::new(), None)));
    };
    let (versions, absent, next_cursor) = match &query.rule {
        Some(rule_ref) => match in_force(&state, rule_ref, version).await? {
            Ok(found) => (vec![found], None, None),
            Err(reason) => (Vec::new(), Some(absent(rule_ref, reason)), None),
        },
        None => {
            let after = query.cursor.as_deref();
            let mut found =
                RuleRepository::list_in_force(&state.pool, &event.trigger_ref, version, after, paging.rows())
                    .await?;
            let next = paging.cut(&mut found, |version| version.rule_ref.clone());
            (found, None, next)
        }
    };
    let mut rules = explained(&state, &event, matched, &versions).await?;
    rules.extend(absent);
    let reason = summary(&rules, next_cursor.is_some() || query.cursor.is_some());
    Ok(Json(explanation(event, Some((matched, version)), reason, rules, next_cursor)))
}

fn explanation(
    event: Event,
    matching: Option<(DateTime<Utc>, i64)>,
    reason: String,
    rules: Vec<RuleExplanation>,
    next_cursor: Option<String>,
) -> EventExplanation {
    let (matched, rule_set_version) = matching.unzip();
    EventExplanation {
        event: event.id,
        caused_by: event.source_ref.as_deref().and_then(execution_of_source),
        trigger: event.trigger_ref,
        matched,
        rule_set_version,
        reason,
        rules,
        next_cursor,
    }
}

/// The rules of these versions, each with what was recorded of it.
async fn explained(
    state: &AppState,
    event: &Event,
    matched: DateTime<Utc>,
    versions: &[RuleVersion],
) -> Result<Vec<RuleExplanation>, ApiError> {
    let refs: Vec<String> = versions.iter().map(|version| version.rule_ref.clone()).collect();
    let enforcements = EnforcementRepository::list_by_event_and_rules(&state.pool, event.id, &refs).await?;
    let ids: Vec<i64> = enforcements.iter().map(|enforcement| enforcement.id).collect();
    let mut links: HashMap<i64, Vec<ExecutionLink>> = HashMap::new();
    for execution in ExecutionRepository::list_by_enforcements(&state.pool, &ids).await? {
        if let Some(enforcement) = execution.enforcement {
            links.entry(enforcement).or_default().push(link(execution));
        }
    }
    let mut decided: HashMap<String, Decided> = HashMap::new();
    for enforcement in enforcements {
        let executions = links.remove(&enforcement.id).unwrap_or_default();
        decided.insert(enforcement.rule_ref.clone(), Decided { enforcement, executions });
    }
    let windows = WindowRepository::outcomes_of_event(&state.pool, event.id).await?;
    let mut windows: HashMap<String, WindowOutcome> =
        windows.into_iter().map(|window| (window.rule_ref, window.outcome)).collect();
    let action =
        |version: &RuleVersion| version.definition["action_ref"].as_str().unwrap_or_default().to_owned();
    let named: Vec<String> = versions.iter().map(action).collect();
    let actions = Masks::of_actions(&state.pool, named.iter().map(String::as_str)).await?;
    let triggers = Masks::of_triggers(&state.pool, std::iter::once(event.trigger_ref.as_str())).await?;
    let explainer = Explainer::new(event, matched, triggers.get(&event.trigger_ref));
    versions
        .iter()
        .map(|version| {
            let decided = decided.remove(&version.rule_ref);
            let window = windows.remove(&version.rule_ref);
            explainer.explain(version, Record { decided, window }, &actions)
        })
        .collect()
}

/// The rule as it was at a version of the rule set, or why there was none. A rule that never was is not found.
async fn in_force(
    state: &AppState,
    rule_ref: &str,
    rule_set_version: i64,
) -> Result<Result<RuleVersion, String>, ApiError> {
    let Some(version) = RuleRepository::version_in_force(&state.pool, rule_ref, rule_set_version).await?
    else {
        last_version(state, rule_ref).await?;
        let first = RuleRepository::list_versions(&state.pool, rule_ref).await?.into_iter().next();
        let made = first.map(|first| format!(" at {}", moment(first.created))).unwrap_or_default();
        return Ok(Err(format!("the rule was made{made}, after the event was matched")));
    };
    Ok(if version.removed {
        Err(format!("the rule was removed at {}, before the event was matched", moment(version.created)))
    } else {
        Ok(version)
    })
}

/// The latest version of a rule, also of one that is gone; NotFound where there never was one.
async fn last_version(state: &AppState, rule_ref: &str) -> Result<RuleVersion, ApiError> {
    let found = RuleRepository::search_versions(&state.pool, rule_ref, None, 1).await?.into_iter().next();
    found.ok_or_else(|| ApiError::not_found(format!("rule {rule_ref} does not exist, and never did")))
}

fn moment(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What became of the event as far as these rules go.
fn summary(rules: &[RuleExplanation], partial: bool) -> String {
    let count = |outcome: &str| rules.iter().filter(|rule| rule.outcome == outcome).count();
    let fired = count("fired");
    let of = match (rules.len(), partial) {
        (0, false) => return "no rule listened to this trigger when the event was matched".to_owned(),
        (1, false) => "1 rule".to_owned(),
        (rules, false) => format!("{rules} rules"),
        (rules, true) => format!("these {rules} rules"),
    };
    let failed = match count("failed") {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!("{fired} of {of} fired{failed}")
}
