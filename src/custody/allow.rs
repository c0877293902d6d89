//! `custodians.conf`: which custodians this host uses, and what they may use.
//!
//! ```text
//! # NAME    what it may use
//! age       file=/etc/rekeyfs/age-identity.txt
//! clevis    plugin=tang endpoint=http://tang.example.org
//! pkcs11    module=softhsm2 file=/etc/rekeyfs/token-pin
//! aws-kms   region=eu-central-1 env=AWS_PROFILE
//! ```
//!
//! A custodian that has no line isn't used. Lines of one name add up. Words are those of [`Word`]; values may be quoted as in
//! a shell. There are two files: `/etc/rekeyfs/custodians.conf`, which is root's, and, where the caller isn't root, his own
//! `$XDG_CONFIG_HOME/rekeyfs/custodians.conf` (else in `~/.config`), which adds to it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rekeyfs_format::unlock::{CustodianName, CustodyParams};
use serde::Serialize;
use serde_json::Value;

use super::refusal::{Refusal, RefusalKind};
use crate::printable;
use crate::storage::{Access, read_all, reopen, trusted_file};

/// The host's list.
const OF_THE_HOST: &str = "/etc/rekeyfs/custodians.conf";
/// The longest list.
const MAX_LIST: usize = 64 << 10;

/// What a list may let a custodian use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// A server's URL.
    Endpoint,
    /// A region of a provider's.
    Region,
    /// A library.
    Module,
    /// A program of its own that it runs, by its name.
    Plugin,
    /// A file that it reads.
    File,
    /// A device.
    Device,
    /// A variable of the caller's environment that it gets.
    Env,
}

impl Word {
    const ALL: [Self; 7] =
        [Self::Endpoint, Self::Region, Self::Module, Self::Plugin, Self::File, Self::Device, Self::Env];

    const fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Region => "region",
            Self::Module => "module",
            Self::Plugin => "plugin",
            Self::File => "file",
            Self::Device => "device",
            Self::Env => "env",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.name() == name)
    }
}

/// Why a list can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    /// It isn't there for whom it should be, or others can change it.
    #[error("{path}: {cause}", path = printable::path(.0), cause = .1)]
    File(PathBuf, String),
    /// A line of it isn't right.
    #[error("{path}, line {line}: {cause}", path = printable::path(.path))]
    Line {
        /// The list.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What isn't right.
        cause: String,
    },
}

/// What one custodian may use.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Allowed(BTreeMap<Word, Vec<String>>);

impl Allowed {
    pub(super) fn of(&self, word: Word) -> &[String] {
        self.0.get(&word).map_or(&[], Vec::as_slice)
    }

    /// Whether all that these parameters lead a helper to is here: the values of `endpoint`, `region`, `module`, `plugin`, `file`
    /// and `device`, wherever they lie, and whatever else is a path or a URL, or has one in it.
    ///
    /// # Errors
    /// [`RefusalKind::NotAllowed`] names the first that isn't.
    pub(super) fn permits(&self, params: &CustodyParams) -> Result<(), Refusal> {
        params.as_map().iter().try_for_each(|(key, value)| self.permits_value(key, value))
    }

