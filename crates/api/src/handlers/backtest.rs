//! Rules tried on recorded events.

use std::convert::Infallible;
use std::time::Duration;

use attune_client::types::{
    BacktestBar, BacktestComparison, BacktestCondition, BacktestCounts, BacktestDifference, BacktestExample,
    BacktestProgress, BacktestReport, BacktestRequest, ProblemItem, RuleRequest,
};
use attune_common::models::pack::Pack;
use attune_common::models::rule::Rule;
use attune_common::repositories::{ActionRepository, PackRepository, RuleRepository, TriggerRepository};
use attune_expr::schema::ParameterSchema;
use attune_rules::backtest::{
    Bar, Comparison, ConfigMask, Counts, Difference, Example, Options, Report, Subject,
};
use attune_rules::{CompiledRule, RuleDefinition, Settings};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::Stream;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::auth::Caller;
use crate::backtest::{BacktestError, run};
use crate::check;
use crate::error::ApiError;
use crate::extract::Body;
use crate::responses::WithBody;
use crate::rule_checks::{definition_of, stored_definition};
use crate::rule_settings;
use crate::state::AppState;
use crate::views::{Mask, Masks};

const DEFAULT_EXAMPLES: usize = 5;
const MAX_EXAMPLES: usize = 100;

/// How often progress is told.
const TELL: Duration = Duration::from_millis(250);

/// Tries a rule on the recorded events of its trigger. Nothing is written. With `Accept: text/event-stream` the answer is
/// a stream: `progress` while it runs, and at last `report`, or `problem`. The secrets of a trigger's config are masked to the
/// parameters of examples.
#[utoipa::path(
    post,
    path = "/api/v1/rules/backtest",
    tag = "rules",
    operation_id = "backtest_rule",
    request_body = BacktestRequest,
    responses(
        (status = OK, content((BacktestReport = "application/json"), (String = "text/event-stream"))),
        (status = NOT_FOUND, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "There is no such rule or version"),
        WithBody,
    )
)]
pub(crate) async fn backtest(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Body<BacktestRequest>, ApiError>,
) -> Result<Response, ApiError> {
    caller.require("rule", "read")?;
    caller.require("event", "read")?;
    let Body(request) = body?;
    let plan = plan(&state, request).await?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(15)).text("alive");
        return Ok(Sse::new(told(state, plan)).keep_alive(keep_alive).into_response());
    }
    let (progress, _) = watch::channel(BacktestProgress { events: 0, percent: 0.0 });
    tokio::select! {
        report = carried_out(&state, plan, progress) => Ok(Json(report?).into_response()),
        () = state.shutdown.cancelled() => Err(stopping()),
    }
}

/// A back-test that can be begun, and what its report says besides figures.
struct Plan {
    options: Options,
    version: Option<i32>,
    compared_with: Option<i32>,
    notes: Vec<String>,
    /// Of the action.
    masks: Masks,
    /// Of the schema that was given for it.
    given_mask: Option<Mask>,
}

async fn carried_out(
    state: &AppState,
    plan: Plan,
    progress: watch::Sender<BacktestProgress>,
) -> Result<BacktestReport, ApiError> {
    let Plan { options, version, compared_with, notes, masks, given_mask } = plan;
    let (rule, trigger) =
        (options.rule.rule.rule_ref().to_owned(), options.rule.rule.trigger_ref().to_owned());
    let action = options.rule.rule.action_ref().to_owned();
    let knows_action = masks.has(&action);
    let (since, until) = (options.since, options.until);
    let turn = state.backtests.acquire().await.map_err(ApiError::internal)?;
    let (report, took) = run(&state.pool, options, progress).await?;
    drop(turn);
    let Report { events, counts, conditions, bar_seconds, bars, fired, failed, comparison } = report;
    // What an action does not say is no secret; where there is no action, there is nothing to hide from the author.
    let shown = |parameters: Value| {
        let parameters = match &given_mask {
            Some(mask) => mask.parameters(parameters),
            None => parameters,
        };
        if knows_action { masks.get(&action).parameters(parameters) } else { parameters }
    };
    let is_compared = comparison.is_some();
    let bar = |(begins, bar): (i64, Bar)| BacktestBar {
        begins: DateTime::from_timestamp(begins, 0).unwrap_or_default(),
        fired: bar.fired,
        failed: bar.failed,
        live: is_compared.then_some(bar.live),
    };
    Ok(BacktestReport {
        rule,
        trigger,
        version,
        since,
        until,
        events,
        seconds: took.as_secs_f64(),
        counts: counts_view(counts),
        conditions: conditions
            .into_iter()
            .map(|counted| BacktestCondition {
                pointer: counted.place.pointer,
                field: counted.place.field,
                operator: counted.place.operator,
                r#true: counted.r#true,
                r#false: counted.r#false,
                missing: counted.missing,
                error: counted.error,
            })
            .collect(),
        bar_seconds,
        bars: bars.into_iter().map(bar).collect(),
        fired_examples: fired.into_iter().map(|example| example_view(example, shown)).collect(),
        failed_examples: failed.into_iter().map(|example| example_view(example, shown)).collect(),
        comparison: comparison.zip(compared_with).map(comparison_view),
        notes,
    })
}

