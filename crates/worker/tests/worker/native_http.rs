//! `core.http` against servers on loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use attune_worker::native::http::Access;
use attune_worker::native::network::{NetworkPolicy, parse_networks};
use attune_worker::native::{Context, NativeOutcome};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Request {
    /// Method and target.
    line: String,
    head: String,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

type Answers = Arc<dyn Fn(&Request, usize) -> String + Send + Sync>;

/// A server that gives each request the answer that a function makes of it and of its number, from 0.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    async fn start(answers: impl Fn(&Request, usize) -> String + Send + Sync + 'static) -> Self {
        Self::start_with(None, answers).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&Request, usize) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, answers): (_, Answers) = (server.seen.clone(), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers, tls) = (seen.clone(), answers.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, seen, answers).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, seen, answers).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<Request>>>,
    answers: Answers,
) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let mut request = Request { line, head, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    request.body = String::from_utf8(bytes[end..].to_vec()).unwrap();
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let answer = answers(&request, number);
    let _gone = stream.write_all(answer.as_bytes()).await;
    let _gone = stream.shutdown().await;
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    answer("200 OK", "content-type: application/json\r\n", body)
}

/// Loopback is allowed.
fn access() -> Access {
    Access::network(NetworkPolicy { allow: parse_networks("127.0.0.0/8,::1").unwrap(), deny: Vec::new() })
}

async fn run_with(access: &Access, parameters: Value) -> Result<Value, (String, Option<Value>)> {
    let cancel = CancellationToken::new();
    match attune_worker::native::run("http", Context::new(&parameters, access), &cancel).await {
        NativeOutcome::Succeeded(result) => Ok(result),
        NativeOutcome::Failed(failure) => Err((failure.to_string(), failure.result)),
        NativeOutcome::Cancelled => panic!("nobody cancelled it"),
    }
}

async fn run(parameters: Value) -> Result<Value, (String, Option<Value>)> {
    run_with(&access(), parameters).await
}

async fn error_of(parameters: Value) -> String {
    run(parameters).await.unwrap_err().0
}

#[tokio::test]
async fn test_a_request_is_sent_and_its_answer_read() {
    let server = Server::start(|_, _| {
        answer(
            "201 Created",
            "Content-Type: application/problem+json\r\nX-A: 1\r\nX-A: 2\r\nSet-Cookie: s=1\r\n",
            r#"{"id": 7}"#,
        )
    })
    .await;
    let result = run(json!({
        "method": "POST", "url": server.url("/items?a=1"), "query": {"b": ["x y", 2], "c": true},
        "headers": {"x-odd": "Ä"}, "json": {"n": null}, "auth": {"basic": {"username": "ada", "password": "p:w"}},
    }))
    .await
    .unwrap();
    assert_eq!(
        (&result["status"], &result["body"], &result["attempts"]),
        (&json!(201), &json!({"id": 7}), &json!(1))
    );
    assert_eq!(result["headers"]["x-a"], "1, 2");
    assert_eq!(result["headers"].get("set-cookie"), None);
    assert_eq!(result["url"], server.url("/items"), "the query may be secret");
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /items?a=1&b=x+y&b=2&c=true");
    assert_eq!(
        (seen.header("authorization"), seen.body.as_str()),
        (Some("Basic YWRhOnA6dw=="), r#"{"n":null}"#)
    );
    assert_eq!(seen.header("content-type"), Some("application/json"));

    for (body, content_type, expected) in [
        (
            json!({"form": {"a": "ü&", "b": [1, 2]}}),
            "application/x-www-form-urlencoded",
            "a=%C3%BC%26&b=1&b=2",
        ),
        (json!({"text": "hi", "content_type": "text/csv"}), "text/csv", "hi"),
        (json!({"json": null}), "application/json", "null"),
    ] {
        let mut parameters = json!({"method": "PUT", "url": server.url("/"), "auth": {"bearer": "t"}});
        parameters.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        run(parameters).await.unwrap();
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.header("content-type"), seen.body.as_str()), (Some(content_type), expected));
        assert_eq!(seen.header("authorization"), Some("Bearer t"));
    }
}

