//! The operations of an open vault agree with each other.
use super::*;
use crate::events::EventFilter;
use crate::fsck::{CheckProgress, Finding};
use crate::ids::{AliasName, KeyId};
use crate::storage::Lease;
use crate::sys::boottime::BootTime;
use crate::vault::testing::TestVault;

fn default_alias() -> KeyRef {
    KeyRef::Alias(AliasName::default_alias())
}

#[test]
fn rotation_inspection_sweep_and_status_agree() {
    let vault = TestVault::new();
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    let old = vault.written("old");
    let empty = vault.make("empty");
    let rotated = open.rotate(&default_alias()).unwrap();
    assert_eq!((rotated.old.0, rotated.new.0), (1, 2));
    let new = vault.written("new");

    let header = |ino| open.inspect(ino).unwrap().header;
    assert!(header(empty).is_none());
    assert!(header(old).is_some_and(|h| h.stale && h.version == rotated.old));
    assert!(header(new).is_some_and(|h| !h.stale && h.version == rotated.new));
    let status = open.status().unwrap();
    assert_eq!((status.files_seen, status.files_stale), (2, 1));
    assert!(status.aliases.iter().any(|a| a.key_id == rotated.key && a.version == rotated.new));

    let mut told = 0;
    let report = open
        .rewrap(&Rewrap::default(), &mut Monitor::new(&Cancellation::default(), &mut |_| told += 1))
        .unwrap();
    assert!(told > 0 && report.complete);
    assert_eq!((report.progress.seen, report.progress.rewrapped), (3, 1));
    assert_eq!(report.versions.len(), 1);
    assert!(header(old).is_some_and(|h| !h.stale && h.sequence == 2));
    assert_eq!(open.status().unwrap().files_stale, 0);
}

#[test]
fn what_can_not_be_done_is_refused_with_its_kind() {
    let vault = TestVault::new();
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    let kind = |refused: Result<Rotation>| refused.unwrap_err().kind;
    let key = KeyRef::Key(KeyId::from_bytes([1; 16]));
    assert_eq!(kind(open.rotate(&key)), ErrorKind::NotFound);
    let alias = KeyRef::Alias("alias/none".parse().unwrap());
    assert_eq!(kind(open.rotate(&alias)), ErrorKind::NotFound);
    let tree = KeyRef::Alias(AliasName::tree());
    assert_eq!(kind(open.rotate(&tree)), ErrorKind::KeyNotUsable);
    assert!(open.inspect(Ino(1 << 60)).is_err());
}

#[test]
fn a_reader_whose_lease_is_over_uses_no_key_for_anyone() {
    let test = TestVault::shared();
    let (reader, lease) = (test.reader(), Lease::of_reader());
    reader.serve_under(Arc::clone(&lease));
    let open = OpenVault::with_files(reader);
    let call = Call::DescribeKey { key_id: AliasName::default_alias().to_string() };
    let ask = || open.kms(&call, None, &mut Monitor::unattended());
    assert_eq!(ask().unwrap_err().kind, ErrorKind::KeyNotUsable);
    lease.extend(BootTime::now().after(Duration::from_secs(600)));
    assert!(matches!(ask(), Ok(KmsReply::Done { .. })));
    lease.extend(BootTime::now());
    assert_eq!(ask().unwrap_err().kind, ErrorKind::KeyNotUsable);
}

#[test]
fn a_remount_read_only_stops_what_changes_files_and_a_writable_one_lets_it_go_on() {
    let vault = TestVault::new();
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    let old = vault.written("old");
    open.rotate(&default_alias()).unwrap();
    open.remounted(true);
    let refused = |done: ErrorReply| assert_eq!(done.kind, ErrorKind::ReadOnly, "{done}");
    refused(open.rewrap(&Rewrap::default(), &mut Monitor::unattended()).unwrap_err());
    refused(open.reencrypt(old, None, &mut Monitor::unattended()).unwrap_err());
    refused(open.rewrap_to(old, "alias/default").unwrap_err());
    // Opened, so it is stale and queued, and nobody gets it.
    let (ino, handle) = vault.open("old").unwrap();
    assert_eq!(vault.vault.stale_waiting(), 1);
    assert_eq!(vault.vault.next_stale(9, Duration::ZERO), Some(vec![]));
    // Keys are the vault's.
    assert_eq!(open.rotate(&default_alias()).unwrap().new.0, 3);
    open.remounted(false);
    assert_eq!(vault.vault.next_stale(9, Duration::ZERO), Some(vec![old]));
    vault.vault.release(ino, handle).unwrap();
    let report = open.rewrap(&Rewrap::default(), &mut Monitor::unattended()).unwrap();
    assert!(report.complete && report.progress.rewrapped == 1);
}

#[test]
fn a_sweep_that_runs_when_the_mount_becomes_read_only_ends_and_says_so() {
    let vault = TestVault::new();
    vault.written("file");
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    open.rotate(&default_alias()).unwrap();
    let order = Rewrap { max_rate: std::num::NonZeroU32::new(1), ..Rewrap::default() };
    let cancellation = Cancellation::default();
    let mut remount = |_| open.remounted(true);
    let refused = open.rewrap(&order, &mut Monitor::new(&cancellation, &mut remount)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::ReadOnly);
    assert!(refused.to_string().contains("1 of the 1 files"), "{refused}");
    assert!(refused.to_string().contains("remount,rw"), "{refused}");
}

#[test]
fn a_server_that_ends_stops_its_sweeps_and_checks() {
    let vault = TestVault::new();
    vault.written("file");
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    open.stop();
    assert!(!open.rewrap(&Rewrap::default(), &mut Monitor::unattended()).unwrap().complete);
    struct Nobody;
    impl CheckObserver for Nobody {
        fn found(&mut self, _: &Finding) {}
        fn progress(&mut self, _: CheckProgress) {}
    }
    assert!(!open.fsck(None, &Cancellation::default(), &mut Nobody).unwrap().complete);
}

#[test]
fn a_page_of_events_has_plain_names_and_marks_what_nobody_vouches_for() {
    let vault = TestVault::new();
    let open = OpenVault::with_files(Arc::clone(&vault.vault));
    let file = vault.written("plan");
    let key = open.rotate(&default_alias()).unwrap().key;
    open.keys.disable_key(key).unwrap();
    let read = crate::vault::OpenFlags { read: true, write: false, truncate: false };
    assert!(vault.vault.open(file, read, &crate::vault::testing::me()).is_err());
    let log = vault.tree().parent().unwrap().join(FILE_NAME);
    let forged = std::fs::read_to_string(&log).unwrap().lines().next().unwrap().to_owned();
    std::io::Write::write_all(
        &mut std::fs::OpenOptions::new().append(true).open(&log).unwrap(),
        format!("{forged}\n").as_bytes(),
    )
    .unwrap();
    let of = |filter| open.events(&EventQuery { filter, place: Default::default(), limit: 9 }).unwrap();
    let refused = of(EventFilter { event: "refused".parse().ok(), ..EventFilter::default() });
    assert_eq!(refused.events[0].name, Some(PathText("plan".into())));
    assert!(!refused.events[0].doubtful);
    let all = of(EventFilter::default());
    assert_eq!((all.events[0].doubtful, all.events[1].doubtful), (true, false));
    assert_eq!(all.days.iter().map(|(_, count)| count).sum::<u64>() + 1, all.matching);
}
