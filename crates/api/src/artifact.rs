//! Artifacts on their way in and out: bodies are streamed both ways, whatever their size.

mod range;

use attune_client::types::{ArtifactVersionView, ArtifactView, ProblemItem};
use attune_common::artifact_content::{Content, ContentError, Gathering, MAX_STRUCTURED};
use attune_common::models::artifact::{Artifact, ArtifactType, ArtifactVersion};
use attune_common::repositories::{ARTIFACT_CHUNK, ArtifactRepository};
use attune_expr::masking::Masker;
use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sqlx::PgPool;

use crate::error::ApiError;
use range::Wanted;

/// A content that is sent.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Hides what the sender must not say.
    pub(crate) masker: Masker,
}

/// Reads a body as it may be kept and checks that it is what the artifact holds; gives back the content and its type.
pub(crate) async fn receive(
    upload: Upload,
    artifact_type: ArtifactType,
    limit: u64,
) -> Result<(Content, String), ApiError> {
    let Upload { headers, body, masker } = upload;
    let content_type = content_type(&headers)?;
    let limit = match artifact_type {
        ArtifactType::File => limit,
        ArtifactType::Table | ArtifactType::Link => limit.min(MAX_STRUCTURED),
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(ContentError::TooLarge { limit }.into());
    }
    let mut gathering = Gathering::new(limit);
    let (mut masked, mut is_text) = (masker.stream(), true);
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| {
            ApiError::bad_request(format!("the content ended before its end; nothing was stored: {error}"))
        })?;
        is_text &= !piece.contains(&0);
        gathering.push(&masked.push(&piece))?;
    }
    gathering.push(&masked.finish())?;
    if !is_text && masked.has_hidden() {
        // With something else in its place it would be broken without a sign.
        return Err(ApiError::invalid(
            "the content is no text, and there is a secret in it that the run was given; nothing was stored",
            Vec::new(),
        ));
    }
    let content = gathering.finish().of_type(artifact_type)?;
    let content_type = match artifact_type {
        ArtifactType::File => content_type,
        ArtifactType::Table | ArtifactType::Link => "application/json".to_owned(),
    };
    Ok((content, content_type))
}

fn content_type(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok("application/octet-stream".to_owned());
    };
    let text = given.to_str().ok().filter(|text| text.contains('/') && text.len() <= 255);
    text.map(str::to_owned).ok_or_else(|| {
        ApiError::unsupported_media_type(
            "`content-type` is not one; give one such as `text/html`, or leave it out",
        )
    })
}

/// The answer with a version's content, or with the part of it that is asked for.
pub(crate) fn send(
    pool: PgPool,
    artifact: &Artifact,
    version: &ArtifactVersion,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let digest = hex::encode(&version.sha256);
    let tag = format!("\"{digest}\"");
    let size = u64::try_from(version.size).unwrap_or_default();
    let text = |value: String| HeaderValue::from_str(&value).map_err(ApiError::internal);
    let base: [(HeaderName, HeaderValue); 7] = [
        (header::ETAG, text(tag.clone())?),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CONTENT_TYPE, text(version.content_type.clone())?),
        // What a run wrote is never shown as a page of this server.
        (header::CONTENT_DISPOSITION, text(format!("attachment; filename=\"{}\"", file_name(artifact)))?),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (HeaderName::from_static("x-attune-version"), HeaderValue::from(version.version)),
    ];
    let mut response = Response::new(Body::empty());
    for (name, value) in base {
        response.headers_mut().insert(name, value);
    }
    if range::none_match(headers, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let (first, length) = match range::wanted(headers, &tag, size) {
        Wanted::Everything => (0, size),
        Wanted::Part { first, last } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = text(format!("bytes {first}-{last}/{size}"))?;
            response.headers_mut().insert(header::CONTENT_RANGE, range);
            (first, last - first + 1)
        }
        Wanted::Nothing => {
            return Err(ApiError::range_not_satisfiable(format!("the content has {size} bytes")));
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    *response.body_mut() = Body::from_stream(part(pool, version.id, first, length));
    Ok(response)
}

/// What a browser calls the file.
fn file_name(artifact: &Artifact) -> String {
    let name = artifact.label.as_deref().unwrap_or(&artifact.r#ref);
    let plain =
        |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '/') || c == ' ' { c } else { '_' };
    name.chars().map(plain).collect()
}

/// Bytes of a version, read piece by piece: each is a statement of its own, and a slow reader holds one in memory.
fn part(
    pool: PgPool,
    version: i64,
    first: u64,
    length: u64,
) -> impl Stream<Item = Result<Bytes, ApiStreamError>> {
    async_stream::try_stream! {
        let chunk = u64::try_from(ARTIFACT_CHUNK).unwrap_or(1);
        let (mut at, end) = (first, first + length);
        while at < end {
            let seq = i32::try_from(at / chunk).unwrap_or(i32::MAX);
            let found = ArtifactRepository::find_chunk(&pool, version, seq).await;
            // It may have been removed in the meantime: then the answer breaks off.
            let bytes = Bytes::from(found.map_err(|_| ApiStreamError)?.ok_or(ApiStreamError)?);
            let from = usize::try_from(at % chunk).unwrap_or_default();
            let to = usize::try_from(end - at).map_or(bytes.len(), |left| bytes.len().min(from.saturating_add(left)));
            if from >= to {
                Err(ApiStreamError)?;
            }
            at += (to - from) as u64;
            yield bytes.slice(from..to);
        }
    }
}

/// The content cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("the content cannot be read to its end")]
struct ApiStreamError;

/// A version of the artifact with this ref.
pub(crate) fn version_view(artifact_ref: &str, version: ArtifactVersion) -> ArtifactVersionView {
    ArtifactVersionView {
        artifact_ref: artifact_ref.to_owned(),
        version: version.version,
        execution: version.execution,
        content_type: version.content_type,
        size: version.size,
        sha256: hex::encode(version.sha256),
        created: version.created,
    }
}

/// An artifact with its newest version.
pub(crate) fn artifact_view(artifact: Artifact, latest: Option<ArtifactVersion>) -> ArtifactView {
    ArtifactView {
        latest: latest.map(|latest| version_view(&artifact.r#ref, latest)),
        artifact_ref: artifact.r#ref,
        label: artifact.label,
        description: artifact.description,
        artifact_type: artifact.artifact_type.as_str().to_owned(),
        owner_type: artifact.owner.owner_type.as_str().to_owned(),
        owner: artifact.owner.owner,
        keep_versions: artifact.retention.versions,
        keep_days: artifact.retention.days,
        created: artifact.created,
        updated: artifact.updated,
    }
}

impl From<ContentError> for ApiError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::TooLarge { .. } => Self::too_large(format!("{error}; nothing was stored")),
            ContentError::Io(source) => {
                Self::unavailable("the content cannot be kept; nothing was stored", source)
            }
            ContentError::Form(fault) => {
                let item = ProblemItem {
                    detail: fault.detail,
                    pointer: Some(fault.pointer),
                    expected: Some(fault.expected.to_owned()),
                    ..ProblemItem::default()
                };
                Self::invalid("the content is not what the artifact holds; nothing was stored", vec![item])
            }
            ContentError::Store(error) => error.into(),
        }
    }
}
