//! The role of this machine, as EC2's metadata service tells it (IMDSv2). It has no TLS, and is on a link of the machine's own.

use std::net::IpAddr;
use std::time::Duration;

use rekeyfs_custodians::{Kind, Refusal};
use serde_json::Value;
use ureq::http::Request;

use super::super::http::{Answered, Http};
use super::access_key::{Credentials, denied, variable};
use super::profile::Profiles;

const USUAL: &str = "http://169.254.169.254";
/// Addresses on the machine's own link: of EC2's service by IPv4 and IPv6.
const OF_EC2: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];
/// It answers within milliseconds, or isn't there.
const LIMIT: Duration = Duration::from_secs(1);
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// Asks for them. `AWS_EC2_METADATA_SERVICE_ENDPOINT` says where, `AWS_EC2_METADATA_DISABLED=true` that nobody is asked.
///
/// # Errors
/// [`Kind::Denied`]: there is no such service or no role. [`Kind::Offline`]: the network isn't up.
pub(super) fn credentials(profiles: &Profiles) -> Result<Credentials, Refusal> {
    let none = |why: &str| {
        denied(format!(
            "there are no credentials: not in its variables, not in a profile, and this machine has no role ({why})"
        ))
    };
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(none("its service isn't asked"));
    }
    let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
        .or_else(|| profiles.value("ec2_metadata_service_endpoint"));
    let base = base.unwrap_or_else(|| USUAL.to_owned());
    let base = base.trim_end_matches('/');
    check_near(base)?;
    let http = Http::near(LIMIT);
    let ask = |request: Request<&[u8]>| -> Result<Answered, Refusal> {
        let answer = http.send(request).map_err(|refusal| {
            // At boot the network may come up a little later.
            if refusal.message().contains("unreachable") { refusal } else { none(refusal.message()) }
        })?;
        if answer.status == 200 { Ok(answer) } else { Err(none(&format!("status {}", answer.status))) }
    };
    let text = |answer: &Answered| String::from_utf8_lossy(&answer.body).trim().to_owned();
    let malformed = |error: ureq::http::Error| denied(error);
    let token =
        Request::put(format!("{base}/latest/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = text(&ask(token.body(&[][..]).map_err(malformed)?)?);
    let get = |path: &str| {
        let request = Request::get(format!("{base}{path}")).header(TOKEN, &token);
        ask(request.body(&[][..]).map_err(malformed)?)
    };
    let role = text(&get(ROLES)?);
    let role = role.lines().next().unwrap_or_default();
    let answer = get(&format!("{ROLES}{role}"))?;
    let answer: Option<Value> = serde_json::from_slice(&answer.body).ok();
    answer.and_then(|answer| Credentials::of_json(&answer, "Token")).ok_or_else(|| none("it gives no key"))
}

/// That the service is on this machine or its link.
fn check_near(base: &str) -> Result<(), Refusal> {
    let near = |address: IpAddr| address.is_loopback() || OF_EC2.iter().any(|one| one.parse() == Ok(address));
    let host = base
        .parse::<ureq::http::Uri>()
        .ok()
        .and_then(|uri| Some(uri.host()?.trim_matches(['[', ']']).to_owned()));
    match host.and_then(|host| host.parse().ok()) {
        Some(address) if near(address) => Ok(()),
        _ => Err(Refusal::new(Kind::NotAllowed, format!("the metadata service {base} isn't this machine's"))),
    }
}
