//! Reads a whole pack: finds its files, reads each by its kind, then looks at what only several files together show.

mod action;
mod artifact;
mod case;
mod common;
mod constraints;
mod environment;
mod execution;
mod isolation;
mod key;
mod links;
mod manifest;
mod permission;
mod policy;
mod queue;
mod rule;
mod runtime;
mod sensor;
mod trigger;

use std::collections::BTreeMap;

use attune_expr::suggest::nearest;

use crate::checksum::checksum;
use crate::definition::{Manifest, PackDefinition};
use crate::finding::{Finding, Located};
use crate::reader::{FileReport, Item};
use crate::yaml::{self, Node, Position};
use crate::{PackFiles, RuleEntry, TestFile, reference};

pub(crate) use self::action::ActionForm;
pub(crate) use self::case::TestForm;
pub(crate) use self::key::KeyForm;
pub(crate) use self::manifest::ManifestForm;
pub(crate) use self::permission::PermissionSetForm;
pub(crate) use self::policy::PolicyForm;
pub(crate) use self::queue::QueueForm;
pub(crate) use self::rule::RuleForm;
pub(crate) use self::runtime::RuntimeForm;
pub(crate) use self::sensor::SensorForm;
pub(crate) use self::trigger::TriggerForm;

/// The file that makes a directory a pack.
const MANIFEST: &str = "pack.yaml";

/// Reads the definitions in the files of a pack.
///
/// Gives every fault of every file at once, ordered by file and position. Files that are not definitions belong to the
/// pack as content and are not looked into.
pub fn read(files: &PackFiles) -> Result<PackDefinition, Vec<Finding>> {
    read_knowing(files, &[])
}

/// The same with other packs that are known to be there: what refers to them is checked as if it were in the pack.
pub fn read_knowing(files: &PackFiles, others: &[PackDefinition]) -> Result<PackDefinition, Vec<Finding>> {
    let mut pack = PackReader { files, pack_ref: None, found: Found::default(), findings: Vec::new() };
    let trees = parse_definitions(files, &mut pack.findings);
    let manifest = pack.read_manifest();
    for kind in Kind::ALL {
        for file in trees.iter().filter(|file| file.kind == kind) {
            pack.read_file(file);
        }
    }
    pack.findings.extend(links::check(&pack.found, pack.pack_ref.as_deref(), &trees, others));
    pack.findings.extend(links::check_settings(&pack.found, manifest.as_ref(), &trees));
    pack.findings.extend(links::check_keys(&pack.found, pack.pack_ref.as_deref(), &trees));
    let tests =
        case::read_all(files, &pack.found, manifest.as_ref(), pack.pack_ref.as_deref(), &mut pack.findings);
    let environments = environment::read(files, manifest.as_ref(), &mut pack.findings);
    pack.finish(manifest, tests, environments)
}

/// The manifest of a pack, if it can be read; what is wrong with it is not told.
pub fn read_manifest(files: &PackFiles) -> Option<Manifest> {
    PackReader { files, pack_ref: None, found: Found::default(), findings: Vec::new() }.read_manifest()
}

/// Reads one rule file by itself, without the pack around it; `path` is what the findings call the file.
///
/// Gives every fault in it at once, ordered by position. What only the pack can show, such as whether it has the action
/// and whether the parameters fit it, is not looked at.
pub fn read_rule(path: &str, content: &[u8]) -> Result<RuleEntry, Vec<Finding>> {
    let report = FileReport::new(path);
    let tree = parse(&report, content);
    let rule = tree.as_ref().and_then(|tree| {
        let (files, refs) = (PackFiles::new(), BTreeMap::new());
        let directory = Kind::Rule.directory();
        let place = Place { files: &files, directory, pack_ref: None, runtimes: &[], refs: &refs };
        rule::read(&Item::root(&report, tree), &place)
    });
    let mut findings = report.into_findings();
    match rule {
        Some(rule) if findings.is_empty() => Ok(rule),
        _ => {
            findings.sort();
            findings.dedup();
            Err(findings)
        }
    }
}

