//! What `rekeyfs kms serve` and `rekeyfs console` hand over to `rekeyfs-console`, the program that speaks HTTP: an [`Order`],
//! as JSON in its one argument. The two are always of one version, as they lie side by side.
//!
//! That program is another process, since nothing that holds keys speaks HTTP. It names a mount by its vault's location and
//! its owner, and finds the control socket itself, also after the vault was mounted again.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::VaultLocation;
pub use crate::events::{ARN_PREFIX, Principal};
use crate::ids::PathText;

/// The program's file name.
pub const PROGRAM: &str = "rekeyfs-console";

/// What it is to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Serve AWS KMS's protocol until it is told to end.
    ServeKms(ServeKms),
    /// Serve pages for a browser until it is told to end.
    ServePages(ServePages),
    /// Add credentials to the file, and print them as the AWS CLI's file has them.
    NewCredentials(NewCredentials),
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeKms {
    /// The vault of the mount.
    pub location: VaultLocation,
    /// Whose mount it is.
    pub owner: u32,
    /// Where clients connect.
    pub listen: Listen,
    /// The region that its ARNs and signatures have.
    pub region: Region,
    /// The account that its ARNs have.
    pub account: AccountId,
    /// The credentials that it knows.
    pub credentials: PathText,
    /// Seconds after which a call of a mount that hangs is answered.
    pub answer_within: NonZeroU16,
}

/// A console for a browser.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServePages {
    /// The vault of the mount.
    pub location: VaultLocation,
    /// Whose mount it is.
    pub owner: u32,
    /// The vault's directory, by which the pages call it.
    pub vault: PathText,
    /// Where the browser connects.
    pub listen: Loopback,
    /// The pages change nothing.
    pub read_only: bool,
}

/// Where clients connect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Listen {
    /// A port of this host's loopback interface.
    Loopback(Loopback),
    /// A socket in the filesystem, for its owner alone.
    Unix(PathText),
}

/// New credentials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCredentials {
    /// The file.
    pub credentials: PathText,
    /// As whom they act.
    pub principal: Principal,
    /// They change nothing.
    pub read_only: bool,
}

/// A text isn't of the form that is wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

macro_rules! by_its_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

by_its_text!(Region, AccountId, Loopback);

/// The name of a region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// The longest name of a region.
const REGION_MAX: usize = 32;

impl FromStr for Region {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=REGION_MAX).contains(&text.len()) && text.bytes().all(is_name);
        let wanted = Malformed("a region has 1 to 32 of a-z, 0-9 and -, as in us-east-1");
        if good { Ok(Self(text.to_owned())) } else { Err(wanted) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

impl FromStr for AccountId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let good = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if good { Ok(Self(text.to_owned())) } else { Err(Malformed("an account id has 12 digits")) }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address of this host that no other host reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loopback(SocketAddr);

impl Loopback {
    /// The address.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Loopback {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let address: SocketAddr =
            text.parse().map_err(|_| Malformed("an address is as 127.0.0.1:PORT or [::1]:PORT"))?;
        if !address.ip().is_loopback() {
            return Err(Malformed(
                "other hosts would reach it; use 127.0.0.1 or [::1], and ssh -L from elsewhere",
            ));
        }
        Ok(Self(address))
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;

    #[test]
    fn an_order_is_the_same_after_its_way_through_an_argument() {
        let serve = ServeKms {
            location: VaultLocation { vault_id: VaultId::random(), dev: 1, ino: u64::MAX },
            owner: 1000,
            listen: Listen::Loopback("[::1]:0".parse().unwrap()),
            region: "eu-west-1".parse().unwrap(),
            account: "123456789012".parse().unwrap(),
            credentials: PathText("/home/me/c".into()),
            answer_within: NonZeroU16::MAX,
        };
        let pages = ServePages {
            location: serve.location,
            owner: 0,
            vault: PathText("/home/me/v".into()),
            listen: "127.0.0.1:0".parse().unwrap(),
            read_only: true,
        };
        let new = NewCredentials {
            credentials: PathText("/c".into()),
            principal: Principal::User(7),
            read_only: true,
        };
        for order in [Order::ServeKms(serve), Order::ServePages(pages), Order::NewCredentials(new)] {
            let text = serde_json::to_string(&order).unwrap();
            assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
        }
    }

    #[test]
    fn only_loopback_addresses_are_taken() {
        for text in ["127.0.0.1:1", "127.1.2.3:65535", "[::1]:0"] {
            assert_eq!(text.parse::<Loopback>().unwrap().to_string(), text);
        }
        for text in
            ["0.0.0.0:80", "[::]:80", "192.168.1.1:80", "localhost:80", "127.0.0.1", "[::ffff:1.2.3.4]:1", ""]
        {
            assert!(text.parse::<Loopback>().is_err(), "{text}");
        }
    }

    #[test]
    fn regions_and_accounts_have_one_form() {
        for text in ["", "EU", "eu west", "a/b", &"a".repeat(33)] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
        for text in ["", "12345678901", "1234567890123", "12345678901x"] {
            assert!(text.parse::<AccountId>().is_err(), "{text}");
        }
    }
}