#[tokio::test]
async fn test_a_form_with_files_has_parts_and_can_be_sent_again() {
    let server = Server::start(|_, number| match number {
        0 => answer("503 Service Unavailable", "", ""),
        _ => ok("1"),
    })
    .await;
    let parameters = json!({
        "method": "POST", "url": server.url("/upload"), "retry": {"count": 1, "delay": 0.001},
        "form": {"tag": ["a", "b"], "odd \"name\"": "ü"},
        "files": [
            {"name": "report", "filename": "r\"1.csv", "content_type": "text/csv", "text": "x,y\r\n1,2\r\n"},
            {"name": "note", "text": "hi"},
            {"name": "raw", "base64": "AAEC"},
        ],
    });
    assert_eq!(run(parameters).await.unwrap()["attempts"], 2);
    let seen = server.seen();
    assert_eq!(seen[0].body, seen[1].body);
    let content_type = seen[1].header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
    let part = |head: &str, content: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    };
    let expected = [
        // Names in the order that objects have here.
        part("name=\"odd %22name%22\"", "ü"),
        part("name=\"tag\"", "a"),
        part("name=\"tag\"", "b"),
        part("name=\"report\"; filename=\"r%221.csv\"\r\nContent-Type: text/csv", "x,y\r\n1,2\r\n"),
        part("name=\"note\"; filename=\"file.txt\"\r\nContent-Type: text/plain; charset=utf-8", "hi"),
        part("name=\"raw\"; filename=\"file\"\r\nContent-Type: application/octet-stream", "\0\u{1}\u{2}"),
        format!("--{boundary}--\r\n"),
    ];
    assert_eq!(seen[1].body, expected.concat());
    assert_eq!(seen[1].header("content-length"), Some(seen[1].body.len().to_string().as_str()));
    assert_eq!(seen[1].header("transfer-encoding"), None);
}

#[tokio::test]
async fn test_what_is_wrong_with_parts_is_told_and_nothing_is_sent() {
    let server = Server::start(|_, _| ok("1")).await;
    for (more, expected) in [
        (
            json!({"files": [{"name": "a"}]}),
            "parameter `files`: needs one of file, text and base64 in the part `a`",
        ),
        (
            json!({"files": [{"name": "a", "text": "x", "base64": "eA=="}]}),
            "needs one of file, text and base64",
        ),
        (
            json!({"files": [{"name": "a", "base64": "?"}]}),
            "has base64 that cannot be decoded in the part `a`",
        ),
        (json!({"files": [{"name": "a", "text": "x", "content_type": "a\nb"}]}), "that a header cannot hold"),
        (
            json!({"files": [{"name": "a", "text": "x"}], "content_type": "text/csv"}),
            "has no effect beside `files`",
        ),
        (
            json!({"files": [{"name": "a", "text": "x"}], "headers": {"Content-Type": "x/y"}}),
            "name the boundary",
        ),
        (json!({"files": [{"name": "a", "text": "x"}], "json": 1}), "a request has one body"),
        (json!({"files": [{"name": "a", "text": "x"}], "form": {"b": {}}}), "`b` is neither text, a number"),
    ] {
        let mut parameters = json!({"method": "POST", "url": server.url("/")});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = error_of(parameters).await;
        assert!(error.contains(expected), "{more}: {error}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn test_bodies_are_kept_as_what_they_are() {
    let server = Server::start(|request, _| match request.line.as_str() {
        "GET /broken" => ok("{"),
        "GET /nul" => ok(r#"{"a": "x\u0000"}"#),
        _ => answer("200 OK", "", "plain"),
    })
    .await;
    let body = async |path: &str| run(json!({"url": server.url(path)})).await.unwrap()["body"].clone();
    assert_eq!(body("/broken").await, "{");
    assert_eq!(body("/nul").await, json!({"a": "x\u{fffd}"}));
    assert_eq!(body("/").await, "plain");
}

#[tokio::test]
async fn test_an_unexpected_answer_fails_and_is_kept() {
    let server = Server::start(|_, _| answer("404 Not Found", "", "no such thing")).await;
    let (error, result) = run(json!({"url": server.url("/x?secret=1")})).await.unwrap_err();
    assert_eq!(error, format!("GET {} was answered with 404, expected 2xx: no such thing", server.url("/x")));
    assert_eq!(result.unwrap()["status"], 404);
    let result = run(json!({"url": server.url("/x"), "expect_status": ["2xx", 404]})).await.unwrap();
    assert_eq!(result["body"], "no such thing");
}

#[tokio::test]
async fn test_requests_are_repeated_as_asked() {
    let server = Server::start(|_, number| match number {
        0 => answer("503 Service Unavailable", "", ""),
        1 => answer("429 Too Many Requests", "Retry-After: 0\r\n", ""),
        _ => ok("1"),
    })
    .await;
    let parameters = json!({"url": server.url("/"), "method": "POST", "retry": {"count": 2, "delay": 0.001}});
    assert_eq!(run(parameters).await.unwrap()["attempts"], 3);

    let busy = Server::start(|_, _| answer("503 Service Unavailable", "Retry-After: 3600\r\n", "")).await;
    let parameters = json!({"url": busy.url("/"), "retry": {"count": 5}});
    assert!(run(parameters).await.unwrap_err().0.contains("503"), "an hour is more than there is patience");
    assert_eq!(busy.seen().len(), 1);

    // A connection that breaks after the request: only what may be done twice is sent again.
    let broken = Server::start(|_, _| String::new()).await;
    for (method, requests) in [("POST", 1), ("GET", 4)] {
        let parameters =
            json!({"url": broken.url("/"), "method": method, "retry": {"count": 2, "delay": 0.001}});
        assert!(run(parameters).await.unwrap_err().0.contains("got no answer"));
        assert_eq!(broken.seen().len(), requests, "{method}");
    }
}

#[tokio::test]
async fn test_redirects_are_followed_without_credentials_to_others() {
    let other = Server::start(|_, _| ok("\"there\"")).await;
    let away = other.url("/landing");
    let server = Server::start(move |request, _| match request.line.split(' ').next_back().unwrap() {
        "/away" => answer("302 Found", &format!("location: {away}\r\n"), ""),
        "/near" => answer("307 Temporary Redirect", "location: /end\r\n", ""),
        "/loop" => answer("308 Permanent Redirect", "location: /loop\r\n", ""),
        "/file" => answer("302 Found", "location: file:///etc/passwd\r\n", ""),
        _ => ok("\"here\""),
    })
    .await;
    let post = |path: &str| json!({"method": "POST", "url": server.url(path), "json": 1, "auth": {"bearer": "t"}, "headers": {"x-api-key": "k"}});
    let result = run(post("/away")).await.unwrap();
    assert_eq!((&result["body"], &result["url"]), (&json!("there"), &json!(other.url("/landing"))));
    let seen = &other.seen()[0];
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("GET /landing", ""));
    assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (None, None));

    assert_eq!(run(post("/near")).await.unwrap()["body"], "here");
    let seen = server.seen().pop().unwrap();
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("POST /end", "1"));
    assert_eq!((seen.header("authorization"), seen.header("x-api-key")), (Some("Bearer t"), Some("k")));

    let looping = error_of(json!({"url": server.url("/loop"), "max_redirects": 3})).await;
    assert!(looping.contains("more than 3 redirects"), "{looping}");
    let file = error_of(json!({"url": server.url("/file")})).await;
    assert!(file.contains("redirected to something that is not http or https"), "{file}");
    let parameters = json!({"url": server.url("/near"), "max_redirects": 0, "expect_status": ["3xx"]});
    assert_eq!(run(parameters).await.unwrap()["headers"]["location"], "/end");
}

