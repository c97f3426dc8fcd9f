//! `constraints` of a grant. A limit that nothing would heed is an error: it would be believed in.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::{Value, json};

use crate::definition::{ConstraintsDefinition, named_values};
use crate::finding::Located;
use crate::form::{FileForm, Member, NonEmpty};
use crate::limits::{LIMITED, Limited};
use crate::reader::{Item, MappingReader, shortened};
use crate::reference::is_pack;
use crate::value::PackRef;

form! {
    /// What a grant is limited to.
    struct ConstraintsForm<'f> of MappingReader<'f> {
        /// Refs, in which `*` stands for any characters.
        optional refs: NonEmpty<Pattern>,
        /// Packs whose things it is about.
        optional packs: NonEmpty<PackRef>,
        /// `self`: only what whoever holds the grant has begun.
        optional owner: Owner,
    }
}

named_values! {
    /// Whose things a grant is about.
    Owner {
        /// Those of whoever holds it.
        Holder = "self",
    }
}

impl Described for ConstraintsDefinition {
    fn schema() -> Value {
        ConstraintsForm::shape().schema()
    }
}

/// Reads them; `resource` is None where it cannot be read.
pub(super) fn read(
    item: &Item<'_>,
    resource: Option<&Located<String>>,
    actions: &[Located<String>],
) -> Option<ConstraintsDefinition> {
    let form = ConstraintsForm::of(item)?;
    let refs = texts(&form.refs, is_pattern, "a ref such as `ops.deploy`, or a pattern such as `ops.*`");
    let packs = texts(&form.packs, is_pack, "the ref of a pack such as `ops`");
    let own = form.owner.read().is_some();
    if refs.is_some() {
        form.packs.without_effect("beside `refs`");
    }
    if refs.is_none() && packs.is_none() && form.owner.item().is_none() {
        item.add(item.finding("`constraints` limits nothing").expected("`refs`, `packs` or `owner`"));
    }
    if let Some(resource) = resource {
        match LIMITED.iter().find(|limited| limited.resource == resource.value) {
            Some(limited) => check_actions(item, limited, actions, form.owner.item()),
            None => {
                let known: Vec<_> = LIMITED.iter().map(|limited| format!("`{}`", limited.resource)).collect();
                let finding = item.finding(format!("`constraints` has no effect on `{}`", resource.value));
                item.add(finding.expected(format!("one of the resources {}", known.join(", "))));
            }
        }
    }
    Some(ConstraintsDefinition { refs: refs.unwrap_or_default(), packs: packs.unwrap_or_default(), own })
}

fn check_actions(item: &Item<'_>, limited: &Limited, actions: &[Located<String>], owner: Option<&Item<'_>>) {
    let listed = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for action in actions {
        if !limited.actions.contains(&action.value.as_str()) {
            let message =
                format!("`constraints` has no effect on `{}` of `{}`", action.value, limited.resource);
            let expected =
                format!("only the actions {}; grant others without `constraints`", listed(limited.actions));
            item.add(item.finding(message).expected(expected));
        } else if let Some(owner) = owner
            && !limited.own.contains(&action.value.as_str())
        {
            let message = format!("`owner` has no effect on `{}` of `{}`", action.value, limited.resource);
            let finding = owner.finding(message);
            owner.add(match limited.own {
                [] => finding.expected("`refs` or `packs`"),
                own => finding.expected(format!("only the actions {}", listed(own))),
            });
        }
    }
}

/// The texts of a list; None where there is none.
fn texts<K>(
    member: &Member<'_, NonEmpty<K>>,
    is_good: fn(&str) -> bool,
    expected: &str,
) -> Option<Vec<String>> {
    let items = member.items(expected)?;
    let texts = items.iter().filter_map(|item| {
        let text = item.text()?;
        if !is_good(text) {
            let message = format!("`{}` is none", shortened(text));
            item.add(item.finding(message).expected(expected));
            return None;
        }
        Some(text.to_owned())
    });
    Some(texts.collect())
}

/// A ref in which `*` may stand for any characters.
#[derive(Debug)]
struct Pattern;

impl Described for Pattern {
    fn schema() -> Value {
        json!({"type": "string", "pattern": r"^[a-z0-9_.*-]+$"})
    }
}

fn is_pattern(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-' | '*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check_by;

    #[test]
    fn test_patterns_say_what_is_read() {
        check_by(&Pattern::schema(), "[a1_.*A -]{0,4}", is_pattern);
    }
}
