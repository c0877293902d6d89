//! `-o` options: what FUSE programs take, what mount(8) passes on, and what fstab holds for others.

mod table;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::mount::{FlagChanges, SecurityContext};
pub(in crate::cli) use table::help;
#[cfg(test)]
pub(in crate::cli) use table::that_are_done;
use table::{Meaning, OF_THE_MOUNT, Takes};

/// The options that mean something here.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Options {
    /// `ro`.
    pub(super) read_only: bool,
    /// `allow_other`.
    pub(super) allow_other: bool,
    /// `allow_root`.
    pub(super) allow_root: bool,
    /// `nosymfollow`.
    pub(super) no_symlinks: bool,
    /// `context=` and its kin.
    pub(super) contexts: Vec<SecurityContext>,
    /// What isn't done of what is accepted, a line each.
    pub(super) warnings: Vec<String>,
    /// `suid`.
    pub(super) suid: bool,
    /// `dev`.
    pub(super) dev: bool,
    /// `noexec`.
    pub(super) noexec: bool,
    /// `noatime`.
    pub(super) no_atime: bool,
    /// `nonempty`.
    pub(super) nonempty: bool,
    /// `norewrap`.
    pub(super) no_rewrap: bool,
    /// `nowriteback`.
    pub(super) no_writeback: bool,
    /// `shared`.
    pub(super) shared: bool,
    /// `noxattr`.
    pub(super) no_xattrs: bool,
    /// `accept_rollback`.
    pub(super) accept_rollback: bool,
    /// `any_cost`.
    pub(super) any_cost: bool,
    /// `recovery_key`.
    pub(super) recovery_key: bool,
    /// `remount`: change the flags of a mount that is there, those that the list names.
    pub(super) remount: Option<FlagChanges>,
    /// `idle=`.
    pub(super) idle: Option<Duration>,
    /// `fsname=`.
    pub(super) fsname: Option<OsString>,
    /// `passfile=`.
    pub(super) passfile: Option<PathBuf>,
    /// `extpass=`.
    pub(super) extpass: Option<OsString>,
    /// `keyfile=`.
    pub(super) keyfile: Option<PathBuf>,
    /// `custodian=`.
    pub(super) custodian: Option<String>,
    /// `no_custodian`.
    pub(super) no_custodian: bool,
    /// `custodian_timeout=`.
    pub(super) custodian_timeout: Option<Duration>,
}

/// What is done about an option that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnknownOptions {
    Refuse,
    /// As `mount -s` asks.
    Ignore,
}

impl Options {
    /// Reads the lists of one or several `-o`; of contradicting options the last counts. A backslash takes
    /// the character after it (a comma in a file name, say) as it is.
    ///
    /// # Errors
    /// One line naming the option.
    pub(super) fn parse(lists: &[OsString], unknown: UnknownOptions) -> Result<Self, String> {
        let all: Vec<_> = lists.iter().flat_map(|list| split(list)).collect();
        let mut options = Self::default();
        if all.iter().any(|option| option == b"remount") {
            options.remount = Some(FlagChanges::default());
        }
        for option in &all {
            options.apply(option, unknown)?;
        }
        let sources = [options.passfile.is_some(), options.extpass.is_some(), options.keyfile.is_some()];
        if sources.iter().filter(|given| **given).count() > 1 {
            return Err("-o: of passfile=, extpass= and keyfile= only one can be given".into());
        }
        if options.recovery_key && options.keyfile.is_some() {
            return Err("-o: of recovery_key and keyfile= only one can be given".into());
        }
        Ok(options)
    }

