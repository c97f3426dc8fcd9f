//! `http`: sends a request and gives back the answer.
//!
//! The addresses that are connected to are judged by the [`NetworkPolicy`] at the moment of connecting, by the resolver that
//! the connection uses: a name that resolves to something else a moment later makes no difference. Redirects are followed
//! here, each as a request of its own, so that the same holds for them; to another server they carry no credentials.

mod access;
mod multipart;
mod parameters;
mod recorded;

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;

use super::files::read_file;
use super::{Context, Failure};
use crate::output::make_storable;

pub use access::{Access, Denied};
pub use recorded::{RecordedAnswer, SeenRequest};

use access::Way;
use multipart::Multipart;
use parameters::{Body, Parameters, Statuses};

/// How much of the body of an unexpected answer the error tells, in characters.
const EXCERPT: usize = 300;

/// What can be done again without changing more than once.
const IDEMPOTENT: [Method; 6] =
    [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];

/// Why a request got no answer, or not the one that was expected.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("parameter `{name}`: {problem}")]
    Parameter { name: &'static str, problem: String },
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("{method} {url} got no answer")]
    Failed { method: Method, url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{method} {url} got no answer within {seconds} s")]
    TimedOut { method: Method, url: String, seconds: f64 },
    #[error("the answer to {method} {url} has more than {limit} bytes: raise `max_bytes`, up to 16777216")]
    TooLarge { method: Method, url: String, limit: usize },
    #[error(
        "{method} {url} was answered by more than {limit} redirects: raise `max_redirects` if that is meant"
    )]
    TooManyRedirects { method: Method, url: String, limit: u32 },
    #[error("{method} {url} was redirected to something that is not http or https")]
    BadRedirect { method: Method, url: String },
    #[error("{method} {url} was answered with {status}, expected {expected}{}", excerpt(body))]
    Unexpected { method: Method, url: String, status: u16, expected: Statuses, body: String },
    #[error("the file {path} of a pack cannot be read", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("no answer is recorded for {method} {url}: a test gives one under `http`")]
    NotRecorded { method: Method, url: String },
}

/// A request as it goes out once.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Content>,
}

/// A body as it goes out, maybe several times.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Bytes(Bytes),
    Parts(Arc<Multipart>),
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

pub(super) async fn run(context: &Context<'_>) -> Result<Value, Failure> {
    let parameters: Parameters = context.read()?;
    let read = match &parameters.body()? {
        Some(Body::File(file)) => Some(Content::Bytes(read_file(context, file).await?.into())),
        Some(Body::Parts { fields, files }) => {
            Some(Content::Parts(Arc::new(Multipart::of(context, *fields, files).await?)))
        }
        Some(Body::Json(_) | Body::Form(_) | Body::Text(_)) | None => None,
    };
    let request = parameters.request(read)?;
    let way = context.http.way(&parameters.tls, parameters.proxy.as_deref())?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let sent = send(&way, &parameters, request.clone()).await;
        let retry = parameters.retry.as_ref().filter(|retry| attempt <= retry.count);
        let pause = match (&sent, retry) {
            (_, None) => None,
            (Ok((_, answer)), Some(retry)) if retry.on_status.contains(&answer.status) => {
                retry.pause(attempt, &answer.headers)
            }
            (Err(error), Some(retry)) if may_repeat(error, &request.method) => {
                retry.pause(attempt, &HeaderMap::new())
            }
            _ => None,
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
            continue;
        }
        let (url, answer) = sent?;
        return finish(&parameters, &request, &url, &answer, attempt);
    }
}

/// Whether a request that got no answer is to be sent again: not when it may have done its work and must not do it twice.
fn may_repeat(error: &HttpError, method: &Method) -> bool {
    match error {
        HttpError::TimedOut { .. } => IDEMPOTENT.contains(method),
        HttpError::Failed { source, .. } => {
            let connecting = source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect);
            (connecting && !is_denied(source.as_ref())) || (!connecting && IDEMPOTENT.contains(method))
        }
        _ => false,
    }
}

fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Denied>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Sends the request, and follows where the answer points to.
async fn send(way: &Way, parameters: &Parameters, mut request: Outgoing) -> Result<(Url, Answer), HttpError> {
    let within = parameters.timeout()?;
    let until = Instant::now() + within;
    let first = request.url.clone();
    let mut redirects = 0;
    loop {
        let (method, url) = (request.method.clone(), shown(&request.url));
        let sent = tokio::time::timeout_at(until, way.send(&request, parameters.limit()));
        let answer = sent.await.map_err(|_elapsed| HttpError::TimedOut {
            method: method.clone(),
            url: url.clone(),
            seconds: within.as_secs_f64(),
        })??;
        let target = answer.headers.get(header::LOCATION).and_then(|target| target.to_str().ok());
        let Some(target) = target.filter(|_| matches!(answer.status, 301 | 302 | 303 | 307 | 308)) else {
            return Ok((request.url, answer));
        };
        if parameters.max_redirects == 0 {
            return Ok((request.url, answer));
        }
        redirects += 1;
        if redirects > parameters.max_redirects {
            let limit = parameters.max_redirects;
            return Err(HttpError::TooManyRedirects { method, url: shown(&first), limit });
        }
        let bad = || HttpError::BadRedirect { method: method.clone(), url: url.clone() };
        let target = request.url.join(target).map_err(|_| bad())?;
        if !matches!(target.scheme(), "http" | "https") {
            return Err(bad());
        }
        redirect(&mut request, target, answer.status);
    }
}

/// Makes the request the one that follows a redirect.
fn redirect(request: &mut Outgoing, target: Url, status: u16) {
    let becomes_get = match status {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = None;
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
            request.headers.remove(name);
        }
    }
    if target.origin() != request.url.origin() {
        // Whatever the caller gave may be a credential: only what describes the content goes on.
        let kept = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE, header::USER_AGENT];
        request.headers = kept
            .into_iter()
            .filter_map(|name| request.headers.get(&name).cloned().map(|value| (name, value)))
            .collect();
    }
    request.url = target;
}

fn finish(
    parameters: &Parameters,
    request: &Outgoing,
    url: &Url,
    answer: &Answer,
    attempts: u32,
) -> Result<Value, Failure> {
    let mut result = Map::from_iter([
        ("status".to_owned(), json!(answer.status)),
        ("headers".to_owned(), headers(&answer.headers)),
        ("url".to_owned(), json!(shown(url))),
        ("attempts".to_owned(), json!(attempts)),
    ]);
    let text = std::str::from_utf8(&answer.body).ok();
    match text {
        Some(text) => {
            let body = is_json(&answer.headers).then(|| serde_json::from_str(text).ok()).flatten();
            result.insert("body".to_owned(), body.unwrap_or_else(|| json!(text)));
        }
        None => {
            result.insert("body".to_owned(), Value::Null);
            result.insert("body_base64".to_owned(), json!(STANDARD.encode(&answer.body)));
        }
    }
    let mut result = Value::Object(result);
    make_storable(&mut result);
    if parameters.expect_status.include(answer.status) {
        return Ok(result);
    }
    let error = HttpError::Unexpected {
        method: request.method.clone(),
        url: shown(url),
        status: answer.status,
        expected: parameters.expect_status.clone(),
        body: text.unwrap_or_default().to_owned(),
    };
    Err(Failure { error: Box::new(error.into()), result: Some(result) })
}

/// The headers of an answer, those of the same name joined, but not those that are credentials.
fn headers(headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for name in headers.keys().filter(|name| *name != header::SET_COOKIE) {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        shown.insert(name.to_string(), json!(values.collect::<Vec<_>>().join(", ")));
    }
    Value::Object(shown)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value: &HeaderValue| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

/// An address without what may be secret in it.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _no_password = shown.set_password(None);
    let _no_user = shown.set_username("");
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

fn excerpt(body: &str) -> String {
    let body = body.trim();
    match body.char_indices().nth(EXCERPT) {
        _ if body.is_empty() => String::new(),
        Some((end, _)) => format!(": {}...", &body[..end]),
        None => format!(": {body}"),
    }
}
