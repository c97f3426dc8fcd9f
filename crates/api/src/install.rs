//! Installing packs: everything that a pack defines, in one transaction.
//!
//! An installation either takes effect as a whole or leaves everything as it was. Installations and removals take turns,
//! so that no two of them check against a state that the other one is about to change. What a pack refers to must exist,
//! in the pack itself or in another one; what others use of it must not vanish by an upgrade.

mod config;
mod convert;
mod dependencies;
mod edits;
mod export;
mod foreign;
mod given;
mod masks;
mod plan;
mod position;
mod removal;
mod switches;
mod targets;

use attune_common::bus::{Bus, Topic};
use attune_common::error::StoreError;
use attune_common::models::action::NewAction;
use attune_common::models::pack::{Pack, PackFile};
use attune_common::models::placement::NewPlacement;
use attune_common::models::rule::NewRule;
use attune_common::models::sensor::NewSensor;
use attune_common::repositories::{
    ActionRepository, PackRepository, PermissionRepository, PlacementRepository, PolicyRepository,
    RuleRepository, RuleSetRepository, RuntimeRepository, SensorRepository, TriggerRepository,
    WorkQueueRepository,
};
use attune_pack::{Finding, PackDefinition, PackFiles};
use semver::Version;
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgPool};

use self::switches::{Kind, Switches};
use crate::rule_settings;

pub(crate) use convert::constraints as constraints_of;
pub use edits::{EditConflict, Edits, KeptEdit};
pub use export::{ExportEdits, ExportError, export};
pub use given::GivenSettings;
pub(crate) use given::faults as faults_of_settings;
pub use plan::{Change, ChangeKind, FileChange, MemberDifference, Plan, plan};
pub(crate) use plan::{KeyState, states_of_keys};
pub use removal::{RemoveError, Uses, remove};

/// A pack to be installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What its files define.
    pub definition: PackDefinition,
    /// The files that the definition was read from.
    pub files: PackFiles,
    /// Where it came from, as the installer names it.
    pub source: Option<String>,
    /// What the names of its files begin with where several packs are installed together; else empty.
    pub prefix: String,
    /// What its file for the environment of the server says; see [`Candidate::for_environment`].
    pub environment: Map<String, Value>,
    /// Settings to be set with it.
    pub settings: GivenSettings,
}

/// How packs are installed.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstallOptions {
    /// Shipped with Attune itself: only such an installation may replace such a pack.
    pub is_standard: bool,
    /// What becomes of changes that were made on the server.
    pub edits: Edits,
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// The pack as it is now.
    pub pack: Pack,
    pub outcome: Outcome,
    /// What was changed on the server and stays so.
    pub kept: Vec<KeptEdit>,
}

/// What became of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Installed,
    /// It was there with other files, of an earlier version or of the same.
    Upgraded,
    /// It was there in a later version.
    Downgraded,
    /// It was there with the same files, and what was changed on the server is as in these again.
    Restored,
    /// It was there with the same files; its settings are what was given with it.
    Configured,
    /// It was there with the same files; nothing was done.
    Unchanged,
}

impl Outcome {
    /// The name as answers spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Upgraded => "upgraded",
            Self::Downgraded => "downgraded",
            Self::Restored => "restored",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }

    /// What becomes of a pack by the installation of another version of it.
    fn of(existing: Option<&Pack>, definition: &PackDefinition) -> Self {
        let Some(existing) = existing else { return Self::Installed };
        match Version::parse(&existing.version) {
            Ok(version) if version > definition.manifest.version => Self::Downgraded,
            _ => Self::Upgraded,
        }
    }
}

/// Why packs were not installed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// What is wrong with them, given what is installed besides; never empty.
    #[error("the pack does not fit what is installed: {}", summary(.0))]
    Invalid(Vec<Finding>),
    /// What was changed on the server and by the pack as well; never empty.
    #[error("{} changed on the server would be overwritten", if .0.len() == 1 { "a rule that was" } else { "rules that were" })]
    Edited(Vec<EditConflict>),
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

/// Installs packs, or brings installed ones to these definitions, all or none of them; ids, webhook keys and assignments of
/// what stays are kept. Answers are in the order of the packs, of which one that is needed stands before those that need it.
pub async fn install(
    pool: &PgPool,
    bus: &Bus,
    candidates: &[Candidate],
    options: InstallOptions,
) -> Result<Vec<Installed>, InstallError> {
    let mut transaction = attune_common::db::begin(pool).await?;
    PackRepository::take_turn(&mut transaction).await?;
    let mut missing = dependencies::check(&mut transaction, candidates).await?;
    let before = foreign::Before::read(&mut transaction, candidates).await?;
    let (mut installed, mut conflicts) = (Vec::new(), Vec::new());
    for candidate in candidates {
        match bring(&mut transaction, candidate, options).await? {
            Brought::Done(done) => installed.push(*done),
            Brought::Edited(edited) => conflicts.extend(edited),
            Brought::Invalid(findings) => {
                missing.extend(findings);
                // What comes after it may need what it would have brought.
                break;
            }
        }
    }
    if missing.is_empty() && conflicts.is_empty() {
        missing = before.broken(&mut transaction, candidates).await?;
        if options.is_standard {
            // Nobody is there to be asked: what ships with Attune is what this Attune needs.
            for finding in missing.drain(..) {
                tracing::warn!("{}", finding.message);
            }
        }
    }
    if !missing.is_empty() {
        missing.sort();
        missing.dedup();
        return Err(InstallError::Invalid(missing));
    }
    if !conflicts.is_empty() {
        return Err(InstallError::Edited(conflicts));
    }
    if installed.iter().all(|installed| installed.outcome == Outcome::Unchanged) {
        return Ok(installed);
    }
    transaction.commit().await?;
    bus.wake(Topic::Definition);
    for Installed { pack, outcome, .. } in &installed {
        tracing::info!(
            pack = pack.r#ref,
            version = pack.version,
            outcome = outcome.as_str(),
            "pack installed"
        );
    }
    Ok(installed)
}

