//! What only several files of a pack together show: refs to components that it does not have, and parameters that the
//! action or trigger of a rule does not take. Refs to other packs are the installer's.

use attune_expr::schema::ParameterSchema;
use attune_expr::suggest::nearest;
use attune_expr::template::{KeyUse, ValueTemplate};
use attune_rules::webhook::{self, Listener};
use attune_rules::{CompiledRule, SettingsOf, TriggerSchemas, check_settings as settings_of};
use serde_json::{Map, Value};

use crate::finding::{Finding, Located};
use crate::reader::{FileReport, Item, shortened};
use crate::{Manifest, PackDefinition, RuleEntry, TriggerDefinition, UsedKeyDefinition, reference};

use super::{DefinitionFile, Found, Kind};

pub(super) fn check(
    found: &Found,
    pack_ref: Option<&str>,
    files: &[DefinitionFile<'_>],
    others: &[PackDefinition],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Another version of this pack says nothing about it.
    let others: Vec<&PackDefinition> =
        others.iter().filter(|other| Some(other.manifest.r#ref.as_str()) != pack_ref).collect();
    if let Some(pack_ref) = pack_ref {
        let links = Links { found, pack_ref, others: &others };
        findings.extend(links.unknown_targets());
    }
    for rule in &found.rules {
        let file = files.iter().find(|file| file.path == rule.action.file);
        if let Some((file, tree)) = file.and_then(|file| file.tree.as_ref().map(|tree| (file, tree))) {
            let report = FileReport::new(file.path);
            check_rule(rule, found, &others, &Item::root(&report, tree));
            findings.extend(report.into_findings());
        }
    }
    findings
}

/// Settings that rules name and cannot read, where the manifest says which there are.
pub(super) fn check_settings(
    found: &Found,
    manifest: Option<&Manifest>,
    files: &[DefinitionFile<'_>],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(manifest) = manifest else { return findings };
    let of = SettingsOf::Pack { pack_ref: &manifest.r#ref, schema: &manifest.config_schema };
    for rule in &found.rules {
        let file = files.iter().find(|file| file.path == rule.action.file);
        let Some((file, tree)) = file.and_then(|file| Some((file, file.tree.as_ref()?))) else { continue };
        let report = FileReport::new(file.path);
        let root = Item::root(&report, tree);
        // A condition that could not be read is not among those of the rule, whose positions are then not those of the file.
        if root.json()["conditions"].as_array().map_or(0, Vec::len) == rule.definition.conditions.len() {
            for problem in settings_of(&rule.definition, of) {
                root.report(&problem.pointer, &problem.message, problem.suggestion);
            }
        }
        findings.extend(report.into_findings());
    }
    findings
}

/// Keys of this pack that it names and does not declare, where it declares any: a spelling, or a file that is missing.
pub(super) fn check_keys(
    found: &Found,
    pack_ref: Option<&str>,
    files: &[DefinitionFile<'_>],
) -> Vec<Finding> {
    let declared: Vec<&str> = found.declared_keys().collect();
    let Some(pack_ref) = pack_ref.filter(|_| !declared.is_empty() && !found.unclear.contains(&Kind::Key))
    else {
        return Vec::new();
    };
    let in_rules = found.rules.iter().flat_map(|rule| {
        let keys =
            CompiledRule::compile(&rule.definition).map(|rule| rule.keys().to_vec()).unwrap_or_default();
        let place = |used: KeyUse| {
            (rule.action.file.clone(), format!("/action_params{}", used.pointer), used.key_ref)
        };
        keys.into_iter().map(place)
    });
    let signed = found.triggers.iter().filter_map(|trigger| {
        let secret = &trigger.webhook.as_ref()?.signature.as_ref()?.secret;
        Some((secret.file.clone(), "/webhook/signature/secret".to_owned(), secret.value.clone()))
    });
    let in_actions = found.actions.iter().flat_map(|action| {
        let place = |(at, used): (usize, &UsedKeyDefinition)| {
            // Where the key stands alone, this leads to itself.
            (used.r#ref.file.clone(), format!("/keys/{at}/ref"), used.r#ref.value.clone())
        };
        action.keys.iter().enumerate().map(place)
    });
    let mut findings = Vec::new();
    for (path, pointer, key_ref) in in_rules.chain(signed.clone()).chain(in_actions) {
        let Some(message) = undeclared(&key_ref, pack_ref, &declared) else { continue };
        findings.extend(at(files, &path, &pointer, |item| {
            let finding = item.finding(message).expected("a file in `keys/` that declares it");
            finding.suggestion(nearest(&key_ref, declared.iter().copied()))
        }));
    }
    for (path, pointer, key_ref) in signed.chain(found.rules.iter().filter_map(listener)) {
        if found.keys.iter().any(|key| key.r#ref == key_ref && !key.secret) {
            findings.extend(at(files, &path, &pointer, |item| {
                let finding = item.finding(format!(
                    "`{key_ref}` is declared to be no secret, so that others can sign with it"
                ));
                finding.expected("a key that is a secret")
            }));
        }
    }
    findings
}

/// Where a rule that listens to a webhook names the key of its signatures.
fn listener(rule: &RuleEntry) -> Option<(String, String, String)> {
    let definition = &rule.definition;
    if definition.trigger_ref != webhook::TRIGGER {
        return None;
    }
    let signature = Listener::read(&definition.trigger_params).ok()?.signature?;
    Some((rule.action.file.clone(), "/trigger_params/secret".to_owned(), signature.secret))
}

/// What is found at a place in a file.
fn at(
    files: &[DefinitionFile<'_>],
    path: &str,
    pointer: &str,
    finding: impl FnOnce(&Item<'_>) -> Finding,
) -> Vec<Finding> {
    let file = files.iter().find(|file| file.path == path);
    let Some(tree) = file.and_then(|file| file.tree.as_ref()) else { return Vec::new() };
    let report = FileReport::new(path);
    let item = Item::root(&report, tree).descend(pointer, false);
    item.add(finding(&item));
    report.into_findings()
}

/// What is to be said of a key that the pack names, if it is one of its own, no setting, and not declared.
pub(super) fn undeclared(key_ref: &str, pack_ref: &str, declared: &[&str]) -> Option<String> {
    let (pack, name) = reference::split(key_ref)?;
    let is_meant = pack == pack_ref && !name.starts_with("config.") && !declared.contains(&key_ref);
    is_meant.then(|| format!("the pack declares keys, and `{key_ref}` is not among them"))
}

struct Links<'p> {
    found: &'p Found,
    pack_ref: &'p str,
    others: &'p [&'p PackDefinition],
}

impl Links<'_> {
    fn unknown_targets(&self) -> Vec<Finding> {
        let found = self.found;
        let actions =
            found.actions.iter().map(|action| (Kind::Runtime, &action.runtime, "/runtime".to_owned()));
        let sensors = found.sensors.iter().flat_map(|sensor| {
            let runtime = (Kind::Runtime, &sensor.runtime, "/runtime".to_owned());
            let trigger = |(at, trigger)| (Kind::Trigger, trigger, format!("/triggers/{at}"));
            std::iter::once(runtime).chain(sensor.triggers.iter().enumerate().map(trigger))
        });
        let rules = found.rules.iter().flat_map(|rule| {
            let trigger = (Kind::Trigger, &rule.trigger, "/trigger".to_owned());
            [trigger, (Kind::Action, &rule.action, "/action".to_owned())]
        });
        let policies = found.policies.iter().filter_map(|policy| policy.action.as_ref());
        let queues = found.queues.iter().map(|queue| &queue.action);
        let limited = policies.chain(queues).map(|action| (Kind::Action, action, "/action".to_owned()));
        let targets = actions.chain(sensors).chain(rules).chain(limited);
        targets.filter_map(|(kind, target, pointer)| self.unknown_target(kind, target, pointer)).collect()
    }

    fn unknown_target(&self, kind: Kind, target: &Located<String>, pointer: String) -> Option<Finding> {
        let (pack, _) = reference::split(&target.value)?;
        if let Some(other) = self.others.iter().find(|other| other.manifest.r#ref == pack) {
            return unknown_elsewhere(other, kind, target, pointer);
        }
        let known: Vec<&str> =
            self.found.refs.get(&kind).into_iter().flatten().map(|known| known.value.as_str()).collect();
        let is_known = known.contains(&target.value.as_str());
        // A file that does not say its ref may well be the one that is looked for.
        if pack != self.pack_ref || is_known || self.found.unclear.contains(&kind) {
            return None;
        }
        let finding = target.finding(format!("the pack has no {} `{}`", kind.noun(), target.value));
        let expected = if known.is_empty() {
            format!("a file in `{}/` that defines it", kind.directory())
        } else {
            format!("a {} of this pack ({}) or of another", kind.noun(), quoted(&known))
        };
        let finding = finding.expected(expected).suggestion(nearest(&target.value, known));
        Some(Finding { pointer, ..finding }.printable())
    }
}

/// A target in another pack, all of which is known.
fn unknown_elsewhere(
    other: &PackDefinition,
    kind: Kind,
    target: &Located<String>,
    pointer: String,
) -> Option<Finding> {
    let known: Vec<&str> = match kind {
        Kind::Runtime => other.runtimes.iter().map(|known| known.r#ref.as_str()).collect(),
        Kind::Action => other.actions.iter().map(|known| known.r#ref.as_str()).collect(),
        Kind::Trigger => other.triggers.iter().map(|known| known.r#ref.as_str()).collect(),
        Kind::Sensor | Kind::Rule | Kind::PermissionSet | Kind::Policy | Kind::Queue | Kind::Key => {
            return None;
        }
    };
    if known.contains(&target.value.as_str()) {
        return None;
    }
    let pack = &other.manifest.r#ref;
    let finding = target.finding(format!("the pack `{pack}` has no {} `{}`", kind.noun(), target.value));
    let finding = finding.expected(format!("one of {}", quoted(&known)));
    let finding = finding.suggestion(nearest(&target.value, known));
    Some(Finding { pointer, ..finding }.printable())
}

/// Checks what a rule gives to the action and trigger of its own pack, or of one that is known.
fn check_rule(rule: &RuleEntry, found: &Found, others: &[&PackDefinition], file: &Item<'_>) {
    let definition = &rule.definition;
    let mut actions = found.actions.iter().chain(others.iter().flat_map(|other| &other.actions));
    let mut triggers = found.triggers.iter().chain(others.iter().flat_map(|other| &other.triggers));
    if let Some(action) = actions.find(|action| action.r#ref == definition.action_ref) {
        let owner = format!("action `{}`", action.r#ref);
        let given = Given { owner: &owner, key: "action_params", values: &definition.action_params };
        let meant = given.check(&action.parameters, file);
        given.check_required(&action.parameters, &meant, &rule.action, file);
    }
    if let Some(trigger) = triggers.find(|trigger| trigger.r#ref == definition.trigger_ref) {
        let owner = format!("trigger `{}`", trigger.r#ref);
        let given = Given { owner: &owner, key: "trigger_params", values: &definition.trigger_params };
        given.check(&trigger.parameters, file);
        check_fields(rule, trigger, file);
    }
}

/// Reports fields that no event of the trigger has, and conditions on fields that cannot be what is asked.
fn check_fields(rule: &RuleEntry, trigger: &TriggerDefinition, file: &Item<'_>) {
    let in_file = file.json()["conditions"].as_array().map_or(0, Vec::len);
    // A condition that could not be read is not among those of the rule, whose positions are then not those of the file.
    if in_file != rule.definition.conditions.len() {
        return;
    }
    let schemas = TriggerSchemas { payload: Some(&trigger.out_schema), config: Some(&trigger.parameters) };
    for problem in attune_rules::check(&rule.definition, schemas) {
        file.report(&problem.pointer, &problem.message, problem.suggestion);
    }
}

/// Parameters that a rule gives.
struct Given<'r> {
    owner: &'r str,
    key: &'static str,
    values: &'r Value,
}

impl Given<'_> {
    /// Reports names that the schema does not have, and values that are known before any event and do not fit. Gives the
    /// names that were probably meant.
    fn check(&self, schema: &Value, file: &Item<'_>) -> Vec<String> {
        let mut meant = Vec::new();
        let (Some(given), Some(properties)) = (self.values.as_object(), schema["properties"].as_object())
        else {
            return meant;
        };
        let mut fixed = Map::new();
        for (name, value) in given {
            if !properties.contains_key(name) {
                meant.extend(self.unknown(name, properties, file));
            } else if ValueTemplate::compile(value).is_ok_and(|template| template.is_static()) {
                fixed.insert(name.clone(), value.clone());
            }
        }
        // A schema that does not compile was reported where it stands.
        let Ok(compiled) = ParameterSchema::compile(schema) else { return meant };
        for violation in compiled.check(Value::Object(fixed.clone())).err().unwrap_or_default() {
            let first = violation.pointer.split('/').nth(1).unwrap_or_default();
            if fixed.contains_key(first) {
                let item = file.descend(&format!("/{}{}", self.key, violation.pointer), false);
                let message = format!("`{}` does not fit {}: {}", item.name(), self.owner, violation.message);
                item.add(item.finding(message));
            }
        }
        meant
    }

    fn unknown(&self, name: &str, properties: &Map<String, Value>, file: &Item<'_>) -> Option<String> {
        let item =
            file.descend(&format!("/{}/{}", self.key, name.replace('~', "~0").replace('/', "~1")), true);
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        let expected = if names.is_empty() {
            format!("no `{}`, because it takes none", self.key)
        } else {
            format!("one of {}", quoted(&names))
        };
        let finding = item.finding(format!("the {} has no parameter `{}`", self.owner, shortened(name)));
        // What is given already cannot be what was meant.
        let meant = nearest(name, names.into_iter().filter(|name| self.values.get(name).is_none()));
        item.add(finding.expected(expected).suggestion(meant));
        meant.map(str::to_owned)
    }

    /// Reports parameters that must be given and are not, except those that only seem to be misspelt.
    fn check_required(&self, schema: &Value, meant: &[String], target: &Located<String>, file: &Item<'_>) {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required
            .filter(|name| self.values.get(name).is_none() && !meant.iter().any(|meant| meant == name))
        {
            let message = format!("the {} needs the parameter `{name}`", self.owner);
            let item = file.descend(&format!("/{}", self.key), true);
            let finding = match item.name().is_empty() {
                // Without the key there is only the action to point at.
                true => Finding { pointer: "/action".to_owned(), ..target.finding(message) },
                false => item.finding(message),
            };
            file.add(finding.expected(format!("`{name}` in `{}`", self.key)));
        }
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
