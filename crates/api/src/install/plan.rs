//! What an installation would do: the same steps as the installation, in a transaction that is not committed.

use std::collections::BTreeMap;

use attune_common::error::StoreError;
use attune_common::models::pack::DeclaredKey;
use attune_common::models::rule::NewRule;
use attune_common::repositories::{KeyRepository, PackRepository};
use attune_expr::value::equal;
use attune_pack::{Finding, PackDefinition, PackFiles};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::masks::RuleMasks;
use super::{
    Brought, Candidate, EditConflict, Edits, InstallError, InstallOptions, KeptEdit, Outcome, bring, convert,
    dependencies, edits, foreign,
};
use crate::views::MASK;

/// What would become of a pack.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub pack_ref: String,
    /// The version that is installed now.
    pub from: Option<String>,
    pub to: String,
    pub outcome: Outcome,
    /// What it defines and what of that would be other than now, by kind and ref.
    pub changes: Vec<Change>,
    /// Files whose contents would be others, by path.
    pub files: Vec<FileChange>,
    /// What was changed on the server, and by the pack as well: an installation has to be told which counts.
    pub conflicts: Vec<EditConflict>,
    /// What was changed on the server and would stay so.
    pub kept: Vec<KeptEdit>,
    /// Keys that it declares and that have no value yet.
    pub missing_keys: Vec<DeclaredKey>,
    /// Keys that it declares as secrets and whose values are stored as none.
    pub exposed_keys: Vec<DeclaredKey>,
}

/// How something would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Changed,
    Removed,
}

impl ChangeKind {
    /// The name as answers spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// A component that would change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `rule`, `action` and so on.
    pub kind: &'static str,
    pub component: String,
    pub change: ChangeKind,
    /// What of it; empty for what is added or removed as a whole.
    pub members: Vec<MemberDifference>,
    /// The settings that a rule would use.
    pub config: Option<Value>,
}

/// A member that would have another value. Secrets are masked on both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberDifference {
    pub member: String,
    pub before: Value,
    pub after: Value,
}

/// A file that would be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub path: String,
    pub change: ChangeKind,
}

/// What installing these packs together would do, in their order. What an installation would refuse for what is wrong with
/// the packs is refused here too; conflicts are told.
pub async fn plan(
    pool: &PgPool,
    candidates: &[Candidate],
    options: InstallOptions,
) -> Result<Vec<Plan>, InstallError> {
    let mut transaction = attune_common::db::begin(pool).await?;
    PackRepository::take_turn(&mut transaction).await?;
    let mut findings = dependencies::check(&mut transaction, candidates).await?;
    let before = foreign::Before::read(&mut transaction, candidates).await?;
    let mut plans = Vec::new();
    for candidate in candidates {
        match planned(&mut transaction, candidate, options).await? {
            Planned::Invalid(found) => {
                findings.extend(found);
                break;
            }
            Planned::Done(plan) => plans.push(*plan),
        }
    }
    if findings.is_empty() {
        findings = before.broken(&mut transaction, candidates).await?;
    }
    transaction.rollback().await?;
    if findings.is_empty() {
        return Ok(plans);
    }
    findings.sort();
    findings.dedup();
    Err(InstallError::Invalid(findings))
}

enum Planned {
    Done(Box<Plan>),
    Invalid(Vec<Finding>),
}