    fn apply(&mut self, option: &[u8], unknown: UnknownOptions) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(option).into_owned();
        let (name, value) = match option.iter().position(|&b| b == b'=') {
            Some(at) => (&option[..at], Some(&option[at + 1..])),
            None => (option, None),
        };
        if name.starts_with(b"x-") || name.starts_with(b"X-") {
            return Ok(());
        }
        let Some(value) = value else {
            return self.apply_flag(name, unknown);
        };
        let takes_value = table::meaning(name, Takes::Value);
        if takes_value.is_none() && table::takes(name).is_some() && unknown == UnknownOptions::Refuse {
            return Err(format!("-o {}: it takes no value", shown()));
        }
        if let Some(Meaning::Refused(why)) = takes_value {
            return Err(format!("-o {}: {why}", shown()));
        }
        let text = || OsString::from_vec(value.to_vec());
        match name {
            b"fsname" | b"passfile" | b"extpass" | b"keyfile" if value.is_empty() || value.contains(&0) => {
                return Err(format!("-o {}: the value is empty or no text", shown()));
            }
            b"idle" => {
                let time = std::str::from_utf8(value).map_err(|_| IDLE_TIME.to_owned()).and_then(idle_time);
                self.idle = Some(time.map_err(|problem| format!("-o {}: {problem}", shown()))?);
            }
            b"fsname" => self.fsname = Some(text()),
            b"passfile" => self.passfile = Some(text().into()),
            b"extpass" => self.extpass = Some(text()),
            b"keyfile" => self.keyfile = Some(text().into()),
            b"custodian" => {
                let name = text().into_string().ok().filter(|name| !name.is_empty());
                self.custodian =
                    Some(name.ok_or_else(|| format!("-o {}: the value is empty or no text", shown()))?);
            }
            b"custodian_timeout" => {
                let time = std::str::from_utf8(value).map_err(|_| CUSTODIAN_TIME.to_owned());
                let time = time.and_then(custodian_timeout);
                self.custodian_timeout = Some(time.map_err(|problem| format!("-o {}: {problem}", shown()))?);
            }
            b"context" | b"fscontext" | b"defcontext" | b"rootcontext" => {
                self.contexts
                    .push(SecurityContext::new(name, value).map_err(|why| format!("-o {}: {why}", shown()))?);
            }
            _ if takes_value.is_some() || unknown == UnknownOptions::Ignore => {}
            _ if OF_THE_MOUNT.iter().any(|of| of.as_bytes() == name) && self.remount.is_some() => {}
            _ => return Err(unknown_option(&shown())),
        }
        Ok(())
    }

    fn apply_flag(&mut self, name: &[u8], unknown: UnknownOptions) -> Result<(), String> {
        if let Some(changes) = &mut self.remount {
            match name {
                b"ro" => changes.read_only = Some(true),
                b"rw" => changes.read_only = Some(false),
                b"suid" => changes.suid = Some(true),
                b"nosuid" => changes.suid = Some(false),
                b"dev" => changes.dev = Some(true),
                b"nodev" => changes.dev = Some(false),
                b"exec" => changes.noexec = Some(false),
                b"noexec" => changes.noexec = Some(true),
                b"symfollow" => changes.no_symlinks = Some(false),
                b"nosymfollow" => changes.no_symlinks = Some(true),
                _ => {}
            }
        }
        match name {
            b"" => {}
            b"ro" => self.read_only = true,
            b"rw" => self.read_only = false,
            b"allow_other" => self.allow_other = true,
            b"allow_root" => self.allow_root = true,
            b"symfollow" => self.no_symlinks = false,
            b"nosymfollow" => self.no_symlinks = true,
            b"suid" => self.suid = true,
            b"nosuid" => self.suid = false,
            b"dev" => self.dev = true,
            b"nodev" => self.dev = false,
            b"exec" => self.noexec = false,
            b"noexec" => self.noexec = true,
            b"noatime" => self.no_atime = true,
            b"atime" | b"relatime" => self.no_atime = false,
            b"nonempty" => self.nonempty = true,
            b"rewrap" => self.no_rewrap = false,
            b"norewrap" | b"no_rewrap" => self.no_rewrap = true,
            b"writeback" => self.no_writeback = false,
            b"nowriteback" | b"no_writeback" => self.no_writeback = true,
            b"shared" => self.shared = true,
            b"xattr" => self.no_xattrs = false,
            b"noxattr" => self.no_xattrs = true,
            b"accept_rollback" => self.accept_rollback = true,
            b"any_cost" => self.any_cost = true,
            b"recovery_key" => self.recovery_key = true,
            b"no_custodian" => self.no_custodian = true,
            b"remount" => {}
            _ => {
                let shown = String::from_utf8_lossy(name);
                match table::meaning(name, Takes::Nothing) {
                    Some(Meaning::Done | Meaning::Nothing) => {}
                    Some(Meaning::Warned(what)) => self.warnings.push(format!("-o {shown}: {what}")),
                    Some(Meaning::Refused(why)) => return Err(format!("-o {shown}: {why}")),
                    None if unknown == UnknownOptions::Ignore => {}
                    None if table::takes(name).is_some() => {
                        return Err(format!("-o {shown}: it takes a value, {shown}=…"));
                    }
                    None => return Err(unknown_option(&shown)),
                }
            }
        }
        Ok(())
    }
}

/// What an idle time is.
const IDLE_TIME: &str = "not a time above 0 such as 90s, 30m or 1h30m";

