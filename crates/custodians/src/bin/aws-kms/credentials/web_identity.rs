//! A token of an identity provider, for which STS gives credentials of a role: how Kubernetes' pods and CI jobs have them.

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rekeyfs_custodians::{Kind, Refusal};
use roxmltree::{Document, Node};
use ureq::http::Request;
use zeroize::Zeroizing;

use super::super::answer::named;
use super::super::endpoint::Place;
use super::super::http::{Http, Url};
use super::access_key::{Credentials, denied, variable};
use super::profile::Profiles;

const SESSION: &str = "rekeyfs";

/// Whom a token makes one.
pub(super) struct WebIdentity {
    token_file: String,
    role: String,
    session: String,
}

impl WebIdentity {
    /// That of variables, or of the profile.
    ///
    /// # Errors
    /// [`Kind::Denied`]: there is a token, and no role.
    pub(super) fn of(profiles: &Profiles) -> Result<Option<Self>, Refusal> {
        let value = |name: &str, key: &str| variable(name).or_else(|| profiles.value(key));
        let Some(token_file) = value("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file") else {
            return Ok(None);
        };
        let role = value("AWS_ROLE_ARN", "role_arn")
            .ok_or_else(|| denied("a token is there, and no role for it"))?;
        let session =
            value("AWS_ROLE_SESSION_NAME", "role_session_name").unwrap_or_else(|| SESSION.to_owned());
        Ok(Some(Self { token_file, role, session }))
    }

    /// Has STS give the role's credentials. `AWS_ENDPOINT_URL_STS` says where that is, else it is that of the key's region.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn credentials(&self, http: &Http, place: &Place) -> Result<Credentials, Refusal> {
        let token = std::fs::read_to_string(&self.token_file).map(Zeroizing::new);
        let token = token.map_err(|error| denied(format!("the token {}: {error}", self.token_file)))?;
        let url = match variable("AWS_ENDPOINT_URL_STS") {
            Some(url) => Url::parse(&url)?,
            None => place.of_aws("sts")?,
        };
        let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let body = Zeroizing::new(format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
            quoted(&self.role),
            quoted(&self.session),
            quoted(token.trim())
        ));
        let request =
            Request::post(url.to_string()).header("content-type", "application/x-www-form-urlencoded");
        let sent = Timestamp::now();
        let answer = http.send(request.body(body.as_bytes()).map_err(denied)?)?;
        let no_answer = || Refusal::new(Kind::Internal, "its server's answer isn't one of STS");
        let text = std::str::from_utf8(&answer.body).map_err(|_| no_answer())?;
        let document = Document::parse(text).map_err(|_| no_answer())?;
        let member = |name: &str| {
            let node = document.descendants().find(|node: &Node<'_, '_>| node.tag_name().name() == name)?;
            node.text().map(str::to_owned)
        };
        if answer.status != 200 {
            let (code, message) = (member("Code").unwrap_or_default(), member("Message").unwrap_or_default());
            return Err(named(&answer, &code, &message, sent));
        }
        let found = || {
            let (key, secret) = (member("AccessKeyId")?, member("SecretAccessKey")?);
            Some(Credentials::new(key, secret, member("SessionToken")))
        };
        found().ok_or_else(no_answer)
    }
}
