//! Rules that were changed on the server, and the pack that brings another version of them.
//!
//! Three versions of a rule are compared, member by member: as the installed pack's files say (what its author wrote), as
//! it is stored (what somebody made of it), and as the new files say. What only one side changed is taken from that side;
//! what both changed, in different ways, is a conflict, and nothing is installed until somebody has said which of the two
//! counts.

use std::collections::{BTreeMap, HashMap};

use attune_common::error::StoreError;
use attune_common::models::pack::Pack;
use attune_common::models::rule::{NewRule, Rule};
use attune_common::repositories::{PackRepository, RuleRepository};
use attune_expr::value::equal;
use attune_pack::{PackDefinition, PackFile, PackFiles};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::masks::RuleMasks;
use super::{Candidate, convert};

/// What becomes of changes that were made on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edits {
    /// They stay where the pack has not changed the same; where it has, nothing is installed.
    #[default]
    Ask,
    /// They stay.
    Keep,
    /// The pack's files count.
    Overwrite,
}

/// A member of a rule that was changed on the server, and by the pack in another way. Secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct EditConflict {
    pub rule: String,
    /// The file of the rule in what was sent; the manifest for a rule that the pack no longer has.
    pub file: String,
    /// The member; None: the rule was changed here, and the pack no longer has it.
    pub member: Option<String>,
    /// As the installed files say; None where they cannot be read.
    pub before: Option<Value>,
    /// As it is stored.
    pub here: Value,
    /// As the new files say.
    pub pack: Value,
}

/// Something that was changed on the server and stays so. Secrets are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEdit {
    /// `rule`, `action` or `sensor`.
    pub kind: &'static str,
    pub component: String,
    pub member: String,
    /// As it is stored.
    pub here: Value,
    /// As the new files say.
    pub pack: Value,
}

/// The rules of a pack with what was made of them on the server.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// What is to be stored.
    pub(super) rules: Vec<NewRule>,
    pub(super) conflicts: Vec<EditConflict>,
    pub(super) kept: Vec<KeptEdit>,
    /// How many members are as in the files again.
    pub(super) overwritten: usize,
}

