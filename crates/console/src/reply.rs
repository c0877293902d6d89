//! Replies to a browser. Each, a refusal too, says that it is to be shown in no frame, kept in no cache, and that it loads
//! nothing but this server's own style, script, pictures and answers. Nothing is written into a page's markup that a policy
//! without inline scripts and styles forbids.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use maud::Markup;

/// What each reply has.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];
/// Pages tell of keys.
const NOT_KEPT: &str = "no-store";
/// What has its version in its address doesn't change.
const KEPT: &str = "public, max-age=86400, immutable";

/// A reply.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    kind: &'static str,
    body: Bytes,
    headers: Vec<(HeaderName, String)>,
    cache: &'static str,
}

impl Reply {
    fn of(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, kind, body: body.into(), headers: Vec::new(), cache: NOT_KEPT }
    }

    /// A document.
    pub(crate) fn html(status: StatusCode, document: Markup) -> Self {
        Self::of(status, "text/html; charset=utf-8", document.into_string())
    }

    /// An answer for the script.
    pub(crate) fn json(data: &serde_json::Value) -> Self {
        Self::of(StatusCode::OK, "application/json", data.to_string())
    }

    /// The way to another page, by GET.
    pub(crate) fn see(path: String) -> Self {
        Self::of(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "").with(header::LOCATION, path)
    }

    /// Style, script or picture.
    pub(crate) fn asset(kind: &'static str, content: &'static str) -> Self {
        Self { cache: KEPT, ..Self::of(StatusCode::OK, kind, content) }
    }

    /// The same with a header.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, of which the methods are named that would do.
    #[must_use]
    pub(crate) fn allowing(self, method: &Method) -> Self {
        self.with(header::ALLOW, method.to_string())
    }

    /// The same, to a client whose request isn't read to its end.
    #[must_use]
    pub(crate) fn and_hang_up(self) -> Self {
        self.with(header::CONNECTION, "close".to_owned())
    }

    /// The reply on its way.
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let fixed = [(header::CONTENT_TYPE, self.kind), (header::CACHE_CONTROL, self.cache)];
        for (name, value) in HEADERS.into_iter().chain(fixed) {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
