//! The way to other servers: over the network, within its policy, or to answers that were recorded.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, Method, Proxy};
use url::{Host, Url};

use super::parameters::Tls;
use super::recorded;
use super::{Answer, Content, HttpError, Outgoing, shown};
use crate::native::network::NetworkPolicy;
use crate::native::recorded::Recorded;

const CONNECTING: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("attune/", env!("CARGO_PKG_VERSION"));

/// An address that the policy of the network does not permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, which is not an address of the public internet: the operator of the worker can allow it with \
     ATTUNE_HTTP_ALLOW"
)]
pub struct Denied {
    host: String,
    address: IpAddr,
}

/// How requests leave this process. Clones share connections.
#[derive(Debug, Clone, Default)]
pub struct Access {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    policy: Arc<NetworkPolicy>,
    recorded: Option<Recorded>,
    /// For requests that ask for nothing special.
    client: OnceLock<Client>,
}

/// The way of one request and of those that it is redirected to.
pub(super) enum Way {
    Network { client: Client, policy: Arc<NetworkPolicy>, by_proxy: bool },
    Recorded(Recorded),
}

impl Access {
    /// Over the network, to what the policy permits.
    pub fn network(policy: NetworkPolicy) -> Self {
        Self { shared: Arc::new(Shared { policy: Arc::new(policy), ..Shared::default() }) }
    }

    /// To recorded answers, and nowhere else; this holds for mail and SSH as well.
    pub fn recorded(recorded: Recorded) -> Self {
        Self { shared: Arc::new(Shared { recorded: Some(recorded), ..Shared::default() }) }
    }

    /// What was recorded, where nothing may leave this process.
    pub(in crate::native) fn recordings(&self) -> Option<&Recorded> {
        self.shared.recorded.as_ref()
    }

    pub(super) fn way(&self, tls: &Tls, proxy: Option<&str>) -> Result<Way, HttpError> {
        if let Some(recorded) = &self.shared.recorded {
            return Ok(Way::Recorded(recorded.clone()));
        }
        let policy = self.shared.policy.clone();
        let client = if tls.is_default() && proxy.is_none() {
            match self.shared.client.get() {
                Some(client) => client.clone(),
                None => {
                    let built = build(&policy, tls, None)?;
                    self.shared.client.get_or_init(|| built).clone()
                }
            }
        } else {
            build(&policy, tls, proxy)?
        };
        Ok(Way::Network { client, policy, by_proxy: proxy.is_some() })
    }
}

impl Way {
    /// Sends one request and reads its answer, up to `limit` bytes of body.
    pub(super) async fn send(&self, request: &Outgoing, limit: usize) -> Result<Answer, HttpError> {
        let (client, policy, by_proxy) = match self {
            Self::Recorded(recorded) => return recorded::answer(recorded, request),
            Self::Network { client, policy, by_proxy } => (client, policy, *by_proxy),
        };
        permit(policy, &request.url, by_proxy).await?;
        let failed = |source: reqwest::Error| HttpError::Failed {
            method: request.method.clone(),
            url: shown(&request.url),
            source: Box::new(source.without_url()),
        };
        let mut outgoing =
            client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        match &request.body {
            Some(Content::Bytes(body)) => outgoing = outgoing.body(body.clone()),
            Some(Content::Parts(parts)) => {
                // Known before it is read: many servers want no body in chunks.
                outgoing = outgoing
                    .header(reqwest::header::CONTENT_LENGTH, parts.length())
                    .body(reqwest::Body::wrap_stream(parts.stream()));
            }
            None => {}
        }
        let mut response = outgoing.send().await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        if request.method != Method::HEAD {
            while let Some(piece) = response.chunk().await.map_err(failed)? {
                if body.len() + piece.len() > limit {
                    let (method, url) = (request.method.clone(), shown(&request.url));
                    return Err(HttpError::TooLarge { method, url, limit });
                }
                body.extend_from_slice(&piece);
            }
        }
        Ok(Answer { status, headers, body })
    }
}

/// What the resolver does not see: addresses that stand in the URL itself, and names that a proxy resolves.
async fn permit(policy: &NetworkPolicy, url: &Url, by_proxy: bool) -> Result<(), Denied> {
    let check = |host: &str, address: IpAddr| match policy.permits(address) {
        true => Ok(()),
        false => Err(Denied { host: host.to_owned(), address }),
    };
    match url.host() {
        Some(Host::Ipv4(address)) => check(&address.to_string(), address.into()),
        Some(Host::Ipv6(address)) => check(&address.to_string(), address.into()),
        // A name that only the proxy knows is the proxy's to judge.
        Some(Host::Domain(name)) if by_proxy => match tokio::net::lookup_host((name, 0)).await {
            Ok(mut addresses) => addresses.try_for_each(|found| check(name, found.ip())),
            Err(_) => Ok(()),
        },
        Some(Host::Domain(_)) | None => Ok(()),
    }
}

