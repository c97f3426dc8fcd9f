//! `rules/*.yaml`.

use attune_expr::form;
use attune_rules::{CompiledRule, Condition, ConditionMode, RuleDefinition, TriggerSchemas, Window};
use serde_json::Value;

use crate::Retry;
use crate::definition::{RuleEntry, RuleMode};
use crate::finding::Located;
use crate::form::{FileForm, Member};
use crate::reader::{Item, MappingReader};
use crate::value::{AnyObject, ComponentRef, Flag};

use super::common::ComponentForm;
use super::{Kind, Place};

form! {
    /// A rule: which events lead to which action.
    pub(crate) struct RuleForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Whether it judges events at all.
        optional enabled: Flag<true>,
        /// `active` runs its action; `shadow` only records what it would have done.
        optional mode: RuleMode,
        /// The trigger whose events it judges.
        required trigger: ComponentRef,
        /// What must be equal in the configuration of the event.
        optional trigger_params: AnyObject,
        /// How the conditions combine; `all` unless said.
        optional condition: ConditionMode,
        /// What must hold; without any, the rule fires on every event of its trigger.
        optional conditions: Vec<Condition>,
        /// What it makes of several events.
        optional window: Window,
        /// The action that it runs.
        required action: ComponentRef,
        /// The parameters of the action; texts may be templates.
        optional action_params: AnyObject,
        /// How its runs are tried again, in place of what the action says.
        optional retry: Retry,
    }
}

pub(super) fn read(file: &Item<'_>, place: &Place<'_>) -> Option<RuleEntry> {
    let (form, is_clean) = RuleForm::of_with_fit(file)?;
    let component = form.component.read(place.pack_ref);
    let enabled = form.enabled.is_on();
    let rule_mode = form.mode.read();
    let trigger = form.trigger.known(place.known(Kind::Trigger));
    let trigger_params = form.trigger_params.read().unwrap_or_default();
    let mode = form.condition.read().unwrap_or_default();
    let conditions = conditions(&form.conditions);
    let window = form.window.item().map(window);
    let action = form.action.known(place.known(Kind::Action));
    let action_params = form.action_params.read().unwrap_or_default();
    let retry = form.retry.read();
    if let Some(item) = form.condition.item()
        && form.conditions.item().is_none()
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
        file.report(&file_pointer(&problem.pointer, &conditions), &problem.message, problem.suggestion);
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
fn conditions(list: &Member<'_, Vec<Condition>>) -> Vec<(usize, Condition)> {
    let mut conditions = Vec::new();
    for (position, item) in list.items().unwrap_or_default().iter().enumerate() {
        match Condition::parse(&item.json()) {
            Ok(condition) => conditions.push((position, condition)),
            Err(problems) => {
                for problem in problems {
                    item.report(&problem.pointer, &problem.message, problem.suggestion);
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
            item.report(&problem.pointer, &problem.message, problem.suggestion);
        }
        Window::stand_in()
    })
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
