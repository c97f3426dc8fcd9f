//! `rules/*.yaml`.

use attune_rules::{CompiledRule, Condition, ConditionMode, RuleDefinition, TriggerSchemas, Window};
use serde_json::Value;

use crate::definition::{RuleEntry, RuleMode};
use crate::finding::Located;
use crate::reader::{Item, MappingReader};

use super::common::{Component, foreign_problem};
use super::execution::retry;
use super::{Kind, Place};

const CONDITION_MODES: &[ConditionMode] = &[ConditionMode::All, ConditionMode::Any];

pub(super) fn read(mapping: MappingReader<'_>, component: Component, place: &Place<'_>) -> Option<RuleEntry> {
    let file = mapping.item().clone();
    let enabled = mapping.bool_or("enabled", true);
    let rule_mode = mapping.optional("mode").and_then(|item| item.choice(RuleMode::ALL, RuleMode::as_str));
    let trigger = mapping.required("trigger").and_then(|item| item.component_ref(place.known(Kind::Trigger)));
    let trigger_params = mapping.object_or_empty("trigger_params");
    let mode_item = mapping.optional("condition");
    let mode =
        mode_item.as_ref().and_then(|item| item.choice(CONDITION_MODES, mode_name)).unwrap_or_default();
    let list = mapping.optional("conditions");
    let conditions = list.as_ref().map(conditions).unwrap_or_default();
    let window = mapping.optional("window").map(|item| window(&item));
    let action = mapping.required("action").and_then(|item| item.component_ref(place.known(Kind::Action)));
    let action_params = mapping.object_or_empty("action_params");
    let retry = retry(&mapping);
    let is_clean = mapping.close();
    if let Some(item) = mode_item
        && list.is_none()
        && is_clean
    {
        item.add(
            item.finding("`condition` has no effect without `conditions`").expected("a list of conditions"),
        );
    }
    let ref_of =
        |target: &Option<Located<String>>| target.as_ref().map(|t| t.value.clone()).unwrap_or_default();
    // What could not be read is left empty here: the rest is compiled all the same, so that its faults are told too.
    let definition = RuleDefinition {
        rule_ref: component.r#ref.clone().unwrap_or_default(),
        trigger_ref: ref_of(&trigger),
        trigger_params: Value::Object(trigger_params),
        condition: mode,
        conditions: conditions.iter().map(|(_, condition)| condition.clone()).collect(),
        window,
        action_ref: ref_of(&action),
        action_params: Value::Object(action_params),
    };
    let mut problems = CompiledRule::compile(&definition).err().unwrap_or_default();
    // What an event is made of is the same for every trigger; what its payload holds is looked at where the trigger is known.
    problems.extend(attune_rules::check(&definition, TriggerSchemas::default()));
    for problem in problems {
        foreign_problem(
            &file,
            &file_pointer(&problem.pointer, &conditions),
            &problem.message,
            problem.suggestion,
        );
    }
    component.r#ref?;
    Some(RuleEntry {
        label: component.label,
        description: component.description,
        enabled,
        // What cannot be read is told, and then there is no rule.
        mode: rule_mode.unwrap_or(RuleMode::Active),
        trigger: trigger?,
        action: action?,
        retry,
        definition,
    })
}

/// The conditions that can be read, each with its position in the list.
fn conditions(list: &Item<'_>) -> Vec<(usize, Condition)> {
    let items = list.list().unwrap_or_default();
    let mut conditions = Vec::new();
    for (position, item) in items.iter().enumerate() {
        match Condition::parse(&item.json()) {
            Ok(condition) => conditions.push((position, condition)),
            Err(problems) => {
                for problem in problems {
                    foreign_problem(item, &problem.pointer, &problem.message, problem.suggestion);
                }
            }
        }
    }
    conditions
}

/// The window; what could not be read is told, and another stands in its place.
fn window(item: &Item<'_>) -> Window {
    Window::parse(&item.json()).unwrap_or_else(|problems| {
        for problem in problems {
            foreign_problem(item, &problem.pointer, &problem.message, problem.suggestion);
        }
        Window::stand_in()
    })
}

fn mode_name(mode: ConditionMode) -> &'static str {
    match mode {
        ConditionMode::All => "all",
        ConditionMode::Any => "any",
    }
}

/// A pointer into a [`RuleDefinition`] as one into the file, where the refs have shorter names and conditions that could
/// not be read still have their position.
fn file_pointer(pointer: &str, conditions: &[(usize, Condition)]) -> String {
    for name in ["rule", "trigger", "action"] {
        if let Some(rest) = pointer.strip_prefix(&format!("/{name}_ref")) {
            let key = if name == "rule" { "ref" } else { name };
            return format!("/{key}{rest}");
        }
    }
    let Some(inside) = pointer.strip_prefix("/conditions/") else { return pointer.to_owned() };
    let (position, rest) = inside.split_at(inside.find('/').unwrap_or(inside.len()));
    match position.parse::<usize>().ok().and_then(|position| conditions.get(position)) {
        Some((position, _)) => format!("/conditions/{position}{rest}"),
        None => pointer.to_owned(),
    }
}
