//! Integration tests of the rule crate: reading, compiling, judging, explaining.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "`check(json!(..), json!(..))` reads best without references"
)]

mod agreement;
mod backtest;
mod backtest_windows;
mod compile;
mod definition;
mod evaluate;
mod index;
mod index_agreement;
mod keys;
mod settings;
mod webhook;
mod window;
mod window_definition;
mod window_properties;

use attune_rules::{CompiledRule, RuleDefinition, RuleProblem};
use serde_json::{Value, json};

/// A rule with the given members on top of the ones every rule needs.
fn rule(members: Value) -> RuleDefinition {
    let mut rule =
        json!({"rule_ref": "ops.page_disk", "trigger_ref": "core.webhook", "action_ref": "ops.page"});
    for (name, member) in members.as_object().unwrap() {
        rule[name] = member.clone();
    }
    serde_json::from_value(rule).unwrap()
}

fn compiled(members: Value) -> CompiledRule {
    CompiledRule::compile(&rule(members)).unwrap()
}

fn problems(members: Value) -> Vec<RuleProblem> {
    CompiledRule::compile(&rule(members)).map(|_| ()).unwrap_err()
}
