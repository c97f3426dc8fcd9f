//! What a case says of HTTP: the requests that are expected, and what they are answered.

use std::collections::BTreeMap;

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::Value;

use crate::case::{ExpectedRequest, HttpAnswer, HttpBody};
use crate::definition::named_values;
use crate::form::{FileForm, Member, Readable};
use crate::reader::{Item, MappingReader};
use crate::value::{AnyObject, Anything, Text, Whole};

named_values! {
    /// A method that a request can have.
    Method {
        /// GET
        Get = "GET",
        /// HEAD
        Head = "HEAD",
        /// POST
        Post = "POST",
        /// PUT
        Put = "PUT",
        /// PATCH
        Patch = "PATCH",
        /// DELETE
        Delete = "DELETE",
        /// OPTIONS
        Options = "OPTIONS",
    }
}

form! {
    /// A request that is expected.
    struct RequestForm<'f> of MappingReader<'f> {
        /// `GET` unless said.
        optional method: Method,
        /// The whole address.
        required url: Text,
        /// Headers that it has at least.
        optional headers: AnyObject,
        with body: BodyForm<'f>,
    }
}

form! {
    /// What a request is answered.
    struct AnswerForm<'f> of MappingReader<'f> {
        /// Which method; any unless said.
        optional method: Method,
        /// The whole address.
        required url: Text,
        /// The status; 200 unless said.
        optional status: Whole<100, 599>,
        /// How often; always unless said.
        optional times: Whole<1, 1000>,
        /// The headers of the answer.
        optional headers: AnyObject,
        with body: BodyForm<'f>,
    }
}

form! {
    /// A body.
    struct BodyForm<'f> of MappingReader<'f> {
        /// The body as JSON.
        optional json: Anything,
        /// The body as text.
        optional text: Text,
    }
}

impl Described for ExpectedRequest {
    fn schema() -> Value {
        RequestForm::shape().schema()
    }
}

impl Readable for ExpectedRequest {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = RequestForm::of(item)?;
        let method = if form.method.is_given() { form.method.read() } else { Some(Method::Get) };
        let url = form.url.read();
        let headers = headers(&form.headers);
        let body = match form.body.read() {
            HttpBody::Empty => None,
            HttpBody::Json(value) => Some(value),
            HttpBody::Text(text) => Some(Value::String(text)),
        };
        Some(Self { method: method?.as_str().to_owned(), url: url?, headers, body })
    }
}

impl Described for HttpAnswer {
    fn schema() -> Value {
        AnswerForm::shape().schema()
    }
}

impl Readable for HttpAnswer {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = AnswerForm::of(item)?;
        let method = form.method.read();
        let url = form.url.read();
        let status = form.status.read().and_then(|status| u16::try_from(status).ok());
        let times = form.times.read();
        let mut headers = headers(&form.headers);
        let body = form.body.read();
        if matches!(body, HttpBody::Json(_)) {
            headers.entry("content-type".to_owned()).or_insert_with(|| "application/json".to_owned());
        }
        Some(Self {
            method: method.map(|method| method.as_str().to_owned()),
            url: url?,
            status: status.unwrap_or(200),
            headers,
            body,
            times,
        })
    }
}

impl BodyForm<'_> {
    fn read(&self) -> HttpBody {
        let (json, text) = (self.json.read(), self.text.read());
        if json.is_some() {
            self.text.without_effect("beside `json`");
        }
        match (json, text) {
            (Some(json), _) => HttpBody::Json(json),
            (None, Some(text)) => HttpBody::Text(text),
            (None, None) => HttpBody::Empty,
        }
    }
}

fn headers(member: &Member<'_, AnyObject>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let headers = member.read().unwrap_or_default();
    headers.into_iter().map(|(name, value)| (name.to_lowercase(), text(value))).collect()
}