fn example_view(example: Example, shown: impl Fn(Value) -> Value) -> BacktestExample {
    let Example { event, at, outcome } = example;
    let (parameters, error) = match outcome {
        Ok(parameters) => (Some(shown(parameters)), None),
        Err(error) => (None, Some(error)),
    };
    BacktestExample { event, at, parameters, error }
}

fn counts_view(counts: Counts) -> BacktestCounts {
    let Counts { fired, held, r#false, missing, failed, unheard } = counts;
    BacktestCounts { fired, held, r#false, missing, failed, unheard }
}

fn comparison_view((comparison, version): (Comparison, i32)) -> BacktestComparison {
    let view =
        |difference: Difference| BacktestDifference { count: difference.count, events: difference.events };
    BacktestComparison {
        version,
        live: counts_view(comparison.live),
        both: view(comparison.both),
        changed: view(comparison.changed),
        only_draft: view(comparison.only_draft),
        only_live: view(comparison.only_live),
    }
}

/// Progress while it runs, and the report.
fn told(state: AppState, plan: Plan) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        let (sender, mut progress) = watch::channel(BacktestProgress { events: 0, percent: 0.0 });
        let mut work = std::pin::pin!(carried_out(&state, plan, sender));
        let mut ticks = tokio::time::interval(TELL);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                () = state.shutdown.cancelled() => break Err(stopping()),
                _ = ticks.tick() => {
                    if progress.has_changed().unwrap_or(false) {
                        let now = *progress.borrow_and_update();
                        yield Ok(event("progress", &now));
                    }
                }
            }
        };
        yield Ok(match outcome {
            Ok(report) => event("report", &report),
            Err(error) => event("problem", &error.into_problem()),
        });
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    // Views are numbers, strings and JSON, which JSON always takes.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

fn stopping() -> ApiError {
    ApiError::unavailable("the server is stopping; try again", "a back-test was under way")
}

impl From<BacktestError> for ApiError {
    fn from(error: BacktestError) -> Self {
        match error {
            BacktestError::Store(error) => error.into(),
            BacktestError::Unreadable(_) | BacktestError::Panicked => Self::internal(error),
        }
    }
}

