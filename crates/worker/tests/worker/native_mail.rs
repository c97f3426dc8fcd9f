//! `core.mail` against a server on loopback.

use std::sync::{Arc, Mutex};

use attune_worker::native::http::Access;
use attune_worker::native::{Context, NativeOutcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

/// What a server got.
#[derive(Debug, Clone, Default)]
struct Received {
    credentials: Option<String>,
    from: String,
    to: Vec<String>,
    message: String,
    protected: bool,
}

/// How a server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Starttls,
    Tls,
}

struct Server {
    port: u16,
    certificate: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    async fn start(mode: Mode) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            certificate: certificate.pem(),
            received: Arc::default(),
        };
        let received = server.received.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, received) = (acceptor.clone(), received.clone());
                tokio::spawn(async move {
                    match mode {
                        Mode::Tls => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                converse(BufReader::new(stream), mode, true, true, &received).await;
                            }
                        }
                        Mode::Plain => {
                            drop(converse(BufReader::new(stream), mode, false, true, &received).await);
                        }
                        Mode::Starttls => {
                            let stream = converse(BufReader::new(stream), mode, false, true, &received).await;
                            if let Some(stream) = stream
                                && let Ok(stream) = acceptor.accept(stream.into_inner()).await
                            {
                                converse(BufReader::new(stream), mode, true, false, &received).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// Speaks SMTP (RFC 5321) until the client goes; gives the stream back when it is to be protected.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    mode: Mode,
    protected: bool,
    greet: bool,
    received: &Mutex<Vec<Received>>,
) -> Option<BufReader<S>> {
    if greet {
        stream.write_all(b"220 test ESMTP\r\n").await.ok()?;
    }
    let mut mail = Received { protected, ..Received::default() };
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap().to_uppercase();
        let reply = match verb.as_str() {
            "EHLO" if mode == Mode::Starttls && !protected => "250-test\r\n250 STARTTLS".to_owned(),
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN".to_owned(),
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                return Some(stream);
            }
            "AUTH" => {
                let given = STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap();
                let given = String::from_utf8(given).unwrap().replace('\0', "/");
                let reply = if given == "/ada/hunter2" { "235 welcome" } else { "535 who are you" };
                mail.credentials = Some(given);
                reply.to_owned()
            }
            "MAIL" => {
                mail.from = line.to_owned();
                "250 ok".to_owned()
            }
            "RCPT" if line.contains("nobody@") => "550 no such user".to_owned(),
            "RCPT" => {
                mail.to.push(line.trim_start_matches("RCPT TO:").to_owned());
                "250 ok".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.ok()? == 0 {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    mail.message.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                received.lock().unwrap().push(mail.clone());
                "250 queued as 17".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            "RSET" | "NOOP" => "250 ok".to_owned(),
            _ => "502 what".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
}

async fn run(server: &Server, parameters: Value) -> Result<Value, String> {
    let mut all = json!({
        "host": "localhost", "port": server.port, "from": "Attune <attune@example.com>", "to": ["ada@example.com"],
        "subject": "Full", "text": "The disk is full.\n.\nReally.",
    });
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    let http = Access::default();
    match attune_worker::native::run("mail", Context::new(&all, &http), &CancellationToken::new()).await {
        NativeOutcome::Succeeded(result) => Ok(result),
        NativeOutcome::Failed(failure) => Err(failure.to_string()),
        NativeOutcome::Cancelled => panic!("nobody cancelled it"),
    }
}

#[tokio::test]
async fn test_a_message_arrives_with_all_that_it_has() {
    let server = Server::start(Mode::Plain).await;
    let result = run(
        &server,
        json!({
            "security": "none", "to": ["Ada <ada@example.com>"], "cc": ["bo@example.com"], "bcc": ["cy@example.com"],
            "reply_to": "ops@example.com", "subject": "Grüße\r\nBcc: eve@example.com", "html": "<b>full</b>",
            "attachments": [
                {"name": "a.csv", "content_type": "text/csv", "text": "a,b\n"},
                {"name": "b.bin", "base64": STANDARD.encode([0, 255, 7])},
            ],
        }),
    )
    .await
    .unwrap();
    assert_eq!(result["recipients"], json!(["ada@example.com", "bo@example.com", "cy@example.com"]));
    assert_eq!(result["response"], "queued as 17");
    let received = server.received();
    let [mail] = received.as_slice() else { panic!("{received:?}") };
    assert!(mail.from.starts_with("MAIL FROM:<attune@example.com>"), "{}", mail.from);
    assert_eq!(mail.to, ["<ada@example.com>", "<bo@example.com>", "<cy@example.com>"]);
    let (head, body) = mail.message.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Message-ID: {}", result["message_id"].as_str().unwrap())), "{head}");
    for expected in [
        "From: Attune <attune@example.com>",
        "To: Ada <ada@example.com>",
        "Cc: bo@example.com",
        "Reply-To: ops@example.com",
    ] {
        assert!(head.contains(expected), "{expected} in {head}");
    }
    assert!(
        !head.lines().any(|line| line.starts_with("Bcc")),
        "nobody is told, and nothing is smuggled in: {head}"
    );
    for expected in [
        "The disk is full.\r\n.\r\nReally.",
        "<b>full</b>",
        "filename=\"a.csv\"",
        "a,b",
        "filename=\"b.bin\"",
        "AP8H",
    ] {
        assert!(body.contains(expected), "{expected} in {body}");
    }
}

#[tokio::test]
async fn test_connections_are_protected_and_identified() {
    let credentials = json!({"username": "ada", "password": "hunter2\n"});
    let with = |parameters: Value| {
        let mut all = credentials.clone();
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        all
    };
    for (mode, security) in [(Mode::Starttls, "starttls"), (Mode::Tls, "tls")] {
        let server = Server::start(mode).await;
        let strange = run(&server, with(json!({"security": security}))).await.unwrap_err();
        assert!(strange.to_lowercase().contains("certificate"), "{security}: {strange}");
        run(&server, with(json!({"security": security, "ca": server.certificate}))).await.unwrap();
        run(&server, with(json!({"security": security, "verify": false}))).await.unwrap();
        let received = server.received();
        assert_eq!(received.len(), 2);
        for mail in received {
            assert_eq!((mail.protected, mail.credentials.as_deref()), (true, Some("/ada/hunter2")));
        }
        let wrong = json!({"security": security, "verify": false, "password": "letmein"});
        let error = run(&server, with(wrong)).await.unwrap_err();
        assert!(error.contains("535") && !error.contains("letmein"), "{error}");
    }
    // A server without STARTTLS gets nothing.
    let plain = Server::start(Mode::Plain).await;
    run(&plain, with(json!({}))).await.unwrap_err();
    assert_eq!(plain.received().len(), 0);
}

#[tokio::test]
async fn test_what_is_not_sent_is_told() {
    let server = Server::start(Mode::Plain).await;
    for (parameters, expected) in [
        (json!({"to": ["nobody@example.com"]}), "no such user"),
        (json!({"to": []}), "parameter `to` names nobody"),
        (json!({"to": ["ada"]}), "parameter `to`: `ada` is not an address"),
        (json!({"username": "ada", "password": "p"}), "for all to read"),
        (json!({"username": "ada"}), "needed together"),
        (json!({"ca": "x"}), "have no effect with `security: none`"),
        (json!({"attachments": [{"name": "a"}]}), "give one of text, base64 and file"),
        (json!({"attachments": [{"name": "a", "base64": "?"}]}), "base64 for a that cannot be decoded"),
        (
            json!({"attachments": [{"name": "a", "text": "", "content_type": "x"}]}),
            "`x`, which is not a media type",
        ),
        (json!({"host": "localhost", "port": 1}), "the server localhost:1 did not take the message"),
    ] {
        let mut all = json!({"security": "none"});
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        let error = run(&server, all).await.unwrap_err();
        assert!(error.contains(expected), "{parameters}: {error}");
    }
    assert_eq!(server.received().len(), 0);
}
