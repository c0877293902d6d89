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
//! A request is refused with AWS's words. Statuses of 500 and up are for what may be over in a moment, since SDKs try again.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rekeyfs::console::ServeKms;
use rekeyfs::ids::Timestamp;
use rekeyfs::kms::{Call, api, wipe};
use rekeyfs::service::{ErrorKind, ErrorReply, KmsReply};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::{Answer, JSON};
use crate::credentials::{Credentials, CredentialsError, Grant};
use crate::host;
use crate::log::{self, Limited as LimitedLog};
use crate::names::Names;
use crate::sigv4::{Claim, Scope, SignatureError, Signed};
use crate::vault::Vault;

/// The longest body, in bytes. AWS's longest request is a key policy of 32 KiB.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// How long a client may take to send its body.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);

/// Calls that wait for the daemon at a time. It serves 16 connections.
pub(crate) const CALLS_MAX: usize = 8;

/// What `x-amz-target` begins with: the service's name in its model.
const TARGET_PREFIX: &str = "TrentService.";
const TARGET: &str = "x-amz-target";

/// What answers requests.
pub(crate) struct Endpoint {
    vault: Arc<Vault>,
    credentials: Credentials,
    names: Names,
    scope: Scope,
    limited: LimitedLog,
    /// Taken before a call is given to a thread. A client that hangs up while it waits for one has asked for nothing: no call
    /// lies in a queue that is done when nobody waits for it any more, and none fills the memory.
    calls: Arc<Semaphore>,
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
            vault: Arc::new(Vault::of(serve)),
            credentials,
            names: Names::of(&serve.region, &serve.account),
            scope: Scope { region: serve.region.to_string(), service: "kms" },
            limited: LimitedLog::default(),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        })
    }

    pub(crate) async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let answer = self.answer(&parts, body).await.unwrap_or_else(|refusal| refusal);
        answer.into_response()
    }

    async fn answer(&self, parts: &Parts, body: Incoming) -> Result<Answer, Answer> {
        self.check_place(parts)?;
        let (claim, grant) = self.claimed(parts).map_err(Answer::and_hang_up)?;
        let body = read(body).await?;
        let signed = Signed { method: parts.method.as_str(), headers: &parts.headers, body: &body };
        claim.verify(&grant.secret, &self.scope, &signed).map_err(|error| self.unauthenticated(&error))?;
        let call = self.call(parts, &body)?;
        check_access(&grant, &call)?;
        let (vault, principal) = (Arc::clone(&self.vault), grant.principal);
        // Never closed.
        let Ok(turn) = Arc::clone(&self.calls).acquire_owned().await else { return Err(bug()) };
        let done = tokio::task::spawn_blocking(move || {
            let answered = vault.call(&call, principal);
            drop(turn);
            answered
        })
        .await;
        match done {
            Ok(Ok(KmsReply::Done { mut answer })) => {
                self.names.outward(&mut answer);
                let done = Answer::done(&answer);
                // It may have a plaintext.
                wipe(&mut answer);
                Ok(done)
            }
            Ok(Ok(KmsReply::Failed { error })) => Err(self.refusal(&error.name.to_string(), &error.message)),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_) => Err(bug()),
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

/// The body, within its limits.
async fn read(body: Incoming) -> Result<Bytes, Answer> {
    let too_long = || {
        let message = format!("the body has more than {BODY_MAX} bytes");
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", &message).and_hang_up()
    };
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(too_long());
    }
    match timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => {
            Err(Answer::error(StatusCode::BAD_REQUEST, "SerializationException", "the body broke off")
                .and_hang_up())
        }
        Err(_) => {
            let message = format!("the body didn't come within {} s", BODY_TIME.as_secs());
            Err(Answer::error(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", &message).and_hang_up())
        }
    }
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

fn bug() -> Answer {
    internal("the endpoint met a bug and continues; its log says which")
}

fn internal(message: &str) -> Answer {
    Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "KMSInternalException", message)
}
