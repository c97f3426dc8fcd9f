//! What only an installation can check: whether what the pack refers to is there, whether what it brings is free to be
//! brought, and whether what others use of it stays. What concerns the pack alone was checked when it was read.

use std::collections::{BTreeSet, HashMap};

use attune_common::error::Result;
use attune_common::models::pack::Pack;
use attune_common::models::trigger::Trigger;
use attune_common::repositories::{
    ActionRepository, PackRepository, PermissionRepository, PolicyRepository, RuleRepository,
    RuntimeRepository, SensorRepository, TriggerRepository, WorkQueueRepository,
};
use attune_expr::suggest::nearest;
use attune_pack::{Fault, Finding, Located, PackDefinition, PackFiles, RuleEntry};
use attune_rules::{RuleProblem, TriggerSchemas};
use serde_json::Value;
use sqlx::PgConnection;

use super::edits::Merged;
use super::position::{finding_in, finding_in_component, finding_in_manifest};
use super::{Candidate, Refs, config};
use crate::check::{self, ParameterFault};
use crate::rule_checks;

/// All findings at once, by file and position.
pub(super) async fn check(
    connection: &mut PgConnection,
    candidate: &Candidate,
    existing: Option<&Pack>,
    is_standard: bool,
) -> Result<Vec<Finding>> {
    let Candidate { definition, files, .. } = candidate;
    let mut findings = Vec::new();
    let refs = Refs::of(definition);
    if let Some(pack) = existing.filter(|pack| pack.is_standard && !is_standard) {
        let message = format!("`{}` is the name of a pack that ships with attune", pack.r#ref);
        findings.push(finding_in_manifest(files, "/ref", message).expected("another name"));
    }
    findings.extend(taken_refs(&mut *connection, files, &refs, existing).await?);
    if let Some(pack) = existing {
        findings.extend(lost_targets(&mut *connection, files, &refs, pack).await?);
        findings.extend(config::check(&mut *connection, candidate, pack).await?);
    }
    let elsewhere = Elsewhere::read(connection, definition, existing).await?;
    findings.extend(unknown_targets(definition, &refs, &elsewhere));
    for rule in &definition.rules {
        findings.extend(rule_contents(rule, files, &elsewhere));
    }
    findings.sort();
    Ok(findings)
}

/// What is wrong with rules that keep what was changed of them on the server: it has to fit the triggers and actions of the
/// new version, which are stored already.
pub(super) async fn check_merged(
    connection: &mut PgConnection,
    candidate: &Candidate,
    merged: &Merged,
    pack: &Pack,
) -> Result<Vec<Finding>> {
    let kept: BTreeSet<&str> = merged.kept.iter().map(|kept| kept.component.as_str()).collect();
    let mut findings = Vec::new();
    for rule in merged.rules.iter().filter(|rule| kept.contains(rule.r#ref.as_str())) {
        for item in rule_checks::faults(&mut *connection, rule, pack).await? {
            let message =
                format!("what was changed of `{}` on the server does not fit: {}", rule.r#ref, item.detail);
            let entry = candidate.definition.rules.iter().find(|own| own.definition.rule_ref == rule.r#ref);
            let path = entry.map_or("pack.yaml", |own| own.trigger.file.as_str());
            let pointer = item.pointer.unwrap_or_default();
            let fault = Fault { pointer, message, suggestion: item.suggestion };
            let finding = finding_in(&candidate.files, path, fault);
            findings.push(finding.expected("the rule changed on the server first, or `--overwrite-edits`"));
        }
    }
    Ok(findings)
}

/// Refs that are taken by something that is not this pack's.
async fn taken_refs(
    connection: &mut PgConnection,
    files: &PackFiles,
    refs: &Refs,
    existing: Option<&Pack>,
) -> Result<Vec<Finding>> {
    // No pack has the id 0: without an existing pack everything that exists is somebody else's.
    let pack = existing.map_or(0, |pack| pack.id);
    let taken = [
        (
            "runtime",
            "runtimes",
            RuntimeRepository::foreign_refs(&mut *connection, pack, &refs.runtimes).await?,
        ),
        ("action", "actions", ActionRepository::foreign_refs(&mut *connection, pack, &refs.actions).await?),
        (
            "trigger",
            "triggers",
            TriggerRepository::foreign_refs(&mut *connection, pack, &refs.triggers).await?,
        ),
        ("sensor", "sensors", SensorRepository::foreign_refs(&mut *connection, pack, &refs.sensors).await?),
        ("rule", "rules", RuleRepository::foreign_refs(&mut *connection, pack, &refs.rules).await?),
        (
            "permission set",
            "permissions",
            PermissionRepository::foreign_refs(&mut *connection, pack, &refs.permission_sets).await?,
        ),
        ("policy", "policies", PolicyRepository::foreign_refs(&mut *connection, pack, &refs.policies).await?),
        ("queue", "queues", WorkQueueRepository::foreign_refs(&mut *connection, pack, &refs.queues).await?),
    ];
    let findings = taken.into_iter().flat_map(|(kind, directory, taken)| {
        taken.into_iter().map(move |taken| {
            let message = format!("there is a {kind} `{taken}` already that does not belong to this pack");
            let finding = finding_in_component(files, directory, &taken, message);
            finding.expected("a ref that is free, or that the other one is removed first")
        })
    });
    Ok(findings.collect())
}

/// What others use and an upgrade would take away.
async fn lost_targets(
    connection: &mut PgConnection,
    files: &PackFiles,
    refs: &Refs,
    pack: &Pack,
) -> Result<Vec<Finding>> {
    let kept =
        [&refs.runtimes, &refs.actions, &refs.triggers].into_iter().flatten().cloned().collect::<Vec<_>>();
    let dependents = PackRepository::dependents(connection, pack.id, &kept).await?;
    let findings = dependents.into_iter().map(|lost| {
        let message = format!(
            "this version no longer has the {} `{}`, which the {} `{}` uses",
            lost.target_entity, lost.target, lost.entity, lost.r#ref
        );
        finding_in_manifest(files, "/version", message)
    });
    Ok(findings.collect())
}

/// What there is outside of the pack.
#[derive(Debug)]
struct Elsewhere {
    runtimes: BTreeSet<String>,
    /// Those that the pack names, actions with their parameter schemas.
    actions: HashMap<String, Value>,
    triggers: HashMap<String, Trigger>,
    /// Every ref, to suggest one.
    all_runtimes: Vec<String>,
    all_actions: Vec<String>,
    all_triggers: Vec<String>,
}

impl Elsewhere {
    async fn read(
        connection: &mut PgConnection,
        definition: &PackDefinition,
        existing: Option<&Pack>,
    ) -> Result<Self> {
        let rules = || definition.rules.iter();
        let of_sensors = definition.sensors.iter();
        let runtimes = definition.actions.iter().map(|action| &action.runtime);
        let runtimes = values(runtimes.chain(of_sensors.clone().map(|sensor| &sensor.runtime)));
        let limited = definition.policies.iter().filter_map(|policy| policy.action.as_ref());
        let worked = definition.queues.iter().map(|queue| &queue.action);
        let actions = values(rules().map(|rule| &rule.action).chain(limited).chain(worked));
        let triggers =
            values(rules().map(|rule| &rule.trigger).chain(of_sensors.flat_map(|sensor| &sensor.triggers)));
        // What the pack itself has now and no longer brings is not there any more afterwards.
        let own = existing.map(|pack| pack.id);
        let foreign = |pack: Option<i64>| own.is_none() || pack != own;
        let runtimes = RuntimeRepository::list_by_refs(&mut *connection, &runtimes).await?;
        let actions = ActionRepository::list_by_refs(&mut *connection, &actions).await?;
        let triggers = TriggerRepository::list_by_refs(&mut *connection, &triggers).await?;
        Ok(Self {
            runtimes: runtimes.into_iter().filter(|row| foreign(row.pack)).map(|row| row.r#ref).collect(),
            actions: actions
                .into_iter()
                .filter(|row| foreign(row.pack))
                .map(|row| (row.r#ref, row.param_schema))
                .collect(),
            triggers: triggers
                .into_iter()
                .filter(|row| foreign(row.pack))
                .map(|row| (row.r#ref.clone(), row))
                .collect(),
            all_runtimes: RuntimeRepository::refs(&mut *connection).await?,
            all_actions: ActionRepository::refs(&mut *connection).await?,
            all_triggers: TriggerRepository::refs(&mut *connection).await?,
        })
    }
}

fn values<'a>(located: impl Iterator<Item = &'a Located<String>>) -> Vec<String> {
    let distinct: BTreeSet<&str> = located.map(|located| located.value.as_str()).collect();
    distinct.into_iter().map(str::to_owned).collect()
}

/// Refs that lead neither into the pack nor to anything that is installed.
fn unknown_targets(definition: &PackDefinition, refs: &Refs, elsewhere: &Elsewhere) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut look = |kind: &str, target: &Located<String>, pointer: String| {
        let (own, known, all) = match kind {
            "runtime" => {
                (&refs.runtimes, elsewhere.runtimes.contains(&target.value), &elsewhere.all_runtimes)
            }
            "action" => {
                (&refs.actions, elsewhere.actions.contains_key(&target.value), &elsewhere.all_actions)
            }
            _ => (&refs.triggers, elsewhere.triggers.contains_key(&target.value), &elsewhere.all_triggers),
        };
        if known || own.contains(&target.value) {
            return;
        }
        let message =
            format!("there is no {kind} `{}`, neither in this pack nor in an installed one", target.value);
        let near = nearest(&target.value, own.iter().chain(all).map(String::as_str));
        let finding = Finding { pointer, ..target.finding(message) };
        findings.push(finding.expected(format!("the ref of a {kind}")).suggestion(near));
    };
    for action in &definition.actions {
        look("runtime", &action.runtime, "/runtime".to_owned());
    }
    for sensor in &definition.sensors {
        look("runtime", &sensor.runtime, "/runtime".to_owned());
        for (index, trigger) in sensor.triggers.iter().enumerate() {
            look("trigger", trigger, format!("/triggers/{index}"));
        }
    }
    for rule in &definition.rules {
        look("trigger", &rule.trigger, "/trigger".to_owned());
        look("action", &rule.action, "/action".to_owned());
    }
    let limited = definition.policies.iter().filter_map(|policy| policy.action.as_ref());
    for action in limited.chain(definition.queues.iter().map(|queue| &queue.action)) {
        look("action", action, "/action".to_owned());
    }
    findings
}

/// What does not fit the action or the trigger of another pack: parameters, and fields that its events cannot have.
fn rule_contents(rule: &RuleEntry, files: &PackFiles, elsewhere: &Elsewhere) -> Vec<Finding> {
    let definition = &rule.definition;
    let mut findings = Vec::new();
    let mut report = |target: &Located<String>, fault: Fault| {
        findings.push(finding_in(files, &target.file, fault));
    };
    let parameters = |key: &str, target: &Located<String>, kind: &str, fault: ParameterFault| Fault {
        pointer: format!("/{key}{}", fault.pointer),
        message: format!("{kind} `{}`: {}", target.value, fault.message),
        suggestion: fault.suggestion,
    };
    if let Some(schema) = elsewhere.actions.get(&definition.action_ref) {
        for fault in check::action_parameters(schema, &definition.action_params) {
            report(&rule.action, parameters("action_params", &rule.action, "action", fault));
        }
    }
    if let Some(trigger) = elsewhere.triggers.get(&definition.trigger_ref) {
        for fault in check::trigger_parameters(&trigger.param_schema, &definition.trigger_params) {
            report(&rule.trigger, parameters("trigger_params", &rule.trigger, "trigger", fault));
        }
        let schemas =
            TriggerSchemas { payload: Some(&trigger.out_schema), config: Some(&trigger.param_schema) };
        for RuleProblem { pointer, message, suggestion } in attune_rules::check(definition, schemas) {
            report(&rule.trigger, Fault { pointer, message, suggestion });
        }
    }
    findings
}
