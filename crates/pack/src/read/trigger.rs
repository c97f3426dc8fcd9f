//! `triggers/*.yaml`.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::{Map, Value, json};

use crate::definition::{SignatureScheme, TriggerDefinition, WebhookDefinition, WebhookSignature};
use crate::form::{FileForm, Readable};
use crate::reader::{Item, MappingReader, shortened};
use crate::value::{Flag, KeyRef, Parameters, PayloadSchema};

use super::Place;
use super::action::parameters;
use super::common::ComponentForm;

form! {
    /// A trigger: a kind of thing that can happen.
    pub(crate) struct TriggerForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Whether its events are accepted.
        optional enabled: Flag<true>,
        /// What a rule may give as `trigger_params`, by name.
        optional parameters: Parameters,
        /// The JSON schema of the payload of its events.
        optional out_schema: PayloadSchema,
        /// With this key the trigger has a webhook; `{}` takes whatever is sent.
        optional webhook: WebhookDefinition,
    }
}

form! {
    /// How the webhook takes its requests.
    struct WebhookForm<'f> of MappingReader<'f> {
        /// Without it, whoever knows the address may send.
        optional signature: WebhookSignature,
        /// The header that names the delivery: each counts once.
        optional delivery_id_header: HeaderName,
    }
}

form! {
    /// How the sender proves itself.
    struct SignatureForm<'f> of MappingReader<'f> {
        /// The way of signing.
        required scheme: SignatureScheme,
        /// Ref of the key that holds the secret, never the secret itself.
        required secret: KeyRef,
        /// The header with the signature; for `hmac_sha256`, and only there.
        optional header: HeaderName,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<TriggerDefinition> {
    let form = TriggerForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let enabled = form.enabled.is_on();
    let parameters = parameters(&form.parameters);
    let out_schema = form.out_schema.read().unwrap_or_else(|| Value::Object(Map::new()));
    let webhook = form.webhook.read();
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

impl Described for WebhookDefinition {
    fn schema() -> Value {
        WebhookForm::shape().schema()
    }
}

impl Readable for WebhookDefinition {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = WebhookForm::of(item)?;
        let signature = form.signature.read();
        let delivery_id_header = form.delivery_id_header.read();
        if signature.as_ref().is_some_and(|signature| signature.scheme == SignatureScheme::Github) {
            let why = "with the scheme `github`, which names `X-GitHub-Delivery`";
            form.delivery_id_header.without_effect(why);
        }
        // A signature that cannot be read must not become a webhook without one.
        (!form.signature.is_given() || signature.is_some()).then_some(Self { signature, delivery_id_header })
    }
}

impl Described for WebhookSignature {
    fn schema() -> Value {
        let mut schema = SignatureForm::shape().object();
        let of_scheme = json!({"properties": {"scheme": {"const": SignatureScheme::HmacSha256.as_str()}}});
        schema.insert("if".to_owned(), of_scheme);
        schema.insert("then".to_owned(), json!({"required": ["header"]}));
        schema.insert("else".to_owned(), json!({"not": {"required": ["header"]}}));
        Value::Object(schema)
    }
}

impl Readable for WebhookSignature {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = SignatureForm::of(item)?;
        let scheme = form.scheme.read();
        let secret = form.secret.known([]);
        let header = form.header.read();
        match scheme {
            Some(SignatureScheme::HmacSha256) => form.header.must_be_there(&SignatureForm::names()),
            Some(SignatureScheme::Github) => {
                form.header.without_effect("with the scheme `github`, which names `X-Hub-Signature-256`");
            }
            None => {}
        }
        Some(Self { scheme: scheme?, secret: secret?, header })
    }
}

/// The name of a header, in lower case.
#[derive(Debug)]
struct HeaderName;

impl Described for HeaderName {
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9A-Za-z!#$%&'*+.^_`|~-]+$"})
    }
}

impl Readable for HeaderName {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check;

    #[test]
    fn test_patterns_say_what_is_read() {
        check::<HeaderName>("[aA0!#$%&'*+.^_`|~ :ä-]{0,3}");
    }
}
