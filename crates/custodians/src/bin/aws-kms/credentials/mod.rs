//! Whose requests these are: the first of these that is there.
//!
//! 1. `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`
//! 2. `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN` (`AWS_ROLE_SESSION_NAME`), or a profile's `web_identity_token_file` and
//!    `role_arn`: STS gives credentials for the token
//! 3. a profile's `aws_access_key_id` and `aws_secret_access_key` (`aws_session_token`)
//! 4. a profile's `credential_process`, if `custodians.conf` has the program as `plugin=`
//! 5. the role of this machine, from EC2's metadata service: version 2, which wants a token
//!
//! One that is there and doesn't work isn't passed over for a later one. Variables are there only if `env=` names them. A profile
//! that takes a role by another one's credentials (`source_profile`), and SSO, aren't known: a `credential_process` does that.

mod access_key;
mod metadata;
mod process;
mod profile;
mod web_identity;

use rekeyfs_custodians::{Allowed, Refusal};

use super::endpoint::Place;
use super::http::Http;

pub(super) use access_key::Credentials;
use access_key::{denied, variable};
pub(super) use profile::Profiles;

/// The first that is there.
///
/// # Errors
/// `denied`: there are none, or they don't work. `offline`: who gives them can't be reached.
pub(super) fn find(
    profiles: &Profiles,
    http: &Http,
    place: &Place,
    allowed: &Allowed,
) -> Result<Credentials, Refusal> {
    if let Some(key) = variable("AWS_ACCESS_KEY_ID") {
        let secret = variable("AWS_SECRET_ACCESS_KEY");
        let secret =
            secret.ok_or_else(|| denied("AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY"))?;
        return Ok(Credentials::new(key, secret, variable("AWS_SESSION_TOKEN")));
    }
    if let Some(identity) = web_identity::WebIdentity::of(profiles)? {
        return identity.credentials(http, place);
    }
    if let Some(key) = profiles.value("aws_access_key_id") {
        let secret = profiles.value("aws_secret_access_key");
        let secret = secret.ok_or_else(|| denied("a profile has an access key without its secret"))?;
        return Ok(Credentials::new(key, secret, profiles.value("aws_session_token")));
    }
    if let Some(command) = profiles.value("credential_process") {
        return process::credentials(&command, allowed);
    }
    if profiles.value("role_arn").is_some() || profiles.value("sso_start_url").is_some() {
        return Err(denied("its profile takes a role or signs in; have a credential_process do that"));
    }
    metadata::credentials(profiles)
}
