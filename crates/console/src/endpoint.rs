//! A request, from its headers to its answer. The order matters: what costs little is refused first, and the body of a
//! request that no known access key signed isn't read.
//!
//! 1. It is for a loopback name, a POST to `/`, and claims a signature that could be good ([`Claim`]).
//! 2. The access key is known. Then the body is read, within its limits of size and time.
//! 3. The signature is the secret's.
//! 4. The operation and its parameters are a call, by the table that makes the command line too.
//! 5. The access key may make it: one that is read-only changes nothing; the rest is the daemon's to judge.
//! 6. The daemon does it, on a thread on which waiting is allowed. Until one is free the client can still hang up, and
//!    then it isn't done.
//!
//! A mount that hangs is waited for until a deadline, which is the client's answer; the thread waits on, since what the daemon
//! has begun it may still do, and while all threads wait, further calls wait for one as long.
//!
//! A request is refused with AWS's words. Statuses of 500 and up are for what may be over in a moment, since SDKs try again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rekeyfs::console::ServeKms;
use rekeyfs::control::Client;
use rekeyfs::ids::Timestamp;
use rekeyfs::kms::{Call, api, wipe};
use rekeyfs::monitor::Monitor;
use rekeyfs::service::{ErrorKind, ErrorReply, KmsReply, Operations};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::answer::{Answer, JSON};
use crate::body::{self, BodyError, RequestBody};
use crate::credentials::{Credentials, CredentialsError, Grant};
use crate::host;
use crate::log::{self, Limited as LimitedLog};
use crate::names::Names;
use crate::server::Service;
use crate::sigv4::{Claim, Scope, SignatureError, Signed};
use crate::vault::Vault;

/// The longest body, in bytes. AWS's longest request is a key policy of 32 KiB.
const BODY_MAX: usize = 1 << 20;

/// How long the answer may take to a call that counts all files first. A client that doesn't wait so long hangs up.
const COUNT_TIME: Duration = Duration::from_secs(60 * 60);

/// What `x-amz-target` begins with: the service's name in its model.
const TARGET_PREFIX: &str = "TrentService.";
const TARGET: &str = "x-amz-target";

/// What answers requests.
pub(crate) struct Endpoint {
    vault: Vault,
    credentials: Credentials,
    names: Names,
    scope: Scope,
    limited: LimitedLog,
    /// How long the mount may take.
    answer_within: Duration,
}

impl Service for Endpoint {
    async fn respond(&self, request: Request<RequestBody>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let answer = self.answer(&parts, body).await.unwrap_or_else(|refusal| refusal);
        answer.into_response()
    }
}

impl Endpoint {
    /// # Errors
    /// The credentials can't be read.
    pub(crate) fn of(serve: &ServeKms) -> Result<Self, CredentialsError> {
        let credentials = Credentials::of(serve.credentials.as_path().to_owned());
        if credentials.check()? == 0 {
            log::say("there are no credentials yet; make some with `rekeyfs kms serve --new-credentials`");
        }
        Ok(Self {
            vault: Vault::of(serve.location, serve.owner),
            credentials,
            names: Names::of(&serve.region, &serve.account),
            scope: Scope { region: serve.region.to_string(), service: "kms" },
            limited: LimitedLog::default(),
            answer_within: Duration::from_secs(serve.answer_within.get().into()),
        })
    }

