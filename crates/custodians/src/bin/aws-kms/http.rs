//! Requests over HTTP: to KMS and STS by TLS, and to the metadata service of this machine.
//!
//! A request has a few seconds, less than the ten that rekeyfs gives a custodian: what is said of it then is more than that nobody
//! answered. Redirects aren't followed. Certificates are checked against those of the system (`SSL_CERT_FILE`, where `env=` has it).

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rekeyfs_custodians::{Kind, Refusal};
use ureq::http::{Request, Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, Error, Timeout};
use zeroize::Zeroizing;

/// For a connection, and TLS on it.
const CONNECT: Duration = Duration::from_secs(3);
/// For all of a request.
const WHOLE: Duration = Duration::from_secs(7);
/// What is read of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// A URL of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url(Uri);

impl Url {
    /// Of a text.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`]: it is none, has more than a host, or would send secrets over a network as they are.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = |what: &str| Refusal::new(Kind::NotAllowed, format!("the endpoint {text:?} {what}"));
        let uri: Uri = text.parse().map_err(|_| wrong("is no URL"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let has_more = uri.query().is_some() || !matches!(uri.path(), "" | "/");
        if host.is_empty() || has_more || uri.authority().is_some_and(|all| all.as_str().contains('@')) {
            return Err(wrong("should be https://HOST"));
        }
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if is_here => Ok(Self(uri)),
            _ => Err(wrong("has no TLS, without which keys go to this host alone; make it https")),
        }
    }

    /// As the header `host` has it.
    pub(super) fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An answer.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// When its server sent it.
    pub(super) date: Option<String>,
    /// When it wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// Makes requests.
pub(super) struct Http {
    /// By TLS.
    secured: Agent,
    /// To this machine or its link, without TLS. A proxy would have the keys as they are, so it is never used.
    near: Agent,
}

impl Http {
    /// By TLS, or to this host.
    pub(super) fn secured() -> Self {
        let roots = rustls_native_certs::load_native_certs().certs;
        let roots = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder().tls_config(tls).timeout_connect(Some(CONNECT));
        let config = config.timeout_global(Some(WHOLE)).http_status_as_error(false).max_redirects(0);
        Self { secured: config.build().into(), near: near(WHOLE) }
    }

    /// Without TLS and past every proxy: to what must be near, or is nowhere.
    pub(super) fn near(limit: Duration) -> Self {
        Self { secured: near(limit), near: near(limit) }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// As [`Http::send_within`].
    pub(super) fn send(&self, request: Request<&[u8]>) -> Result<Answered, Refusal> {
        self.send_within(request, None)
    }

    /// Sends a request; `limit` is for one that may take less time than others.
    ///
    /// # Errors
    /// [`Kind::Offline`]; [`Kind::Denied`] for a server that isn't who it should be; [`Kind::Internal`].
    pub(super) fn send_within(
        &self,
        request: Request<&[u8]>,
        limit: Option<Duration>,
    ) -> Result<Answered, Refusal> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let agent = if request.uri().scheme_str() == Some("http") { &self.near } else { &self.secured };
        let request = match limit {
            Some(limit) => agent.configure_request(request).timeout_global(Some(limit)).build(),
            None => request,
        };
        let ask = |request: Request<&[u8]>| {
            let ran =
                if request.method() == "GET" { agent.run(request.map(|_| ())) } else { agent.run(request) };
            ran.and_then(read)
        };
        let answered = match ask(request.clone()) {
            Err(Error::Io(error)) if is_broken(&error) => ask(request),
            answered => answered,
        };
        answered.map_err(|error| refusal(&host, &error))
    }
}

/// Whether a connection ended before its answer: a server that is being replaced does so. What is asked for is harmless to ask again.
fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn near(limit: Duration) -> Agent {
    let config = Agent::config_builder().proxy(None).timeout_global(Some(limit));
    config.http_status_as_error(false).max_redirects(0).build().into()
}

fn read(mut response: Response<Body>) -> Result<Answered, Error> {
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (date, retry_after) = (header("date"), header("retry-after"));
    let status = response.status().as_u16();
    // Allocated once: a vector that grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER as usize));
    response.body_mut().as_reader().take(MAX_ANSWER).read_to_end(&mut body)?;
    let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    Ok(Answered { status, body, date, retry_after })
}

fn refusal(host: &str, error: &Error) -> Refusal {
    let kind = match error {
        Error::Io(error)
            if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
        {
            Kind::Denied
        }
        Error::Rustls(_) => Kind::Denied,
        Error::Io(_) | Error::Timeout(_) | Error::HostNotFound | Error::ConnectionFailed => Kind::Offline,
        Error::ConnectProxyFailed(_) => Kind::Offline,
        _ => Kind::Internal,
    };
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Refusal::new(kind, format!("no connection to {host} in time"))
        }
        Error::Timeout(_) => Refusal::new(kind, format!("{host} doesn't answer in time")),
        error => Refusal::new(kind, format!("{host}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_nothing_leaves_this_host() {
        for good in [
            "https://kms.eu-central-1.amazonaws.com",
            "http://127.0.0.1:4566",
            "http://localhost:1",
            "http://[::1]:80/",
        ] {
            assert!(Url::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1",
            "http://kms.example.org",
            "ftp://localhost",
            "https://",
            "x",
            "https://a/b",
            "https://u@a",
            "https://a?b",
        ] {
            assert_eq!(Url::parse(bad).map_err(|refusal| refusal.kind()), Err(Kind::NotAllowed), "{bad}");
        }
    }
}
