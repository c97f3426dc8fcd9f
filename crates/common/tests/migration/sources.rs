//! The migrations and the repositories as they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attune_common::db::MIGRATOR;
use attune_common::repositories::{
    ActionRepository, AdmissionRepository, ArtifactRepository, AuditRepository, DataKeyRepository,
    EnforcementRepository, EventRepository, ExecutionRepository, IdentityRepository, InquiryRepository,
    InternalEventRepository, KeyRepository, NotificationRepository, PackRepository, PauseRepository,
    PermissionRepository, PlacementRepository, PolicyRepository, ProgressRepository, RuleRepository,
    RuntimeRepository, SensorRepository, TokenRepository, TriggerRepository, WorkItemRepository,
    WorkQueueRepository, WorkerRepository, WorkflowDefinitionRepository, WorkflowStateRepository,
    WorkflowTaskRepository,
};

use super::found;

const NONE: [&str; 0] = [];

/// What each repository says its table is.
const REPOSITORIES: &[&str] = &[
    ActionRepository::table_name(),
    AdmissionRepository::table_name(),
    ArtifactRepository::table_name(),
    AuditRepository::table_name(),
    DataKeyRepository::table_name(),
    EnforcementRepository::table_name(),
    EventRepository::table_name(),
    ExecutionRepository::table_name(),
    IdentityRepository::table_name(),
    InquiryRepository::table_name(),
    InternalEventRepository::table_name(),
    KeyRepository::table_name(),
    NotificationRepository::table_name(),
    PackRepository::table_name(),
    PauseRepository::table_name(),
    PermissionRepository::table_name(),
    PlacementRepository::table_name(),
    PolicyRepository::table_name(),
    ProgressRepository::table_name(),
    RuleRepository::table_name(),
    RuntimeRepository::table_name(),
    SensorRepository::table_name(),
    TokenRepository::table_name(),
    TriggerRepository::table_name(),
    WorkItemRepository::table_name(),
    WorkQueueRepository::table_name(),
    WorkerRepository::table_name(),
    WorkflowDefinitionRepository::table_name(),
    WorkflowStateRepository::table_name(),
    WorkflowTaskRepository::table_name(),
];

/// Tables that are reached through the repository of another, or have no rows to speak of.
const PARTS: &[&str] = &[
    "admission_lane",
    "artifact_chunk",
    "artifact_version",
    "change",
    "enforcement_event",
    "event_batch",
    "execution_attempt",
    "execution_output",
    "pack_file",
    "permission_assignment",
    "rule_set",
    "rule_version",
    "window_outcome",
    "window_state",
    "worker_assigned",
    "worker_offer",
];

/// Tables that nothing writes yet.
const UNWRITTEN: &[&str] = &[];

/// Tables that are written along with others, in the same statement.
const BY_ALL: &[(&str, &str)] = &[
    ("change", "the feed, by whatever makes a change"),
    ("rule_set", "its version, by whatever changes what executors hold"),
];

/// Writes by a module whose table it is not, where two things must happen in one statement.
const WITH_ANOTHER: &[(&str, &str)] = &[
    ("admission", "execution"),
    ("enforcement", "admission"),
    ("enforcement", "execution"),
    ("enforcement", "worker_assigned"),
    ("execution", "admission"),
    ("execution", "worker_offer"),
    // Who gives executions to workers is to know of a pause, and so is a worker that claims.
    ("pause", "worker"),
    ("pause", "worker_assigned"),
    // What is old goes: one module for all tables, so that what is kept for what can be seen in one place.
    ("retention", "enforcement"),
    ("retention", "event"),
    ("retention", "event_batch"),
    ("retention", "execution"),
    ("rule", "pack"),
];

async fn tables() -> BTreeSet<String> {
    found(
        "select relname::text from pg_class
         where relnamespace = 'attune'::regnamespace and relkind = 'r'
         order by 1",
    )
    .await
    .into_iter()
    .collect()
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        directory.read_dir().expect("a directory").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words that follow `before` in the text, as far as they are names.
fn names_after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before)
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The repositories' modules: name, documentation, and all the text that belongs to it.
fn modules() -> Vec<(String, String, String)> {
    let mut modules = Vec::new();
    let repositories = directory("src/repositories");
    for path in files(&repositories).iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let source = read(path);
        let lines = source.lines().take_while(|line| line.starts_with("//!"));
        let documentation = lines.map(|line| line.trim_start_matches("//!")).collect::<String>();
        let mut text = source.clone();
        if repositories.join(&name).is_dir() {
            text.extend(files(&repositories.join(&name)).iter().map(|part| read(part)));
        }
        modules.push((name, documentation, text));
    }
    modules
}

