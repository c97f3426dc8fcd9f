//! A trigger: a kind of thing that can happen.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Timestamp;

/// A trigger.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Trigger {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub param_schema: Value,
    pub out_schema: Value,
    /// The last part of the webhook's address. Whoever knows it can send events.
    pub webhook_key: Option<String>,
    #[sqlx(json(nullable))]
    pub webhook: Option<Webhook>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewTrigger {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub param_schema: Value,
    /// JSON schema of the payload of its events.
    pub out_schema: Value,
    pub webhook: Option<Webhook>,
}

/// Changes to a trigger.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct TriggerUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub param_schema: Option<Value>,
    pub out_schema: Option<Value>,
    /// New settings of the webhook; a trigger that has none yet gets one, with a key.
    pub webhook: Option<Webhook>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// How the webhook of a trigger takes its requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Webhook {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<WebhookSignature>,
    /// The header that names the delivery, where the scheme does not fix it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id_header: Option<String>,
}

/// How a webhook's sender proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSignature {
    pub scheme: SignatureScheme,
    /// The ref of the key that holds the shared secret.
    pub secret: String,
    /// The header with the signature, for `hmac_sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// A way of signing a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureScheme {
    /// `X-Hub-Signature-256: sha256=<hex of HMAC-SHA256 over the body>`, delivery in `X-GitHub-Delivery`.
    Github,
    /// Hex of HMAC-SHA256 over the body in a header of one's choice, with or without `sha256=` before it.
    HmacSha256,
}
