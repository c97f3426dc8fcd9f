//! `policies/*.yaml`.

use crate::definition::{PolicyDefinition, PolicyMethod, RateDefinition};
use crate::reader::{Item, MappingReader, shortened};

use super::action::duration_of;
use super::common::Component;
use super::{Kind, Place};

pub(super) fn read(
    mapping: MappingReader<'_>,
    component: Component,
    place: &Place<'_>,
) -> Option<PolicyDefinition> {
    let enabled = mapping.bool_or("enabled", true);
    let action_item = mapping.optional("action");
    let action = action_item.as_ref().and_then(|item| item.component_ref(place.known(Kind::Action)));
    let concurrency_item = mapping.optional("concurrency");
    let concurrency = concurrency_item.as_ref().and_then(|item| whole_number(item, i32::MAX.unsigned_abs()));
    let parameters_item = mapping.optional("parameters");
    let parameters = parameters_item.as_ref().and_then(parameters).unwrap_or_default();
    let rate_item = mapping.optional("rate");
    let rate = rate_item.as_ref().and_then(|item| item.mapping()).and_then(rate);
    let method =
        mapping.optional("method").and_then(|item| item.choice(PolicyMethod::ALL, PolicyMethod::as_str));
    if concurrency_item.is_none() && rate_item.is_none() {
        let finding = mapping.item().finding("the policy limits nothing");
        mapping.item().add(finding.expected("`concurrency`, `rate`, or both"));
    }
    if concurrency_item.is_none() {
        mapping.without_effect("parameters", "without `concurrency`, which is counted by them");
    }
    mapping.close();
    // A scope that cannot be read must not become that of the whole pack.
    if action_item.is_some() && action.is_none() {
        return None;
    }
    Some(PolicyDefinition {
        r#ref: component.r#ref?,
        enabled,
        action,
        concurrency,
        parameters,
        rate,
        method: method.unwrap_or(PolicyMethod::Enqueue),
    })
}

fn parameters(item: &Item<'_>) -> Option<Vec<String>> {
    let names = item.texts()?;
    if names.is_empty() {
        item.add(
            item.finding("`parameters` is an empty list")
                .expected("the parameters to count by, or the key left out"),
        );
    }
    let items = item.list()?;
    for (at, name) in names.iter().enumerate().filter(|(at, name)| names[..*at].contains(name)) {
        let finding = items[at].finding(format!("`{}` is listed twice", shortened(name)));
        items[at].add(finding.expected("every parameter once"));
    }
    Some(names)
}

fn rate(mapping: MappingReader<'_>) -> Option<RateDefinition> {
    let count = mapping.required("count").and_then(|item| whole_number(&item, i32::MAX.unsigned_abs()));
    let period = mapping.required("period").and_then(|item| duration_of(&item));
    mapping.close();
    Some(RateDefinition { count: count?, period: period? })
}

/// A whole number from 1 up to a limit.
pub(super) fn whole_number(item: &Item<'_>, most: u32) -> Option<u32> {
    let given = match item.number_or_text() {
        Some(Ok(number)) => number.as_u64(),
        Some(Err(_)) | None => None,
    };
    let number =
        given.and_then(|number| u32::try_from(number).ok()).filter(|number| (1..=most).contains(number));
    if number.is_none() {
        let given = item.json().to_string();
        let finding = item.finding(format!("`{}` is {}", item.name(), shortened(&given)));
        item.add(finding.expected(format!("a whole number from 1 to {most}")));
    }
    number
}
