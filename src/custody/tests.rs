//! Helpers that do what they should, and everything else, by the double of tests/custodians.

mod broken;
mod several;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rekeyfs_format::unlock::{CustodianName, Custody, CustodyParams, MAX_CUSTODY_BLOB};
use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::crypto::keys::CustodyKek;
use crate::ids::{SlotId, VaultId};
use crate::sys::testing::{PATIENCE, eventually};

const DOUBLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/custodians/rekeyfs-custodian-double");

/// A host with the double, and a place for its orders.
struct Bench {
    dir: tempfile::TempDir,
    host: Host,
}

fn double() -> CustodianName {
    "double".parse().unwrap()
}

fn context() -> Context {
    Context { vault: VaultId::from_bytes([1; 16]), purpose: Use::Unlock(SlotId::from_bytes([2; 16])) }
}

fn params(value: serde_json::Value) -> CustodyParams {
    serde_json::from_value(value).unwrap()
}

fn with_params(custody: &Custody, orders: serde_json::Value) -> Custody {
    Custody::new(double(), params(orders), custody.blob().to_vec(), None).unwrap()
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Another process makes the copy: a descriptor of this one that may write it, passed on for a moment to a helper of
        // another test's, would keep it from being executed.
        let copied =
            std::process::Command::new("install").args(["-m", "755", DOUBLE]).arg(dir.path()).status();
        assert!(copied.unwrap().success());
        let allow = AllowList::parse(&format!("double file={}/orders", dir.path().display())).unwrap();
        let host = Host {
            allow,
            dirs: vec![dir.path().to_owned()],
            environment: Environment::OfCaller,
            limit: Host::LIMIT,
        };
        Self { dir, host }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn helper(&self) -> Helper {
        self.host.helper(&double()).unwrap()
    }

    /// A wrapped key that the double treats as these orders say.
    fn wrapped(&self, kek: &CustodyKek, orders: serde_json::Value) -> Custody {
        self.helper().wrap(&params(orders), &context(), kek, &mut NobodyAnswers).unwrap()
    }

    fn unwrapped(&self, order: &str) -> Result<(CustodyKek, Standing), Refusal> {
        let wrapped = self.wrapped(&CustodyKek::generate(), json!({ "unwrap": order }));
        self.helper().unwrap(&wrapped, &context(), &mut NobodyAnswers)
    }

    /// Whether a process of this bench's double is there, zombies left out.
    fn something_runs(&self) -> bool {
        let me = self.dir.path().to_str().unwrap();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok()).any(
            // Arguments end with a NUL.
            |line| line.split('\0').any(|word| word.starts_with(me)),
        )
    }
}