    async fn answer(&self, parts: &Parts, body: RequestBody) -> Result<Answer, Answer> {
        self.check_place(parts)?;
        let (claim, grant) = self.claimed(parts).map_err(Answer::and_hang_up)?;
        let body = body::read(body, BODY_MAX).await.map_err(unread)?;
        let signed = Signed { method: parts.method.as_str(), headers: &parts.headers, body: &body };
        claim.verify(&grant.secret, &self.scope, &signed).map_err(|error| self.unauthenticated(&error))?;
        let call = self.call(parts, &body)?;
        check_access(&grant, &call)?;
        let (principal, begun) = (grant.principal, Arc::new(AtomicBool::new(false)));
        let patience = match call {
            Call::ScheduleKeyDeletion { .. } => COUNT_TIME,
            _ => self.answer_within,
        };
        let asked = {
            let begun = Arc::clone(&begun);
            move |client: &Client| {
                begun.store(true, Ordering::Relaxed);
                client.kms(&call, Some(principal), &mut Monitor::unattended())
            }
        };
        let answered = timeout(patience, self.vault.ask(asked)).await;
        match answered.map_err(|_| self.overdue(patience, begun.load(Ordering::Relaxed)))? {
            Ok(KmsReply::Done { mut answer }) => {
                self.names.outward(&mut answer);
                let done = Answer::done(&answer);
                // It may have a plaintext.
                wipe(&mut answer);
                Ok(done)
            }
            Ok(KmsReply::Failed { error }) => Err(self.refusal(&error.name.to_string(), &error.message)),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn check_place(&self, parts: &Parts) -> Result<(), Answer> {
        if !host::is_loopback(&parts.headers) || parts.uri.authority().is_some() {
            self.limited.say("a request for another host than this one's loopback was refused");
            let message = "this endpoint is for programs of this host, at 127.0.0.1, [::1] or localhost";
            return Err(Answer::error(StatusCode::FORBIDDEN, "AccessDeniedException", message).and_hang_up());
        }
        if parts.method != Method::POST || parts.uri.path() != "/" || parts.uri.query().is_some() {
            let message = "AWS KMS's protocol is a POST to /, signed in its Authorization header";
            return Err(
                Answer::error(StatusCode::NOT_FOUND, "UnknownOperationException", message).and_hang_up()
            );
        }
        Ok(())
    }

    /// What the headers claim, and what may be done if it is true.
    fn claimed(&self, parts: &Parts) -> Result<(Claim, Grant), Answer> {
        let refused = |error: SignatureError| self.unauthenticated(&error);
        let claim = Claim::parse(&parts.headers, &self.scope, Timestamp::now()).map_err(refused)?;
        let grant = self.credentials.grant(claim.access_key()).map_err(|error| {
            self.limited.say(&error.to_string());
            internal("the endpoint's credentials can't be read; its log says why")
        })?;
        let grant = grant.ok_or_else(|| refused(SignatureError::Unrecognized))?;
        Ok((claim, grant))
    }

    fn unauthenticated(&self, error: &SignatureError) -> Answer {
        self.limited.say(&format!("a request was refused: {}: {error}", error.name()));
        Answer::error(StatusCode::FORBIDDEN, error.name(), &error.to_string())
    }

    /// What is asked.
    fn call(&self, parts: &Parts, body: &[u8]) -> Result<Call, Answer> {
        let is_json = |text: &str| text.split(';').next().is_some_and(|kind| kind.trim() == JSON);
        if !parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json) {
            return Err(self.refusal("SerializationException", &format!("The content type isn't {JSON}.")));
        }
        let target = parts.headers.get(TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(operation) = target.strip_prefix(TARGET_PREFIX) else {
            return Err(
                self.refusal("UnknownOperationException", "The X-Amz-Target names no operation of KMS.")
            );
        };
        let mut parameters = match serde_json::from_slice(body) {
            _ if body.is_empty() => Value::Object(Map::new()),
            Ok(parameters @ Value::Object(_)) => parameters,
            _ => return Err(self.refusal("SerializationException", "The body isn't a JSON object.")),
        };
        self.names.inward(&mut parameters);
        api::call(operation, &parameters)
            .map_err(|error| self.refusal(&error.name.to_string(), &error.message))
    }

    fn refusal(&self, name: &str, message: &str) -> Answer {
        Answer::error(StatusCode::BAD_REQUEST, name, &self.names.in_message(message))
    }

    /// The mount let the deadline pass. AWS has this one for a service behind it, and SDKs try again.
    fn overdue(&self, waited: Duration, begun: bool) -> Answer {
        let (seconds, what) =
            (waited.as_secs(), if begun { "was asked, and may still do it" } else { "wasn't asked" });
        let message =
            format!("the mount doesn't answer: in {seconds} s it {what}; is the disk below it stuck?");
        self.limited.say(&message);
        Answer::error(StatusCode::SERVICE_UNAVAILABLE, "DependencyTimeoutException", &message)
    }

    /// What kept the daemon from doing it.
    fn failure(&self, error: &ErrorReply) -> Answer {
        self.limited.say(&error.message);
        match error.kind {
            // SDKs slow down by this one.
            ErrorKind::Busy => Answer::error(StatusCode::BAD_REQUEST, "ThrottlingException", &error.message),
            _ => internal(&error.message),
        }
    }
}

/// The refusal of a body.
fn unread(error: BodyError) -> Answer {
    let (status, name) = match error {
        BodyError::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException"),
        BodyError::BrokeOff => (StatusCode::BAD_REQUEST, "SerializationException"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
    };
    Answer::error(status, name, &error.to_string()).and_hang_up()
}

/// Whether an access key may make a call, as far as that can be seen here. Its principal's rights are the daemon's to judge.
///
/// What is read-only neither changes keys nor makes data that only they open: the first time that a key is used for that changes
/// the keyring.
fn check_access(grant: &Grant, call: &Call) -> Result<(), Answer> {
    let encrypts = matches!(
        call,
        Call::Encrypt(_)
            | Call::ReEncrypt(_)
            | Call::GenerateDataKey(_)
            | Call::GenerateDataKeyWithoutPlaintext(_)
    );
    if !grant.read_only || !(call.changes() || encrypts) {
        return Ok(());
    }
    let (who, operation) = (grant.principal, call.operation());
    let message = format!(
        "User: {who} is not authorized to perform: kms:{operation} because its credentials are read-only"
    );
    Err(Answer::error(StatusCode::BAD_REQUEST, "AccessDeniedException", &message))
}

fn internal(message: &str) -> Answer {
    Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "KMSInternalException", message)
}
