//! Parameters that name keys: a decision records them with masks, and its execution gets them with marks beside that.

use attune_common::auth::random_secret;
use attune_common::models::keyed::KeyedParameters;
use attune_expr::key_marks::KeyMarks;
use attune_expr::schema::ParameterSchema;
use attune_expr::scope::Scope;
use attune_expr::template::TemplateError;
use attune_rules::CompiledRule;
use serde_json::Value;

use crate::snapshot::SnapshotRule;

/// The parameters of an action.
pub(crate) struct Rendered {
    /// As they may be shown.
    pub(crate) parameters: Value,
    /// With marks, when they name keys.
    pub(crate) keyed: Option<KeyedParameters>,
}

/// Renders the parameters of a rule and checks them. The error tells why its action cannot run.
pub(crate) fn render(
    rule: &SnapshotRule,
    compiled: &CompiledRule,
    schema: &ParameterSchema,
    scope: &Scope<'_>,
) -> Result<Rendered, String> {
    let cannot = |error: TemplateError| format!("the parameters cannot be rendered: {error}");
    let fits = |parameters: Value| {
        schema.check(parameters).map_err(|violations| {
            let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
            format!("the parameters do not fit {}: {}", rule.rule.action_ref, reasons.join("; "))
        })
    };
    if compiled.keys().is_empty() {
        let parameters = fits(compiled.render_parameters(scope).map_err(cannot)?)?;
        return Ok(Rendered { parameters, keyed: None });
    }
    // A nonce of its own for each decision: nothing that is known when an event is made can be a mark.
    let marks = KeyMarks::new(&random_secret(""));
    let marked = compiled.render_marked(scope, &marks).map_err(cannot)?;
    // Checked as it is shown, so that back-tests find the same.
    let parameters = fits(marks.masked(marked.clone()))?;
    let keyed = KeyedParameters {
        nonce: marks.nonce().to_owned(),
        pack: rule.rule.pack_ref.clone(),
        parameters: schema.with_defaults(marked),
    };
    Ok(Rendered { parameters, keyed: Some(keyed) })
}
