//! The HTTP client. Each method is one operation of the API; errors keep the server's problem document.

mod backtest;
mod inquiries;
mod packs;

pub use packs::InstallWishes;

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::types::{
    ActionView, ArtifactDetail, ArtifactVersionView, ArtifactView, DatabaseSize, EnforcementDetail,
    EnforcementView, EventAccepted, EventDetail, EventExplanation, EventRequest, EventView, ExecutionDetail,
    ExecutionRequest, ExecutionView, HistoryEntry, KeyRequest, KeyView, LoginRequest, LoginResponse,
    OutputPiece, PackDetail, PackView, Page, PauseRequest, PauseView, PolicyView, Problem, ProgressRequest,
    ProgressView, QueueItemView, QueuePush, QueuePushed, QueueRetried, QueueRetry, QueueView, ReplayRequest,
    ReplayView, RuleChange, RuleRequest, RuleVersionView, RuleView, SensorView, Switch, TriggerView, Whoami,
    WorkerView,
};

/// A connection to one server, with a token or without. Clones share the connection pool.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl std::fmt::Debug for Client {
    // The token stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{given:?} is not the address of a server; expected something like http://127.0.0.1:9470")]
    InvalidUrl { given: String },
    #[error("cannot reach {url}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    #[error("{url} answered {status}, and not as an Attune server answers")]
    Unexpected { url: String, status: StatusCode },
    #[error("the answer of {url} ended before its end")]
    Ended { url: String },
    #[error("the answer of {url} cannot be read")]
    Malformed { url: String, source: reqwest::Error },
}

impl ClientError {
    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Unexpected { status, .. } => Some(status.as_u16()),
            Self::InvalidUrl { .. }
            | Self::Unreachable { .. }
            | Self::Ended { .. }
            | Self::Malformed { .. } => None,
        }
    }
}

/// What following the output of an execution yields.
#[derive(Debug, Clone)]
pub enum OutputEvent {
    Piece(OutputPiece),
    /// How far the run says that it has come.
    Progress(ProgressView),
    /// The execution has ended with this status; nothing follows.
    End {
        status: String,
    },
}

/// Which part of an output to follow.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowOptions {
    /// Only this attempt, to its end.
    pub attempt: Option<i32>,
    /// Only what comes after this piece: its attempt and number.
    pub after: Option<(i32, i32)>,
}

/// The content of an artifact on its way to the server.
#[derive(Debug)]
pub struct ArtifactBody {
    pub content_type: String,
    pub content: reqwest::Body,
    /// How long it is, where that is known.
    pub size: Option<u64>,
}

impl ArtifactBody {
    /// Content that is in memory.
    pub fn of(content_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        let content: Bytes = content.into();
        Self { content_type: content_type.into(), size: None, content: content.into() }
    }

    /// Content that is read while it is sent.
    pub fn stream<E>(
        content_type: impl Into<String>,
        size: u64,
        pieces: impl Stream<Item = std::result::Result<Bytes, E>> + Send + 'static,
    ) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let content = reqwest::Body::wrap_stream(pieces);
        Self { content_type: content_type.into(), size: Some(size), content }
    }

    fn of_request(self, request: RequestBuilder) -> RequestBuilder {
        let request = request.header("content-type", self.content_type);
        let request = match self.size {
            Some(size) => request.header("content-length", size),
            None => request,
        };
        request.body(self.content)
    }
}

type Result<T> = std::result::Result<T, ClientError>;

impl Client {
    /// A client of the server at `base`, as `http://127.0.0.1:9470`.
    pub fn new(base: &str, token: Option<String>) -> Result<Self> {
        let invalid = || ClientError::InvalidUrl { given: base.to_owned() };
        let mut url = Url::parse(base).map_err(|_| invalid())?;
        if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
            return Err(invalid());
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        // The first caller in a process installs the provider; later ones find it there.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("attune/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| ClientError::Unreachable { url: base.to_owned(), source })?;
        Ok(Self { http, base: url, token })
    }