async fn planned(
    connection: &mut PgConnection,
    candidate: &Candidate,
    options: InstallOptions,
) -> Result<Planned, StoreError> {
    let definition = &candidate.definition;
    let existing = PackRepository::find_by_ref(&mut *connection, &definition.manifest.r#ref).await?;
    let before = match &existing {
        Some(pack) => edits::installed_files(&mut *connection, pack.id).await?,
        None => PackFiles::new(),
    };
    let stored: Vec<NewRule> = match &existing {
        Some(pack) => {
            let rules = attune_common::repositories::RuleRepository::list_of_pack(&mut *connection, pack.id);
            rules.await?.into_iter().map(edits::as_new).collect()
        }
        None => Vec::new(),
    };
    // Conflicts are told, and then settled one way or the other, so that the changes beside them are told as well and what
    // comes after this pack is checked with it. A rule that the pack no longer has cannot be kept, only be overwritten.
    let mut conflicts = Vec::new();
    let mut brought = None;
    for edits in [options.edits, Edits::Keep, Edits::Overwrite] {
        match bring(&mut *connection, candidate, InstallOptions { edits, ..options }).await? {
            Brought::Edited(found) if conflicts.is_empty() => conflicts = found,
            Brought::Edited(_) => {}
            Brought::Invalid(findings) => return Ok(Planned::Invalid(findings)),
            Brought::Done(installed) => {
                brought = Some(*installed);
                break;
            }
        }
    }
    // What may be overwritten is no conflict.
    let Some(installed) = brought else { return Ok(Planned::Invalid(Vec::new())) };
    let now: Vec<NewRule> = {
        let rules =
            attune_common::repositories::RuleRepository::list_of_pack(&mut *connection, installed.pack.id);
        rules.await?.into_iter().map(edits::as_new).collect()
    };
    let declared = convert::needed_keys(definition);
    let masks = RuleMasks::read(&mut *connection, candidate, stored.iter().chain(&now)).await?;
    let mut changes = components(attune_pack::read(&before).ok().as_ref(), definition);
    changes.extend(rules(&stored, &now, &masks)?);
    changes.sort_by(|a, b| (a.kind, &a.component).cmp(&(b.kind, &b.component)));
    let outcome = match existing {
        Some(_) if changes.is_empty() && before == candidate.files && candidate.settings.is_empty() => {
            Outcome::Unchanged
        }
        _ => installed.outcome,
    };
    let keys = states_of_keys(&mut *connection, &declared).await?;
    let in_state = |wanted| {
        let found = keys.iter().filter(|(_, state)| *state == wanted);
        found.map(|(key, _)| key.clone()).collect()
    };
    Ok(Planned::Done(Box::new(Plan {
        pack_ref: definition.manifest.r#ref.clone(),
        from: existing.map(|pack| pack.version),
        to: definition.manifest.version.to_string(),
        outcome,
        changes,
        files: files(&before, &candidate.files),
        conflicts,
        kept: installed.kept,
        missing_keys: in_state(KeyState::Missing),
        exposed_keys: in_state(KeyState::Exposed),
    })))
}

/// What became of a key that a pack needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyState {
    Missing,
    Set,
    /// It is declared a secret, and its value is stored as none.
    Exposed,
}

