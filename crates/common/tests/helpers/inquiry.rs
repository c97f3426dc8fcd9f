//! Builds inquiries, and brings them where a test begins.

use std::time::Duration;

use attune_common::error::Result;
use attune_common::models::execution::Execution;
use attune_common::models::identity::Identity;
use attune_common::models::inquiry::{Inquiry, InquiryResponse, InquiryStatus, NewInquiry};
use attune_common::repositories::{InquiryRepository, RespondError};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{ExecutionFixture, IdentityFixture};

/// Builds an inquiry.
#[derive(Debug, Clone)]
pub(crate) struct InquiryFixture {
    pub(crate) new: NewInquiry,
}

impl InquiryFixture {
    /// A question to nobody in particular.
    pub(crate) fn new(execution: &Execution) -> Self {
        Self { new: NewInquiry::of(execution.id, "Shall it be deployed?") }
    }

    pub(crate) fn with_assigned_to(mut self, identity: &Identity) -> Self {
        self.new.assigned_to = Some(identity.id);
        self
    }

    pub(crate) fn with_assigned_role(mut self, role: &str) -> Self {
        self.new.assigned_role = Some(role.to_owned());
        self
    }

    pub(crate) fn without_self_approval(mut self) -> Self {
        self.new.allow_self_approval = false;
        self
    }

    /// A timeout of zero has passed by the next statement.
    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.new.timeout = Some(timeout);
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Inquiry> {
        InquiryRepository::create(connection, &self.new).await
    }
}

/// An execution that belongs to this identity.
pub(crate) async fn execution_of(connection: &mut PgConnection, identity: &Identity) -> Execution {
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.identity = Some(identity.id);
    fixture.create(connection).await.expect("an execution")
}

/// An execution that belongs to nobody.
pub(crate) async fn execution(connection: &mut PgConnection) -> Execution {
    ExecutionFixture::new_unique().create(connection).await.expect("an execution")
}

/// Somebody who can answer.
pub(crate) async fn identity(connection: &mut PgConnection) -> Identity {
    IdentityFixture::new_unique().create(connection).await.expect("an identity")
}

/// The answer of somebody.
pub(crate) fn answer(identity: &Identity, response: Value) -> InquiryResponse {
    InquiryResponse { response, responded_by: identity.id }
}

/// An inquiry of a new execution in this status.
pub(crate) async fn inquiry_in(connection: &mut PgConnection, status: InquiryStatus) -> Inquiry {
    let execution = execution(&mut *connection).await;
    let fixture = InquiryFixture::new(&execution);
    let fixture = match status {
        InquiryStatus::Timeout => fixture.with_timeout(Duration::ZERO),
        InquiryStatus::Pending | InquiryStatus::Responded | InquiryStatus::Cancelled => fixture,
    };
    let inquiry = fixture.create(&mut *connection).await.expect("an inquiry");
    match status {
        InquiryStatus::Pending => inquiry,
        InquiryStatus::Responded => {
            let answer = answer(&identity(&mut *connection).await, json!({"approved": true}));
            InquiryRepository::respond(connection, inquiry.id, &answer).await.expect("it is answered")
        }
        InquiryStatus::Timeout => {
            InquiryRepository::expire(connection, 1).await.expect("it expires").remove(0)
        }
        InquiryStatus::Cancelled => {
            InquiryRepository::cancel(connection, inquiry.id).await.expect("it is cancelled")
        }
    }
}

/// The store's error out of that of an answer.
pub(crate) fn stored(responded: Result<Inquiry, RespondError>) -> Result<Inquiry> {
    responded.map_err(|error| match error {
        RespondError::Store(error) => error,
        other => panic!("expected an error of the store, got {other:?}"),
    })
}