    /// The same server with another token.
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The address of the server, with a slash at its end.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Signs in; the answer holds a new token.
    pub async fn login(&self, request: &LoginRequest) -> Result<LoginResponse> {
        self.send_json(Method::POST, "api/v1/auth/login", request).await
    }

    /// Withdraws the client's token.
    pub async fn logout(&self) -> Result<()> {
        self.send(self.request(Method::POST, "api/v1/auth/logout")).await.map(drop)
    }

    /// Who the client's token belongs to.
    pub async fn whoami(&self) -> Result<Whoami> {
        self.get("api/v1/whoami", &[]).await
    }

    pub async fn packs(&self) -> Result<Page<PackView>> {
        self.get("api/v1/packs", &[]).await
    }

    pub async fn pack(&self, pack_ref: &str) -> Result<PackDetail> {
        self.get(&format!("api/v1/packs/{}", segment(pack_ref)), &[]).await
    }

    pub async fn actions(&self) -> Result<Page<ActionView>> {
        self.get("api/v1/actions", &[]).await
    }

    pub async fn action(&self, action_ref: &str) -> Result<ActionView> {
        self.get(&format!("api/v1/actions/{}", segment(action_ref)), &[]).await
    }

    /// Enables or disables an action.
    pub async fn switch_action(&self, action_ref: &str, switch: Switch) -> Result<ActionView> {
        self.send_json(Method::PATCH, &format!("api/v1/actions/{}", segment(action_ref)), &switch).await
    }

    pub async fn sensors(&self) -> Result<Page<SensorView>> {
        self.get("api/v1/sensors", &[]).await
    }

    pub async fn sensor(&self, sensor_ref: &str) -> Result<SensorView> {
        self.get(&format!("api/v1/sensors/{}", segment(sensor_ref)), &[]).await
    }

    /// Enables or disables a sensor.
    pub async fn switch_sensor(&self, sensor_ref: &str, switch: Switch) -> Result<SensorView> {
        self.send_json(Method::PATCH, &format!("api/v1/sensors/{}", segment(sensor_ref)), &switch).await
    }

    pub async fn triggers(&self) -> Result<Page<TriggerView>> {
        self.get("api/v1/triggers", &[]).await
    }

    pub async fn trigger(&self, trigger_ref: &str) -> Result<TriggerView> {
        self.get(&format!("api/v1/triggers/{}", segment(trigger_ref)), &[]).await
    }

    pub async fn rules(&self) -> Result<Page<RuleView>> {
        self.get("api/v1/rules", &[]).await
    }

    pub async fn rule(&self, rule_ref: &str) -> Result<RuleView> {
        self.get(&format!("api/v1/rules/{}", segment(rule_ref)), &[]).await
    }

    pub async fn create_rule(&self, rule: &RuleRequest) -> Result<RuleView> {
        self.send_json(Method::POST, "api/v1/rules", rule).await
    }

    pub async fn change_rule(&self, rule_ref: &str, change: &RuleChange) -> Result<RuleView> {
        self.send_json(Method::PATCH, &format!("api/v1/rules/{}", segment(rule_ref)), change).await
    }

    /// The rule with the tag of this version of it, which [`Client::replace_rule`] and [`Client::delete_rule`] take.
    pub async fn rule_with_tag(&self, rule_ref: &str) -> Result<(RuleView, Option<String>)> {
        let path = format!("api/v1/rules/{}", segment(rule_ref));
        let response = self.send(self.request(Method::GET, &path)).await?;
        let url = response.url().to_string();
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let rule = response.json().await.map_err(|source| ClientError::Malformed { url, source })?;
        Ok((rule, tag))
    }

    /// Makes a rule what this one says. With a tag, only when it is still the one of that tag.
    pub async fn replace_rule(&self, rule: &RuleRequest, tag: Option<&str>) -> Result<RuleView> {
        let path = format!("api/v1/rules/{}", segment(&rule.rule_ref));
        let request = if_match(self.request(Method::PUT, &path), tag);
        self.read(request.json(rule)).await
    }

    /// Removes a rule. With a tag, only when it is still the one of that tag.
    pub async fn delete_rule(&self, rule_ref: &str, tag: Option<&str>) -> Result<()> {
        let path = format!("api/v1/rules/{}", segment(rule_ref));
        self.send(if_match(self.request(Method::DELETE, &path), tag)).await.map(drop)
    }

