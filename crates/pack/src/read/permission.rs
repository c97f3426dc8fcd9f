//! `permissions/*.yaml`.

use crate::definition::{GrantDefinition, PermissionSetDefinition};
use crate::finding::Located;
use crate::reader::{Item, MappingReader, shortened};

use super::common::Component;
use super::constraints;

pub(super) fn read(mapping: MappingReader<'_>, component: Component) -> Option<PermissionSetDefinition> {
    let list = mapping.required("grants").and_then(|item| item.list());
    let grants = list.map(|items| items.iter().filter_map(grant).collect());
    mapping.close();
    Some(PermissionSetDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        grants: grants?,
    })
}

/// `permissions` of an action.
pub(super) fn permissions(mapping: &MappingReader<'_>) -> Vec<GrantDefinition> {
    let items = mapping.optional("permissions").and_then(|item| item.list()).unwrap_or_default();
    items.iter().filter_map(grant).collect()
}

/// `permissions` of a sensor. What it begins belongs to nobody, so that a limit to what is its own would hold for nothing.
pub(super) fn permissions_of_nobody(mapping: &MappingReader<'_>) -> Vec<GrantDefinition> {
    let items = mapping.optional("permissions").and_then(|item| item.list()).unwrap_or_default();
    let grant = |item: &Item<'_>| {
        let grant = grant(item)?;
        if grant.constraints.own {
            let constraints = item.mapping()?.optional("constraints")?;
            let owner = constraints.mapping()?.optional("owner")?;
            let finding =
                owner.finding("`owner` has no effect in a sensor: what it begins belongs to nobody");
            owner.add(finding.expected("`refs` or `packs`"));
        }
        Some(grant)
    };
    items.iter().filter_map(grant).collect()
}

fn grant(item: &Item<'_>) -> Option<GrantDefinition> {
    let mapping = item.mapping()?;
    let resource = mapping.required("resource").and_then(|item| name(&item));
    let actions: Option<Vec<_>> = mapping.required("actions").and_then(|item| {
        let items = item.list()?;
        if items.is_empty() {
            item.add(
                item.finding(format!("`{}` is an empty list", item.name()))
                    .expected("what is allowed, or `*`"),
            );
        }
        Some(items.iter().filter_map(name).collect())
    });
    let constraints = mapping.optional("constraints");
    let (resource, actions) = match (resource, actions) {
        (Some(resource), Some(actions)) => (resource, actions),
        _ => {
            mapping.close();
            return None;
        }
    };
    let constraints = constraints.map(|item| constraints::read(&item, &resource.value, &actions));
    mapping.close();
    Some(GrantDefinition { resource, actions, constraints: constraints.unwrap_or_default() })
}

/// The name of a resource or of something that can be done with it.
fn name(item: &Item<'_>) -> Option<Located<String>> {
    let given = item.text()?;
    if given == "*" || given.chars().all(|c| matches!(c, 'a'..='z' | '_')) {
        return Some(item.located(given.to_owned()));
    }
    let tidy = given.to_lowercase().replace(['-', ' '], "_");
    let meant = tidy.chars().all(|c| matches!(c, 'a'..='z' | '_')).then_some(tidy);
    let finding = item.finding(format!("`{}` `{}` is not a name", item.name(), shortened(given)));
    item.add(finding.expected("a name in lower case such as `execution`, or `*` for any").suggestion(meant));
    None
}