/// The keys, each with what became of it.
pub(crate) async fn states_of_keys(
    executor: impl PgExecutor<'_>,
    declared: &[DeclaredKey],
) -> Result<Vec<(DeclaredKey, KeyState)>, StoreError> {
    let refs: Vec<&str> = declared.iter().map(|key| key.r#ref.as_str()).collect();
    let known = KeyRepository::known_refs(executor, &refs).await?;
    let state = |key: &DeclaredKey| match known.get(&key.r#ref) {
        None => KeyState::Missing,
        Some(false) if key.secret && !key.only_named => KeyState::Exposed,
        Some(_) => KeyState::Set,
    };
    Ok(declared.iter().map(|key| (key.clone(), state(key))).collect())
}

/// Rules are compared as they are stored, which is what they do.
fn rules(stored: &[NewRule], now: &[NewRule], masks: &RuleMasks) -> Result<Vec<Change>, StoreError> {
    let mut sides: Sides = BTreeMap::new();
    for rule in stored {
        sides.entry(rule.r#ref.clone()).or_default().0 = Some(rule_side(rule, masks)?);
    }
    for rule in now {
        sides.entry(rule.r#ref.clone()).or_default().1 = Some(rule_side(rule, masks)?);
    }
    let mut changes = compared("rule", sides);
    for change in &mut changes {
        let rule = now.iter().find(|rule| rule.r#ref == change.component);
        change.config = rule.and_then(|rule| rule.config.clone());
    }
    Ok(changes)
}

/// A rule with the settings that it uses, which are none of its own members.
fn rule_side(rule: &NewRule, masks: &RuleMasks) -> Result<Side, StoreError> {
    let mut side = Side { raw: edits::members(rule)?, shown: masks.shown(rule)? };
    for members in [&mut side.raw, &mut side.shown] {
        members.insert("config".to_owned(), json!(rule.config));
    }
    Ok(side)
}

/// Lists what a definition has of a kind, each with its members.
type Lister = fn(&PackDefinition) -> Vec<(String, Value)>;

/// What a definition has besides rules: before, by what the installed files say, and after.
fn components(before: Option<&PackDefinition>, after: &PackDefinition) -> Vec<Change> {
    let kinds: [(&'static str, Lister); 9] = [
        ("pack", |pack| vec![(pack.manifest.r#ref.clone(), manifest(pack))]),
        ("runtime", |pack| of(pack.runtimes.iter().map(convert::runtime), |new| &new.r#ref)),
        ("action", |pack| pack.actions.iter().map(action).collect()),
        ("trigger", |pack| of(pack.triggers.iter().map(convert::trigger), |new| &new.r#ref)),
        ("sensor", |pack| of(pack.sensors.iter().map(convert::sensor), |new| &new.r#ref)),
        ("permission set", |pack| {
            of(pack.permission_sets.iter().map(convert::permission_set), |new| &new.r#ref)
        }),
        ("policy", |pack| of(pack.policies.iter().map(convert::policy), |new| &new.r#ref)),
        ("queue", |pack| of(pack.queues.iter().map(convert::queue), |new| &new.r#ref)),
        ("key", |pack| of(pack.keys.iter().map(convert::declared_key), |new| &new.r#ref)),
    ];
    let mut changes = Vec::new();
    for (kind, list) in kinds {
        let mut sides: Sides = BTreeMap::new();
        for (name, value) in before.map(list).unwrap_or_default() {
            sides.entry(name).or_default().0 = Some(Side::of(kind, value));
        }
        for (name, value) in list(after) {
            sides.entry(name).or_default().1 = Some(Side::of(kind, value));
        }
        changes.extend(compared(kind, sides));
    }
    changes
}

fn of<T: Serialize>(items: impl Iterator<Item = T>, name: fn(&T) -> &String) -> Vec<(String, Value)> {
    // Plain structures always become JSON.
    items.map(|item| (name(&item).clone(), serde_json::to_value(&item).unwrap_or_default())).collect()
}

fn manifest(pack: &PackDefinition) -> Value {
    let manifest = &pack.manifest;
    let dependencies: BTreeMap<&str, String> =
        manifest.dependencies.iter().map(|(name, range)| (name.as_str(), range.value.to_string())).collect();
    json!({
        "version": manifest.version.to_string(), "label": manifest.label, "description": manifest.description,
        "author": manifest.author, "email": manifest.email, "tags": manifest.tags, "meta": manifest.meta,
        "dependencies": dependencies, "config_schema": crate::views::schema_view(manifest.config_schema.clone()),
    })
}

/// Where an action runs is a number only in the database.
fn action(action: &attune_pack::ActionDefinition) -> (String, Value) {
    let mut value = serde_json::to_value(convert::action(action, 0)).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        members.remove("placement");
        members.insert("worker_selector".to_owned(), json!(action.worker_selector));
        members.insert("tolerations".to_owned(), json!(action.tolerations));
    }
    (action.r#ref.clone(), value)
}

#[derive(Debug)]
struct Side {
    raw: Map<String, Value>,
    shown: Map<String, Value>,
}

/// Before and after, by ref.
type Sides = BTreeMap<String, (Option<Side>, Option<Side>)>;

impl Side {
    fn of(kind: &str, value: Value) -> Self {
        let raw = match value {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        let mut shown = raw.clone();
        for (member, value) in &mut shown {
            match (kind, member.as_str()) {
                // A sensor's settings may hold anything.
                ("sensor", "config") if value.as_object().is_some_and(|config| !config.is_empty()) => {
                    *value = Value::from(MASK);
                }
                ("action" | "trigger", "param_schema") => *value = crate::views::schema_view(value.take()),
                _ => {}
            }
        }
        Self { raw, shown }
    }
}

fn compared(kind: &'static str, sides: Sides) -> Vec<Change> {
    let mut changes = Vec::new();
    for (component, sides) in sides {
        let (change, members) = match sides {
            (None, Some(_)) => (ChangeKind::Added, Vec::new()),
            (Some(_), None) => (ChangeKind::Removed, Vec::new()),
            (Some(before), Some(after)) => {
                let members = differences(&before, &after);
                if members.is_empty() {
                    continue;
                }
                (ChangeKind::Changed, members)
            }
            (None, None) => continue,
        };
        changes.push(Change { kind, component, change, members, config: None });
    }
    changes
}

fn differences(before: &Side, after: &Side) -> Vec<MemberDifference> {
    let differing = after
        .raw
        .iter()
        .filter(|(name, value)| !before.raw.get(*name).is_some_and(|before| equal(before, value)));
    let of = |side: &Side, name: &str| side.shown.get(name).cloned().unwrap_or_default();
    let difference = |(name, _): (&String, &Value)| MemberDifference {
        member: shown_name(name).to_owned(),
        before: of(before, name),
        after: of(after, name),
    };
    differing.map(difference).collect()
}

/// The name of a member in a file.
fn shown_name(member: &str) -> &str {
    match member {
        "param_schema" => "parameters",
        "runtime_ref" => "runtime",
        "trigger_refs" => "triggers",
        "timeout_seconds" => "timeout",
        "item_schema" => "item",
        other => edits::shown_name(other),
    }
}

fn files(before: &PackFiles, after: &PackFiles) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for (path, file) in after {
        let change = match before.get(path) {
            None => ChangeKind::Added,
            Some(old) if old != file => ChangeKind::Changed,
            Some(_) => continue,
        };
        changes.push(FileChange { path: path.clone(), change });
    }
    let removed = before.keys().filter(|path| !after.contains_key(*path));
    changes.extend(removed.map(|path| FileChange { path: path.clone(), change: ChangeKind::Removed }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}
