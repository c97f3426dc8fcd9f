//! `mail`: sends a message by SMTP.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::address::AddressError;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::files::{PackFile, read_file};
use super::{Context, Failure, NativeError};

/// All attachments together, as they are before they are encoded.
const MOST_BYTES: usize = 20 << 20;

/// Why a message is not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error(
        "parameter `{name}`: `{address}` is not an address, expected one such as `Ada <ada@example.com>`"
    )]
    Address { name: &'static str, address: String, source: AddressError },
    #[error("parameter `{name}` {problem}")]
    Parameter { name: &'static str, problem: String },
    #[error("the message cannot be built")]
    Message(#[from] lettre::error::Error),
    #[error(
        "a test sends no mail, and the case does not say that there is some: give what is sent in `expect`, as `mail: [{{to: \
         [ada@example.com]}}]`"
    )]
    NotExpected,
    #[error("the server {host}:{port} did not take the message")]
    Smtp { host: String, port: u16, source: lettre::transport::smtp::Error },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    security: Security,
    username: Option<String>,
    password: Option<String>,
    from: String,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    cc: Vec<String>,
    #[serde(default)]
    bcc: Vec<String>,
    reply_to: Option<String>,
    subject: String,
    text: Option<String>,
    html: Option<String>,
    #[serde(default)]
    attachments: Vec<Attached>,
    #[serde(default = "half_a_minute")]
    timeout: f64,
    ca: Option<String>,
    #[serde(default = "yes")]
    verify: bool,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Security {
    /// Asked for in plain text, and insisted on.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attached {
    name: String,
    content_type: Option<String>,
    text: Option<String>,
    base64: Option<String>,
    file: Option<PackFile>,
}

pub(super) async fn run(context: &Context<'_>) -> Result<Value, Failure> {
    let parameters: Parameters = context.read()?;
    let message_id = message_id(context, &parameters.from);
    let message = message(context, &parameters, message_id.clone()).await?;
    let port = parameters.port.unwrap_or(match parameters.security {
        Security::Starttls => 587,
        Security::Tls => 465,
        Security::None => 25,
    });
    let transport = transport(&parameters, port)?;
    let recipients: Vec<String> = message.envelope().to().iter().map(ToString::to_string).collect();
    if let Some(recorded) = context.http.recordings() {
        let mut state = recorded.state();
        state.seen.messages.push(seen(&parameters));
        return match state.answers.takes_mail {
            true => Ok(json!({"message_id": message_id, "recipients": recipients, "response": "recorded"})),
            false => Err(MailError::NotExpected.into()),
        };
    }
    let sent = transport.send(message).await;
    let host = parameters.host;
    let response = sent.map_err(|source| MailError::Smtp { host, port, source })?;
    let said: Vec<&str> = response.message().collect();
    Ok(json!({"message_id": message_id, "recipients": recipients, "response": said.join(" ")}))
}

/// A message that a test would have sent.
pub type SeenMessage = Map<String, Value>;

/// By the names of the parameters, without what was not given and without what is only for the server.
fn seen(parameters: &Parameters) -> SeenMessage {
    let attachments: Vec<Value> = parameters
        .attachments
        .iter()
        .map(|attached| {
            let mut seen = json!({"name": attached.name});
            if let Some(content_type) = &attached.content_type {
                seen["content_type"] = json!(content_type);
            }
            if let Some(text) = &attached.text {
                seen["text"] = json!(text);
            }
            seen
        })
        .collect();
    let all = json!({
        "host": parameters.host,
        "from": parameters.from,
        "to": parameters.to,
        "cc": parameters.cc,
        "bcc": parameters.bcc,
        "reply_to": parameters.reply_to,
        "subject": parameters.subject,
        "text": parameters.text,
        "html": parameters.html,
        "attachments": attachments,
    });
    let is_given = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    match all {
        Value::Object(members) => members.into_iter().filter(|(_, value)| is_given(value)).collect(),
        _ => Map::new(),
    }
}

async fn message(
    context: &Context<'_>,
    parameters: &Parameters,
    message_id: String,
) -> Result<Message, NativeError> {
    let mailbox = |name, address: &String| -> Result<Mailbox, MailError> {
        address.parse().map_err(|source| MailError::Address { name, address: address.clone(), source })
    };
    if parameters.to.is_empty() && parameters.cc.is_empty() && parameters.bcc.is_empty() {
        return Err(wrong("to", "names nobody, and neither do `cc` and `bcc`").into());
    }
    let mut builder = Message::builder()
        .message_id(Some(message_id))
        .from(mailbox("from", &parameters.from)?)
        .subject(parameters.subject.as_str());
    let mut add = |name, addresses: &[String], add: fn(MessageBuilder, Mailbox) -> MessageBuilder| {
        for address in addresses {
            builder = add(builder.clone(), mailbox(name, address)?);
        }
        Ok::<_, MailError>(())
    };
    add("to", &parameters.to, MessageBuilder::to)?;
    add("cc", &parameters.cc, MessageBuilder::cc)?;
    add("bcc", &parameters.bcc, MessageBuilder::bcc)?;
    add("reply_to", parameters.reply_to.as_slice(), MessageBuilder::reply_to)?;

    let body = match (&parameters.text, &parameters.html) {
        (Some(text), Some(html)) => Body::Both(MultiPart::alternative_plain_html(text.clone(), html.clone())),
        (Some(text), None) => Body::One(SinglePart::plain(text.clone())),
        (None, Some(html)) => Body::One(SinglePart::html(html.clone())),
        (None, None) => return Err(wrong("text", "is missing, and so is `html`").into()),
    };
    if parameters.attachments.is_empty() {
        let built = match body {
            Body::Both(multipart) => builder.multipart(multipart),
            Body::One(part) => builder.singlepart(part),
        };
        return Ok(built.map_err(MailError::from)?);
    }
    let mut all = match body {
        Body::Both(multipart) => MultiPart::mixed().multipart(multipart),
        Body::One(part) => MultiPart::mixed().singlepart(part),
    };
    let mut bytes = 0;
    for attached in &parameters.attachments {
        let content = content(context, attached).await?;
        bytes += content.len();
        if bytes > MOST_BYTES {
            return Err(wrong("attachments", format!("has more than {MOST_BYTES} bytes together")).into());
        }
        let given = attached.content_type.as_deref().unwrap_or("application/octet-stream");
        let content_type = ContentType::parse(given)
            .map_err(|_| wrong("attachments", format!("has `{given}`, which is not a media type")))?;
        all = all.singlepart(Attachment::new(attached.name.clone()).body(content, content_type));
    }
    Ok(builder.multipart(all).map_err(MailError::from)?)
}

enum Body {
    One(SinglePart),
    Both(MultiPart),
}

async fn content(context: &Context<'_>, attached: &Attached) -> Result<Vec<u8>, NativeError> {
    match (&attached.text, &attached.base64, &attached.file) {
        (Some(text), None, None) => Ok(text.clone().into_bytes()),
        (None, Some(encoded), None) => Ok(STANDARD.decode(encoded).map_err(|_| {
            wrong("attachments", format!("has base64 for {} that cannot be decoded", attached.name))
        })?),
        (None, None, Some(file)) => read_file(context, file).await,
        _ => {
            let problem =
                format!("does not say what is in {}: give one of text, base64 and file", attached.name);
            Err(wrong("attachments", problem).into())
        }
    }
}

fn transport(parameters: &Parameters, port: u16) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let timeout = Duration::try_from_secs_f64(parameters.timeout)
        .map_err(|_| wrong("timeout", "is not a number of seconds"))?;
    let tls = || {
        let mut tls = TlsParameters::builder(parameters.host.clone())
            .dangerous_accept_invalid_certs(!parameters.verify)
            .dangerous_accept_invalid_hostnames(!parameters.verify);
        if let Some(ca) = &parameters.ca {
            let certificate = Certificate::from_pem(ca.as_bytes())
                .map_err(|_| wrong("ca", "is not a certificate in PEM"))?;
            tls = tls.add_root_certificate(certificate);
        }
        tls.build_rustls().map_err(|error| wrong("ca", format!("cannot be used: {error}")))
    };
    let security = match parameters.security {
        Security::Starttls => Tls::Required(tls()?),
        Security::Tls => Tls::Wrapper(tls()?),
        Security::None if parameters.ca.is_some() || !parameters.verify => {
            return Err(wrong("ca", "and `verify` have no effect with `security: none`"));
        }
        Security::None => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&parameters.host)
        .port(port)
        .tls(security)
        .timeout(Some(timeout))
        .hello_name(ClientId::Domain(crate::host_name().unwrap_or_else(|| "localhost".to_owned())));
    match (&parameters.username, &parameters.password) {
        (Some(_), Some(_)) if parameters.security == Security::None => {
            return Err(wrong("security", "is `none`, which would send the password for all to read"));
        }
        (Some(username), Some(password)) => {
            // Keys are often stored with the line feed of a file.
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        (None, None) => {}
        _ => return Err(wrong("username", "and `password` are needed together")),
    }
    Ok(builder.build())
}

/// Known before it is sent, and the same in what the server and the recipient have.
fn message_id(context: &Context<'_>, from: &str) -> String {
    let execution = context.platform.map(|platform| platform.execution.id).unwrap_or_default();
    let domain = from.trim_end_matches('>').rsplit('@').next().unwrap_or("localhost");
    let domain: String = domain.chars().filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c)).collect();
    format!("<attune-{execution}-{:016x}@{domain}>", rand::random::<u64>())
}

fn wrong(name: &'static str, problem: impl Into<String>) -> MailError {
    MailError::Parameter { name, problem: problem.into() }
}

const fn yes() -> bool {
    true
}

const fn half_a_minute() -> f64 {
    30.0
}