#[tokio::test]
async fn test_addresses_of_the_inside_are_refused() {
    let server = Server::start(|_, _| ok("1")).await;
    let port = server.address.port();
    let public_only = Access::default();
    for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let parameters = json!({"url": format!("http://{host}:{port}/"), "retry": {"count": 1, "delay": 60}});
        let error = run_with(&public_only, parameters).await.unwrap_err().0;
        assert!(error.contains("not an address of the public internet"), "{host}: {error}");
    }
    let metadata = json!({"url": "http://169.254.169.254/latest/meta-data/"});
    assert!(run(metadata.clone()).await.unwrap_err().0.contains("ATTUNE_HTTP_ALLOW"));
    assert_eq!(server.seen().len(), 0);

    // A redirect is judged as well: here only 127.0.0.1 is allowed.
    let exact =
        Access::network(NetworkPolicy { allow: parse_networks("127.0.0.1").unwrap(), deny: Vec::new() });
    for target in [format!("http://127.0.0.2:{port}/"), format!("http://[::ffff:127.0.0.2]:{port}/")] {
        let hop =
            Server::start(move |_, _| answer("302 Found", &format!("location: {target}\r\n"), "")).await;
        let error = run_with(&exact, json!({"url": hop.url("/")})).await.unwrap_err().0;
        assert!(error.contains("127.0.0.2, which is not an address"), "{error}");
    }
    assert_eq!(run_with(&exact, json!({"url": server.url("/")})).await.unwrap()["body"], 1);

    // Behind a proxy as well; and the proxy itself is judged.
    let proxy = Server::start(|_, _| ok("\"by proxy\"")).await;
    let by_proxy = |url: &str| json!({"url": url, "proxy": proxy.url("")});
    assert!(run_with(&exact, by_proxy("http://10.0.0.1/")).await.unwrap_err().0.contains("10.0.0.1"));
    assert!(
        run_with(&public_only, by_proxy("http://93.184.215.14/")).await.unwrap_err().0.contains("127.0.0.1")
    );
    let result = run_with(&exact, by_proxy("http://93.184.215.14/x")).await.unwrap();
    assert_eq!(result["body"], "by proxy");
    assert_eq!(proxy.seen()[0].line, "GET http://93.184.215.14/x");
}

