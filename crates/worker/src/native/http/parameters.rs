//! What `http` is told to send.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use url::Url;
use url::form_urlencoded::Serializer;

use super::multipart::FilePart;
use super::{Content, HttpError, Outgoing};
use crate::native::files::PackFile;
use crate::native::seconds;

const DEFAULT_BYTES: usize = 1 << 20;
const MOST_BYTES: usize = 16 << 20;

/// Statuses that say "later": they mean no fault of the request.
const RETRY_STATUSES: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    query: Map<String, Value>,
    auth: Option<Auth>,
    /// Null is a body as well.
    #[serde(default, deserialize_with = "given")]
    json: Option<Value>,
    form: Option<Map<String, Value>>,
    files: Option<Vec<FilePart>>,
    text: Option<String>,
    file: Option<PackFile>,
    content_type: Option<String>,
    #[serde(default = "half_a_minute")]
    timeout: f64,
    #[serde(default = "ten")]
    pub(super) max_redirects: u32,
    max_bytes: Option<usize>,
    pub(super) retry: Option<Retry>,
    #[serde(default)]
    pub(super) expect_status: Statuses,
    #[serde(default)]
    pub(super) tls: Tls,
    pub(super) proxy: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Auth {
    Basic { username: String, password: String },
    Bearer(String),
}

