//! An inquiry: a question that a run puts to people, and waits for the answer.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::grant::Reach;
use super::{Timestamp, named_enum};

named_enum! {
    /// Where an inquiry stands. The chart is in `docs/states.md`.
    InquiryStatus as "attune.inquiry_status" {
        /// Waits for its answer.
        Pending = "pending",
        /// Was answered.
        Responded = "responded",
        /// Was not answered in time.
        Timeout = "timeout",
        /// Nobody needs the answer any more.
        Cancelled = "cancelled",
    }
}

impl InquiryStatus {
    /// Terminal states never change.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Responded | Self::Timeout | Self::Cancelled => true,
            Self::Pending => false,
        }
    }

    /// Whether an inquiry may go from this status to the other.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Responded | Self::Timeout | Self::Cancelled),
            Self::Responded | Self::Timeout | Self::Cancelled => false,
        }
    }
}

/// A question with its answer, where it has one.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Inquiry {
    pub id: i64,
    /// The execution that waits.
    pub execution: i64,
    /// The attempt that asks, which the question ends with; None: the execution as a whole.
    pub attempt: Option<i32>,
    /// What the attempt calls the question: asked again, it is the same.
    pub dedup_key: Option<String>,
    pub prompt: String,
    /// JSON Schema of the answer.
    pub response_schema: Value,
    /// Who is asked.
    pub assigned_to: Option<i64>,
    /// Whoever holds this role is asked.
    pub assigned_role: Option<String>,
    /// Whether the identity that the execution belongs to may answer.
    pub allow_self_approval: bool,
    pub status: InquiryStatus,
    pub response: Option<Value>,
    pub responded_by: Option<i64>,
    pub responded_at: Option<Timestamp>,
    /// No answer is taken from then on.
    pub timeout_at: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes an inquiry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewInquiry {
    pub execution: i64,
    pub prompt: String,
    pub response_schema: Option<Value>,
    pub assigned_to: Option<i64>,
    pub assigned_role: Option<String>,
    pub allow_self_approval: bool,
    /// How long it waits, by the clock of the database; None is for ever.
    pub timeout: Option<Duration>,
}

impl NewInquiry {
    /// A question to nobody in particular, which waits for any answer by anybody.
    pub fn of(execution: i64, prompt: impl Into<String>) -> Self {
        Self {
            execution,
            prompt: prompt.into(),
            response_schema: None,
            assigned_to: None,
            assigned_role: None,
            allow_self_approval: true,
            timeout: None,
        }
    }
}

/// The attempt that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    pub attempt: i32,
    /// Asked again under the same key, it is the same question; None: each one is another.
    pub dedup_key: Option<String>,
}

/// What those are called whom an inquiry is about.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct InquiryNames {
    pub id: i64,
    /// The action whose execution asks.
    pub action_ref: String,
    /// The login of who is asked.
    pub assigned_to: Option<String>,
    /// The login of who answered.
    pub responded_by: Option<String>,
}

/// Changes to an inquiry that waits: who is asked, and how long it waits from now on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct InquiryUpdate {
    pub assigned_to: Option<i64>,
    pub assigned_role: Option<String>,
    pub timeout: Option<Duration>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// An answer. That it is what the schema of the inquiry asks for is the caller's to check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InquiryResponse {
    pub response: Value,
    /// Who answers.
    pub responded_by: i64,
}

/// Which inquiries to list.
#[derive(Debug, Clone, Default)]
pub struct InquiryFilter {
    pub execution: Option<i64>,
    pub status: Option<InquiryStatus>,
    pub assigned_to: Option<i64>,
    pub assigned_role: Option<String>,
    /// Only what is asked of this identity, by itself or by a role.
    pub asked: Option<Asked>,
    /// Only those of executions of actions within reach.
    pub reach: Option<Reach>,
    /// Only inquiries with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}

/// Whoever may be asked: an identity with its roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub identity: i64,
    pub roles: Vec<String>,
}