    /// The versions of a rule, the latest first; also of one that is gone. Filters: `cursor`, `limit`.
    pub async fn rule_versions(
        &self,
        rule_ref: &str,
        query: &[(&str, String)],
    ) -> Result<Page<RuleVersionView>> {
        self.get(&format!("api/v1/rules/{}/versions", segment(rule_ref)), query).await
    }

    /// Sends a body to a webhook, with these headers, as any sender would: without a token.
    pub async fn webhook(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<EventAccepted> {
        let mut request = self.http.post(self.url(path.trim_start_matches('/'))).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.read(request).await
    }

    pub async fn create_event(&self, event: &EventRequest) -> Result<EventAccepted> {
        self.send_json(Method::POST, "api/v1/events", event).await
    }

    /// All of them or none; the answers are in their order.
    pub async fn create_events(&self, events: &[EventRequest]) -> Result<Vec<EventAccepted>> {
        self.send_json(Method::POST, "api/v1/events/batch", &events).await
    }

    /// Filters: `trigger`, `cursor`, `limit`.
    pub async fn events(&self, query: &[(&str, String)]) -> Result<Page<EventView>> {
        self.get("api/v1/events", query).await
    }

    pub async fn event(&self, id: i64) -> Result<EventDetail> {
        self.get(&format!("api/v1/events/{id}"), &[]).await
    }

    /// Records a batch of recorded events again.
    pub async fn replay_events(&self, request: &ReplayRequest) -> Result<ReplayView> {
        self.send_json(Method::POST, "api/v1/events/replay", request).await
    }

    /// Why the rules of its trigger fired on an event, or did not. Filters: `rule`, `cursor`, `limit`.
    pub async fn explain_event(&self, id: i64, query: &[(&str, String)]) -> Result<EventExplanation> {
        self.get(&format!("api/v1/events/{id}/explanation"), query).await
    }

    /// Filters: `rule`, `event`, `status`, `cursor`, `limit`.
    pub async fn enforcements(&self, query: &[(&str, String)]) -> Result<Page<EnforcementView>> {
        self.get("api/v1/enforcements", query).await
    }

    pub async fn enforcement(&self, id: i64) -> Result<EnforcementDetail> {
        self.get(&format!("api/v1/enforcements/{id}"), &[]).await
    }

    pub async fn create_execution(&self, request: &ExecutionRequest) -> Result<ExecutionView> {
        self.send_json(Method::POST, "api/v1/executions", request).await
    }

    /// Filters: `action`, `status`, `enforcement`, `event`, `cursor`, `limit`.
    pub async fn executions(&self, query: &[(&str, String)]) -> Result<Page<ExecutionView>> {
        self.get("api/v1/executions", query).await
    }

    pub async fn execution(&self, id: i64) -> Result<ExecutionDetail> {
        self.get(&format!("api/v1/executions/{id}"), &[]).await
    }

    /// Waits at the server, up to `seconds` (at most 60), for the execution to end; gives it back as it is then.
    pub async fn wait_for_execution(&self, id: i64, seconds: u32) -> Result<ExecutionDetail> {
        self.get(&format!("api/v1/executions/{id}"), &[("wait", seconds.to_string())]).await
    }

    pub async fn cancel_execution(&self, id: i64) -> Result<ExecutionView> {
        self.read(self.request(Method::POST, &format!("api/v1/executions/{id}/cancel"))).await
    }

    /// The statuses that the execution took, the first one first.
    pub async fn execution_history(&self, id: i64) -> Result<Page<HistoryEntry>> {
        self.get(&format!("api/v1/executions/{id}/history"), &[]).await
    }

    /// Filters: `owner`, `type`, `match`, `cursor`, `limit`.
    pub async fn artifacts(&self, query: &[(&str, String)]) -> Result<Page<ArtifactView>> {
        self.get("api/v1/artifacts", query).await
    }

    /// An artifact with its versions.
    pub async fn artifact(&self, artifact_ref: &str) -> Result<ArtifactDetail> {
        self.get(&format!("api/v1/artifacts/{}", segment(artifact_ref)), &[]).await
    }

    /// The versions that an execution left.
    pub async fn execution_artifacts(&self, id: i64) -> Result<Page<ArtifactVersionView>> {
        self.get(&format!("api/v1/executions/{id}/artifacts"), &[]).await
    }

    /// Leaves content under a name, in the name of an execution. `query`: `type`, `scope`, `label`, `keep_versions`,
    /// `keep_days`.
    pub async fn leave_artifact(
        &self,
        execution: i64,
        name: &str,
        query: &[(&str, String)],
        content: ArtifactBody,
    ) -> Result<ArtifactVersionView> {
        let path = format!("api/v1/executions/{execution}/artifacts/{}", segment(name));
        self.read(content.of_request(self.request(Method::POST, &path).query(query))).await
    }

    /// Adds a version to an artifact of a pack. `query` as for [`Self::leave_artifact`].
    pub async fn add_artifact_version(
        &self,
        artifact_ref: &str,
        query: &[(&str, String)],
        content: ArtifactBody,
    ) -> Result<ArtifactVersionView> {
        let path = format!("api/v1/artifacts/{}/versions", segment(artifact_ref));
        self.read(content.of_request(self.request(Method::POST, &path).query(query))).await
    }

    /// The content of a version, `None` for the newest: pieces as they come.
    pub async fn download_artifact(
        &self,
        artifact_ref: &str,
        version: Option<i32>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        let version = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
        let path = format!("api/v1/artifacts/{}/versions/{version}", segment(artifact_ref));
        let response = self.send(self.request(Method::GET, &path)).await?;
        let url = response.url().to_string();
        Ok(response
            .bytes_stream()
            .map(move |piece| piece.map_err(|source| ClientError::Malformed { url: url.clone(), source })))
    }

    /// Removes an artifact with all versions, or one version.
    pub async fn delete_artifact(&self, artifact_ref: &str, version: Option<i32>) -> Result<()> {
        let artifact = format!("api/v1/artifacts/{}", segment(artifact_ref));
        let path =
            version.map_or_else(|| artifact.clone(), |version| format!("{artifact}/versions/{version}"));
        self.send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    pub async fn pauses(&self) -> Result<Page<PauseView>> {
        self.get("api/v1/pauses", &[]).await
    }

    pub async fn create_pause(&self, request: &PauseRequest) -> Result<PauseView> {
        self.send_json(Method::POST, "api/v1/pauses", request).await
    }

    /// Ends a pause.
    pub async fn delete_pause(&self, id: i64) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("api/v1/pauses/{id}"))).await.map(drop)
    }

    /// What the execution wrote so far.
    pub async fn output(&self, id: i64) -> Result<Vec<OutputPiece>> {
        self.get(&format!("api/v1/executions/{id}/output"), &[]).await
    }

    /// What one attempt of the execution wrote so far.
    pub async fn output_of_attempt(&self, id: i64, attempt: i32) -> Result<Vec<OutputPiece>> {
        let query = [("attempt", attempt.to_string())];
        self.get(&format!("api/v1/executions/{id}/output"), &query).await
    }

    /// Says how far a run has come.
    pub async fn put_progress(&self, id: i64, progress: &ProgressRequest) -> Result<()> {
        let path = format!("api/v1/executions/{id}/progress");
        self.send(self.request(Method::PUT, &path).json(progress)).await.map(drop)
    }

    /// What the execution wrote and writes, until it ends.
    pub async fn follow_output(&self, id: i64) -> Result<impl Stream<Item = Result<OutputEvent>> + use<>> {
        self.follow_output_after(id, FollowOptions::default()).await
    }

    /// What the execution wrote and writes, until it ends, or only a part of it.
    pub async fn follow_output_after(
        &self,
        id: i64,
        options: FollowOptions,
    ) -> Result<impl Stream<Item = Result<OutputEvent>> + use<>> {
        let path = format!("api/v1/executions/{id}/output");
        let request = self
            .request(Method::GET, &path)
            .query(&[("follow", "true")])
            .header("accept", "text/event-stream");
        let request = match options.attempt {
            Some(attempt) => request.query(&[("attempt", attempt)]),
            None => request,
        };
        let request = match options.after {
            Some((attempt, seq)) => request.header("last-event-id", format!("{attempt}-{seq}")),
            None => request,
        };
        let response = self.send(request).await?;
        let url = self.url(&path).to_string();
        Ok(sse_events(response, url))
    }

    /// The server's metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String> {
        let response = self.send(self.request(Method::GET, "metrics")).await?;
        let url = response.url().to_string();
        response.text().await.map_err(|source| ClientError::Malformed { url, source })
    }

    pub async fn workers(&self) -> Result<Page<WorkerView>> {
        self.get("api/v1/workers", &[]).await
    }

    /// Gives a worker no more work.
    pub async fn cordon(&self, worker: &str) -> Result<WorkerView> {
        self.read(self.request(Method::POST, &format!("api/v1/workers/{}/cordon", segment(worker)))).await
    }

    /// Gives a worker work again.
    pub async fn uncordon(&self, worker: &str) -> Result<WorkerView> {
        self.read(self.request(Method::POST, &format!("api/v1/workers/{}/uncordon", segment(worker)))).await
    }

    pub async fn policies(&self) -> Result<Page<PolicyView>> {
        self.get("api/v1/policies", &[]).await
    }

    pub async fn policy(&self, policy_ref: &str) -> Result<PolicyView> {
        self.get(&format!("api/v1/policies/{}", segment(policy_ref)), &[]).await
    }

    pub async fn queues(&self) -> Result<Page<QueueView>> {
        self.get("api/v1/queues", &[]).await
    }

    pub async fn queue(&self, queue_ref: &str) -> Result<QueueView> {
        self.get(&format!("api/v1/queues/{}", segment(queue_ref)), &[]).await
    }

    /// Filters: `status`, `cursor`, `limit`.
    pub async fn queue_items(
        &self,
        queue_ref: &str,
        query: &[(&str, String)],
    ) -> Result<Page<QueueItemView>> {
        self.get(&format!("api/v1/queues/{}/items", segment(queue_ref)), query).await
    }

    /// Puts items into a queue: all of them, or none.
    pub async fn push_items(&self, queue_ref: &str, push: &QueuePush) -> Result<QueuePushed> {
        let path = format!("api/v1/queues/{}/items", segment(queue_ref));
        self.send_json(Method::POST, &path, push).await
    }

    /// Brings dead items back as new ones.
    pub async fn retry_items(&self, queue_ref: &str, retry: &QueueRetry) -> Result<QueueRetried> {
        let path = format!("api/v1/queues/{}/retry", segment(queue_ref));
        self.send_json(Method::POST, &path, retry).await
    }

    pub async fn database_size(&self) -> Result<DatabaseSize> {
        self.get("api/v1/database/size", &[]).await
    }

    pub async fn keys(&self) -> Result<Page<KeyView>> {
        self.get("api/v1/keys", &[]).await
    }

    pub async fn key(&self, key_ref: &str) -> Result<KeyView> {
        self.get(&format!("api/v1/keys/{}", segment(key_ref)), &[]).await
    }

    /// Gives a key a value; a new one is a secret.
    pub async fn set_key(&self, key_ref: &str, value: &str) -> Result<KeyView> {
        self.put_key(key_ref, &KeyRequest { value: Some(value.to_owned()), secret: None }).await
    }

    pub async fn put_key(&self, key_ref: &str, request: &KeyRequest) -> Result<KeyView> {
        self.send_json(Method::PUT, &format!("api/v1/keys/{}", segment(key_ref)), request).await
    }

    pub async fn delete_key(&self, key_ref: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("api/v1/keys/{}", segment(key_ref)))).await.map(drop)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let full = format!("{}{path}", url.path());
        url.set_path(&full);
        url
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        self.read(self.request(Method::GET, path).query(query)).await
    }

    async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.read(self.request(method, path).json(body)).await
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        let url = response.url().to_string();
        response.json().await.map_err(|source| ClientError::Malformed { url, source })
    }

    /// Sends, and turns every answer that is not a success into an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request
            .send()
            .await
            .map_err(|source| ClientError::Unreachable { url: self.base.to_string(), source })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let url = response.url().to_string();
        match response.json::<Problem>().await {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(ClientError::Unexpected { url, status }),
        }
    }
}