/// Finds the addresses of a name.
type Lookup = Arc<dyn Fn(String) -> Looking + Send + Sync>;
type Looking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// As the machine does.
fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }))
}

/// Resolves names to the addresses that are permitted.
struct Guard {
    policy: Arc<NetworkPolicy>,
    lookup: Lookup,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        let looking = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let found = looking.await?;
            let permitted: Vec<SocketAddr> =
                found.iter().copied().filter(|address| policy.permits(address.ip())).collect();
            match (permitted.is_empty(), found.first()) {
                (true, Some(first)) => {
                    Err(Denied { host: name.as_str().to_owned(), address: first.ip() }.into())
                }
                _ => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}

fn build(policy: &Arc<NetworkPolicy>, tls: &Tls, proxy: Option<&str>) -> Result<Client, HttpError> {
    build_with(Guard { policy: policy.clone(), lookup: system_lookup() }, tls, proxy)
}

fn build_with(guard: Guard, tls: &Tls, proxy: Option<&str>) -> Result<Client, HttpError> {
    let policy = guard.policy.clone();
    // The first caller in a process installs the provider; later ones find it there.
    drop(rustls::crypto::ring::default_provider().install_default());
    let wrong = |name| move |error: reqwest::Error| HttpError::Parameter { name, problem: causes(&error) };
    let mut builder = Client::builder()
        .connect_timeout(CONNECTING)
        .redirect(Policy::none())
        .referer(false)
        .user_agent(USER_AGENT)
        .dns_resolver(guard);
    builder = match proxy {
        None => builder.no_proxy(),
        Some(proxy) => {
            let url = Url::parse(proxy).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let problem =
                "is not the address of a proxy, expected one such as `http://proxy.example.com:3128`";
            let unusable = || HttpError::Parameter { name: "proxy", problem: problem.to_owned() };
            let url = url.ok_or_else(unusable)?;
            let literal = match url.host() {
                Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
                Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
                Some(Host::Domain(_)) | None => None,
            };
            if let Some(address) = literal.filter(|address| !policy.permits(*address)) {
                return Err(Denied { host: address.to_string(), address }.into());
            }
            builder.proxy(Proxy::all(url).map_err(|_| unusable())?)
        }
    };
    if let Some(ca) = &tls.ca {
        builder =
            builder.tls_certs_merge(Certificate::from_pem_bundle(ca.as_bytes()).map_err(wrong("tls.ca"))?);
    }
    if let Some(certificate) = &tls.client_certificate {
        let key = tls.client_key.as_deref().unwrap_or_default();
        let pem = format!("{certificate}\n{key}\n");
        builder =
            builder.identity(Identity::from_pem(pem.as_bytes()).map_err(wrong("tls.client_certificate"))?);
    }
    builder.tls_danger_accept_invalid_certs(!tls.verify).build().map_err(wrong("tls"))
}

fn causes(error: &dyn std::error::Error) -> String {
    crate::attempt::with_causes(error)
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::native::network::parse_networks;

    /// Answers each connection with one text, and counts them.
    fn serve(listener: TcpListener) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let _read = stream.read(&mut request).await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _written = stream.write_all(answer.as_bytes()).await;
            }
        });
        count
    }

    /// A name whose server says one address when it is judged and another one afterwards gains nothing: what was judged is what
    /// is connected to, and the next request is judged anew.
    #[tokio::test]
    async fn test_a_name_that_changes_its_mind_leads_nowhere_else() {
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = outside.local_addr().unwrap().port();
        let inside = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let (outside, inside) = (serve(outside), serve(inside));
        let policy =
            Arc::new(NetworkPolicy { allow: parse_networks("127.0.0.1").unwrap(), deny: Vec::new() });
        let asked = Arc::new(AtomicUsize::new(0));
        let lookup: Lookup = Arc::new({
            let asked = asked.clone();
            move |_name| {
                let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                let address = if first { [127, 0, 0, 1] } else { [127, 0, 0, 2] };
                Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
            }
        });
        let client = build_with(Guard { policy, lookup }, &Tls::default(), None).unwrap();
        let url = format!("http://rebind.example:{port}/");
        let answer = client.get(&url).send().await.unwrap().text().await.unwrap();
        assert_eq!((answer.as_str(), asked.load(Ordering::SeqCst)), ("ok", 1), "one question, one judgement");
        let error = client.get(&url).send().await.unwrap_err();
        assert!(causes(&error).contains("127.0.0.2, which is not an address"), "{}", causes(&error));
        assert_eq!((outside.load(Ordering::SeqCst), inside.load(Ordering::SeqCst)), (1, 0));
    }
}
