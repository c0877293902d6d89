//! The environment of a helper: a few fixed variables, and those that the host's list names. What a loader, an interpreter
//! or a library takes from variables (LD_PRELOAD, PYTHONPATH, OPENSSL_CONF, GCONV_PATH, proxies) is as good as code.

use std::ffi::OsString;
use std::path::Path;

use super::allow::{Allowed, Word};

/// Where helpers find programs of their own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HOME_OF_ROOT: &str = "/root";

/// Whose variables a helper may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// Of who called: those on the list, and HOME unless root called.
    OfCaller,
    /// Nobody's. mount(8), being setuid, runs programs as root with variables that anybody set.
    Fixed,
}

impl Environment {
    pub(super) fn variables(self, allowed: &Allowed, root: bool) -> Vec<(OsString, OsString)> {
        let mut all = vec![("PATH".into(), PATH.into()), ("LC_ALL".into(), "C.UTF-8".into())];
        let home = if root { Some(HOME_OF_ROOT.into()) } else { self.of_caller("HOME") };
        if let Some(home) = home.filter(|home| Path::new(home).is_absolute()) {
            all.push(("HOME".into(), home));
        }
        for name in allowed.of(Word::Env) {
            if let Some(value) = self.of_caller(name) {
                all.push((name.into(), value));
            }
        }
        all
    }

    fn of_caller(self, name: &str) -> Option<OsString> {
        match self {
            Self::OfCaller => std::env::var_os(name),
            Self::Fixed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::AllowList;

    #[test]
    fn variables_are_those_of_the_list_and_none_where_mount_runs_it() {
        // cargo sets these for its tests.
        let list = AllowList::parse("acme env=CARGO_MANIFEST_DIR env=NO_SUCH_VARIABLE\n").unwrap();
        let allowed = list.get(&"acme".parse().unwrap()).unwrap();
        let names = |environment: Environment, root| {
            let all = environment.variables(allowed, root);
            all.into_iter().map(|(name, _)| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(Environment::OfCaller, true), ["PATH", "LC_ALL", "HOME", "CARGO_MANIFEST_DIR"]);
        assert_eq!(names(Environment::Fixed, true), ["PATH", "LC_ALL", "HOME"]);
        assert_eq!(names(Environment::Fixed, false), ["PATH", "LC_ALL"]);
        assert!(Environment::OfCaller.variables(allowed, true).contains(&("HOME".into(), "/root".into())));
    }
}
