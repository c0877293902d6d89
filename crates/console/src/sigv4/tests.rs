use data_encoding::HEXLOWER;
use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use rekeyfs::ids::Timestamp;

use super::amz_date::AmzDate;
use super::*;

/// Of AWS's test suite (aws-sig-v4-test-suite): the same credentials, date and scope in all of it.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const CREDENTIAL: &str = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
const DATE: &str = "20150830T123600Z";

fn scope() -> Scope {
    Scope { region: "us-east-1".to_owned(), service: "service" }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn then() -> Timestamp {
    at("2015-08-30T12:36:00Z")
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_bytes(name.to_lowercase().as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

/// Host and date, and these.
fn usual(more: &[(&str, &str)]) -> HeaderMap {
    let mut pairs = vec![("Host", "example.amazonaws.com"), ("X-Amz-Date", DATE)];
    pairs.extend(more);
    headers(&pairs)
}

fn authorized(mut headers: HeaderMap, value: &str) -> HeaderMap {
    headers.insert("authorization", HeaderValue::from_str(value).unwrap());
    headers
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={signed_headers}, Signature={signature}")
}

fn check(headers: &HeaderMap, method: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
    let claim = Claim::parse(headers, &scope(), now)?;
    claim.verify(&SecretKey::new(SECRET.to_owned()), &scope(), &Signed { method, headers, body })
}

/// The signature that the secret makes, as a client makes it.
fn signature(headers: &HeaderMap, signed_headers: &str, method: &str, body: &[u8]) -> String {
    let names: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
    let request = Signed { method, headers, body }.canonical(&names);
    let signed = rekeyfs_sigv4::Scope { date: DATE, region: "us-east-1", service: "service" };
    HEXLOWER.encode(&signed.sign(&SecretKey::new(SECRET.to_owned()), &request))
}

/// A request of that suite: method, headers, body, the names of the signed headers, the published signature.
type Vector<'a> = (&'a str, HeaderMap, &'a [u8], &'a str, &'a str);

#[test]
fn published_vectors_verify() {
    let form = "application/x-www-form-urlencoded";
    let body = b"Param1=value1";
    #[rustfmt::skip]
    let vectors: [Vector<'_>; 9] = [
        // get-vanilla, post-vanilla, post-x-www-form-urlencoded and its -parameters
        ("GET", usual(&[]), b"", "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", usual(&[]), b"", "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST", usual(&[("Content-Type", form)]), body, "content-type;host;x-amz-date", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ("POST", usual(&[("Content-Type", "application/x-www-form-urlencoded; charset=utf8")]), body, "content-type;host;x-amz-date", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"),
        // post-header-key-sort, post-header-value-case
        ("POST", usual(&[("My-Header1", "value1")]), b"", "host;my-header1;x-amz-date", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
        ("POST", usual(&[("My-Header1", "VALUE1")]), b"", "host;my-header1;x-amz-date", "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
        // get-header-value-trim, get-header-key-duplicate, get-header-value-order
        ("GET", usual(&[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")]), b"", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        ("GET", usual(&[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")]), b"", "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
        ("GET", usual(&[("My-Header1", "value4"), ("My-Header1", "value1"), ("My-Header1", "value3"), ("My-Header1", "value2")]), b"", "host;my-header1;x-amz-date", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"),
    ];
    for (method, headers, body, names, published) in vectors {
        assert_eq!(signature(&headers, names, method, body), published);
        let request = authorized(headers, &authorization(names, published));
        assert_eq!(check(&request, method, body, then()), Ok(()), "{published}");
    }
}

#[test]
fn a_session_token_is_refused() {
    // post-sts-header-before of the suite has one: whatever its signature is.
    let headers = usual(&[("X-Amz-Security-Token", "token")]);
    let names = "host;x-amz-date;x-amz-security-token";
    let signature = signature(&headers, names, "POST", b"");
    let request = authorized(headers, &authorization(names, &signature));
    assert_eq!(check(&request, "POST", b"", then()), Err(SignatureError::Unrecognized));
}

#[test]
fn what_decides_must_be_signed() {
    for (left_out, extra) in [
        ("host", None),
        ("x-amz-date", None),
        ("x-amz-target", Some(("X-Amz-Target", "TrentService.CreateKey"))),
        ("content-type", Some(("Content-Type", "application/x-amz-json-1.1"))),
        ("x-amz-other", Some(("X-Amz-Other", "1"))),
    ] {
        let headers = usual(extra.as_slice());
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let all = names.join(";");
        let request =
            authorized(headers.clone(), &authorization(&all, &signature(&headers, &all, "POST", b"")));
        assert_eq!(check(&request, "POST", b"", then()), Ok(()), "{all}");
        names.retain(|name| *name != left_out);
        let fewer = names.join(";");
        let request =
            authorized(headers.clone(), &authorization(&fewer, &signature(&headers, &fewer, "POST", b"")));
        let refused = check(&request, "POST", b"", then());
        assert!(matches!(refused, Err(SignatureError::Incomplete(_))), "{left_out}: {refused:?}");
    }
}

#[test]
fn a_signature_is_good_for_five_minutes_either_way() {
    let headers = usual(&[]);
    let names = "host;x-amz-date";
    let request =
        authorized(headers.clone(), &authorization(names, &signature(&headers, names, "POST", b"")));
    for (off, good) in [(-300_000, true), (300_000, true), (-300_001, false), (300_001, false)] {
        let checked = check(&request, "POST", b"", Timestamp(then().0 + off));
        assert_eq!(checked.is_ok(), good, "{off}: {checked:?}");
    }
    let late = check(&request, "POST", b"", at("2015-08-30T12:41:01Z")).unwrap_err();
    assert_eq!(
        (late.name(), late.to_string().as_str()),
        (
            "InvalidSignatureException",
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
        )
    );
}

#[test]
fn malformed_authorizations_are_told_apart_from_wrong_ones() {
    let right = signature(&usual(&[]), "host;x-amz-date", "POST", b"");
    let of = |value: &str| check(&authorized(usual(&[]), value), "POST", b"", then()).unwrap_err().name();
    let incomplete = "IncompleteSignatureException";
    for value in [
        "",
        "Basic Zm9v",
        "AWS4-HMAC-SHA256",
        "AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=b, Signature=c",
        &format!("AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=host;x-amz-date"),
        &format!("{}, Signature={right}", authorization("host;x-amz-date", &right)),
        &authorization("host;x-amz-date", &right).replace("/service/", "/"),
        &authorization("x-amz-date;host", &right),
        &authorization("Host;x-amz-date", &right),
        &authorization("host;host;x-amz-date", &right),
        &authorization("host;not-there;x-amz-date", &right),
        &authorization("host;x-amz-date", &right[1..]),
        &authorization("host;x-amz-date", &right.to_uppercase()),
    ] {
        assert_eq!(of(value), incomplete, "{value}");
    }
    let out = "InvalidSignatureException";
    let whole = authorization("host;x-amz-date", &right);
    assert_eq!(of(&whole.replace("/us-east-1/", "/eu-west-1/")), out);
    assert_eq!(of(&whole.replace("/20150830/", "/20150831/")), out);
    assert_eq!(of(&whole.replace("/service/", "/s3/")), out);
    assert_eq!(of(&authorization("host;x-amz-date", &"0".repeat(64))), out);
    assert_eq!(
        check(&usual(&[]), "POST", b"", then()).unwrap_err().name(),
        "MissingAuthenticationTokenException"
    );
    let twice = headers(&[("Host", "a"), ("X-Amz-Date", DATE), ("X-Amz-Date", DATE)]);
    assert_eq!(check(&authorized(twice, &whole), "POST", b"", then()).unwrap_err().name(), incomplete);
}

#[test]
fn dates_have_one_form() {
    for text in
        ["", "20150830", "2015-08-30T12:36:00Z", "20150830T123600z", "20151330T123600Z", "20150830T253600Z"]
    {
        assert_eq!(AmzDate::parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_header_value_panics(value in "\\PC{0,200}", date in "[ -~]{0,20}") {
        let Ok(value) = HeaderValue::from_str(&value) else { return Ok(()) };
        let mut request = headers(&[("Host", "h"), ("X-Amz-Date", &date)]);
        request.insert("authorization", value);
        prop_assert!(check(&request, "POST", b"", then()).is_err());
    }

    /// What is signed verifies, and nothing that is another request does.
    #[test]
    fn another_request_has_another_signature(
        target in "[A-Za-z.]{1,40}", other in "[A-Za-z.]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 0..200), byte in any::<(prop::sample::Index, u8)>(),
    ) {
        let names = "host;x-amz-date;x-amz-target";
        let request = usual(&[("X-Amz-Target", &target)]);
        let value = authorization(names, &signature(&request, names, "POST", &body));
        let request = authorized(request, &value);
        prop_assert_eq!(check(&request, "POST", &body, then()), Ok(()));
        prop_assert_eq!(check(&request, "PUT", &body, then()), Err(SignatureError::Mismatch));
        let changed = authorized(usual(&[("X-Amz-Target", &other)]), &value);
        prop_assert_eq!(check(&changed, "POST", &body, then()).is_ok(), target == other);
        let mut longer = body.clone();
        longer.push(0);
        prop_assert_eq!(check(&request, "POST", &longer, then()), Err(SignatureError::Mismatch));
        if !body.is_empty() {
            let mut flipped = body.clone();
            let at = byte.0.index(flipped.len());
            flipped[at] ^= byte.1;
            prop_assert_eq!(check(&request, "POST", &flipped, then()).is_ok(), byte.1 == 0);
        }
    }
}
