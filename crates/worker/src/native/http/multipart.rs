//! A body of several parts (`multipart/form-data`, RFC 7578): fields, and files that are read from the disk while they are sent.
//!
//! Names are escaped as browsers do. A file of a pack is in use, and so on the disk, as long as the body is: it may be sent again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use attune_common::pack_cache::OpenPack;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::HttpError;
use super::parameters::{append, parameter};
use crate::native::files::{PackFile, open_pack};
use crate::native::{Context, NativeError};

/// What is read from the disk at once.
const PIECE: usize = 64 * 1024;

/// A file among the parts, as the parameters say it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePart {
    /// The name of the field.
    name: String,
    filename: Option<String>,
    content_type: Option<String>,
    file: Option<PackFile>,
    text: Option<String>,
    base64: Option<String>,
}

/// A body that can be sent, also several times.
#[derive(Debug)]
pub(crate) struct Multipart {
    boundary: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    head: Bytes,
    content: Content,
    /// What is shown of it.
    summary: Value,
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Bytes),
    File {
        path: PathBuf,
        length: u64,
        /// Keeps it on the disk.
        _pack: Arc<OpenPack>,
    },
}

/// What is written one after the other.
#[derive(Debug)]
enum Segment {
    Bytes(Bytes),
    File { path: PathBuf, length: u64 },
}

impl Multipart {
    /// The fields, and then the files.
    pub(super) async fn of(
        context: &Context<'_>,
        fields: Option<&Map<String, Value>>,
        files: &[FilePart],
    ) -> Result<Self, NativeError> {
        let boundary = format!("attune-{}", hex::encode(rand::random::<[u8; 16]>()));
        let mut body = Self { boundary, parts: Vec::new() };
        if let Some(fields) = fields {
            append(fields, "form", |name, value| {
                let summary = json!({"name": name, "text": value});
                let content = Content::Bytes(Bytes::copy_from_slice(value.as_bytes()));
                body.add(&[("name", name)], None, content, summary);
            })?;
        }
        let mut packs: BTreeMap<&str, Arc<OpenPack>> = BTreeMap::new();
        for part in files {
            let (content, default_name, default_type) = match (&part.file, &part.text, &part.base64) {
                (Some(file), None, None) => {
                    let pack = match packs.get(file.pack.as_str()) {
                        Some(pack) => pack.clone(),
                        None => {
                            let opened = Arc::new(open_pack(context, file).await?);
                            packs.insert(&file.pack, opened.clone());
                            opened
                        }
                    };
                    let path = pack.file(&file.path).map_err(Box::new)?;
                    let length = tokio::fs::metadata(&path)
                        .await
                        .map_err(|source| HttpError::File { path: path.clone(), source })?;
                    let name = file.path.rsplit('/').next().unwrap_or_default();
                    let content = Content::File { path, length: length.len(), _pack: pack };
                    (content, name, "application/octet-stream")
                }
                (None, Some(text), None) => {
                    (Content::Bytes(text.clone().into()), "file.txt", "text/plain; charset=utf-8")
                }
                (None, None, Some(base64)) => {
                    let decoded = STANDARD.decode(base64.trim()).map_err(|_| {
                        parameter(
                            "files",
                            format!("has base64 that cannot be decoded in the part `{}`", part.name),
                        )
                    })?;
                    (Content::Bytes(decoded.into()), "file", "application/octet-stream")
                }
                _ => {
                    let problem = format!("needs one of file, text and base64 in the part `{}`", part.name);
                    return Err(parameter("files", problem).into());
                }
            };
            let filename = part.filename.as_deref().unwrap_or(default_name);
            let content_type = part.content_type.as_deref().unwrap_or(default_type);
            if content_type.is_empty() || content_type.bytes().any(|b| b.is_ascii_control()) {
                let problem =
                    format!("has a content_type that a header cannot hold in the part `{}`", part.name);
                return Err(parameter("files", problem).into());
            }
            let summary = json!({
                "name": part.name, "filename": filename, "content_type": content_type, "bytes": content.length(),
            });
            body.add(&[("name", &part.name), ("filename", filename)], Some(content_type), content, summary);
        }
        Ok(body)
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        let parts = self.parts.iter().map(|part| part.head.len() as u64 + part.content.length() + 2);
        parts.sum::<u64>() + self.end().len() as u64
    }

    /// Its bytes, read while they are taken.
    pub(super) fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let mut segments = Vec::with_capacity(self.parts.len() * 3 + 1);
        for part in &self.parts {
            segments.push(Segment::Bytes(part.head.clone()));
            segments.push(match &part.content {
                Content::Bytes(bytes) => Segment::Bytes(bytes.clone()),
                Content::File { path, length, .. } => Segment::File { path: path.clone(), length: *length },
            });
            segments.push(Segment::Bytes(Bytes::from_static(b"\r\n")));
        }
        segments.push(Segment::Bytes(self.end().into()));
        stream::iter(segments).flat_map(|segment| match segment {
            Segment::Bytes(bytes) => stream::once(std::future::ready(Ok(bytes))).boxed(),
            Segment::File { path, length } => stream::once(tokio::fs::File::open(path))
                .map_ok(move |file| ReaderStream::with_capacity(file.take(length), PIECE))
                .try_flatten()
                .boxed(),
        })
    }

    /// What is shown of it where it is not sent.
    pub(super) fn summary(&self) -> Value {
        self.parts.iter().map(|part| part.summary.clone()).collect()
    }

    fn end(&self) -> String {
        format!("--{}--\r\n", self.boundary)
    }

    fn add(&mut self, names: &[(&str, &str)], content_type: Option<&str>, content: Content, summary: Value) {
        let mut head = format!("--{}\r\nContent-Disposition: form-data", self.boundary);
        for (key, name) in names {
            head.push_str(&format!("; {key}=\"{}\"", escaped(name)));
        }
        if let Some(content_type) = content_type {
            head.push_str(&format!("\r\nContent-Type: {content_type}"));
        }
        head.push_str("\r\n\r\n");
        self.parts.push(Part { head: head.into(), content, summary });
    }
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// A name as it may stand between quotation marks.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
