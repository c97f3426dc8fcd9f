//! Requests that are answered from a list.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::{Answer, Content, HttpError, Outgoing, shown};
use crate::native::recorded::Recorded;

/// What is answered to a request.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedAnswer {
    /// The method of the request; None: any.
    pub method: Option<String>,
    /// The address of the request, with its query where it has one.
    pub url: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How often it is given; None: always.
    pub times: Option<u32>,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// As JSON where it is JSON, else as text; of several parts, what there is to say of each.
    pub body: Value,
}

pub(super) fn answer(recorded: &Recorded, request: &Outgoing) -> Result<Answer, HttpError> {
    let mut state = recorded.state();
    state.seen.requests.push(seen(request));
    let fits = |answer: &&mut RecordedAnswer| {
        answer.url == request.url.as_str()
            && answer.times != Some(0)
            && answer.method.as_ref().is_none_or(|method| *method == request.method.as_str())
    };
    let Some(answer) = state.answers.http.iter_mut().find(fits) else {
        return Err(HttpError::NotRecorded { method: request.method.clone(), url: shown(&request.url) });
    };
    answer.times = answer.times.map(|times| times - 1);
    let body = if request.method == Method::HEAD { Vec::new() } else { answer.body.clone() };
    let headers = answer.headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    Ok(Answer { status: answer.status, headers: headers.collect::<HeaderMap>(), body })
}

fn seen(request: &Outgoing) -> SeenRequest {
    let body = match &request.body {
        None => Value::Null,
        Some(Content::Bytes(body)) if body.is_empty() => Value::Null,
        Some(Content::Bytes(body)) => serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())),
        Some(Content::Parts(parts)) => parts.summary(),
    };
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    SeenRequest {
        method: request.method.to_string(),
        url: request.url.to_string(),
        headers: headers.collect(),
        body,
    }
}
