//! `constraints` of a grant. A limit that nothing would heed is an error: it would be believed in.

use crate::definition::ConstraintsDefinition;
use crate::finding::Located;
use crate::limits::{LIMITED, Limited};
use crate::reader::Item;
use crate::reference::is_pack;

pub(super) fn read(item: &Item<'_>, resource: &str, actions: &[Located<String>]) -> ConstraintsDefinition {
    let Some(mapping) = item.mapping() else { return ConstraintsDefinition::default() };
    let refs = texts(
        mapping.optional("refs"),
        is_pattern,
        "a ref such as `ops.deploy`, or a pattern such as `ops.*`",
    );
    let packs = texts(mapping.optional("packs"), is_pack, "the ref of a pack such as `ops`");
    let owner = mapping.optional("owner");
    let own = owner.as_ref().is_some_and(|item| item.choice(&["self"], |name| name).is_some());
    if refs.is_some() && packs.is_some() {
        mapping.without_effect("packs", "beside `refs`");
    }
    if refs.is_none() && packs.is_none() && owner.is_none() {
        item.add(item.finding("`constraints` limits nothing").expected("`refs`, `packs` or `owner`"));
    }
    match LIMITED.iter().find(|limited| limited.resource == resource) {
        Some(limited) => check_actions(item, limited, actions, owner.as_ref()),
        None => {
            let known: Vec<_> = LIMITED.iter().map(|limited| format!("`{}`", limited.resource)).collect();
            let finding = item.finding(format!("`constraints` has no effect on `{resource}`"));
            item.add(finding.expected(format!("one of the resources {}", known.join(", "))));
        }
    }
    mapping.close();
    ConstraintsDefinition { refs: refs.unwrap_or_default(), packs: packs.unwrap_or_default(), own }
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
fn texts(item: Option<Item<'_>>, is_good: fn(&str) -> bool, expected: &str) -> Option<Vec<String>> {
    let item = item?;
    let items = item.list()?;
    if items.is_empty() {
        item.add(item.finding(format!("`{}` is an empty list", item.name())).expected(expected));
    }
    let texts = items.iter().filter_map(|item| {
        let text = item.text()?;
        if !is_good(text) {
            let message = format!("`{}` is none", crate::reader::shortened(text));
            item.add(item.finding(message).expected(expected));
            return None;
        }
        Some(text.to_owned())
    });
    Some(texts.collect())
}

/// Whether a text is a ref in which `*` may stand for any characters.
fn is_pattern(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-' | '*'))
}
