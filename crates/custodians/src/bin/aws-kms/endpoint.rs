//! Which key, in which region, and where KMS is for that.
//!
//! A header's ARN chooses region and account, so it may lead to another of AWS's hosts, and to none but those: its parts have
//! letters, digits and dashes. Another URL is the host's list's alone. What a stranger's key decrypts opens no vault that this
//! host knows.

use std::fmt;
use std::str::FromStr;

use rekeyfs_custodians::{Allowed, Kind, Refusal};

use super::http::Url;

/// How a key is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum KeyName {
    /// The ARN of a key.
    Key(Arn),
    /// The ARN of an alias.
    AliasArn(Arn),
    /// `alias/NAME`, or a key's id.
    Short(String),
}

/// `arn:PARTITION:kms:REGION:ACCOUNT:RESOURCE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Arn {
    text: String,
    partition: String,
    region: String,
}

impl FromStr for KeyName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = || {
            let cause = "a key of AWS KMS is named by its ARN, its id, or alias/NAME";
            Refusal::new(Kind::NotFound, cause)
        };
        let is_name = |text: &str, more: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b))
        };
        if !text.starts_with("arn:") {
            let short = text.strip_prefix("alias/").unwrap_or(text);
            return if is_name(short, "-_/") { Ok(Self::Short(text.to_owned())) } else { Err(wrong()) };
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts[..] else { return Err(wrong()) };
        let all_good = is_name(partition, "-") && is_name(region, "-") && is_name(account, "");
        let arn =
            || Arn { text: text.to_owned(), partition: partition.to_owned(), region: region.to_owned() };
        match resource.split_once('/') {
            Some(("key", id)) if all_good && is_name(id, "-") => Ok(Self::Key(arn())),
            Some(("alias", name)) if all_good && is_name(name, "-_/") => Ok(Self::AliasArn(arn())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(arn) | Self::AliasArn(arn) => f.write_str(&arn.text),
            Self::Short(text) => f.write_str(text),
        }
    }
}

/// Where requests for a key go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) region: String,
    /// Behind the region in names of AWS's hosts.
    domain: Option<&'static str>,
    /// That of the host's list.
    endpoint: Option<Url>,
}

impl Place {
    /// Of a key; `usual` is the region of the caller's own configuration.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`]: the region isn't on the list. [`Kind::NotFound`]: none is known.
    pub(super) fn of(
        key: &KeyName,
        allowed: &Allowed,
        usual: impl FnOnce() -> Option<String>,
    ) -> Result<Self, Refusal> {
        let regions = allowed.all("region");
        let (region, partition) = match key {
            KeyName::Key(arn) | KeyName::AliasArn(arn) => (arn.region.clone(), arn.partition.as_str()),
            KeyName::Short(_) => {
                let region = regions.first().cloned().or_else(usual).ok_or_else(|| {
                    let cause = "no region is known: name the key by its ARN, or add `aws-kms region=NAME` to custodians.conf";
                    Refusal::new(Kind::NotFound, cause)
                })?;
                let partition = partition_of(&region);
                (region, partition)
            }
        };
        if !regions.is_empty() {
            allowed.require("region", &region)?;
        }
        let endpoint = allowed.all("endpoint").first().map(|url| Url::parse(url)).transpose()?;
        Ok(Self { region, domain: domain_of(partition), endpoint })
    }

    /// Where KMS is.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`]: only a list could tell.
    pub(super) fn kms(&self) -> Result<Url, Refusal> {
        match &self.endpoint {
            Some(url) => Ok(url.clone()),
            None => self.of_aws("kms"),
        }
    }

    /// Where a service of AWS is.
    ///
    /// # Errors
    /// [`Kind::NotAllowed`]: only a list could tell.
    pub(super) fn of_aws(&self, service: &str) -> Result<Url, Refusal> {
        let domain = self.domain.ok_or_else(|| {
            let cause =
                "its partition of AWS isn't known here; add `aws-kms endpoint=URL` to custodians.conf";
            Refusal::new(Kind::NotAllowed, cause)
        })?;
        Url::parse(&format!("https://{service}.{}.{domain}", self.region))
    }
}

fn partition_of(region: &str) -> &'static str {
    [("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")]
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("aws", |(_, partition)| partition)
}

fn domain_of(partition: &str) -> Option<&'static str> {
    match partition {
        "aws" | "aws-us-gov" => Some("amazonaws.com"),
        "aws-cn" => Some("amazonaws.com.cn"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn kms_of(key: &str, allowed: Value) -> Result<(String, String), Kind> {
        let allowed: Allowed = serde_json::from_value(allowed).unwrap();
        let place = Place::of(&key.parse().unwrap(), &allowed, || None).map_err(|refusal| refusal.kind())?;
        Ok((place.region.clone(), place.kms().map_err(|refusal| refusal.kind())?.to_string()))
    }

    #[test]
    fn a_key_is_asked_for_in_its_own_region_or_where_the_list_says() {
        let found = |region: &str, url: &str| Ok((region.to_owned(), url.to_owned()));
        let frankfurt = || found("eu-central-1", "https://kms.eu-central-1.amazonaws.com/");
        assert_eq!(kms_of(KEY, json!({})), frankfurt());
        let china = KEY.replace(":aws:", ":aws-cn:").replace("eu-central-1", "cn-north-1");
        assert_eq!(
            kms_of(&china, json!({})),
            found("cn-north-1", "https://kms.cn-north-1.amazonaws.com.cn/")
        );
        let own = json!({"endpoint": ["https://kms.example.org:8443"]});
        assert_eq!(kms_of(KEY, own), found("eu-central-1", "https://kms.example.org:8443/"));
        assert_eq!(kms_of("alias/vault", json!({"region": ["eu-central-1"]})), frankfurt());
        assert_eq!(kms_of("alias/vault", json!({})), Err(Kind::NotFound));
        assert_eq!(kms_of(KEY, json!({"region": ["us-east-1"]})), Err(Kind::NotAllowed));
        assert_eq!(kms_of(&KEY.replace(":aws:", ":aws-other:"), json!({})), Err(Kind::NotAllowed));
    }

    #[test]
    fn a_header_leads_to_hosts_of_aws_alone() {
        for text in [
            "",
            "alias/",
            "alias/a b",
            "arn:aws:kms:evil.example.org/:111122223333:key/1",
            "arn:aws:kms:x@evil:111122223333:key/1",
            "arn:aws:kms::111122223333:key/1",
            "arn:aws:s3:eu-central-1:111122223333:key/1",
            "arn:aws:kms:eu-central-1:111122223333:key/../x",
            "arn:aws:kms:eu-central-1:111122223333:other/1",
            "http://evil.example.org",
        ] {
            assert_eq!(
                text.parse::<KeyName>().map_err(|refusal| refusal.kind()),
                Err(Kind::NotFound),
                "{text}"
            );
        }
    }
}