async fn plan(state: &AppState, request: BacktestRequest) -> Result<Plan, ApiError> {
    let BacktestRequest { rule, config, action_schema, kept, rule_ref, version, since, until, examples } =
        request;
    if rule.is_none() {
        for (pointer, is_given, what) in [
            ("/config", config.is_some(), "judged with the settings that it had"),
            ("/action_schema", action_schema.is_some(), "judged by the schema that is stored"),
            ("/kept", !kept.is_empty(), "taken as it is"),
        ] {
            if is_given {
                return Err(fault(pointer, format!("it has no effect on a stored rule, which is {what}")));
            }
        }
    }
    let given_schema = action_schema.map(|schema| given_schema(&schema)).transpose()?;
    let (given_schema, given_mask) = given_schema.unzip();
    let config = config.unwrap_or_default();
    let until = until.unwrap_or_else(Utc::now);
    if since >= until {
        return Err(fault("/since", format!("{since} is not before {until}, where the span ends")));
    }
    let examples = examples.unwrap_or(DEFAULT_EXAMPLES);
    if examples > MAX_EXAMPLES {
        return Err(fault("/examples", format!("it is {examples}; it may be 0 to {MAX_EXAMPLES}")));
    }
    let mut notes = Vec::new();
    let (subject, version, live) = match (rule, rule_ref, version) {
        (Some(draft), None, None) => {
            let live = RuleRepository::find_by_ref(&state.pool, &draft.rule_ref).await?;
            let draft = with_kept(draft, &kept, live.as_ref())?;
            let given = Given { config, schema: given_schema };
            (draft_subject(state, &draft, given, live.as_ref(), &mut notes).await?, None, live)
        }
        (None, Some(rule_ref), None) => {
            let rule = RuleRepository::get_by_ref(&state.pool, &rule_ref).await?;
            let version = rule.version;
            (stored_subject(state, &rule, &mut notes).await?, Some(version), None)
        }
        (None, Some(rule_ref), Some(version)) => {
            let live = RuleRepository::find_by_ref(&state.pool, &rule_ref).await?;
            let stored = RuleRepository::get_version(&state.pool, &rule_ref, version).await?;
            let old = old_rule(stored.definition)?;
            (stored_subject(state, &old, &mut notes).await?, Some(version), live)
        }
        (Some(_), None, Some(_)) => return Err(fault("/version", "it has no effect on a draft")),
        (Some(_), Some(_), _) | (None, None, _) => {
            return Err(fault("/ref", "give either `rule`, a draft, or `ref`, a stored rule"));
        }
    };
    let compared = match &live {
        Some(live) if live.trigger_ref == subject.rule.trigger_ref() => {
            if !live.enabled {
                notes.push(format!(
                    "version {} is in force but disabled; it is judged as if it were enabled",
                    live.version
                ));
            }
            match stored_subject(state, live, &mut notes).await {
                Ok(live) => Some(live),
                Err(error) => {
                    notes.push(format!("not compared with version {}: {}", live.version, error.detail()));
                    None
                }
            }
        }
        Some(live) => {
            notes.push(format!(
                "not compared with version {}, which listens to {}",
                live.version, live.trigger_ref
            ));
            None
        }
        None => None,
    };
    let compared_with = compared.is_some().then(|| live.as_ref().map(|live| live.version)).flatten();
    let masks = Masks::of_actions(&state.pool, std::iter::once(subject.rule.action_ref())).await?;
    let trigger_ref = subject.rule.trigger_ref().to_owned();
    let triggers = Masks::of_triggers(&state.pool, std::iter::once(trigger_ref.as_str())).await?;
    let shown_config = ConfigMask(Box::new(move |config| triggers.get(&trigger_ref).parameters(config)));
    let options = Options { rule: subject, live: compared, since, until, examples, shown_config };
    Ok(Plan { options, version, compared_with, notes, masks, given_mask })
}

/// What a draft is judged with in the place of what is stored.
struct Given {
    config: Map<String, Value>,
    schema: Option<ParameterSchema>,
}

/// The schema that was given for the action of a draft, and what it hides.
fn given_schema(schema: &Value) -> Result<(ParameterSchema, Mask), ApiError> {
    match ParameterSchema::compile(schema) {
        Ok(compiled) => Ok((compiled, Mask::of(schema))),
        Err(problem) => Err(fault("/action_schema", format!("it is no schema of parameters: {problem}"))),
    }
}

/// The draft with these members of the stored rule.
fn with_kept(draft: RuleRequest, kept: &[String], live: Option<&Rule>) -> Result<RuleRequest, ApiError> {
    let mut draft = draft;
    for (index, member) in kept.iter().enumerate() {
        let pointer = format!("/kept/{index}");
        let Some(live) = live else {
            return Err(fault(&pointer, format!("there is no stored rule {}", draft.rule_ref)));
        };
        match member.as_str() {
            "trigger" => draft.trigger.clone_from(&live.trigger_ref),
            "trigger_params" => draft.trigger_params.clone_from(&live.trigger_params),
            "condition" => live.condition.as_str().clone_into(&mut draft.condition),
            "conditions" => draft.conditions.clone_from(&live.conditions),
            "window" => draft.window.clone_from(&live.window),
            "action" => draft.action.clone_from(&live.action_ref),
            "action_params" => draft.action_params.clone_from(&live.action_params),
            other => {
                return Err(fault(
                    &pointer,
                    format!("{other:?} is no member that says when a rule fires and what its action gets"),
                ));
            }
        }
    }
    Ok(draft)
}

