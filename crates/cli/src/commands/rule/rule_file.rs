//! A rule in a file, and what a server says of it, told with the lines of the file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use attune_client::ClientError;
use attune_client::types::{Problem, RuleRequest};
use attune_pack::{
    Fault as RuleFault, Finding, Manifest, PackFiles, Retry, RuleEntry, finding_at, read_manifest, read_rule,
    read_rule_in,
};

use crate::archive;
use crate::diagnostics::{Diagnostic, render};
use crate::failure::Fault;
use crate::input;
use crate::output::say;

/// A file with one rule.
#[derive(Debug)]
pub(super) struct RuleFile {
    /// What it is called in messages.
    name: String,
    content: Vec<u8>,
    pub(super) entry: RuleEntry,
    /// That of the pack around it.
    pub(super) manifest: Option<Manifest>,
}

/// Reads a file; `-` is standard input. All that is wrong with it is told. Where it stands among the rules of a pack, the
/// triggers and actions of that pack are known, and it is checked against them.
pub(super) fn read(given: &str) -> anyhow::Result<RuleFile> {
    let name = input::name_of(given);
    let content = if given == input::STDIN {
        input::bytes_from_stdin("the rule")?
    } else {
        std::fs::read(Path::new(given)).with_context(|| format!("cannot read the rule from {given}"))?
    };
    let around = pack_around(given);
    let manifest = around.as_ref().and_then(|(pack, _)| read_manifest(pack));
    let found = match around {
        Some((pack, file)) => read_rule_in(&pack, &file, name),
        None => read_rule(name, &content),
    };
    match found {
        Ok(entry) => Ok(RuleFile { name: name.to_owned(), content, entry, manifest }),
        Err(findings) => Err(faulty(name, &findings, &content).into()),
    }
}

/// The pack that the file is a rule of, and its path there.
fn pack_around(given: &str) -> Option<(PackFiles, String)> {
    let path = std::fs::canonicalize(given).ok()?;
    let (rules, name) = (path.parent()?, path.file_name()?.to_str()?);
    let root = rules.parent().filter(|root| rules.ends_with("rules") && root.join("pack.yaml").is_file())?;
    // A pack that cannot be read as a whole says nothing about its rule.
    let files: BTreeMap<_, _> = archive::read(root).ok()?.files;
    let file = format!("rules/{name}");
    files.contains_key(&file).then_some((files, file))
}

impl RuleFile {
    /// The whole rule, as the API takes it.
    pub(super) fn request(&self) -> anyhow::Result<RuleRequest> {
        request_of(&self.entry)
    }

    /// The error of a request with this rule: what the server finds wrong with it is told with the lines of the file.
    pub(super) fn told(&self, error: ClientError) -> anyhow::Error {
        match error {
            ClientError::Problem(problem) if problem.status == 422 && !problem.errors.is_empty() => {
                self.refused(&problem).into()
            }
            other => other.into(),
        }
    }

    fn refused(&self, problem: &Problem) -> Fault {
        let findings: Vec<Finding> = problem
            .errors
            .iter()
            .map(|item| {
                let fault = RuleFault {
                    pointer: item.pointer.clone().unwrap_or_default(),
                    message: item.detail.clone(),
                    suggestion: item.suggestion.clone(),
                };
                Finding { expected: item.expected.clone(), ..finding_at(&self.name, &self.content, fault) }
            })
            .collect();
        tell(&findings, &self.content);
        Fault::new(problem.detail.clone())
    }
}

/// A rule of a file, as the API takes it.
pub(crate) fn request_of(entry: &RuleEntry) -> anyhow::Result<RuleRequest> {
    let RuleEntry { label, description, enabled, mode, definition, retry, .. } = entry.clone();
    let condition = serde_json::to_value(definition.condition)?;
    Ok(RuleRequest {
        rule_ref: definition.rule_ref,
        label,
        description,
        enabled,
        mode: mode.as_str().to_owned(),
        trigger: definition.trigger_ref,
        trigger_params: definition.trigger_params,
        condition: condition.as_str().unwrap_or("all").to_owned(),
        conditions: serde_json::to_value(&definition.conditions)?,
        window: definition.window.as_ref().map(attune_rules::Window::to_value),
        action: definition.action_ref,
        action_params: definition.action_params,
        retry: retry.as_ref().map(Retry::to_value),
    })
}

/// Tells every finding with its line.
fn tell(findings: &[Finding], content: &[u8]) {
    let source = std::str::from_utf8(content).ok();
    for finding in findings {
        say(render(&Diagnostic::of(finding, finding.file.clone()), source));
    }
}

fn faulty(name: &str, findings: &[Finding], content: &[u8]) -> Fault {
    tell(findings, content);
    match findings.len() {
        1 => Fault::new(format!("1 finding in {name}")),
        count => Fault::new(format!("{count} findings in {name}")),
    }
}