/// Compares the rules of an installed pack with those of the candidate. The rules are locked, so that nobody changes one
/// between the comparison and what follows from it.
pub(super) async fn merge(
    connection: &mut PgConnection,
    candidate: &Candidate,
    existing: Option<&Pack>,
    edits: Edits,
) -> Result<Merged, StoreError> {
    let new: Vec<NewRule> = candidate.definition.rules.iter().map(convert::rule).collect::<Result<_, _>>()?;
    let Some(pack) = existing else { return Ok(Merged { rules: new, ..Merged::default() }) };
    let stored: Vec<NewRule> =
        RuleRepository::take_of_pack(&mut *connection, pack.id).await?.into_iter().map(as_new).collect();
    if stored.is_empty() {
        return Ok(Merged { rules: new, ..Merged::default() });
    }
    let before = installed_rules(&mut *connection, pack.id).await?;
    let masks = RuleMasks::read(&mut *connection, candidate, new.iter().chain(&stored)).await?;
    let mut merged = Merged::default();
    let mut stored: BTreeMap<String, NewRule> =
        stored.into_iter().map(|rule| (rule.r#ref.clone(), rule)).collect();
    for rule in new {
        match stored.remove(&rule.r#ref) {
            None => merged.rules.push(rule),
            Some(here) => {
                let file = file_of(candidate, &rule.r#ref);
                let before = before.as_ref().and_then(|before| before.get(&rule.r#ref));
                let sides = Sides { before, here: &here, new: &rule, masks: &masks, file: &file };
                let rule = sides.merge(edits, &mut merged)?;
                merged.rules.push(rule);
            }
        }
    }
    for (rule_ref, here) in stored {
        // Where nothing says what it was, all of it may have been changed.
        let before = before.as_ref().and_then(|before| before.get(&rule_ref));
        let now = members(&here)?;
        let changed: Vec<&str> = match before {
            Some(before) => differing(&members(before)?, &now),
            None => now.keys().map(String::as_str).filter(|member| *member != "ref").collect(),
        };
        if changed.is_empty() {
            continue;
        }
        // A rule without a file cannot be kept as a rule of the pack.
        if edits == Edits::Overwrite {
            merged.overwritten += changed.len();
            continue;
        }
        merged.conflicts.push(EditConflict {
            rule: rule_ref,
            file: format!("{}pack.yaml", candidate.prefix),
            member: None,
            before: before
                .map(|before| Ok::<_, StoreError>(picked(&masks.shown(before)?, &changed)))
                .transpose()?,
            here: picked(&masks.shown(&here)?, &changed),
            pack: Value::Null,
        });
    }
    Ok(merged)
}

/// One rule as it was, as it is, and as it is to be.
struct Sides<'a> {
    before: Option<&'a NewRule>,
    here: &'a NewRule,
    new: &'a NewRule,
    masks: &'a RuleMasks,
    file: &'a str,
}

impl Sides<'_> {
    fn merge(&self, edits: Edits, merged: &mut Merged) -> Result<NewRule, StoreError> {
        let (here, new) = (members(self.here)?, members(self.new)?);
        let before = self.before.map(members).transpose()?;
        let (shown_here, shown_new) = (self.masks.shown(self.here)?, self.masks.shown(self.new)?);
        let shown_before = self.before.map(|before| self.masks.shown(before)).transpose()?;
        let mut result = new.clone();
        for member in differing(&here, &new) {
            let of = |members: &Map<String, Value>| members.get(member).cloned().unwrap_or_default();
            let unchanged = |side: &Map<String, Value>| {
                before.as_ref().is_some_and(|before| equal(&of(before), &of(side)))
            };
            if unchanged(&here) {
                continue;
            }
            let told = shown_name(member).to_owned();
            match edits {
                Edits::Overwrite => merged.overwritten += 1,
                Edits::Ask if !unchanged(&new) => merged.conflicts.push(EditConflict {
                    rule: self.new.r#ref.clone(),
                    file: self.file.to_owned(),
                    member: Some(told),
                    before: shown_before.as_ref().map(of),
                    here: of(&shown_here),
                    pack: of(&shown_new),
                }),
                Edits::Ask | Edits::Keep => {
                    result.insert(member.to_owned(), of(&here));
                    merged.kept.push(KeptEdit {
                        kind: "rule",
                        component: self.new.r#ref.clone(),
                        member: told,
                        here: of(&shown_here),
                        pack: of(&shown_new),
                    });
                }
            }
        }
        serde_json::from_value(Value::Object(result))
            .map_err(|error| StoreError::Unstorable(format!("rule {}: {error}", self.new.r#ref)))
    }
}

/// The members of a rule by name.
pub(super) fn members(rule: &NewRule) -> Result<Map<String, Value>, StoreError> {
    match serde_json::to_value(rule) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(StoreError::Unstorable(format!("rule {}: {error}", rule.r#ref))),
    }
}

/// The members that are not the same.
pub(super) fn differing<'a>(one: &Map<String, Value>, other: &'a Map<String, Value>) -> Vec<&'a str> {
    let differs =
        |(name, value): &(&String, &Value)| !one.get(*name).is_some_and(|there| equal(there, value));
    other.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
}

/// The name of a member in a file.
pub(super) fn shown_name(member: &str) -> &str {
    match member {
        "trigger_ref" => "trigger",
        "action_ref" => "action",
        other => other,
    }
}

fn picked(members: &Map<String, Value>, names: &[&str]) -> Value {
    let member = |name: &&str| (shown_name(name).to_owned(), members.get(*name).cloned().unwrap_or_default());
    Value::Object(names.iter().map(member).collect())
}

fn file_of(candidate: &Candidate, rule_ref: &str) -> String {
    let entry = candidate.definition.rules.iter().find(|rule| rule.definition.rule_ref == rule_ref);
    format!("{}{}", candidate.prefix, entry.map_or("pack.yaml", |rule| rule.trigger.file.as_str()))
}

/// The rules as the installed files say; None when a later version of Attune can no longer read them.
async fn installed_rules(
    connection: &mut PgConnection,
    pack: i64,
) -> Result<Option<HashMap<String, NewRule>>, StoreError> {
    let Some(definition) = installed_definition(connection, pack).await? else { return Ok(None) };
    let mut rules = HashMap::new();
    for rule in &definition.rules {
        let rule = convert::rule(rule)?;
        rules.insert(rule.r#ref.clone(), rule);
    }
    Ok(Some(rules))
}

/// What the installed files say; None when a later version of Attune can no longer read them.
pub(super) async fn installed_definition(
    connection: &mut PgConnection,
    pack: i64,
) -> Result<Option<PackDefinition>, StoreError> {
    let files = installed_files(connection, pack).await?;
    // As long as the files are large; a reader that fails is one that cannot read them.
    let read = tokio::task::spawn_blocking(move || attune_pack::read(&files).ok()).await;
    Ok(read.ok().flatten())
}

/// The files of an installed pack.
pub(super) async fn installed_files(
    connection: &mut PgConnection,
    pack: i64,
) -> Result<PackFiles, StoreError> {
    let (_, files) = PackRepository::files(connection, pack).await?;
    let file = |file: attune_common::models::pack::PackFile| {
        (file.path, PackFile { content: file.content, executable: file.executable })
    };
    Ok(files.into_iter().map(file).collect())
}

/// A stored rule as what would make it.
pub(crate) fn as_new(rule: Rule) -> NewRule {
    NewRule {
        r#ref: rule.r#ref,
        label: rule.label,
        description: rule.description,
        enabled: rule.enabled,
        mode: rule.mode,
        trigger_ref: rule.trigger_ref,
        trigger_params: rule.trigger_params,
        condition: rule.condition,
        conditions: rule.conditions,
        action_ref: rule.action_ref,
        action_params: rule.action_params,
        window: rule.window,
        retry: rule.retry,
        config: rule.config,
    }
}
