//! Whether a request comes from who shares the secret. Signatures are compared in constant time, over the raw body.

use attune_common::models::trigger::SignatureScheme;
use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::directory::{Secret, WebhookEntry};
use crate::error::ApiError;

/// Checks the request's signature as the webhook demands; a webhook without a signature setting takes everything.
pub(super) fn verify(webhook: &WebhookEntry, headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    let Some(settings) = &webhook.settings.signature else { return Ok(()) };
    let secret = match &webhook.secret {
        Secret::Known(secret) => secret,
        Secret::NotNeeded | Secret::Missing => {
            // A missing secret never lets anybody in. The sender is not told which key it is.
            let cause = format!(
                "webhook of trigger {} was refused: its secret is not set, or is a key that is no secret; run `attune key set {} \
                 --secret`",
                webhook.trigger_ref, settings.secret
            );
            return Err(ApiError::unavailable(
                "this webhook is not set up yet: its secret is missing on the server; nothing was stored",
                cause,
            ));
        }
    };
    let name = webhook.signature_header().unwrap_or_default();
    let given = headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(|| {
        ApiError::bad_signature(format!(
            "the header `{name}` with the signature is missing; nothing was stored"
        ))
    })?;
    let digits = match settings.scheme {
        SignatureScheme::Github => given.strip_prefix("sha256=").unwrap_or_default(),
        SignatureScheme::HmacSha256 => given.strip_prefix("sha256=").unwrap_or(given),
    };
    let expected = hmac_sha256(secret.as_bytes(), body);
    let given = hex::decode(digits.trim()).unwrap_or_default();
    if bool::from(expected.ct_eq(given.as_slice())) {
        Ok(())
    } else {
        Err(ApiError::bad_signature(format!(
            "the signature in `{name}` is not the one of this body under the shared secret; nothing was stored"
        )))
    }
}

/// Does what [`verify`] does, for nobody.
pub(super) fn pretend(body: &[u8]) {
    std::hint::black_box(hmac_sha256(b"no such webhook", body));
}

fn hmac_sha256(secret: &[u8], body: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length; the error type says otherwise only for other algorithms.
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret) {
        Ok(mac) => mac,
        Err(_) => return [0; 32],
    };
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use attune_common::models::trigger::{Webhook, WebhookSignature};

    fn webhook(scheme: SignatureScheme, header: Option<&str>, secret: Secret) -> WebhookEntry {
        let signature = WebhookSignature {
            scheme,
            secret: "github.webhook_secret".into(),
            header: header.map(str::to_owned),
        };
        WebhookEntry {
            trigger: 1,
            trigger_ref: "github.event".into(),
            settings: Webhook { signature: Some(signature), delivery_id_header: None },
            secret,
        }
    }

    fn check(webhook: &WebhookEntry, header: &'static str, value: &str, body: &[u8]) -> Result<(), u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header, value.parse().unwrap());
        verify(webhook, &headers, body).map_err(|error| error.status().as_u16())
    }

    /// The example that GitHub publishes for those who verify its signatures.
    const SECRET: &str = "It's a Secret to Everybody";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn test_github_signature_of_the_published_example() {
        let hook = webhook(SignatureScheme::Github, None, Secret::Known(SECRET.into()));
        assert_eq!(check(&hook, "x-hub-signature-256", SIGNATURE, b"Hello, World!"), Ok(()));
        assert_eq!(check(&hook, "x-hub-signature-256", SIGNATURE, b"Hello, World?"), Err(401));
        assert_eq!(
            check(&hook, "x-hub-signature-256", &SIGNATURE["sha256=".len()..], b"Hello, World!"),
            Err(401)
        );
        assert_eq!(check(&hook, "x-hub-signature-256", "sha256=", b"Hello, World!"), Err(401));
        assert_eq!(check(&hook, "x-other", SIGNATURE, b"Hello, World!"), Err(401));
    }

    #[test]
    fn test_hmac_signature_in_a_header_of_ones_choice() {
        let hook = webhook(SignatureScheme::HmacSha256, Some("X-Mine"), Secret::Known(SECRET.into()));
        assert_eq!(check(&hook, "x-mine", SIGNATURE, b"Hello, World!"), Ok(()));
        assert_eq!(check(&hook, "x-mine", &SIGNATURE["sha256=".len()..], b"Hello, World!"), Ok(()));
    }

    #[test]
    fn test_a_missing_secret_lets_nobody_in() {
        let hook = webhook(SignatureScheme::Github, None, Secret::Missing);
        assert_eq!(check(&hook, "x-hub-signature-256", SIGNATURE, b"Hello, World!"), Err(503));
    }
}
