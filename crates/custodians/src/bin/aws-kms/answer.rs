//! What KMS's and STS's refusals are to rekeyfs.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use rekeyfs_custodians::{Kind, Refusal};
use serde_json::Value;
use zeroize::Zeroizing;

use super::http::Answered;

/// How far a clock may be off, in seconds: AWS's five minutes.
const SKEW: i64 = 5 * 60;

/// A member of an answer that is a text.
pub(super) fn text(answer: &Value, name: &str) -> Option<Zeroizing<String>> {
    answer.get(name).and_then(Value::as_str).map(|text| Zeroizing::new(text.to_owned()))
}

/// An answer that isn't KMS's.
pub(super) fn internal() -> Refusal {
    Refusal::new(Kind::Internal, "its server's answer isn't one of KMS")
}

/// A refusal of KMS's: a status that isn't 200, with its body as JSON.
pub(super) fn refused(answer: &Answered, body: Value, sent: Timestamp) -> Refusal {
    let name = body.get("__type").and_then(Value::as_str).unwrap_or_default();
    // `com.amazonaws.kms#DisabledException` to some.
    let name = name.rsplit('#').next().unwrap_or_default();
    let message = ["message", "Message"].iter().find_map(|name| body.get(name)?.as_str()).unwrap_or_default();
    named(answer, name, message, sent)
}

/// A refusal with AWS's name of it.
pub(super) fn named(answer: &Answered, name: &str, message: &str, sent: Timestamp) -> Refusal {
    if let Some(off) = clock_off(answer, name, message, sent) {
        return Refusal::new(Kind::Denied, format!("this host's clock is {off} s off its server's; set it"));
    }
    let kind = kind_of(name, answer.status);
    let message = match name {
        "" => format!("its server answers with status {}", answer.status),
        name if message.is_empty() => name.to_owned(),
        name => format!("{name}: {message}"),
    };
    let retry_after = answer.retry_after.filter(|_| kind == Kind::Busy);
    Refusal::new(kind, message).later(retry_after)
}

fn kind_of(name: &str, status: u16) -> Kind {
    match name.strip_suffix("Exception").unwrap_or(name) {
        // Pending deletion, among others.
        "Disabled" | "KMSInvalidState" => Kind::Disabled,
        "IncorrectKey" | "InvalidCiphertext" => Kind::Damaged,
        "NotFound" => Kind::NotFound,
        "AccessDenied"
        | "NotAuthorized"
        | "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "InvalidIdentityToken"
        | "OptInRequired"
        | "RequestExpired" => Kind::Denied,
        "Throttling"
        | "ThrottledException"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "LimitExceeded"
        | "SlowDown"
        | "KeyUnavailable"
        | "DependencyTimeout"
        | "KMSInternal"
        | "ServiceUnavailable"
        | "InternalFailure"
        | "IDPCommunicationError" => Kind::Busy,
        "InvalidKeyUsage" | "UnsupportedOperation" | "UnknownOperation" => Kind::Unsupported,
        _ if status == 429 || status >= 500 => Kind::Busy,
        _ if status == 401 || status == 403 => Kind::Denied,
        _ => Kind::Internal,
    }
}

/// By how many seconds the clocks differ, if that is why a signature is refused.
fn clock_off(answer: &Answered, name: &str, message: &str, sent: Timestamp) -> Option<i64> {
    let about_time =
        ["Signature expired", "Signature not yet current", "RequestExpired", "RequestTimeTooSkewed"];
    if !about_time.iter().any(|words| message.contains(words) || name.contains(words)) {
        return None;
    }
    let theirs = rfc2822::parse(answer.date.as_deref()?).ok()?.timestamp();
    let off = sent.as_second() - theirs.as_second();
    (off.abs() >= SKEW).then_some(off)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn answered(status: u16) -> Answered {
        let date = Some("Sun, 30 Aug 2015 12:36:00 GMT".to_owned());
        Answered { status, body: Zeroizing::default(), date, retry_after: Some(Duration::from_secs(2)) }
    }

    fn told(name: &str, message: &str, status: u16) -> Value {
        let sent: Timestamp = "2015-08-30T12:50:00Z".parse().unwrap();
        let body = json!({"__type": name, "message": message});
        serde_json::to_value(refused(&answered(status), body, sent)).unwrap()
    }

    #[test]
    fn each_refusal_of_kms_has_its_kind() {
        for (name, kind) in [
            ("DisabledException", "disabled"),
            ("KMSInvalidStateException", "disabled"),
            ("com.amazonaws.kms#AccessDeniedException", "denied"),
            ("ExpiredTokenException", "denied"),
            ("UnrecognizedClientException", "denied"),
            ("IncorrectKeyException", "damaged"),
            ("InvalidCiphertextException", "damaged"),
            ("NotFoundException", "not-found"),
            ("ThrottlingException", "busy"),
            ("KMSInternalException", "busy"),
            ("InvalidKeyUsageException", "unsupported"),
            ("NoSuchThingException", "internal"),
        ] {
            assert_eq!(told(name, "why", 400)["kind"], kind, "{name}");
        }
        assert_eq!(told("ThrottlingException", "Rate exceeded", 400)["retry_after_ms"], 2000);
        assert_eq!(
            told("DisabledException", "it is disabled", 400)["message"],
            "DisabledException: it is disabled"
        );
        assert_eq!(
            told("", "", 503),
            json!({"kind": "busy", "message": "its server answers with status 503", "retry_after_ms": 2000})
        );
    }

    #[test]
    fn a_clock_that_is_off_is_said_to_be() {
        let expired = told("InvalidSignatureException", "Signature expired: 20150830T125000Z is now …", 400);
        assert_eq!(expired["message"], "this host's clock is 840 s off its server's; set it");
        assert_eq!(expired["kind"], "denied");
        let wrong =
            told("InvalidSignatureException", "The request signature we calculated does not match", 400);
        assert!(wrong["message"].as_str().unwrap().starts_with("InvalidSignatureException: The request"));
    }
}
