//! Installing packs: everything that a pack defines, in one transaction.
//!
//! An installation either takes effect as a whole or leaves everything as it was. Installations and removals take turns,
//! so that no two of them check against a state that the other one is about to change. What a pack refers to must exist,
//! in the pack itself or in another one; what others use of it must not vanish by an upgrade.

mod archive;
mod convert;
mod position;
mod targets;

use std::collections::BTreeMap;

use attune_common::bus::{Bus, Topic};
use attune_common::error::StoreError;
use attune_common::models::pack::{Pack, PackFile};
use attune_common::models::placement::NewPlacement;
use attune_common::repositories::{
    ActionRepository, PackRepository, PermissionRepository, PlacementRepository, PolicyRepository,
    RuleRepository, RuleSetRepository, RuntimeRepository, SensorRepository, TriggerRepository,
    WorkQueueRepository,
};
use attune_pack::{Finding, PackDefinition, PackFiles};
use sqlx::{PgConnection, PgPool};

pub(crate) use archive::{ArchiveError, Limits, unpack};

/// How a pack is installed.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// Where it came from, as the installer names it.
    pub source: Option<String>,
    /// Shipped with Attune itself: only such an installation may replace such a pack.
    pub is_standard: bool,
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// The pack as it is now.
    pub pack: Pack,
    pub outcome: Outcome,
}

/// What became of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Installed,
    /// It was there with other files.
    Upgraded,
    /// It was there with the same files; nothing was done.
    Unchanged,
}