    fn permits_value(&self, key: &str, value: &Value) -> Result<(), Refusal> {
        match value {
            // What lies below one of these names is what it names.
            Value::Object(all) if Word::named(key).is_some() => {
                all.values().try_for_each(|value| self.permits_value(key, value))
            }
            Value::Object(all) => all.iter().try_for_each(|(key, value)| self.permits_value(key, value)),
            Value::Array(all) => all.iter().try_for_each(|value| self.permits_value(key, value)),
            Value::String(text) => match Word::named(key) {
                Some(word) => self.permits_text(text, key, &[word]),
                None if leads_somewhere(text) => {
                    self.permits_text(text, key, &[Word::Endpoint, Word::Module, Word::File, Word::Device])
                }
                None => Ok(()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) if Word::named(key).is_none() => Ok(()),
            Value::Null | Value::Bool(_) | Value::Number(_) => Err(not_allowed(key, &value.to_string())),
        }
    }

    fn permits_text(&self, text: &str, key: &str, words: &[Word]) -> Result<(), Refusal> {
        let allowed = words.iter().any(|word| self.of(*word).iter().any(|one| one == text));
        if allowed { Ok(()) } else { Err(not_allowed(key, text)) }
    }
}

/// Whether a text is, or has in it, a URL or a path: `http://a`, `file:/a`, `pkcs11:token=t?module-path=/a`, `~/a`, `a/../b`. The
/// slashes of ARNs, names of aliases and base64 are none.
fn leads_somewhere(text: &str) -> bool {
    let begins = text.starts_with(['/', '~']) || text == "..";
    begins || [":/", "=/", "./", "/.."].iter().any(|sign| text.contains(sign))
}

fn not_allowed(key: &str, text: &str) -> Refusal {
    let cause = format!(
        "its parameter {key} is {text}, which custodians.conf doesn't have; add it there if it is right"
    );
    Refusal::new(RefusalKind::NotAllowed, cause)
}

/// The custodians that this host uses.
#[derive(Clone, Default, Debug)]
pub struct AllowList(HashMap<CustodianName, Allowed>);

impl AllowList {
    /// Those of the host and, unless this process is root's, of its user.
    ///
    /// # Errors
    /// [`AllowError`]: a list that is there can't be read, can be changed by others, or has a line that isn't right.
    pub fn of_this_host() -> Result<Self, AllowError> {
        let uid = rustix::process::geteuid().as_raw();
        let mut list = Self::of_file(Path::new(OF_THE_HOST), 0)?;
        if let Some(own) = own_list().filter(|_| uid != 0) {
            list.add(Self::of_file(&own, uid)?);
        }
        Ok(list)
    }

    /// That of a file, which must belong to root or the user `uid`. One that isn't there has no custodian.
    ///
    /// # Errors
    /// As [`AllowList::of_this_host`].
    pub fn of_file(path: &Path, uid: u32) -> Result<Self, AllowError> {
        let failed = |cause: String| AllowError::File(path.to_owned(), cause);
        let held = match trusted_file(path, uid) {
            Ok((held, _)) => held,
            Err(distrust) if distrust.is_absence() => return Ok(Self::default()),
            Err(distrust) => return Err(failed(distrust.to_string())),
        };
        let opened = reopen(held.as_fd(), Access::ReadOnly);
        let text = opened.and_then(|opened| read_all(opened.as_fd(), MAX_LIST));
        let text = text.map_err(|errno| failed(std::io::Error::from(errno).to_string()))?;
        let text = String::from_utf8(text).map_err(|_| failed("it is not UTF-8".to_owned()))?;
        Self::parse(&text).map_err(|(line, cause)| AllowError::Line { path: path.to_owned(), line, cause })
    }

    /// That of a text.
    ///
    /// # Errors
    /// The number of the first line that isn't right, and why.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut list = Self::default();
        for (at, line) in text.lines().enumerate() {
            list.add_line(line).map_err(|cause| (at + 1, cause))?;
        }
        Ok(list)
    }

    fn add_line(&mut self, line: &str) -> Result<(), String> {
        let words = shlex::split(line).ok_or("a quote isn't closed")?;
        let Some((name, words)) = words.split_first() else { return Ok(()) };
        let name = name.parse::<CustodianName>().map_err(|why| why.to_string())?;
        let allowed = self.0.entry(name).or_default();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let key = Word::named(key).ok_or_else(|| {
                let known: Vec<&str> = Word::ALL.into_iter().map(Word::name).collect();
                format!("{} isn't one of {}", printable::line(key), known.join(", "))
            })?;
            if value.is_empty() {
                return Err(format!("{} needs a value: {0}=VALUE", key.name()));
            }
            allowed.0.entry(key).or_default().push(value.to_owned());
        }
        Ok(())
    }

    fn add(&mut self, other: Self) {
        for (name, allowed) in other.0 {
            let into = self.0.entry(name).or_default();
            for (word, values) in allowed.0 {
                into.0.entry(word).or_default().extend(values);
            }
        }
    }

    /// What a custodian may use, if it may be used.
    pub fn get(&self, name: &CustodianName) -> Option<&Allowed> {
        self.0.get(name)
    }
}

