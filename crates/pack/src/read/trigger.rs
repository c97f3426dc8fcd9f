//! `triggers/*.yaml`.

use attune_expr::schema::check_payload_schema;
use serde_json::{Map, Value};

use crate::definition::{SignatureScheme, TriggerDefinition, WebhookDefinition, WebhookSignature};
use crate::reader::{Item, MappingReader, shortened};

use super::common::{Component, foreign_problem, parameters};
use super::key::key_ref;

pub(super) fn read(mapping: MappingReader<'_>, component: Component) -> Option<TriggerDefinition> {
    let enabled = mapping.bool_or("enabled", true);
    let parameters = parameters(&mapping);
    let out_schema =
        mapping.optional("out_schema").map_or_else(|| Value::Object(Map::new()), |item| out_schema(&item));
    let webhook = mapping.optional("webhook").and_then(|item| item.mapping()).and_then(webhook);
    mapping.close();
    Some(TriggerDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        enabled,
        parameters,
        out_schema,
        webhook,
    })
}

/// The JSON schema of the payload, or of the result of an action.
pub(super) fn out_schema(item: &Item<'_>) -> Value {
    let Some(schema) = item.object() else { return Value::Null };
    let schema = Value::Object(schema);
    for problem in check_payload_schema(&schema) {
        foreign_problem(item, &problem.pointer, &problem.message, problem.suggestion);
    }
    schema
}

fn webhook(mapping: MappingReader<'_>) -> Option<WebhookDefinition> {
    let signature_item = mapping.optional("signature");
    let signature = signature_item.as_ref().and_then(|item| item.mapping()).and_then(signature);
    let delivery_id_header = mapping.optional("delivery_id_header").and_then(|item| header(&item));
    if signature.as_ref().is_some_and(|signature| signature.scheme == SignatureScheme::Github) {
        mapping.without_effect(
            "delivery_id_header",
            "with the scheme `github`, which names `X-GitHub-Delivery`",
        );
    }
    mapping.close();
    // A signature that cannot be read must not become a webhook without one.
    (signature_item.is_none() || signature.is_some())
        .then_some(WebhookDefinition { signature, delivery_id_header })
}

fn signature(mapping: MappingReader<'_>) -> Option<WebhookSignature> {
    let scheme = mapping
        .required("scheme")
        .and_then(|item| item.choice(SignatureScheme::ALL, SignatureScheme::as_str));
    let secret = mapping.required("secret").and_then(|item| key_ref(&item, []));
    let header = match scheme {
        Some(SignatureScheme::HmacSha256) => mapping.required("header"),
        Some(SignatureScheme::Github) | None => mapping.optional("header"),
    }
    .and_then(|item| header(&item));
    if scheme == Some(SignatureScheme::Github) {
        mapping.without_effect("header", "with the scheme `github`, which names `X-Hub-Signature-256`");
    }
    mapping.close();
    Some(WebhookSignature { scheme: scheme?, secret: secret?, header })
}

/// The name of a header in lower case.
fn header(item: &Item<'_>) -> Option<String> {
    let given = item.text()?;
    // The characters of a token in RFC 9110.
    if given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
        return Some(given.to_ascii_lowercase());
    }
    let finding =
        item.finding(format!("`{}` `{}` is not the name of a header", item.name(), shortened(given)));
    item.add(finding.expected("a name such as `X-Signature`"));
    None
}