#[tokio::test]
async fn test_bounds_hold() {
    let server = Server::start(|_, _| ok(&format!("\"{}\"", "x".repeat(2000)))).await;
    let error = error_of(json!({"url": server.url("/"), "max_bytes": 1000})).await;
    assert!(error.contains("more than 1000 bytes"), "{error}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let error = error_of(json!({"url": url, "timeout": 0.05})).await;
    assert_eq!(error, format!("GET {url} got no answer within 0.05 s"));
}

#[tokio::test]
async fn test_what_makes_no_request_is_named() {
    for (parameters, expected) in [
        (json!({"url": "example.com"}), "parameter `url`: is not an address"),
        (json!({"url": "ftp://example.com/"}), "parameter `url`: is neither http nor https"),
        (json!({"url": "http://a:b@example.com/"}), "parameter `url`: holds credentials"),
        (json!({"url": "http://a/", "json": 1, "text": ""}), "a request has one body"),
        (json!({"url": "http://a/", "content_type": "text/x"}), "has no effect without a body"),
        (json!({"url": "http://a/", "headers": {"a b": "c"}}), "`a b` is not the name of a header"),
        (json!({"url": "http://a/", "headers": {"a": "b\r\nc: d"}}), "such as a line break"),
        (json!({"url": "http://a/", "query": {"a": {}}}), "parameter `query`: `a` is neither text"),
        (
            json!({"url": "http://a/", "auth": {"bearer": "t"}, "headers": {"Authorization": "x"}}),
            "give one of them",
        ),
        (json!({"url": "http://a/", "tls": {"client_certificate": "x"}}), "together"),
        (
            json!({"url": "http://a/", "tls": {"ca": "-----BEGIN CERTIFICATE-----\nx\n-----END"}}),
            "parameter `tls",
        ),
        (
            json!({"url": "http://a/", "proxy": "nonsense"}),
            "parameter `proxy`: is not the address of a proxy",
        ),
        (json!({"url": "http://a/", "expect_status": ["6xx"]}), "expected statuses such as 200"),
        (json!({"url": "http://a/", "redirects": 1}), "unknown field `redirects`"),
    ] {
        let error = error_of(parameters.clone()).await;
        assert!(error.contains(expected), "{parameters}: {error}");
    }
}

#[tokio::test]
async fn test_certificates_are_verified_and_shown() {
    let authority = {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let issued = |name: &str, usage| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        (certificate, key)
    };
    drop(rustls::crypto::ring::default_provider().install_default());
    let (certificate, key) = issued("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let config = |verified: bool| {
        let builder = ServerConfig::builder();
        let builder = if verified {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = key.serialize_der().try_into().unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    };
    let acceptor = |verified| Some(TlsAcceptor::from(Arc::new(config(verified))));
    let server = Server::start_with(acceptor(false), |_, _| ok("1")).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let ca = authority.pem();

    let error = error_of(json!({"url": url})).await;
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    assert_eq!(run(json!({"url": url, "tls": {"ca": ca}})).await.unwrap()["body"], 1);
    assert_eq!(run(json!({"url": url, "tls": {"verify": false}})).await.unwrap()["body"], 1);
    let wrong_name = format!("https://127.0.0.1:{}/", server.address.port());
    let error = error_of(json!({"url": wrong_name, "tls": {"ca": ca}})).await;
    assert!(error.to_lowercase().contains("certificate"), "{error}");

    let strict = Server::start_with(acceptor(true), |_, _| ok("2")).await;
    let url = format!("https://localhost:{}/", strict.address.port());
    run(json!({"url": url, "tls": {"ca": ca}})).await.unwrap_err();
    assert_eq!(strict.seen().len(), 0);
    let (certificate, key) = issued("client", ExtendedKeyUsagePurpose::ClientAuth);
    let tls = json!({"ca": ca, "client_certificate": certificate.pem(), "client_key": key.serialize_pem()});
    assert_eq!(run(json!({"url": url, "tls": tls})).await.unwrap()["body"], 2);
}