/// A person with an answer, who is asked.
struct Person(&'static str, Vec<(PromptKind, String)>, bool);

impl Prompt for Person {
    fn ask(&mut self, kind: PromptKind, text: &str) -> Option<Zeroizing<String>> {
        self.1.push((kind, text.to_owned()));
        Some(Zeroizing::new(self.0.to_owned()))
    }

    fn types_pin(&self) -> bool {
        self.2
    }
}

#[test]
fn a_key_comes_back_in_its_context_alone() {
    let bench = Bench::new();
    let kek = CustodyKek::generate();
    let wrapped = bench.wrapped(&kek, json!({}));
    assert_eq!(wrapped.key_version(), Some("v1"));
    let helper = bench.helper();
    let (back, standing) = helper.unwrap(&wrapped, &context(), &mut NobodyAnswers).unwrap();
    assert!(back.expose() == kek.expose() && !standing.rewrap);
    assert!(!helper.status(&wrapped, &context()).unwrap().rewrap);
    let other = Context { purpose: Use::Unlock(SlotId::from_bytes([3; 16])), ..context() };
    let refused = helper.unwrap(&wrapped, &other, &mut NobodyAnswers).err().unwrap();
    assert_eq!(refused.to_string(), "finds the wrapped key changed, or another key's: it is of another slot");
}

#[test]
fn a_custodian_that_rotated_its_key_says_so() {
    let bench = Bench::new();
    let standing = bench.unwrapped("rotated").unwrap().1;
    assert!(standing.rewrap);
    let wrapped = bench.wrapped(&CustodyKek::generate(), json!({"status": "rotated"}));
    assert!(bench.helper().status(&wrapped, &context()).unwrap().rewrap);
}

#[test]
fn each_refusal_keeps_its_kind_whatever_was_asked() {
    let bench = Bench::new();
    let helper = bench.helper();
    let kinds = [
        RefusalKind::Offline,
        RefusalKind::Denied,
        RefusalKind::Disabled,
        RefusalKind::NotFound,
        RefusalKind::WrongState,
        RefusalKind::NeedsUser,
        RefusalKind::Damaged,
        RefusalKind::Unsupported,
        RefusalKind::Internal,
    ];
    let kek = CustodyKek::generate();
    let wrapped = bench.wrapped(&kek, json!({}));
    for kind in kinds {
        let orders = json!({"wrap": kind.name(), "unwrap": kind.name(), "status": kind.name()});
        std::fs::write(bench.path("orders"), orders.to_string()).unwrap();
        let refused = [
            helper.wrap(&params(json!({})), &context(), &kek, &mut NobodyAnswers).err(),
            helper.unwrap(&wrapped, &context(), &mut NobodyAnswers).err(),
            helper.status(&wrapped, &context()).err(),
        ];
        for refused in refused.map(Option::unwrap) {
            assert_eq!(refused.kind, kind);
            assert!(refused.to_string().ends_with(": the double was told to"), "{refused}");
        }
    }
}

#[test]
fn a_person_is_asked_and_a_wrong_pin_is_not_retried() {
    let bench = Bench::new();
    let asked = |order: &str, answer, types_pin| {
        let wrapped = bench.wrapped(&CustodyKek::generate(), json!({ "unwrap": order }));
        let mut person = Person(answer, Vec::new(), types_pin);
        let done = bench.helper().unwrap(&wrapped, &context(), &mut person).map(|_| ());
        (done.map_err(|refusal| refusal.kind), person.1)
    };
    let ask = |order: &str, answer| asked(order, answer, false);
    let pin = || vec![(PromptKind::Pin, "PIN of the double".to_owned())];
    assert_eq!(ask("pin", "1234"), (Ok(()), pin()));
    assert_eq!(ask("pin", "12\"\n34"), (Err(RefusalKind::Pin { tries: Some(2), stored: false }), pin()));
    // What the helper has stored is wrong, and nobody is asked until it is told so.
    assert_eq!(
        ask("stored-pin", "1234"),
        (Err(RefusalKind::Pin { tries: Some(2), stored: true }), Vec::new())
    );
    assert_eq!(asked("stored-pin", "1234", true), (Ok(()), pin()));
    let wrong = RefusalKind::Pin { tries: Some(1), stored: false };
    assert_eq!(asked("stored-pin", "4321", true), (Err(wrong), pin()));
    assert_eq!(ask("touch", "").0, Ok(()));
    assert_eq!(ask("confirm", "yes").0, Ok(()));
    assert_eq!(ask("confirm", "no").0, Err(RefusalKind::Denied));
    let (done, asked) = ask("prompts", "");
    assert_eq!((done, asked.len()), (Err(RefusalKind::NeedsUser), 8));
}

#[test]
fn a_helper_that_asks_where_nobody_answers_is_refused_at_once() {
    let bench = Bench::new();
    for order in ["pin", "touch", "prompts"] {
        assert_eq!(bench.unwrapped(order).err().unwrap().kind, RefusalKind::NeedsUser, "{order}");
    }
    assert!(!bench.something_runs());
}

#[test]
fn one_that_is_busy_is_asked_three_times() {
    let bench = Bench::new();
    let asked = |order: &str| {
        let _ = std::fs::remove_file(bench.path("count"));
        let done = bench.unwrapped(order).map(|_| ()).map_err(|refusal| refusal.kind);
        (done, std::fs::read_to_string(bench.path("count")).unwrap())
    };
    assert_eq!(asked("busy 2"), (Ok(()), "3".to_owned()));
    let busy = RefusalKind::Busy { retry_after: Some(Duration::from_millis(20)) };
    assert_eq!(asked("busy 3"), (Err(busy), "3".to_owned()));
    assert!(matches!(bench.unwrapped("later").err().unwrap().kind, RefusalKind::Busy { .. }));
}

#[test]
fn nothing_is_inherited() {
    let bench = Bench::new();
    // Without FD_CLOEXEC, as a shell's are.
    let open = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    bench.unwrapped("report").unwrap();
    let report = std::fs::read_to_string(bench.path("report")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let mut names: Vec<&str> =
        report["environment"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names.retain(|name| *name != "HOME");
    assert_eq!(names, ["LC_ALL", "PATH"]);
    assert_eq!(report["descriptors"], json!([0, 1, 2]));
    assert_eq!(report["directory"], "/");
    assert_eq!(report["leads"], json!([true, true]));
    assert_eq!(report["core"], json!(["1", "1"]));
}

#[test]
fn what_a_header_says_is_asked_of_nobody_unless_the_list_has_it() {
    let bench = Bench::new();
    let wrapped = bench.wrapped(&CustodyKek::generate(), json!({}));
    let wrapped = with_params(&wrapped, json!({"unwrap": "report", "endpoint": "http://elsewhere"}));
    let helper = bench.helper();
    let refused = helper.unwrap(&wrapped, &context(), &mut NobodyAnswers).err().unwrap();
    assert_eq!(refused.kind, RefusalKind::NotAllowed);
    assert!(refused.to_string().contains("its parameter endpoint is http://elsewhere"), "{refused}");
    assert_eq!(helper.status(&wrapped, &context()).unwrap_err().kind, RefusalKind::NotAllowed);
    assert!(!bench.path("report").exists());
}

#[test]
fn a_helper_is_found_in_its_directory_if_nobody_else_can_change_it() {
    let mut bench = Bench::new();
    let refused = |host: &Host, name: &str| host.helper(&name.parse().unwrap()).unwrap_err();
    assert_eq!(refused(&bench.host, "age").kind, RefusalKind::NotAllowed);
    bench.host.allow = AllowList::parse("double\nage").unwrap();
    let missing = refused(&bench.host, "age");
    assert_eq!(missing.kind, RefusalKind::Missing);
    assert!(missing.to_string().contains("no rekeyfs-custodian-age in /"), "{missing}");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&bench.path("rekeyfs-custodian-double"), 0o775);
    assert_eq!(refused(&bench.host, "double").kind, RefusalKind::Untrusted);
    set(&bench.path("rekeyfs-custodian-double"), 0o755);
    set(bench.dir.path(), 0o770);
    assert_eq!(refused(&bench.host, "double").kind, RefusalKind::Untrusted);
    set(bench.dir.path(), 0o700);
    assert!(bench.host.helper(&double()).is_ok());
    // A directory, or a symlink that leads to where others write, is none.
    std::fs::create_dir(bench.path("rekeyfs-custodian-age")).unwrap();
    assert_eq!(refused(&bench.host, "age").kind, RefusalKind::Untrusted);
    std::fs::remove_dir(bench.path("rekeyfs-custodian-age")).unwrap();
    let open = tempfile::tempdir().unwrap();
    set(open.path(), 0o777);
    std::fs::copy(bench.path("rekeyfs-custodian-double"), open.path().join("x")).unwrap();
    std::os::unix::fs::symlink(open.path().join("x"), bench.path("rekeyfs-custodian-age")).unwrap();
    assert_eq!(refused(&bench.host, "age").kind, RefusalKind::Untrusted);
}