/// A draft as it would be once it was stored.
async fn draft_subject(
    state: &AppState,
    draft: &RuleRequest,
    given: Given,
    live: Option<&Rule>,
    notes: &mut Vec<String>,
) -> Result<Subject, ApiError> {
    let mut faults = Vec::new();
    let definition = definition_of(draft, &mut faults);
    if TriggerRepository::find_by_ref(&state.pool, &draft.trigger).await?.is_none() {
        let known = TriggerRepository::refs(&state.pool).await?;
        faults.push(check::unknown_ref_item("trigger", &draft.trigger, &known));
    }
    for item in &mut faults {
        item.pointer = item.pointer.take().map(|pointer| format!("/rule{pointer}"));
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid("the draft is not valid", faults));
    }
    let pack = match live {
        Some(live) => live.pack_ref.clone(),
        None => draft.rule_ref.split_once('.').map(|(pack, _)| pack.to_owned()),
    };
    let view = json!({
        "id": live.map(|live| live.id),
        "ref": draft.rule_ref,
        "label": draft.label,
        "pack": pack,
        "version": live.map_or(1, |live| live.version + 1),
    });
    // A rule that is new would be one of the pack that its name begins with.
    let pack = match (live, &pack) {
        (Some(live), _) => pack_of(state, live.pack).await?,
        (None, Some(pack)) => PackRepository::find_by_ref(&state.pool, pack).await?,
        (None, None) => None,
    };
    if live.is_some() && pack.is_none() {
        let mut faults = rule_settings::faults(&definition, None);
        for item in &mut faults {
            item.pointer = item.pointer.take().map(|pointer| format!("/rule{pointer}"));
        }
        if !faults.is_empty() {
            return Err(ApiError::invalid("the draft is not valid", faults));
        }
    }
    let settings = rule_settings::current(pack.as_ref(), given.config);
    let rule = compiled(&definition, &settings)?;
    let schema = match given.schema {
        Some(schema) => Some(schema),
        None => schema_of(state, &definition.action_ref, notes).await?,
    };
    Ok(Subject { rule, view, schema })
}

async fn pack_of(state: &AppState, pack: Option<i64>) -> Result<Option<Pack>, ApiError> {
    let Some(pack) = pack else { return Ok(None) };
    Ok(PackRepository::find_by_id(&state.pool, pack).await?)
}

async fn stored_subject(state: &AppState, rule: &Rule, notes: &mut Vec<String>) -> Result<Subject, ApiError> {
    let definition = stored_definition(rule).map_err(|problems| unusable(rule, &problems))?;
    let view = json!({
        "id": rule.id,
        "ref": rule.r#ref,
        "label": rule.label,
        "pack": rule.pack_ref,
        "version": rule.version,
    });
    let compiled = compiled(&definition, &Settings::kept(rule.config.as_ref()))?;
    let schema = schema_of(state, &definition.action_ref, notes).await?;
    Ok(Subject { rule: compiled, view, schema })
}

fn compiled(definition: &RuleDefinition, settings: &Settings) -> Result<CompiledRule, ApiError> {
    CompiledRule::compile_with(definition, settings).map_err(|problems| {
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        ApiError::conflict(format!("rule {} cannot be judged: {}", definition.rule_ref, told.join("; ")))
    })
}

/// The schema of an action that there is.
async fn schema_of(
    state: &AppState,
    action_ref: &str,
    notes: &mut Vec<String>,
) -> Result<Option<ParameterSchema>, ApiError> {
    let Some(action) = ActionRepository::find_by_ref(&state.pool, action_ref).await? else {
        let note = format!("action {action_ref} does not exist; the parameters are not checked");
        if !notes.contains(&note) {
            notes.push(note);
        }
        return Ok(None);
    };
    let schema = ParameterSchema::compile(&action.param_schema).map_err(|problem| {
        ApiError::conflict(format!("the parameter schema of {action_ref} is broken: {problem}"))
    })?;
    Ok(Some(schema))
}

/// A past version of a rule. It was stored as the whole row.
fn old_rule(definition: Value) -> Result<Rule, ApiError> {
    serde_json::from_value(definition).map_err(ApiError::internal)
}

fn unusable(rule: &Rule, problems: &[attune_rules::RuleProblem]) -> ApiError {
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    ApiError::conflict(format!("rule {} cannot be judged: {}", rule.r#ref, told.join("; ")))
}

fn fault(pointer: &str, detail: impl Into<String>) -> ApiError {
    let item =
        ProblemItem { detail: detail.into(), pointer: Some(pointer.to_owned()), ..ProblemItem::default() };
    ApiError::invalid(item.detail.clone(), vec![item])
}
