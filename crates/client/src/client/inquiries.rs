//! Inquiries.

use reqwest::Method;

use super::{Client, Result};
use crate::types::{InquiryAnswer, InquiryRequest, InquiryView, Page};

impl Client {
    /// Puts a question; for the token of a run only.
    pub async fn create_inquiry(&self, request: &InquiryRequest) -> Result<InquiryView> {
        self.send_json(Method::POST, "api/v1/inquiries", request).await
    }

    pub async fn inquiries(&self, query: &[(&str, String)]) -> Result<Page<InquiryView>> {
        self.get("api/v1/inquiries", query).await
    }

    pub async fn inquiry(&self, id: i64) -> Result<InquiryView> {
        self.get(&format!("api/v1/inquiries/{id}"), &[]).await
    }

    /// The inquiry as soon as it has ended, or as it is after so many seconds.
    pub async fn wait_for_inquiry(&self, id: i64, seconds: u32) -> Result<InquiryView> {
        self.get(&format!("api/v1/inquiries/{id}"), &[("wait", seconds.to_string())]).await
    }

    pub async fn respond_to_inquiry(&self, id: i64, answer: &InquiryAnswer) -> Result<InquiryView> {
        self.send_json(Method::POST, &format!("api/v1/inquiries/{id}/respond"), answer).await
    }

    pub async fn cancel_inquiry(&self, id: i64) -> Result<InquiryView> {
        self.read(self.request(Method::POST, &format!("api/v1/inquiries/{id}/cancel"))).await
    }
}