/// The request, to be met only by what has this tag.
fn if_match(request: RequestBuilder, tag: Option<&str>) -> RequestBuilder {
    match tag {
        Some(tag) => request.header("if-match", tag),
        None => request,
    }
}

/// A ref as one segment of a path: whatever a person typed stays inside it.
fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Reads server-sent events: `output` with a piece as JSON, `end` with the final status.
fn sse_events(response: Response, url: String) -> impl Stream<Item = Result<OutputEvent>> {
    let bytes = Box::pin(response.bytes_stream());
    futures::stream::unfold((bytes, Vec::new(), false), move |(mut bytes, mut buffer, ended)| {
        let url = url.clone();
        async move {
            if ended {
                return None;
            }
            loop {
                while let Some(end) = find_blank_line(&buffer) {
                    let block: Vec<u8> = buffer.drain(..end).collect();
                    if let Some(event) = parse_event(&String::from_utf8_lossy(&block)) {
                        let ended = matches!(event, OutputEvent::End { .. });
                        return Some((Ok(event), (bytes, buffer, ended)));
                    }
                }
                match bytes.next().await {
                    Some(Ok(chunk)) => buffer.extend_from_slice(&chunk),
                    Some(Err(source)) => {
                        return Some((Err(ClientError::Unreachable { url, source }), (bytes, buffer, true)));
                    }
                    None => return None,
                }
            }
        }
    })
}

