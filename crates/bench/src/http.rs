//! A client that costs nearly nothing: a connection that is kept, and requests that were built before the clock started.
//! What sends the load shares the processors with what is measured.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to the server that is measured.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    events: u64,
}

impl Request {
    /// A POST of JSON to a path of the server.
    pub(crate) fn post(endpoint: &Endpoint, path: &str, body: &str) -> Self {
        let token = match &endpoint.token {
            Some(token) => format!("authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let (host, path, length) = (&endpoint.address, path.trim_start_matches('/'), body.len());
        Self {
            bytes: format!(
                "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{token}content-length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
            events: 1,
        }
    }

    /// The same, of a request that brings so many events.
    pub(crate) fn of_events(self, events: u64) -> Self {
        Self { events, ..self }
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

/// Where the server is, and the token of whoever sends.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub(crate) address: String,
    pub(crate) token: Option<String>,
}

impl Endpoint {
    /// Of a server without TLS: what encrypts would be measured too.
    pub(crate) fn of(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let address = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} is not an address that begins with http://"))?;
        Ok(Self { address: address.trim_end_matches('/').to_owned(), token })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, answer: Vec::with_capacity(16 * 1024) })
    }
}

impl Connection {
    /// Sends the request, and waits for the whole answer, whose body is given back. An answer other than 2xx is an error.
    pub(crate) async fn send(&mut self, request: &Request) -> anyhow::Result<&[u8]> {
        self.stream.write_all(&request.bytes).await?;
        self.answer.clear();
        loop {
            if let Some(head) = Head::read(&self.answer)?
                && self.answer.len() >= head.body + head.length
            {
                let body = &self.answer[head.body..head.body + head.length];
                anyhow::ensure!(
                    (200..300).contains(&head.status),
                    "the server answered {}: {}",
                    head.status,
                    String::from_utf8_lossy(body)
                );
                return Ok(body);
            }
            let read = self.stream.read_buf(&mut self.answer).await?;
            anyhow::ensure!(read > 0, "the server closed the connection");
        }
    }
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    length: usize,
}

impl Head {
    /// None until all of the head is there.
    fn read(answer: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&answer[..end]).context("the answer's head is not text")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        Ok(Some(Self {
            status: status.with_context(|| format!("no status in the answer: {head}"))?,
            body: end + 4,
            length: length.with_context(|| format!("no length in the answer: {head}"))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_requests_say_how_long_their_body_is() {
        let endpoint = Endpoint::of("http://127.0.0.1:9470/", Some("secret".to_owned())).unwrap();
        let request = Request::post(&endpoint, "/api/v1/events", "{}");
        assert_eq!(
            String::from_utf8(request.bytes).unwrap(),
            "POST /api/v1/events HTTP/1.1\r\nhost: 127.0.0.1:9470\r\ncontent-type: application/json\r\n\
             authorization: Bearer secret\r\ncontent-length: 2\r\n\r\n{}"
        );
        assert!(Endpoint::of("https://attune.example", None).is_err());
    }

    #[test]
    fn test_answers_are_read_to_their_end() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n\r\n{\"event\": 7}";
        assert_eq!(Head::read(answer).unwrap(), Some(Head { status: 202, body: 45, length: 12 }));
        assert_eq!(Head::read(&answer[..40]).unwrap(), None);
        assert!(Head::read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