/// Reads one rule file of a pack, `path` among its files, with what the pack around it shows; `name` is what the findings
/// call the file. What is wrong elsewhere in the pack is not told.
pub fn read_rule_in(files: &PackFiles, path: &str, name: &str) -> Result<RuleEntry, Vec<Finding>> {
    let content = files.get(path).map(|file| file.content.as_slice()).unwrap_or_default();
    let alone = read_rule(name, content)?;
    let mut pack = PackReader { files, pack_ref: None, found: Found::default(), findings: Vec::new() };
    let trees = parse_definitions(files, &mut Vec::new());
    let manifest = pack.read_manifest();
    for file in Kind::ALL.into_iter().flat_map(|kind| trees.iter().filter(move |file| file.kind == kind)) {
        pack.read_file(file);
    }
    pack.findings.extend(links::check(&pack.found, pack.pack_ref.as_deref(), &trees, &[]));
    pack.findings.extend(links::check_settings(&pack.found, manifest.as_ref(), &trees));
    pack.findings.extend(links::check_keys(&pack.found, pack.pack_ref.as_deref(), &trees));
    let mut findings: Vec<Finding> = pack
        .findings
        .into_iter()
        .filter(|finding| finding.file == path)
        .map(|finding| Finding { file: name.to_owned(), ..finding })
        .collect();
    if findings.is_empty() {
        return Ok(alone);
    }
    findings.sort();
    findings.dedup();
    Err(findings)
}

/// A finding about a place in a file that holds one definition, for those who learn from elsewhere what is wrong there: a
/// JSON pointer as a server gives it, say. A message that names the key (in backquotes) is placed at the key, any other at
/// the value; what is not in the file is placed at what it should stand in.
pub fn finding_at(path: &str, content: &[u8], fault: Fault) -> Finding {
    let report = FileReport::new(path);
    let tree = yaml::parse(content).0;
    let position = match &tree {
        Some(tree) => {
            let last = fault.pointer.rsplit('/').next().unwrap_or_default();
            let at_key = fault.message.contains(&format!("`{last}`"));
            Item::root(&report, tree).descend(&fault.pointer, at_key).position()
        }
        None => Position::START,
    };
    report.finding(position, &fault.pointer, fault.message).suggestion(fault.suggestion).printable()
}

/// What is wrong at a place that a JSON pointer names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the file.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// The spelling that was probably meant.
    pub suggestion: Option<String>,
}

/// The directory that is kept for workflows.
const WORKFLOWS: &str = "workflows";

/// The runtimes of the core pack, to suggest where only a name was given.
const CORE_RUNTIMES: [&str; 4] = ["core.shell", "core.python", "core.node", "core.executable"];

/// A kind of component; the order is that of reading: actions need to know the runtimes and the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Runtime,
    Key,
    Action,
    Trigger,
    Sensor,
    Rule,
    PermissionSet,
    Policy,
    Queue,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Runtime,
        Self::Key,
        Self::Action,
        Self::Trigger,
        Self::Sensor,
        Self::Rule,
        Self::PermissionSet,
        Self::Policy,
        Self::Queue,
    ];

    fn directory(self) -> &'static str {
        match self {
            Self::Runtime => "runtimes",
            Self::Action => "actions",
            Self::Trigger => "triggers",
            Self::Sensor => "sensors",
            Self::Rule => "rules",
            Self::PermissionSet => "permissions",
            Self::Policy => "policies",
            Self::Queue => "queues",
            Self::Key => "keys",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Action => "action",
            Self::Trigger => "trigger",
            Self::Sensor => "sensor",
            Self::Rule => "rule",
            Self::PermissionSet => "permission set",
            Self::Policy => "policy",
            Self::Queue => "queue",
            Self::Key => "key",
        }
    }
}

/// A definition file and its tree; without one when its YAML is broken.
#[derive(Debug)]
struct DefinitionFile<'f> {
    path: &'f str,
    /// The directory it stands in, which is that of its kind unless that is misspelt.
    directory: &'f str,
    kind: Kind,
    tree: Option<Node>,
}

/// What the files define so far.
#[derive(Debug, Default)]
struct Found {
    runtimes: Vec<crate::RuntimeDefinition>,
    actions: Vec<crate::ActionDefinition>,
    triggers: Vec<crate::TriggerDefinition>,
    sensors: Vec<crate::SensorDefinition>,
    rules: Vec<crate::RuleEntry>,
    permission_sets: Vec<crate::PermissionSetDefinition>,
    policies: Vec<crate::PolicyDefinition>,
    queues: Vec<crate::QueueDefinition>,
    keys: Vec<crate::KeyDefinition>,
    /// The refs of all components, of faulty ones too, with the place of each.
    refs: BTreeMap<Kind, Vec<Located<String>>>,
    /// Kinds of which a file does not say its ref, so that it is not known what there is.
    unclear: Vec<Kind>,
}