/// The end of the first event in the buffer, past its blank line.
fn find_blank_line(buffer: &[u8]) -> Option<usize> {
    buffer.windows(2).position(|pair| pair == b"\n\n").map(|at| at + 2)
}

/// A field of a server-sent event.
fn field_of(block: &str, name: &str) -> Option<String> {
    let values: Vec<_> = block
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.strip_prefix(' ').unwrap_or(value))
        .collect();
    (!values.is_empty()).then(|| values.join("\n"))
}

fn parse_event(block: &str) -> Option<OutputEvent> {
    let data = field_of(block, "data")?;
    match field_of(block, "event").as_deref() {
        Some("output") => serde_json::from_str(&data).ok().map(OutputEvent::Piece),
        Some("progress") => serde_json::from_str(&data).ok().map(OutputEvent::Progress),
        Some("end") => Some(OutputEvent::End { status: data }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_urls_keep_a_path_prefix_and_escape_segments() {
        let client = Client::new("http://example.test/attune", None).unwrap();
        assert_eq!(client.url("api/v1/whoami").as_str(), "http://example.test/attune/api/v1/whoami");
        assert_eq!(segment("a/../b c"), "a%2F..%2Fb%20c");
        assert!(matches!(Client::new("localhost:9470", None), Err(ClientError::InvalidUrl { .. })));
        assert!(matches!(Client::new("ftp://x", None), Err(ClientError::InvalidUrl { .. })));
    }

    #[test]
    fn test_server_sent_events_are_read() {
        let piece = r#"{"attempt":1,"seq":0,"stream":"stdout","text":"hi\n"}"#;
        let block = format!("id: 0\nevent: output\ndata: {piece}\n\n");
        assert_eq!(find_blank_line(block.as_bytes()), Some(block.len()));
        match parse_event(&block) {
            Some(OutputEvent::Piece(piece)) => assert_eq!(piece.text, "hi\n"),
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(parse_event("event: end\ndata: completed\n\n"), Some(OutputEvent::End { status }) if status == "completed")
        );
        assert!(parse_event(": a comment\n\n").is_none());
    }

    #[test]
    fn test_debug_shows_no_token() {
        let client = Client::new("http://example.test", Some("attune_secret".into())).unwrap();
        assert!(!format!("{client:?}").contains("attune_secret"));
    }
}
