//! Inquiries: questions that runs put to people.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InquiryRequest {
    /// What is asked, as people read it.
    pub prompt: String,
    /// What an answer holds: a map from name to specification, as the `parameters` of an action, or a JSON schema, which has
    /// a `type`. Without one, any answer is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// The login of who is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    /// The ref of a permission set: whoever holds it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_role: Option<String>,
    /// Whether the identity that started the run may answer; default: true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub allow_self_approval: bool,
    /// How long an answer is waited for; without it, as long as the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// What the run calls the question: asked again by the same attempt, it is the same question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_yes(given: &bool) -> bool {
    *given
}

impl InquiryRequest {
    /// A question to nobody in particular, which takes any answer.
    pub fn of(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), allow_self_approval: true, ..Self::default() }
    }
}

/// A question, and the answer where it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InquiryView {
    pub id: i64,
    /// The execution that asks.
    pub execution: i64,
    /// Its action.
    pub action: String,
    pub prompt: String,
    /// JSON schema of the answer.
    pub response_schema: Value,
    /// `pending`, `responded`, `timeout` or `cancelled`.
    pub status: String,
    /// The login of who is asked.
    pub assigned_to: Option<String>,
    /// Whoever holds this permission set is asked.
    pub assigned_role: Option<String>,
    /// Whether the identity that started the run may answer.
    pub allow_self_approval: bool,
    /// No answer is taken from then on.
    pub timeout_at: Option<DateTime<Utc>>,
    /// The answer. What its schema calls secret is shown to the run that asked, and to nobody else.
    pub response: Option<Value>,
    /// The login of who answered.
    pub responded_by: Option<String>,
    pub responded_at: Option<DateTime<Utc>>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

impl InquiryView {
    /// Whether an answer may still come.
    pub fn is_pending(&self) -> bool {
        self.status == "pending"
    }
}

/// An answer.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InquiryAnswer {
    /// What the inquiry's `response_schema` asks for.
    pub response: Value,
}

impl std::fmt::Debug for InquiryAnswer {
    // It may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InquiryAnswer(..)")
    }
}