impl Found {
    /// The refs of the keys that the pack declares, of faulty ones too.
    fn declared_keys(&self) -> impl Iterator<Item = &str> {
        self.refs.get(&Kind::Key).into_iter().flatten().map(|known| known.value.as_str())
    }
}

#[derive(Debug)]
struct PackReader<'f> {
    files: &'f PackFiles,
    pack_ref: Option<String>,
    found: Found,
    findings: Vec<Finding>,
}

impl PackReader<'_> {
    fn read_manifest(&mut self) -> Option<Manifest> {
        let Some(file) = self.files.get(MANIFEST) else {
            self.findings.push(missing_manifest(self.files));
            return None;
        };
        let report = FileReport::new(MANIFEST);
        let tree = parse(&report, &file.content);
        let manifest = tree.as_ref().and_then(|tree| {
            let (pack_ref, manifest) = manifest::read(&Item::root(&report, tree));
            self.pack_ref = pack_ref;
            manifest
        });
        self.findings.extend(report.into_findings());
        manifest
    }

    fn read_file(&mut self, file: &DefinitionFile<'_>) {
        let report = FileReport::new(file.path);
        match file.tree.as_ref().map(|tree| Item::root(&report, tree)) {
            Some(item) => self.read_component(file, &item),
            None => self.found.unclear.push(file.kind),
        }
        self.findings.extend(report.into_findings());
    }

    fn read_component(&mut self, file: &DefinitionFile<'_>, item: &Item<'_>) {
        // Before the file is read: what it says of others may be about itself.
        match item.peek("ref") {
            Some(given) => self.declare(file.kind, given),
            None => self.found.unclear.push(file.kind),
        }
        let found = &mut self.found;
        let place = Place {
            files: self.files,
            directory: file.directory,
            pack_ref: self.pack_ref.as_deref(),
            runtimes: &found.runtimes,
            refs: &found.refs,
        };
        match file.kind {
            Kind::Runtime => {
                let runtime = runtime::read(item, &place);
                found.runtimes.extend(runtime);
            }
            Kind::Action => found.actions.extend(action::read(item, &place)),
            Kind::Trigger => found.triggers.extend(trigger::read(item, &place)),
            Kind::Sensor => found.sensors.extend(sensor::read(item, &place)),
            Kind::Rule => found.rules.extend(rule::read(item, &place)),
            Kind::PermissionSet => found.permission_sets.extend(permission::read(item, &place)),
            Kind::Policy => found.policies.extend(policy::read(item, &place)),
            Kind::Queue => found.queues.extend(queue::read(item, &place)),
            Kind::Key => found.keys.extend(key::read(item, &place)),
        }
    }

    fn declare(&mut self, kind: Kind, given: Located<String>) {
        let refs = self.found.refs.entry(kind).or_default();
        if let Some(first) = refs.iter().find(|first| first.value == given.value) {
            let Located { value, file, line, .. } = first;
            let finding = Finding {
                pointer: "/ref".to_owned(),
                ..given.finding(format!("the {} `{value}` is defined already in {file}:{line}", kind.noun()))
            };
            self.findings.push(finding.expected("a ref that no other file has").printable());
        } else {
            refs.push(given);
        }
    }

    fn finish(
        mut self,
        manifest: Option<Manifest>,
        tests: Vec<TestFile>,
        environments: environment::Environments,
    ) -> Result<PackDefinition, Vec<Finding>> {
        match manifest {
            Some(manifest) if self.findings.is_empty() => Ok(PackDefinition {
                manifest,
                runtimes: self.found.runtimes,
                actions: self.found.actions,
                triggers: self.found.triggers,
                sensors: self.found.sensors,
                rules: self.found.rules,
                permission_sets: self.found.permission_sets,
                policies: self.found.policies,
                queues: self.found.queues,
                keys: self.found.keys,
                tests,
                environments,
                checksum: checksum(self.files),
            }),
            _ => {
                self.findings.sort();
                self.findings.dedup();
                Err(self.findings)
            }
        }
    }
}

/// What surrounds a component.
#[derive(Debug)]
struct Place<'p> {
    files: &'p PackFiles,
    directory: &'p str,
    /// None where it cannot be read.
    pack_ref: Option<&'p str>,
    runtimes: &'p [crate::RuntimeDefinition],
    refs: &'p BTreeMap<Kind, Vec<Located<String>>>,
}

