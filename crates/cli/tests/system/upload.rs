//! `core.http` sends files of packs.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::System;

/// The body of the request; the connection is answered with nothing.
async fn receive(stream: TcpStream) -> String {
    receive_all(stream).await.1
}

/// The head of the request in lower case, and its body.
pub(crate) async fn receive_all(mut stream: TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let (mut head, mut length, mut lines) = (0, usize::MAX, String::new());
    while head == 0 || bytes.len() < head + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the request ends early");
        if head == 0
            && let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            head = end + 4;
            let text = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let line = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            length = line.parse().unwrap();
            lines = text;
        }
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
    (lines, String::from_utf8(bytes.split_off(head)).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_files_of_a_pack_are_parts_of_a_form() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let system = System::start_with(&[("ATTUNE_HTTP_ALLOW", "127.0.0.1".into())]).await;
    // Larger than what is read at once, many times.
    let dump: String = (0..400_000).map(|number| format!("{number}\n")).collect();
    system.install(&[("pack.yaml", "ref: ops\nversion: 1.0.0\n"), ("files/dump.txt", &dump)]).await;
    let upload = |file: Value| {
        let files = json!([{"name": "dump", "content_type": "text/plain", "file": file}]);
        json!({"method": "POST", "url": url, "form": {"host": "db1"}, "files": files})
    };

    let parameters = upload(json!({"pack": "ops", "path": "files/dump.txt"}));
    let (body, detail) = tokio::join!(
        async { receive(listener.accept().await.unwrap().0).await },
        system.run("core.http", parameters),
    );
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    let boundary = body.lines().next().unwrap();
    let expected = format!(
        "{boundary}\r\nContent-Disposition: form-data; name=\"host\"\r\n\r\ndb1\r\n{boundary}\r\n\
         Content-Disposition: form-data; name=\"dump\"; filename=\"dump.txt\"\r\nContent-Type: text/plain\r\n\r\n\
         {dump}\r\n{boundary}--\r\n"
    );
    assert!(body == expected, "{} bytes, expected {}", body.len(), expected.len());

    // As the whole body.
    let parameters = json!({"method": "PUT", "url": url, "file": {"pack": "ops", "path": "files/dump.txt"}});
    let ((head, body), detail) = tokio::join!(
        async { receive_all(listener.accept().await.unwrap().0).await },
        system.run("core.http", parameters),
    );
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    assert!(head.starts_with("put / http/1.1") && !head.contains("transfer-encoding"), "{head}");
    assert!(body == dump, "{} bytes, expected {}", body.len(), dump.len());
    let parameters = json!({"method": "PUT", "url": url, "file": {"pack": "ops", "path": "files/no"}});
    let error = system.run("core.http", parameters).await.execution.error.unwrap_or_default();
    assert!(error.contains("the pack ops is not installed or has no file files/no"), "{error}");

    for (file, expected) in [
        (json!({"pack": "ops", "path": "files/no"}), "the file files/no of pack ops does not exist"),
        (json!({"pack": "none", "path": "x"}), "the pack none is not installed or has no file x"),
    ] {
        let detail = system.run("core.http", upload(file)).await;
        let error = detail.execution.error.unwrap_or_default();
        assert!(error.contains(expected), "{error}");
    }
}