/// A time in hours, minutes and seconds, each at most once and in this order.
///
/// # Errors
/// It is something else.
pub(super) fn idle_time(text: &str) -> Result<Duration, String> {
    let wrong = || IDLE_TIME.to_owned();
    let (mut rest, mut seconds) = (text, 0_u64);
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        seconds = number.checked_mul(length).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        rest = after;
    }
    // A century: an Instant can't be added to without end.
    if !rest.is_empty() || !(1..=3_155_760_000).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

/// What a custodian's time is.
const CUSTODIAN_TIME: &str = "not a time from 1s to 10m such as 5s or 1m";
/// The longest: what a person at a terminal waits for, or a unit of systemd.
const MAX_CUSTODIAN_TIME: Duration = Duration::from_secs(600);

/// How long custodians may take.
///
/// # Errors
/// It is no time, or one that is too long.
pub(super) fn custodian_timeout(text: &str) -> Result<Duration, String> {
    let time = idle_time(text).ok().filter(|time| *time <= MAX_CUSTODIAN_TIME);
    time.ok_or_else(|| CUSTODIAN_TIME.to_owned())
}

fn unknown_option(option: &str) -> String {
    format!("-o {option}: not an option of rekeyfs; `rekeyfs mount --help` lists them")
}

/// At commas, but not at those in the quotation marks around a context.
fn split(list: &OsStr) -> Vec<Vec<u8>> {
    let mut options: Vec<Vec<u8>> = vec![Vec::new()];
    let mut quoted = false;
    let mut bytes = list.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' if quoted || options.last().is_some_and(|option| option.ends_with(b"context=")) => {
                quoted = !quoted;
                options.last_mut().into_iter().for_each(|option| option.push(byte));
            }
            b',' if !quoted => options.push(Vec::new()),
            // At the end of the list a backslash stands for itself.
            b'\\' => options.last_mut().into_iter().for_each(|o| o.push(*bytes.next().unwrap_or(&b'\\'))),
            other => options.last_mut().into_iter().for_each(|o| o.push(other)),
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(list: &str) -> Result<Options, String> {
        Options::parse(&[list.into()], UnknownOptions::Refuse)
    }

    #[test]
    fn known_options() {
        let got =
            parse("allow_other,ro,suid,dev,fsname=a=b,passfile=/x\\,y,norewrap,nowriteback,noxattr,noexec")
                .unwrap();
        let want = Options {
            read_only: true,
            allow_other: true,
            suid: true,
            dev: true,
            noexec: true,
            no_rewrap: true,
            no_writeback: true,
            no_xattrs: true,
            fsname: Some("a=b".into()),
            passfile: Some("/x,y".into()),
            ..Options::default()
        };
        assert_eq!(got, want);
    }

    #[test]
    fn what_fstab_holds_for_others_is_accepted() {
        let generic = "rw,noauto,nofail,user,_netdev,x-systemd.automount,x-systemd.idle-timeout=5,users,\
                       defaults,user=me,comment=x,X-mount.mkdir,relatime,default_permissions,,";
        assert_eq!(parse(generic).unwrap(), Options::default());
    }

    #[test]
    fn the_last_of_contradicting_options_counts() {
        let lists = ["suid,nosuid,ro,noatime,relatime".into(), "rw,nodev,dev".into()];
        let got = Options::parse(&lists, UnknownOptions::Refuse).unwrap();
        assert!(!got.suid && !got.read_only && got.dev && !got.no_atime);
        assert!(parse("relatime,noatime").unwrap().no_atime);
    }

    #[test]
    fn a_remount_changes_what_the_list_names_last_and_takes_what_the_list_of_mounts_holds() {
        let list =
            "rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,remount,ro,exec";
        let changes = FlagChanges {
            read_only: Some(true),
            suid: Some(false),
            dev: Some(false),
            noexec: Some(false),
            no_symlinks: None,
        };
        assert_eq!(parse(list).unwrap().remount, Some(changes));
        assert_eq!(parse("remount").unwrap().remount, Some(FlagChanges::default()));
        assert_eq!(parse("ro").unwrap().remount, None);
        assert!(parse("user_id=0").unwrap_err().contains("-o user_id=0"), "without remount");
        assert!(parse("remount,nonsense").is_err());
    }

    #[test]
    fn what_can_not_be_is_refused_by_name() {
        for (list, part) in [
            ("nonsense", "-o nonsense"),
            ("sync", "-o sync: it can't be kept"),
            ("uid=5", "chown"),
            ("umask=022", "chmod"),
            ("ro=1", "takes no value"),
            ("context=a\"b", "quotation mark"),
            ("context=", "empty"),
            ("nonsense=1", "-o nonsense=1"),
            ("passfile", "takes a value"),
            ("passfile=", "empty"),
            ("passfile=/a,keyfile=/b", "only one"),
            ("recovery_key,keyfile=/b", "only one"),
        ] {
            assert!(parse(list).unwrap_err().contains(part), "{list}: {:?}", parse(list));
        }
        assert!(Options::parse(&["nonsense,sync=1".into()], UnknownOptions::Ignore).is_ok());
    }

    #[test]
    fn each_option_of_the_table_is_what_the_table_says_and_in_the_docs() {
        let docs = include_str!("../../docs/mounting.md");
        for (name, takes, meaning) in table::TABLE {
            let list = match takes {
                Takes::Nothing => (*name).to_owned(),
                Takes::Value if ["idle", "custodian_timeout"].contains(name) => format!("{name}=5m"),
                Takes::Value => format!("{name}=x"),
            };
            let shown = list.replace("=x", "=").replace("=5m", "=");
            assert!(docs.contains(&format!("`{shown}")), "docs/mounting.md lacks {shown}");
            assert!(help().contains(&shown), "{shown}");
            let parsed = parse(&list);
            match meaning {
                Meaning::Done => {
                    let default = [
                        "rw",
                        "nosuid",
                        "nodev",
                        "exec",
                        "symfollow",
                        "atime",
                        "relatime",
                        "rewrap",
                        "writeback",
                        "xattr",
                    ];
                    assert_eq!(parsed.unwrap() == Options::default(), default.contains(name), "{list}");
                }
                Meaning::Nothing => assert_eq!(parsed.unwrap(), Options::default(), "{list}"),
                Meaning::Warned(what) => assert_eq!(parsed.unwrap().warnings, [format!("-o {list}: {what}")]),
                Meaning::Refused(why) => {
                    assert!(why.contains("leave it out"), "{list}: no remedy");
                    assert_eq!(parsed.unwrap_err(), format!("-o {list}: {why}"));
                }
            }
        }
    }

    #[test]
    fn a_context_in_quotation_marks_keeps_its_commas() {
        let got = parse("ro,context=\"system_u:object_r:tmp_t:s0:c1,c2\",noexec,fsname=a\"b").unwrap();
        let context = SecurityContext::new(b"context", b"system_u:object_r:tmp_t:s0:c1,c2").unwrap();
        assert!(got.read_only && got.noexec && got.fsname == Some("a\"b".into()));
        assert_eq!(got.contexts, [context]);
    }

    #[test]
    fn custodians_have_from_a_second_to_ten_minutes() {
        let seconds = |text| custodian_timeout(text).map(|time| time.as_secs());
        assert_eq!(["1s", "90s", "10m"].map(seconds), [1, 90, 600].map(Ok));
        for wrong in ["", "5", "0s", "601s", "1h", "-1s", "x"] {
            assert_eq!(seconds(wrong), Err(CUSTODIAN_TIME.to_owned()), "{wrong}");
        }
        let listed = |list: &str| Options::parse(&[list.into()], UnknownOptions::Refuse);
        assert_eq!(listed("custodian_timeout=2s").unwrap().custodian_timeout, Some(Duration::from_secs(2)));
        assert!(
            listed("custodian_timeout=0s").unwrap_err().contains("custodian_timeout=0s: not a time from")
        );
    }

    #[test]
    fn idle_times_have_units() {
        let seconds = |text| idle_time(text).map(|time| time.as_secs());
        assert_eq!(["90s", "30m", "2h45m", "1h1m1s", "0h5s"].map(seconds), [90, 1800, 9900, 3661, 5].map(Ok));
        for wrong in [
            "",
            "30",
            "0s",
            "m",
            "5m1h",
            "1h2h",
            "-1s",
            "1.5h",
            "+3s",
            "5 m",
            "9999999999999999h",
            "999999h9999999h",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("idle=30m").unwrap().idle, Some(Duration::from_secs(1800)));
        assert!(parse("idle=30").unwrap_err().contains("-o idle=30: not a time"));
        assert!(parse("idle").unwrap_err().contains("takes a value"));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for unknown in [UnknownOptions::Refuse, UnknownOptions::Ignore] {
                let _ = Options::parse(&[OsString::from_vec(bytes.clone())], unknown);
            }
        }

        #[test]
        fn an_escaped_value_comes_back(value in "[^\u{0}=]{1,40}") {
            let escaped = value.replace('\\', "\\\\").replace(',', "\\,");
            let got = parse(&format!("ro,passfile={escaped},norewrap")).unwrap();
            prop_assert_eq!(got.passfile, Some(PathBuf::from(value)));
            prop_assert!(got.read_only && got.no_rewrap);
        }
    }
}