/// What came of one pack within the transaction.
enum Brought {
    Done(Box<Installed>),
    Invalid(Vec<Finding>),
    Edited(Vec<EditConflict>),
}

async fn bring(
    connection: &mut PgConnection,
    candidate: &Candidate,
    options: InstallOptions,
) -> Result<Brought, StoreError> {
    let definition = &candidate.definition;
    let existing = PackRepository::find_by_ref(&mut *connection, &definition.manifest.r#ref).await?;
    let is_same = existing.as_ref().is_some_and(|pack| {
        pack.checksum.as_deref() == Some(definition.checksum.as_str())
            && pack.is_standard == options.is_standard
            && pack.environment_config.as_object() == Some(&candidate.environment)
    });
    // The same files can only change what was changed by hand.
    let is_configured = !candidate.settings.is_empty();
    if let Some(pack) =
        existing.as_ref().filter(|_| is_same && options.edits != Edits::Overwrite && !is_configured)
    {
        let installed = Installed { pack: pack.clone(), outcome: Outcome::Unchanged, kept: Vec::new() };
        return Ok(Brought::Done(Box::new(installed)));
    }
    let findings =
        targets::check(&mut *connection, candidate, existing.as_ref(), options.is_standard).await?;
    if !findings.is_empty() {
        return Ok(Brought::Invalid(candidate.named(findings)));
    }
    let merged = edits::merge(&mut *connection, candidate, existing.as_ref(), options.edits).await?;
    if !merged.conflicts.is_empty() {
        return Ok(Brought::Edited(merged.conflicts));
    }
    let switches = switches::merge(&mut *connection, candidate, existing.as_ref(), options.edits).await?;
    let overwritten = merged.overwritten + switches.overwritten;
    let outcome = match (existing, is_same) {
        (Some(_), true) if overwritten == 0 && is_configured => Outcome::Configured,
        (Some(pack), true) if overwritten == 0 => {
            let installed = Installed { pack, outcome: Outcome::Unchanged, kept: Vec::new() };
            return Ok(Brought::Done(Box::new(installed)));
        }
        (Some(_), true) => Outcome::Restored,
        (existing, _) => Outcome::of(existing.as_ref(), definition),
    };
    let pack = PackRepository::put(&mut *connection, &convert::pack(candidate, options)).await?;
    let pack = given::apply(&mut *connection, pack, &candidate.settings).await?;
    let with_settings =
        |rule: &NewRule| NewRule { config: rule_settings::used(rule, Some(&pack)), ..rule.clone() };
    let rules: Vec<NewRule> = merged.rules.iter().map(with_settings).collect();
    store(&mut *connection, pack.id, candidate, &rules, &switches).await?;
    let findings = targets::check_merged(&mut *connection, candidate, &merged, &pack).await?;
    if !findings.is_empty() {
        return Ok(Brought::Invalid(candidate.named(findings)));
    }
    let kept = merged.kept.into_iter().chain(switches.kept).collect();
    Ok(Brought::Done(Box::new(Installed { pack, outcome, kept })))
}

impl Candidate {
    /// A pack by itself, for a server of this environment.
    pub fn for_environment(
        definition: PackDefinition,
        files: PackFiles,
        source: Option<String>,
        environment: Option<&str>,
    ) -> Self {
        let values = environment.and_then(|environment| definition.environments.get(environment)).cloned();
        Self {
            definition,
            files,
            source,
            prefix: String::new(),
            environment: values.unwrap_or_default(),
            settings: GivenSettings::default(),
        }
    }

    /// The findings with the names that the files have in what was sent.
    fn named(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let named =
            |finding: Finding| Finding { file: format!("{}{}", self.prefix, finding.file), ..finding };
        findings.into_iter().map(named).collect()
    }
}

/// Writes what the pack consists of. What refers comes after what it refers to, and goes before it.
async fn store(
    connection: &mut PgConnection,
    pack: i64,
    candidate: &Candidate,
    rules: &[NewRule],
    switches: &Switches,
) -> Result<(), StoreError> {
    let definition = &candidate.definition;
    PackRepository::replace_files(&mut *connection, pack, &stored_files(&candidate.files)).await?;
    for runtime in &definition.runtimes {
        RuntimeRepository::put(&mut *connection, pack, &convert::runtime(runtime)).await?;
    }
    for action in &definition.actions {
        let placement = NewPlacement {
            selector: action.worker_selector.clone(),
            tolerations: action.tolerations.clone(),
        };
        let placement = PlacementRepository::put(&mut *connection, &placement).await?;
        let enabled = switches.enabled(Kind::Action, &action.r#ref, action.enabled);
        let new = NewAction { enabled, ..convert::action(action, placement.id) };
        ActionRepository::put(&mut *connection, pack, &new).await?;
    }
    for trigger in &definition.triggers {
        TriggerRepository::put(&mut *connection, pack, &convert::trigger(trigger)).await?;
    }
    for sensor in &definition.sensors {
        let enabled = switches.enabled(Kind::Sensor, &sensor.r#ref, sensor.enabled);
        let new = NewSensor { enabled, ..convert::sensor(sensor) };
        SensorRepository::put(&mut *connection, pack, &new).await?;
    }
    for set in &definition.permission_sets {
        PermissionRepository::put(&mut *connection, pack, &convert::permission_set(set)).await?;
    }
    for rule in rules {
        RuleRepository::put(&mut *connection, pack, rule).await?;
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
