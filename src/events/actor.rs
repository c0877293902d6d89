//! In whose name something happens: the process that asked, not the daemon that carries it out.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A process that asked for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actor {
    /// Its effective user id.
    pub uid: u32,
    /// Its process id; 0 if unknown (a process of another pid namespace, or the kernel itself).
    pub pid: u32,
    /// On whose behalf it asked, if it said so.
    pub principal: Option<Principal>,
}

/// On whose behalf a process asks: it serves others, and has found out who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// Who administers the vault: `admin`.
    Admin,
    /// A user, who uses keys as their policies allow: `uid:NUMBER`.
    User(u32),
}

/// Why a text is no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no principal; it is admin or uid:NUMBER", .0.escape_debug())]
pub struct NoPrincipal(String);

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::User(uid) => write!(f, "uid:{uid}"),
        }
    }
}

impl FromStr for Principal {
    type Err = NoPrincipal;

    fn from_str(text: &str) -> Result<Self, NoPrincipal> {
        // No sign, and not the number that stands for none.
        let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let uid = || text.strip_prefix("uid:").filter(digits)?.parse().ok().filter(|uid| *uid != u32::MAX);
        match text {
            "admin" => Ok(Self::Admin),
            _ => uid().map(Self::User).ok_or_else(|| NoPrincipal(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Principal {
    type Error = NoPrincipal;

    fn try_from(text: String) -> Result<Self, NoPrincipal> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> Self {
        principal.to_string()
    }
}

thread_local! {
    static ACTING: Cell<Option<Actor>> = const { Cell::new(None) };
}

impl Actor {
    /// A process that asks for itself.
    pub fn of(uid: u32, pid: u32) -> Self {
        Self { uid, pid, principal: None }
    }

    /// This process.
    pub fn own() -> Self {
        Self::of(
            rustix::process::geteuid().as_raw(),
            rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
        )
    }

    /// The same process, asking on behalf of somebody.
    #[must_use]
    pub fn on_behalf_of(self, principal: Principal) -> Self {
        Self { principal: Some(principal), ..self }
    }

    /// The user who uses keys: the principal, where it is a user.
    pub fn user(self) -> u32 {
        match self.principal {
            Some(Principal::User(uid)) => uid,
            Some(Principal::Admin) | None => self.uid,
        }
    }

    /// In whose name this thread works: the actor set by [`Actor::act`], else this process.
    pub fn current() -> Self {
        ACTING.get().unwrap_or_else(Self::own)
    }

    /// Makes this thread work in the actor's name until the returned value is dropped.
    #[must_use]
    pub fn act(self) -> Acting {
        Acting { before: ACTING.replace(Some(self)) }
    }
}

/// Ends [`Actor::act`] when it is dropped, also by a panic.
pub struct Acting {
    before: Option<Actor>,
}

impl Drop for Acting {
    fn drop(&mut self) {
        ACTING.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_admin_or_a_user_by_number() {
        for (text, principal) in
            [("admin", Principal::Admin), ("uid:0", Principal::User(0)), ("uid:1000", Principal::User(1000))]
        {
            assert_eq!(text.parse(), Ok(principal));
            assert_eq!(principal.to_string(), text);
        }
        for text in [
            "",
            "Admin",
            "root",
            "uid:",
            "uid:+1",
            "uid:-1",
            "uid: 1",
            "uid:4294967295",
            "uid:4294967296",
            "gid:1",
        ] {
            assert!(text.parse::<Principal>().is_err(), "{text}");
        }
    }
}