/// The tables that a module says it writes: the sentence "Writes `attune.x` and `attune.y`".
fn promised(documentation: &str) -> BTreeSet<String> {
    let sentence = documentation.split("Writes `").nth(1).unwrap_or_default();
    let end = sentence.find(". ").or_else(|| sentence.find("(")).unwrap_or(sentence.len());
    names_after(&format!("`{}", &sentence[..end]), "`attune.").into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn test_every_table_has_its_repository() {
    let schema = tables().await;
    let named: BTreeSet<_> = REPOSITORIES
        .iter()
        .map(|name| name.strip_prefix("attune.").expect("with its schema").to_owned())
        .collect();
    assert_eq!(named.len(), REPOSITORIES.len(), "two repositories have one table");
    let known: BTreeSet<_> =
        named.iter().cloned().chain(PARTS.iter().chain(UNWRITTEN).map(|&name| name.to_owned())).collect();
    assert_eq!(
        known, schema,
        "REPOSITORIES, PARTS and UNWRITTEN of tests/migration/sources.rs (left) name every table (right)"
    );
    let twice: Vec<_> = PARTS.iter().chain(UNWRITTEN).filter(|name| named.contains(**name)).collect();
    assert_eq!(twice, [] as [&&str; 0], "has a repository now: remove it from PARTS or UNWRITTEN");
}

#[tokio::test]
async fn test_every_table_is_written_by_the_module_that_says_so() {
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, documentation, text) in modules() {
        let mut written: BTreeSet<String> = BTreeSet::new();
        for verb in ["insert into attune.", "update attune.", "delete from attune."] {
            written.extend(names_after(&text, verb).into_iter().map(str::to_owned));
        }
        let promised = promised(&documentation);
        written.retain(|table| promised.contains(table) || BY_ALL.iter().all(|(common, _)| common != table));
        for (_, table) in WITH_ANOTHER.iter().filter(|(writer, _)| *writer == module) {
            assert!(written.remove(*table), "{module} does not write {table}: remove it from WITH_ANOTHER");
        }
        assert_eq!(
            written, promised,
            "src/repositories/{module}.rs writes these (left) and says that it writes those (right)"
        );
        for table in written {
            writers.entry(table).or_default().insert(module.clone());
        }
    }
    let shared: Vec<_> = writers.iter().filter(|(_, modules)| modules.len() > 1).collect();
    assert!(shared.is_empty(), "one module writes a table: {shared:?}");
    let mut unwritten = tables().await;
    unwritten.retain(|table| !writers.contains_key(table) && table != "change");
    assert_eq!(
        unwritten,
        UNWRITTEN.iter().map(|&name| name.to_owned()).collect(),
        "tables that nothing writes (left), and UNWRITTEN of tests/migration/sources.rs (right)"
    );
}

#[test]
fn test_statements_name_only_tables_of_the_schema_by_their_schema() {
    // A name without its schema would be looked up on the search path, where it is not.
    let mut faults = Vec::new();
    for (module, _, text) in modules() {
        for verb in ["insert into ", "delete from "] {
            for name in names_after(&text, verb).into_iter().filter(|name| *name != "attune") {
                faults.push(format!("{module}: {verb}{name}"));
            }
        }
    }
    assert_eq!(faults, NONE);
}

#[test]
fn test_every_index_has_its_reason() {
    // A comment above it, or above those that stand right before it.
    let mut faults = Vec::new();
    for path in files(&directory("../../migrations")) {
        let text = read(&path);
        let mut explained = false;
        for statement in text.split_inclusive('\n') {
            let line = statement.trim_end();
            if line.starts_with("--") {
                explained = true;
            } else if line.starts_with("create index ") || line.starts_with("create unique index ") {
                if !explained {
                    faults.push(format!("{}: {line}", path.file_name().expect("a name").to_string_lossy()));
                }
            } else if !line.starts_with(' ') {
                explained = false;
            }
        }
    }
    assert_eq!(faults, NONE);
}

#[test]
fn test_migrations_have_one_form() {
    let versions: Vec<_> = MIGRATOR.iter().map(|migration| migration.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once: {versions:?}");
    for migration in MIGRATOR.iter() {
        let about = (migration.version, &migration.description);
        assert!(
            !migration.migration_type.is_down_migration(),
            "{about:?}: there is no way back but a backup"
        );
        assert!(!migration.no_tx, "{about:?} runs in a transaction: it is applied as a whole or not at all");
        assert!(migration.sql.as_str().starts_with("-- "), "{about:?} begins with what it is about");
    }
}
