//! Answers as AWS's JSON protocol has them: 200 with an object or nothing, else an object with `__type` and `message`. Each
//! has an id of its own in `x-amzn-requestid`.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use rekeyfs::crypto::random;
use serde_json::{Value, json};

/// What requests and answers are written in.
pub(crate) const JSON: &str = "application/x-amz-json-1.1";
const REQUEST_ID: &str = "x-amzn-requestid";

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    body: Vec<u8>,
    /// The rest of the request isn't read.
    hang_up: bool,
}

impl Answer {
    /// Done. AWS says nothing where there is nothing to say.
    pub(crate) fn done(answer: &Value) -> Self {
        let body = if answer.is_null() { Vec::new() } else { answer.to_string().into_bytes() };
        Self { status: StatusCode::OK, body, hang_up: false }
    }

    /// Refused or failed.
    pub(crate) fn error(status: StatusCode, name: &str, message: &str) -> Self {
        let body = json!({ "__type": name, "message": message }).to_string().into_bytes();
        Self { status, body, hang_up: false }
    }

    /// The same, to a client whose request isn't read to its end.
    #[must_use]
    pub(crate) fn and_hang_up(self) -> Self {
        Self { hang_up: true, ..self }
    }

    /// The answer on its way.
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.hang_up {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let id = uuid::Builder::from_random_bytes(random::array()).into_uuid();
        if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}