/// What a request carries.
pub(super) enum Body<'p> {
    Json(&'p Value),
    Form(&'p Map<String, Value>),
    /// Fields, if there are any, and files.
    Parts {
        fields: Option<&'p Map<String, Value>>,
        files: &'p [FilePart],
    },
    Text(&'p str),
    File(&'p PackFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// PEM, trusted besides what the system trusts.
    pub(super) ca: Option<String>,
    pub(super) client_certificate: Option<String>,
    pub(super) client_key: Option<String>,
    #[serde(default = "yes")]
    pub(super) verify: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) count: u32,
    #[serde(default = "retry_statuses")]
    pub(super) on_status: Vec<u16>,
    /// Seconds before the first repetition; twice as long before each further one.
    #[serde(default = "one")]
    delay: f64,
    #[serde(default = "minute")]
    max_delay: f64,
}

/// Statuses by number or by class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<StatusPattern>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusPattern {
    One(u16),
    /// The first digit.
    Class(u16),
}

impl Parameters {
    pub(super) fn body(&self) -> Result<Option<Body<'_>>, HttpError> {
        let given = [
            self.json.as_ref().map(Body::Json),
            match &self.files {
                Some(files) => Some(Body::Parts { fields: self.form.as_ref(), files }),
                None => self.form.as_ref().map(Body::Form),
            },
            self.text.as_deref().map(Body::Text),
            self.file.as_ref().map(Body::File),
        ];
        let mut given = given.into_iter().flatten();
        let first = given.next();
        match given.next() {
            None => Ok(first),
            Some(_) => Err(parameter(
                "json",
                "a request has one body: give one of json, form (with or without files), text and file",
            )),
        }
    }

    pub(super) fn timeout(&self) -> Result<Duration, HttpError> {
        let valid = seconds(self.timeout).filter(|timeout| !timeout.is_zero());
        valid.ok_or_else(|| parameter("timeout", "is not a number of seconds, more than 0 and at most a day"))
    }

    pub(super) fn limit(&self) -> usize {
        self.max_bytes.unwrap_or(DEFAULT_BYTES).min(MOST_BYTES)
    }

    /// The request; `read` is what was read for its body, where that does not stand in the parameters.
    pub(super) fn request(&self, read: Option<Content>) -> Result<Outgoing, HttpError> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| parameter("method", "is not a method, expected one such as GET"))?;
        let url = self.address()?;
        let mut headers = HeaderMap::new();
        let (content, content_type) = match self.body()? {
            None => (None, None),
            Some(Body::Json(value)) => (bytes(value.to_string()), Some("application/json")),
            Some(Body::Form(fields)) => {
                let mut form = Serializer::new(String::new());
                append(fields, "form", |name, value| {
                    form.append_pair(name, value);
                })?;
                (bytes(form.finish()), Some("application/x-www-form-urlencoded"))
            }
            Some(Body::Text(text)) => (bytes(text.to_owned()), Some("text/plain; charset=utf-8")),
            Some(Body::File(_)) => (read, Some("application/octet-stream")),
            Some(Body::Parts { .. }) if self.content_type.is_some() => {
                let problem = "has no effect beside `files`, whose parts have their own";
                return Err(parameter("content_type", problem));
            }
            Some(Body::Parts { .. }) => (read, None),
        };
        if self.content_type.is_some() && content.is_none() {
            return Err(parameter("content_type", "has no effect without a body"));
        }
        if let Some(content_type) = self.content_type.as_deref().or(content_type) {
            headers.insert(header::CONTENT_TYPE, value("content_type", content_type)?);
        }
        if let Some(Content::Parts(parts)) = &content {
            headers.insert(header::CONTENT_TYPE, value("files", &parts.content_type())?);
        }
        for (name, given) in &self.headers {
            let text = scalar(given).ok_or_else(|| parameter("headers", "has a value that is not text"))?;
            let name = HeaderName::try_from(name)
                .map_err(|_| parameter("headers", format!("`{name}` is not the name of a header")))?;
            if name == header::CONTENT_TYPE && self.files.is_some() {
                let problem =
                    "has a content type beside `files`, which name the boundary of their parts themselves";
                return Err(parameter("headers", problem));
            }
            headers.insert(name, value("headers", &text)?);
        }
        if let Some(auth) = &self.auth {
            let credentials = match auth {
                Auth::Basic { username, .. } if username.contains(':') => {
                    return Err(parameter(
                        "auth",
                        "has a colon in the username, which basic authentication cannot carry",
                    ));
                }
                Auth::Basic { username, password } => {
                    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
                }
                Auth::Bearer(token) => format!("Bearer {token}"),
            };
            let mut credentials = value("auth", credentials.trim_end())?;
            credentials.set_sensitive(true);
            if headers.insert(header::AUTHORIZATION, credentials).is_some() {
                return Err(parameter(
                    "auth",
                    "has no effect beside the header `authorization`: give one of them",
                ));
            }
        }
        self.check()?;
        Ok(Outgoing { method, url, headers, body: content })
    }

    fn address(&self) -> Result<Url, HttpError> {
        let unusable = |problem: &str| parameter("url", problem);
        let mut url = Url::parse(&self.url)
            .map_err(|_| unusable("is not an address, expected one such as `https://example.com/api`"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(unusable("is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unusable("holds credentials: give them in `auth`, where they are masked"));
        }
        url.set_fragment(None);
        if !self.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            append(&self.query, "query", |name, value| {
                pairs.append_pair(name, value);
            })?;
        }
        Ok(url)
    }

    /// What would have no effect, or cannot be.
    fn check(&self) -> Result<(), HttpError> {
        if self.tls.client_certificate.is_some() != self.tls.client_key.is_some() {
            return Err(parameter("tls", "needs `client_certificate` and `client_key` together"));
        }
        if self.max_bytes.is_some_and(|bytes| bytes > MOST_BYTES) {
            return Err(parameter("max_bytes", format!("is more than {MOST_BYTES}")));
        }
        if let Some(retry) = &self.retry
            && (seconds(retry.delay).is_none() || seconds(retry.max_delay).is_none())
        {
            return Err(parameter("retry", "has a delay that is not a number of seconds, at most a day"));
        }
        Ok(())
    }
}

impl Retry {
    /// How long to wait before the next of the attempts; None when the server asks for more patience than there is.
    pub(super) fn pause(&self, attempt: u32, headers: &HeaderMap) -> Option<Duration> {
        let longest = seconds(self.max_delay).unwrap_or_default();
        match retry_after(headers, Utc::now()) {
            Some(asked) => Some(asked).filter(|asked| *asked <= longest),
            None => {
                let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
                Some(seconds(self.delay).unwrap_or_default().saturating_mul(factor).min(longest))
            }
        }
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let given = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = given.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(given).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

impl Tls {
    pub(super) fn is_default(&self) -> bool {
        self.ca.is_none() && self.client_certificate.is_none() && self.verify
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca: None, client_certificate: None, client_key: None, verify: true }
    }
}

impl Statuses {
    pub(super) fn include(&self, status: u16) -> bool {
        self.0.iter().any(|pattern| match pattern {
            StatusPattern::One(one) => *one == status,
            StatusPattern::Class(class) => status / 100 == *class,
        })
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![StatusPattern::Class(2)])
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Vec::<Value>::deserialize(deserializer)?;
        let patterns = given.iter().map(|one| match one {
            Value::Number(number) => {
                number.as_u64().and_then(|number| u16::try_from(number).ok()).map(StatusPattern::One)
            }
            Value::String(class) => {
                let digit = class.strip_suffix("xx").and_then(|digit| digit.parse().ok());
                digit.filter(|digit| (1..=5).contains(digit)).map(StatusPattern::Class)
            }
            _ => None,
        });
        let patterns: Option<Vec<_>> = patterns.collect();
        let expected = "expected statuses such as 200 and \"2xx\" in `expect_status`";
        patterns.map(Self).ok_or_else(|| serde::de::Error::custom(expected))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { " or " };
            match pattern {
                StatusPattern::One(status) => write!(f, "{before}{status}")?,
                StatusPattern::Class(class) => write!(f, "{before}{class}xx")?,
            }
        }
        Ok(())
    }
}

