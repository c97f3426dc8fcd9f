//! `permissions/*.yaml`.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::{Value, json};

use crate::definition::{ConstraintsDefinition, GrantDefinition, PermissionSetDefinition};
use crate::finding::Located;
use crate::form::{FileForm, Member, NonEmpty, Readable};
use crate::limits::RESOURCES;
use crate::reader::{Item, MappingReader, shortened};

use super::common::ComponentForm;
use super::{Place, constraints};

form! {
    /// A permission set: a named list of grants.
    pub(crate) struct PermissionSetForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// What it allows.
        required grants: Vec<GrantDefinition>,
    }
}

form! {
    /// These actions on this resource.
    struct GrantForm<'f> of MappingReader<'f> {
        /// The resource; `*` for any.
        required resource: Resource,
        /// What may be done with it; `*` for anything.
        required actions: NonEmpty<Name>,
        /// What it is limited to; `refs` or `packs`, and `owner`.
        optional constraints: ConstraintsDefinition,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<PermissionSetDefinition> {
    let form = PermissionSetForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let grants = form.grants.read();
    Some(PermissionSetDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        grants: grants?,
    })
}

/// `permissions` of a sensor. What it begins belongs to nobody, so that a limit to what is its own would hold for nothing.
pub(super) fn permissions_of_nobody(member: &Member<'_, Vec<GrantDefinition>>) -> Vec<GrantDefinition> {
    let items = member.items().unwrap_or_default();
    let grant = |item: &Item<'_>| {
        let grant = GrantDefinition::read(item)?;
        if grant.constraints.own {
            let owner = item.descend("/constraints/owner", false);
            let finding =
                owner.finding("`owner` has no effect in a sensor: what it begins belongs to nobody");
            owner.add(finding.expected("`refs` or `packs`"));
        }
        Some(grant)
    };
    items.iter().filter_map(grant).collect()
}

impl Described for GrantDefinition {
    fn schema() -> Value {
        GrantForm::shape().schema()
    }
}

impl Readable for GrantDefinition {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = GrantForm::of(item)?;
        let resource = form.resource.read();
        let actions = form.actions.items("what is allowed, or `*`");
        let actions: Option<Vec<_>> = actions.map(|items| items.iter().filter_map(Name::read).collect());
        let constraints = form.constraints.item().and_then(|item| {
            constraints::read(item, resource.as_ref(), actions.as_deref().unwrap_or_default())
        });
        Some(Self { resource: resource?, actions: actions?, constraints: constraints.unwrap_or_default() })
    }
}

/// What is granted something on; `*` for all.
#[derive(Debug)]
struct Resource;

impl Resource {
    fn names() -> Vec<&'static str> {
        RESOURCES.iter().copied().chain([ANY]).collect()
    }
}

impl Described for Resource {
    fn schema() -> Value {
        json!({"enum": Self::names()})
    }
}

impl Readable for Resource {
    type Value = Located<String>;

    fn read(item: &Item<'_>) -> Option<Located<String>> {
        item.choice(&Self::names(), |name| name).map(|name| item.located(name.to_owned()))
    }
}

/// All resources, and all that can be done.
const ANY: &str = "*";

/// The name of something that can be done with a resource.
#[derive(Debug)]
struct Name;

impl Described for Name {
    fn schema() -> Value {
        json!({"type": "string", "pattern": r"^(\*|[a-z_]+)$"})
    }
}

impl Readable for Name {
    type Value = Located<String>;

    fn read(item: &Item<'_>) -> Option<Located<String>> {
        let given = item.text()?;
        if given == ANY || given.chars().all(|c| matches!(c, 'a'..='z' | '_')) {
            return Some(item.located(given.to_owned()));
        }
        let tidy = given.to_lowercase().replace(['-', ' '], "_");
        let meant = tidy.chars().all(|c| matches!(c, 'a'..='z' | '_')).then_some(tidy);
        let finding = item.finding(format!("`{}` `{}` is not a name", item.name(), shortened(given)));
        item.add(finding.expected("a name in lower case such as `read`, or `*` for any").suggestion(meant));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check;

    #[test]
    fn test_patterns_say_what_is_read() {
        check::<Name>("[*a_A1]{0,3}");
    }
}
