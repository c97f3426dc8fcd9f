//! Views of inquiries.

use attune_client::types::InquiryView;
use attune_common::models::inquiry::{Inquiry, InquiryNames};
use attune_expr::schema::without_secrets;

use super::mask::schema_view;

/// Who looks at an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The run that asked: the answer is for it.
    Asker,
    /// Anybody else, who is shown nothing secret.
    Other,
}

pub(crate) fn inquiry_view(inquiry: Inquiry, names: InquiryNames, reader: Reader) -> InquiryView {
    let response = match reader {
        Reader::Asker => inquiry.response,
        Reader::Other => inquiry.response.map(|response| without_secrets(response, &inquiry.response_schema)),
    };
    InquiryView {
        id: inquiry.id,
        execution: inquiry.execution,
        action: names.action_ref,
        prompt: inquiry.prompt,
        response_schema: schema_view(inquiry.response_schema),
        status: inquiry.status.as_str().to_owned(),
        assigned_to: names.assigned_to,
        assigned_role: inquiry.assigned_role,
        allow_self_approval: inquiry.allow_self_approval,
        timeout_at: inquiry.timeout_at,
        response,
        responded_by: names.responded_by,
        responded_at: inquiry.responded_at,
        created: inquiry.created,
        updated: inquiry.updated,
    }
}