impl Outcome {
    /// The name as answers spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Upgraded => "upgraded",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Why a pack was not installed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// What is wrong with it, given what is installed besides it; never empty.
    #[error("the pack does not fit what is installed: {}", summary(.0))]
    Invalid(Vec<Finding>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for InstallError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn summary(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    lines.join("\n")
}

/// Installs a pack, or brings an installed one to this definition; ids, webhook keys and assignments of what stays are
/// kept. `files` are the files that the definition was read from.
pub async fn install(
    pool: &PgPool,
    bus: &Bus,
    definition: &PackDefinition,
    files: &PackFiles,
    options: InstallOptions,
) -> Result<Installed, InstallError> {
    let mut transaction = attune_common::db::begin(pool).await?;
    PackRepository::take_turn(&mut transaction).await?;
    let existing = PackRepository::find_by_ref(&mut *transaction, &definition.manifest.r#ref).await?;
    if let Some(pack) = &existing
        && pack.checksum.as_deref() == Some(definition.checksum.as_str())
        && pack.is_standard == options.is_standard
    {
        return Ok(Installed { pack: pack.clone(), outcome: Outcome::Unchanged });
    }
    let findings = targets::check(&mut transaction, definition, files, existing.as_ref(), &options).await?;
    if !findings.is_empty() {
        return Err(InstallError::Invalid(findings));
    }
    let pack = PackRepository::put(&mut *transaction, &convert::pack(definition, options)).await?;
    store(&mut transaction, pack.id, definition, files).await?;
    transaction.commit().await?;
    bus.wake(Topic::Definition);
    let outcome = if existing.is_some() { Outcome::Upgraded } else { Outcome::Installed };
    tracing::info!(pack = pack.r#ref, version = pack.version, outcome = outcome.as_str(), "pack installed");
    Ok(Installed { pack, outcome })
}

/// Writes what the pack consists of. What refers comes after what it refers to, and goes before it.
async fn store(
    connection: &mut PgConnection,
    pack: i64,
    definition: &PackDefinition,
    files: &PackFiles,
) -> Result<(), StoreError> {
    PackRepository::replace_files(&mut *connection, pack, &stored_files(files)).await?;
    for runtime in &definition.runtimes {
        RuntimeRepository::put(&mut *connection, pack, &convert::runtime(runtime)).await?;
    }
    for action in &definition.actions {
        let placement = NewPlacement {
            selector: action.worker_selector.clone(),
            tolerations: action.tolerations.clone(),
        };
        let placement = PlacementRepository::put(&mut *connection, &placement).await?;
        ActionRepository::put(&mut *connection, pack, &convert::action(action, placement.id)).await?;
    }
    for trigger in &definition.triggers {
        TriggerRepository::put(&mut *connection, pack, &convert::trigger(trigger)).await?;
    }
    for sensor in &definition.sensors {
        SensorRepository::put(&mut *connection, pack, &convert::sensor(sensor)).await?;
    }
    for set in &definition.permission_sets {
        PermissionRepository::put(&mut *connection, pack, &convert::permission_set(set)).await?;
    }
    for rule in &definition.rules {
        RuleRepository::put(&mut *connection, pack, &convert::rule(rule)?).await?;
    }
    for policy in &definition.policies {
        PolicyRepository::put(&mut *connection, pack, &convert::policy(policy)).await?;
    }
    for queue in &definition.queues {
        WorkQueueRepository::put(&mut *connection, pack, &convert::queue(queue)).await?;
    }
    let refs = Refs::of(definition);
    PolicyRepository::remove_others(&mut *connection, pack, &refs.policies).await?;
    WorkQueueRepository::remove_others(&mut *connection, pack, &refs.queues).await?;
    RuleRepository::remove_others(&mut *connection, pack, &refs.rules).await?;
    SensorRepository::remove_others(&mut *connection, pack, &refs.sensors).await?;
    ActionRepository::remove_others(&mut *connection, pack, &refs.actions).await?;
    TriggerRepository::remove_others(&mut *connection, pack, &refs.triggers).await?;
    RuntimeRepository::remove_others(&mut *connection, pack, &refs.runtimes).await?;
    PermissionRepository::remove_others(&mut *connection, pack, &refs.permission_sets).await?;
    // Others may have waited for what this pack brings.
    RuleRepository::relink(&mut *connection).await?;
    ActionRepository::relink(&mut *connection).await?;
    SensorRepository::relink(&mut *connection).await?;
    WorkQueueRepository::relink(&mut *connection).await?;
    // Triggers and actions count too, and rules may be the same.
    RuleSetRepository::raise_version(connection).await?;
    Ok(())
}

fn stored_files(files: &PackFiles) -> Vec<PackFile> {
    let stored = files.iter().map(|(path, file)| PackFile {
        path: path.clone(),
        content: file.content.clone(),
        executable: file.executable,
    });
    stored.collect()
}

/// The refs of all that a pack defines, by kind.
#[derive(Debug)]
struct Refs {
    runtimes: Vec<String>,
    actions: Vec<String>,
    triggers: Vec<String>,
    sensors: Vec<String>,
    rules: Vec<String>,
    permission_sets: Vec<String>,
    policies: Vec<String>,
    queues: Vec<String>,
}

impl Refs {
    fn of(definition: &PackDefinition) -> Self {
        Self {
            runtimes: definition.runtimes.iter().map(|runtime| runtime.r#ref.clone()).collect(),
            actions: definition.actions.iter().map(|action| action.r#ref.clone()).collect(),
            triggers: definition.triggers.iter().map(|trigger| trigger.r#ref.clone()).collect(),
            sensors: definition.sensors.iter().map(|sensor| sensor.r#ref.clone()).collect(),
            rules: definition.rules.iter().map(|rule| rule.definition.rule_ref.clone()).collect(),
            permission_sets: definition.permission_sets.iter().map(|set| set.r#ref.clone()).collect(),
            policies: definition.policies.iter().map(|policy| policy.r#ref.clone()).collect(),
            queues: definition.queues.iter().map(|queue| queue.r#ref.clone()).collect(),
        }
    }
}

/// Removes a pack with all that it defines. Refused for what ships with Attune, and while others use something of it.
pub async fn remove(pool: &PgPool, bus: &Bus, pack_ref: &str) -> Result<(), RemoveError> {
    let mut transaction = attune_common::db::begin(pool).await?;
    PackRepository::take_turn(&mut transaction).await?;
    let pack = PackRepository::get_by_ref(&mut *transaction, pack_ref).await?;
    let dependents = PackRepository::dependents(&mut *transaction, pack.id, &[]).await?;
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for dependent in dependents {
        let user = format!("{} {}", dependent.entity, dependent.r#ref);
        uses.entry(user).or_default().push(format!("{} {}", dependent.target_entity, dependent.target));
    }
    let uses: Vec<String> =
        uses.into_iter().map(|(user, targets)| format!("{user} uses {}", targets.join(" and "))).collect();
    if pack.is_standard {
        return Err(RemoveError::Standard { pack_ref: pack.r#ref, uses });
    }
    if !uses.is_empty() {
        return Err(RemoveError::InUse { pack_ref: pack.r#ref, uses });
    }
    PackRepository::delete(&mut *transaction, pack.id).await?;
    RuleSetRepository::raise_version(&mut *transaction).await?;
    transaction.commit().await?;
    bus.wake(Topic::Definition);
    tracing::info!(pack = pack_ref, "pack removed");
    Ok(())
}

/// Why a pack was not removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("pack {pack_ref} ships with attune and cannot be removed")]
    Standard { pack_ref: String, uses: Vec<String> },
    #[error("pack {pack_ref} is in use; remove what uses it first")]
    InUse { pack_ref: String, uses: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RemoveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