/// Each value of each field; a list is several fields of one name.
pub(super) fn append(
    fields: &Map<String, Value>,
    parameter_name: &'static str,
    mut append: impl FnMut(&str, &str),
) -> Result<(), HttpError> {
    for (name, value) in fields {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let problem = || format!("`{name}` is neither text, a number nor a boolean, nor a list of these");
            append(name, &scalar(value).ok_or_else(|| parameter(parameter_name, problem()))?);
        }
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn value(name: &'static str, text: &str) -> Result<HeaderValue, HttpError> {
    HeaderValue::try_from(text)
        .map_err(|_| parameter(name, "has a value that a header cannot hold, such as a line break"))
}

pub(super) fn parameter(name: &'static str, problem: impl Into<String>) -> HttpError {
    HttpError::Parameter { name, problem: problem.into() }
}

fn bytes(text: String) -> Option<Content> {
    Some(Content::Bytes(text.into()))
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn get() -> String {
    "GET".to_owned()
}

const fn yes() -> bool {
    true
}

const fn ten() -> u32 {
    10
}

const fn one() -> f64 {
    1.0
}

const fn half_a_minute() -> f64 {
    30.0
}

const fn minute() -> f64 {
    60.0
}

fn retry_statuses() -> Vec<u16> {
    RETRY_STATUSES.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-26T12:00:00Z").unwrap().with_timezone(&Utc);
        let check = |given: &str, expected: Option<u64>| {
            let headers =
                HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::try_from(given).unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{given}");
        };
        check("7", Some(7));
        check("Thu, 26 Nov 2026 12:00:30 GMT", Some(30));
        check("Thu, 26 Nov 2026 11:00:00 GMT", Some(0));
        check("soon", None);
    }

    #[test]
    fn test_pauses_grow_and_do_not_outlast_patience() {
        let retry: Retry =
            serde_json::from_value(serde_json::json!({"count": 9, "delay": 2, "max_delay": 10})).unwrap();
        let pauses: Vec<_> =
            (1..=4).map(|attempt| retry.pause(attempt, &HeaderMap::new()).unwrap().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 10]);
        let headers = |given| HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(given))]);
        assert_eq!(retry.pause(1, &headers("3")), Some(Duration::from_secs(3)));
        assert_eq!(retry.pause(1, &headers("11")), None);
    }
}