/// The caller's own list.
fn own_list() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
    config.map(|config| config.join("rekeyfs/custodians.conf"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name(name: &str) -> CustodianName {
        name.parse().unwrap()
    }

    #[test]
    fn lines_of_a_name_add_up_and_a_custodian_without_a_line_is_none() {
        let text = "# all of them\n\nage file=/k   # mine\nage file='/a b'\nacme\n";
        let list = AllowList::parse(text).unwrap();
        assert_eq!(list.get(&name("age")).unwrap().of(Word::File), ["/k", "/a b"]);
        assert!(list.get(&name("acme")).is_some() && list.get(&name("clevis")).is_none());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        let refused = |text: &str| AllowList::parse(text).unwrap_err();
        let (line, cause) = refused("age\nclevis command=/bin/sh\n");
        assert!(
            line == 2 && cause.starts_with("command isn't one of endpoint, region, module, plugin"),
            "{cause}"
        );
        assert_eq!(refused("age file"), (1, "file needs a value: file=VALUE".to_owned()));
        assert_eq!(refused("age file='x").0, 1);
        assert_eq!(refused("\n\n../sh").0, 3);
    }

    #[test]
    fn parameters_lead_only_to_what_the_list_has() {
        let list = AllowList::parse("acme endpoint=https://a module=/m.so plugin=tang").unwrap();
        let allowed = list.get(&name("acme")).unwrap();
        let permits =
            |params: &str| allowed.permits(&serde_json::from_str(params).unwrap()).map_err(|r| r.kind);
        for params in [
            "{}",
            r#"{"endpoint":"https://a","module":"/m.so","plugin":"tang","key":"arn:aws:kms:x:1:key/2","n":7}"#,
            r#"{"deep":[{"plugin":"tang"}],"url":"https://a","pin":true}"#,
            r#"{"key":"alias/vault","blob":"AA/b+c/d==","token":"v1.2"}"#,
        ] {
            assert_eq!(permits(params), Ok(()), "{params}");
        }
        for params in [
            r#"{"endpoint":"https://b"}"#,
            r#"{"endpoint":7}"#,
            r#"{"endpoint":{"host":"b"}}"#,
            r#"{"module":"softhsm2"}"#,
            r#"{"plugin":["tang","sss"]}"#,
            r#"{"deep":[{"url":"http://b"}]}"#,
            r#"{"key":"/etc/shadow"}"#,
            r#"{"key":"x/../y"}"#,
            r#"{"key":"pkcs11:token=t?module-path=/evil.so"}"#,
            r#"{"key":"file:/etc/shadow"}"#,
            r#"{"key":"~/evil.so"}"#,
            r#"{"key":"./evil.so"}"#,
            r#"{"key":"x/.."}"#,
            r#"{"url":"tang"}"#,
        ] {
            let expected =
                if params.contains("url\":\"tang") { Ok(()) } else { Err(RefusalKind::NotAllowed) };
            assert_eq!(permits(params), expected, "{params}");
        }
    }

    #[test]
    fn a_list_that_others_could_change_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let me = rustix::process::geteuid().as_raw();
        let path = dir.path().join("custodians.conf");
        assert!(AllowList::of_file(&path, me).unwrap().get(&name("age")).is_none());
        std::fs::write(&path, "age\n").unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&path, 0o644);
        assert!(AllowList::of_file(&path, me).unwrap().get(&name("age")).is_some());
        set(&path, 0o664);
        let refused = AllowList::of_file(&path, me).unwrap_err().to_string();
        assert!(refused.ends_with("its mode 664 lets others write it; chmod go-w"), "{refused}");
        set(&path, 0o644);
        set(dir.path(), 0o777);
        let refused = AllowList::of_file(&path, me).unwrap_err().to_string();
        assert!(refused.contains("others can put something else into"), "{refused}");
        set(dir.path(), 0o700);
        std::fs::write(&path, "age\nwhat=\n").unwrap();
        let refused = AllowList::of_file(&path, me).unwrap_err().to_string();
        assert!(refused.contains("custodians.conf, line 2: "), "{refused}");
    }
}