impl Place<'_> {
    /// The refs of this pack's components of a kind that was read already.
    fn known(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.refs.get(&kind).into_iter().flatten().map(|known| known.value.as_str())
    }

    /// The runtimes of this pack, then those that every installation has.
    fn known_runtimes(&self) -> impl Iterator<Item = &str> {
        self.known(Kind::Runtime).chain(CORE_RUNTIMES.iter().copied())
    }
}

fn missing_manifest(files: &PackFiles) -> Finding {
    let report = FileReport::new(MANIFEST);
    let finding = report.finding(Position::START, "", "the pack has no `pack.yaml`");
    let candidate = files.keys().filter(|path| !path.contains('/')).find(|path| {
        let path = path.to_lowercase();
        path == "pack.yml" || nearest(&path, [MANIFEST]).is_some()
    });
    match candidate {
        Some(candidate) => finding.expected(format!("`{candidate}` to have that name")).printable(),
        None => finding.expected("a file of that name with at least `ref` and `version`"),
    }
}

pub(crate) fn parse(report: &FileReport<'_>, content: &[u8]) -> Option<Node> {
    let (tree, fault) = yaml::parse(content);
    if let Some(fault) = fault {
        let mut finding = report.finding(fault.position, "", fault.message);
        finding.expected = fault.expected.map(str::to_owned);
        report.add(finding);
    }
    tree
}

/// Parses every file that is a definition, or was meant to be one.
fn parse_definitions<'f>(files: &'f PackFiles, findings: &mut Vec<Finding>) -> Vec<DefinitionFile<'f>> {
    let mut definitions = Vec::new();
    let mut misspelt: Vec<&str> = Vec::new();
    for (path, file) in files.iter().filter(|(path, _)| is_yaml(path)) {
        let Some((directory, name)) = path.split_once('/') else { continue };
        let report = FileReport::new(path);
        let kind = match meaning(directory) {
            Meaning::Definitions(kind) => kind,
            Meaning::Workflows if directory == WORKFLOWS || !name.contains('/') => {
                if !misspelt.contains(&directory) {
                    misspelt.push(directory);
                    let message =
                        format!("workflows come with a later version; nothing is read from `{directory}/`");
                    let finding = report.finding(Position::START, "", message);
                    report.add(finding.expected("no such directory: move its files elsewhere, or remove it"));
                    findings.extend(report.into_findings());
                }
                continue;
            }
            Meaning::Workflows | Meaning::Nothing => continue,
        };
        if name.contains('/') {
            if kind.directory() == directory && is_stray_definition(&file.content) {
                let finding = report.finding(
                    Position::START,
                    "",
                    "definitions in directories further down are not read",
                );
                report.add(
                    finding
                        .expected(format!("the file directly in `{directory}/`, or without the key `ref`")),
                );
            }
        } else {
            if kind.directory() != directory && !misspelt.contains(&directory) {
                misspelt.push(directory);
                let finding =
                    report.finding(Position::START, "", format!("nothing is read from `{directory}/`"));
                report.add(finding.suggestion(Some(format!("{}/", kind.directory()))));
            }
            definitions.push(DefinitionFile { path, directory, kind, tree: parse(&report, &file.content) });
        }
        findings.extend(report.into_findings());
    }
    definitions
}

/// What stands in a directory.
enum Meaning {
    Definitions(Kind),
    Workflows,
    /// Whatever the pack likes.
    Nothing,
}

/// What stands in a directory, also when its name is a little wrong.
fn meaning(directory: &str) -> Meaning {
    let names = || Kind::ALL.map(Kind::directory).into_iter().chain([WORKFLOWS]);
    let meant = names().find(|name| *name == directory).or_else(|| nearest(directory, names()));
    let kind = Kind::ALL.into_iter().find(|kind| Some(kind.directory()) == meant);
    match (kind, meant) {
        (Some(kind), _) => Meaning::Definitions(kind),
        (None, Some(_)) => Meaning::Workflows,
        (None, None) => Meaning::Nothing,
    }
}

/// Whether a file too far down is a definition all the same; scripts may keep other YAML beside them.
fn is_stray_definition(content: &[u8]) -> bool {
    let (Some(tree), None) = yaml::parse(content) else { return false };
    matches!(&tree.to_json()["ref"], serde_json::Value::String(text) if reference::split(text).is_some())
}

fn is_yaml(path: &str) -> bool {
    let path = path.to_lowercase();
    path.ends_with(".yaml") || path.ends_with(".yml")
}
