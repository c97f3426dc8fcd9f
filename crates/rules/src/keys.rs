//! The values of keys in the parameters of an action: `{{ key('ops.token') }}`.
//!
//! A rule never sees a value. What is rendered holds marks ([`KeyMarks`]); the worker that runs the action puts the values
//! there. Everywhere else the parameters are shown with a mask. A mark can only be put into text: a filter or an expression
//! that would have to know the value is a fault of the rendering, the same one wherever the rule is tried.

use attune_expr::key_marks::KeyMarks;
use attune_expr::scope::Scope;
use attune_expr::template::{KeyUse, TemplateError, ValueTemplate};
use serde_json::Value;

use crate::compiled::CompiledRule;
use crate::definition::RuleProblem;

/// Why `key(..)` cannot stand where no parameters are made.
pub(crate) const MISPLACED: &str =
    "there is no `key` here; the value of a key can only be put into action_params";

/// The nonce of marks that are replaced by a mask at once; as long as one that is drawn, lest lengths make a difference.
const SHOWN: &str = "shown-with-a-mask-and-as-long-as-one-of-dice";

impl CompiledRule {
    /// The keys that its parameters name.
    pub fn keys(&self) -> &[KeyUse] {
        &self.keys
    }
}

/// The keys that the parameters name; what is wrong with their uses is a problem of the rule.
pub(crate) fn of(params: &ValueTemplate, problems: &mut Vec<RuleProblem>) -> Vec<KeyUse> {
    let (uses, faults) = params.keys();
    problems.extend(faults.into_iter().map(|fault| {
        let message = format!("template `{}`: {}", fault.expression, fault.message);
        RuleProblem::new(format!("/action_params{}", fault.pointer), message)
    }));
    uses
}

/// Renders the parameters with marks.
pub(crate) fn render(
    rule: &CompiledRule,
    params: &ValueTemplate,
    scope: &Scope<'_>,
    marks: &KeyMarks,
) -> Result<Value, TemplateError> {
    let scope = scope.clone().with_key_marks(marks);
    let rendered = params
        .render(&scope)
        .map_err(|error| TemplateError { message: marks.masked_text(&error.message), ..error })?;
    let Some(lost) = marks.lost(&rendered) else { return Ok(rendered) };
    let message = format!(
        "the value of key `{lost}` does not get into the parameters as it is: it is put there when the action runs, so that \
         filters and expressions cannot use or change it"
    );
    let used = rule.keys.iter().find(|used| used.key_ref == lost).or(rule.keys.first());
    Err(used.map_or_else(|| TemplateError::failed(&message), |used| used.fault(&message)))
}

/// Renders the parameters as they may be shown.
pub(crate) fn render_masked(
    rule: &CompiledRule,
    params: &ValueTemplate,
    scope: &Scope<'_>,
) -> Result<Value, TemplateError> {
    if rule.keys.is_empty() {
        return params.render(scope);
    }
    let marks = KeyMarks::new(SHOWN);
    render(rule, params, scope, &marks).map(|rendered| marks.masked(rendered))
}
