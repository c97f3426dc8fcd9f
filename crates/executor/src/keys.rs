//! Parameters that name keys: a decision records them with masks, and its execution gets them with marks beside that.

use attune_common::auth::random_secret;
use attune_common::models::keyed::KeyedParameters;
use attune_expr::key_marks::KeyMarks;
use attune_expr::schema::ParameterSchema;
use attune_expr::scope::Scope;
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
    // A nonce of its own for each decision: nothing that is known when an event is made can be a mark.
    let marks = (!compiled.keys().is_empty()).then(|| KeyMarks::new(&random_secret("")));
    let rendered = match &marks {
        Some(marks) => compiled.render_marked(scope, marks),
        None => compiled.render_parameters(scope),
    };
    let rendered = rendered.map_err(|error| format!("the parameters cannot be rendered: {error}"))?;
    let parameters = schema.check(rendered).map_err(|violations| {
        let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
        let error = format!("the parameters do not fit {}: {}", rule.rule.action_ref, reasons.join("; "));
        marks.as_ref().map(|marks| marks.masked_text(&error)).unwrap_or(error)
    })?;
    let Some(marks) = marks else { return Ok(Rendered { parameters, keyed: None }) };
    Ok(Rendered {
        parameters: marks.masked(parameters.clone()),
        keyed: Some(KeyedParameters {
            nonce: marks.nonce().to_owned(),
            pack: rule.rule.pack_ref.clone(),
            parameters,
        }),
    })
}
