mod cancelling;
mod long_replies;
mod lost_socket;
mod names;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rustix::process::getpid;

use super::registry::entries_in;
use super::wire::{LineReader, WireError, decode, encode};
use super::*;
use crate::events::{EventFilter, EventPage, EventQuery, PagePlace, Principal, Verification};
use crate::fsck::{self, CheckObserver, Code, Disposition, Finding, Summary};
use crate::ids::{AliasName, BackingKeyId, Ino, KeyId, KeyVersion, PathText, SlotId, Timestamp, VaultId};
use crate::keyring::{Retirement, SlotLabel, Staying, VersionState};
use crate::kms::Call;
use crate::metrics::{MetricsReport, catalogue};
use crate::monitor::{Cancellation, Monitor, Progress};
use crate::service::{
    self, ErrorKind, ErrorReply, FileReencrypted, Inspected, KeyRef, KmsReply, ManualRotation, OpenVault,
    Operations, ReencryptionEnded, Retire, RetireReport, Rewrap, RewrapReport, Rotation, SlotStatus, Status,
};
use crate::sys::testing::{PATIENCE, eventually};
use crate::vault::testing::TestVault;

struct Fake {
    sweeps: AtomicU64,
    checked: AtomicU64,
    /// Sweeps and checks that have ended.
    ended: AtomicU64,
}

impl Operations for Fake {
    fn status(&self) -> service::Result<Status> {
        Ok(status())
    }
    fn metrics(&self) -> service::Result<MetricsReport> {
        let mut report = MetricsReport::default();
        report.add(&catalogue::UP, &[], 1);
        Ok(report)
    }
    fn evict_reader(&self, _host: &str) -> service::Result<Vec<u8>> {
        Ok(vec![3])
    }
    fn key_backup(&self) -> crate::service::Result<crate::service::KeyBackupStatus> {
        Ok(crate::service::KeyBackupStatus::default())
    }

    fn rotate(&self, target: &KeyRef) -> service::Result<Rotation> {
        match target {
            KeyRef::Alias(alias) => Ok(Rotation {
                alias: Some(alias.clone()),
                key: KeyId::from_bytes([7; 16]),
                old: KeyVersion(1),
                new: KeyVersion(2),
            }),
            KeyRef::Key(key) => Err(ErrorReply::new(ErrorKind::NotFound, format!("{key}: no such key"))),
            KeyRef::Prefix(prefix) => {
                Err(ErrorReply::new(ErrorKind::NotFound, format!("{prefix}…: no such key")))
            }
        }
    }
    fn replace_key(&self, alias: &AliasName) -> service::Result<ManualRotation> {
        Err(ErrorReply::new(ErrorKind::NotFound, format!("there is no {alias}")))
    }
    fn rotate_due(&self) -> service::Result<Vec<Rotation>> {
        Ok(vec![])
    }
    fn retire(&self, _: &Retire, _: &mut Monitor<'_>) -> service::Result<RetireReport> {
        Err(ErrorReply::new(ErrorKind::NotFound, "no such key"))
    }
    fn kms(&self, call: &Call, _: Option<Principal>, _: &mut Monitor<'_>) -> service::Result<KmsReply> {
        Ok(KmsReply::Done { answer: call.operation().into() })
    }
    fn rewrap(&self, _: &Rewrap, monitor: &mut Monitor<'_>) -> service::Result<RewrapReport> {
        let mut progress = Progress::default();
        loop {
            monitor.report(progress);
            if monitor.check().is_err() {
                break;
            }
            progress.seen += 1;
            self.sweeps.store(progress.seen, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(RewrapReport { progress, complete: false, versions: vec![], staying: Staying::default() })
    }
    fn fsck(
        &self,
        path: Option<&PathText>,
        cancellation: &Cancellation,
        watch: &mut dyn CheckObserver,
    ) -> service::Result<Summary> {
        let path = path.cloned().ok_or_else(|| ErrorReply::new(ErrorKind::NotFound, "everything: no"))?;
        if path == endless() {
            let mut progress = fsck::CheckProgress::default();
            while !cancellation.is_cancelled() {
                watch.progress(progress);
                progress.files += 1;
                self.checked.store(progress.files, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            self.ended.fetch_add(1, Ordering::SeqCst);
            return Ok(Summary { complete: false, ..Summary::default() });
        }
        watch.found(&finding(path));
        watch.progress(fsck::CheckProgress { files: 1, bytes: 2, findings: 1 });
        Ok(Summary { complete: !cancellation.is_cancelled(), files: 1, ..Summary::default() })
    }
    fn plain_names(&self, paths: &[String]) -> service::Result<Vec<Option<PathText>>> {
        Ok(paths.iter().map(|_| None).collect())
    }
    fn rotate_events(&self) -> service::Result<String> {
        Ok("events.jsonl.0000000007".to_owned())
    }

    fn prune_events(&self, keep: usize) -> service::Result<Vec<String>> {
        Ok((0..keep).map(|n| n.to_string()).collect())
    }

    fn verify_events(&self) -> service::Result<Verification> {
        Ok(Verification { good: 3, ..Verification::default() })
    }
    fn count_files(&self, _: &mut Monitor<'_>) -> service::Result<Status> {
        Ok(status())
    }
    fn reencrypt(
        &self,
        _ino: Ino,
        _before: Option<Timestamp>,
        monitor: &mut Monitor<'_>,
    ) -> service::Result<FileReencrypted> {
        monitor.keep_alive();
        Ok(FileReencrypted::Empty)
    }
    fn note_reencryption(&self, _ended: Option<ReencryptionEnded>) -> service::Result<()> {
        Ok(())
    }
    fn rewrap_to(&self, _ino: Ino, key_id: &str) -> service::Result<KmsReply> {
        Ok(KmsReply::Done { answer: key_id.into() })
    }
    fn inspect(&self, ino: Ino) -> service::Result<Inspected> {
        if ino == Ino(9) { Ok(Inspected { header: None }) } else { panic!("asked for {ino}") }
    }
    fn inspect_files(&self, inos: &[Ino]) -> service::Result<Vec<Option<Inspected>>> {
        inos.iter().map(|ino| self.inspect(*ino).map(Some)).collect()
    }
    fn version_state(&self, _backing: BackingKeyId) -> service::Result<VersionState> {
        Ok(VersionState::Lost)
    }
    fn slots(&self) -> service::Result<Vec<SlotStatus>> {
        Ok(Vec::new())
    }
    fn events(&self, query: &EventQuery) -> service::Result<EventPage> {
        Ok(EventPage { matching: query.limit.into(), ..EventPage::default() })
    }
    fn slot_labels(&self) -> service::Result<Vec<(SlotId, SlotLabel)>> {
        Ok(vec![(SlotId::from_bytes([1; 16]), "laptop".parse().unwrap())])
    }
}

/// The path of a check that ends only when it is cancelled.
fn endless() -> PathText {
    PathText("/endless".into())
}

fn finding(path: PathText) -> Finding {
    Finding {
        code: Code::PageDamaged,
        severity: Code::PageDamaged.severity(),
        lower: path.clone(),
        path,
        pages: None,
        detail: String::new(),
        disposition: Disposition::Left,
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn status() -> Status {
    Status {
        vault_id: VaultId::from_bytes([1; 16]),
        vault: std::path::Path::new("/v").into(),
        suite: "aes-256-gcm".into(),
        mount: None,
        aliases: vec![],
        keys: vec![],
        counted: None,
        counts_as_of: None,
        versions: vec![],
        files_seen: 0,
        files_stale: 0,
        files_staying: Staying::default(),
        files_unknown: 0,
        files_noted: Vec::new(),
        key_backup: None,
        pending_rewraps: 0,
        pending_deletions: vec![],
    }
}

fn location(dir: &std::path::Path) -> VaultLocation {
    VaultLocation::of(VaultId::from_bytes([1; 16]), dir).unwrap()
}

fn server(dir: &std::path::Path) -> (Server, Arc<Fake>) {
    let (sweeps, checked, ended) = Default::default();
    let fake = Arc::new(Fake { sweeps, checked, ended });
    let mut endpoint = RuntimeDir::create_at(&dir.join("run")).unwrap().bind(location(dir)).unwrap();
    endpoint.publish(dir, Path::new("/mnt/x"), 77).unwrap();
    (serve(endpoint, Arc::clone(&fake) as Arc<dyn Operations>, Box::new(|| ())).unwrap(), fake)
}

/// The client of a daemon at `socket`, of the user `owner`.
fn client(socket: &Path, owner: u32) -> Client {
    Client::of(&Entry {
        protocol: PROTOCOL,
        location: VaultLocation { vault_id: VaultId::from_bytes([1; 16]), dev: 0, ino: 0 },
        vault: Path::new("/v").into(),
        mountpoint: Path::new("/mnt/x").into(),
        mount_dev: 77,
        pid: 0,
        socket: socket.to_owned(),
        owner,
    })
}

/// Hears what a check finds.
#[derive(Default)]
struct Heard(Vec<Finding>);

impl CheckObserver for Heard {
    fn found(&mut self, finding: &Finding) {
        self.0.push(finding.clone());
    }
    fn progress(&mut self, _: fsck::CheckProgress) {}
}

#[test]
fn findings_come_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = server(dir.path());
    let client = client(&server.socket(), me());
    let mut heard = Heard::default();
    let path = PathText("/a\nb".into());
    let summary = client.fsck(Some(&path), &Cancellation::default(), &mut heard).unwrap();
    assert_eq!(heard.0, [finding(path)]);
    assert_eq!(summary, Summary { complete: true, files: 1, ..Summary::default() });
    let refused = client.fsck(None, &Cancellation::default(), &mut heard).unwrap_err();
    assert_eq!(refused, ErrorReply::new(ErrorKind::NotFound, "everything: no"));
}

#[test]
fn a_mount_is_found_asked_and_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = server(dir.path());
    let run = dir.path().join("run");
    let found = entries_in(&run, me());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].mount_dev, 77);
    assert_eq!(found[0].location, location(dir.path()));

    let asked = Client::of(&found[0]);
    assert_eq!(asked.peer().unwrap(), getpid());
    assert_eq!(asked.status().unwrap(), status());
    let alias = KeyRef::Alias(AliasName::default_alias());
    assert_eq!(asked.rotate(&alias).unwrap().new, KeyVersion(2));
    let key = KeyRef::Key(KeyId::from_bytes([3; 16]));
    assert_eq!(asked.rotate(&key).unwrap_err().kind, ErrorKind::NotFound);

    assert!(entries_in(&run, me() + 1).is_empty(), "another user's word is believed");
    let imposter = client(&found[0].socket, me() + 1);
    let refused = imposter.peer().unwrap_err();
    assert!(matches!(refused, ClientError::Imposter { found, .. } if found == me()), "{refused}");
    assert_eq!(imposter.status().unwrap_err().kind, ErrorKind::Unreachable);

    let socket = found[0].socket.clone();
    drop(server);
    assert!(matches!(client(&socket, me()).peer(), Err(ClientError::Gone(_))));
    assert!(!run.exists(), "something is left");
}

#[test]
fn the_last_mount_takes_the_runtime_directory_away_and_the_next_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let runtime = RuntimeDir::create_at(&run).unwrap();
    for _ in 0..3 {
        runtime.bind(location(dir.path())).unwrap().remove();
        assert!(!run.exists());
    }
}

#[test]
fn a_runtime_directory_of_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(RuntimeDir::create_at(&run), Err(RegistryError::Unsafe(..))));
    assert!(entries_in(&run, me()).is_empty());
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(RuntimeDir::create_at(&run).is_ok());
    // Who can rename it can put another in its place.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(RuntimeDir::create_at(&run), Err(RegistryError::Unsafe(..))));
    assert!(entries_in(&run, me()).is_empty());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    assert!(matches!(RuntimeDir::create_at(&dir.path().join("link")), Err(RegistryError::Unsafe(..))));
}

#[test]
fn a_long_runtime_directory_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(200));
    std::fs::create_dir(&deep).unwrap();
    let endpoint = RuntimeDir::create_at(&deep.join("run")).unwrap().bind(location(dir.path())).unwrap();
    assert!(client(endpoint.socket(), me()).peer().is_ok());
}

#[test]
fn a_client_answers_as_the_vault_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let vault = TestVault::new();
    let file = vault.written("file");
    let open = Arc::new(OpenVault::with_files(Arc::clone(&vault.vault)));
    let endpoint =
        RuntimeDir::create_at(&dir.path().join("run")).unwrap().bind(location(dir.path())).unwrap();
    let server = serve(endpoint, Arc::clone(&open) as Arc<dyn Operations>, Box::new(|| ())).unwrap();
    let client = client(&server.socket(), me());
    let default = KeyRef::Alias(AliasName::default_alias());

    let rotation = client.rotate(&default).unwrap();
    assert_eq!((rotation.old, rotation.new), (KeyVersion(1), KeyVersion(2)));
    assert_eq!(client.status(), open.status());
    assert_eq!(client.inspect(file), open.inspect(file));
    let backing = BackingKeyId { key: rotation.key, version: rotation.old };
    assert_eq!(client.version_state(backing), open.version_state(backing));
    assert_eq!(client.verify_events(), open.verify_events());
    assert_eq!(client.slot_labels(), open.slot_labels());
    assert_eq!(client.evict_reader("nobody"), open.evict_reader("nobody"));
    assert_eq!((client.slots(), client.slots().unwrap().len()), (open.slots(), 1));
    let rotations = EventFilter { event: "rotation".parse().ok(), ..EventFilter::default() };
    let query = EventQuery { filter: rotations, place: PagePlace::Newest, limit: 5 };
    let page = client.events(&query).unwrap();
    assert_eq!((page.events.len(), page.matching, Ok(&page)), (1, 1, open.events(&query).as_ref()));
    let call = Call::DescribeKey { key_id: rotation.key.to_string() };
    assert_eq!(
        client.kms(&call, None, &mut Monitor::unattended()),
        open.kms(&call, None, &mut Monitor::unattended())
    );
    let names = ["tree/none".to_owned()];
    assert_eq!(client.plain_names(&names), open.plain_names(&names));
    let fsck = |vault: &dyn Operations| vault.fsck(None, &Cancellation::default(), &mut Heard::default());
    assert_eq!(fsck(&client), fsck(&*open));

    // What can't be done is the same error, with the files that are in the way.
    let key_id = rotation.key.to_string();
    let (below, what) = (KeyVersion(2), Retirement::Retire);
    let retire = Retire { key_id, below, what, force: None, copies: Vec::new() };
    let refused = open.retire(&retire, &mut Monitor::unattended()).unwrap_err();
    assert!(refused.kind == ErrorKind::KeyNotUsable && !refused.files.is_empty(), "{refused:?}");
    assert_eq!(client.retire(&retire, &mut Monitor::unattended()).unwrap_err(), refused);
    let nobody = KeyRef::Alias("alias/nobody".parse().unwrap());
    assert_eq!(client.rotate(&nobody), open.rotate(&nobody));
    let cancelled = Cancellation::default();
    cancelled.cancel();
    let stopped =
        |vault: &dyn Operations| vault.count_files(&mut Monitor::silent(&cancelled)).unwrap_err().kind;
    assert_eq!((stopped(&client), stopped(&*open)), (ErrorKind::Stopped, ErrorKind::Stopped));

    let report = client.rewrap(&Rewrap::default(), &mut Monitor::unattended()).unwrap();
    assert_eq!((report.complete, report.progress.rewrapped), (true, 1));
    assert_eq!(client.count_files(&mut Monitor::unattended()).unwrap().files_stale, 0);
    let replaced = client.replace_key(&AliasName::default_alias()).unwrap();
    assert_eq!(replaced.old, rotation.key);
    assert_eq!(client.rotate_due(), Ok(Vec::new()));
    let done = client.rewrap_to(file, &replaced.new.to_string()).unwrap();
    assert!(matches!(done, KmsReply::Done { .. }), "{done:?}");
    client.note_reencryption(None).unwrap();
    let done = client.reencrypt(file, None, &mut Monitor::unattended()).unwrap();
    assert!(matches!(done, FileReencrypted::Done { .. }), "{done:?}");
}

fn raw(server: &Server, bytes: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    // The daemon may stop reading at its limit.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    decode(text.strip_suffix(b"\n").unwrap_or(&text)).unwrap()
}

#[test]
fn bad_requests_are_refused_with_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = server(dir.path());
    for (bytes, kind) in [
        (&b"\n"[..], ErrorKind::BadRequest),
        (b"nonsense\n", ErrorKind::BadRequest),
        (b"{\"protocol\":2,\"message\":{\"ask\":\"dance\"}}\n", ErrorKind::Protocol),
        (b"{\"protocol\":1,\"message\":{\"ask\":\"dance\"}}\n", ErrorKind::BadRequest),
        (b"{\"protocol\":1,\"message\":{\"ask\":\"inspect\",\"ino\":9,\"x\":1}}\n", ErrorKind::BadRequest),
        (b"{\"protocol\":1,\"message\":{\"ask\":\"inspect\",\"ino\":-9}}\n", ErrorKind::BadRequest),
    ] {
        match raw(&server, bytes) {
            Reply::Refused(refusal) => {
                assert_eq!(refusal.kind, kind, "{}", String::from_utf8_lossy(bytes));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        raw(&server, b"{\"protocol\":1,\"message\":{\"ask\":\"inspect\",\"ino\":9}}\n"),
        Reply::Inspected(Inspected { header: None })
    );
    // A handler that panics takes its connection with it, not the server.
    let client = client(&server.socket(), me());
    assert_eq!(client.inspect(Ino(1)).unwrap_err().kind, ErrorKind::Other);
    assert!(client.status().is_ok());
}

#[test]
fn lines_are_limited() {
    let exact = [vec![b'x'; MAX_REQUEST - 1], vec![b'\n']].concat();
    assert_eq!(LineReader::new(&exact[..], MAX_REQUEST).next_line().unwrap().len(), MAX_REQUEST - 1);
    let over = [vec![b'x'; MAX_REQUEST], vec![b'\n']].concat();
    assert!(matches!(
        LineReader::new(&over[..], MAX_REQUEST).next_line(),
        Err(WireError::TooLong(MAX_REQUEST))
    ));
    assert!(matches!(LineReader::new(&b"unfinished"[..], MAX_REQUEST).next_line(), Err(WireError::Closed)));
    assert!(matches!(encode(&"x".repeat(MAX_REQUEST), MAX_REQUEST), Err(WireError::TooLong(MAX_REQUEST))));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Reply>(&bytes);
    }

    #[test]
    fn lines_come_back_as_sent(
        lines in proptest::collection::vec("[ -~]{0,300}", 0..20),
        chunk in 1usize..50,
    ) {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                let n = self.1.min(buf.len()).min(self.0.len());
                buf[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
        let mut reader = LineReader::new(Slow(text.as_bytes(), chunk), MAX_REQUEST);
        for line in &lines {
            let read = reader.next_line().unwrap();
            prop_assert_eq!(read.as_slice(), line.as_bytes());
        }
        prop_assert!(matches!(reader.next_line(), Err(WireError::Closed)));
    }

    #[test]
    fn paths_keep_every_byte(bytes in proptest::collection::vec(1u8..=255, 0..60)) {
        use std::os::unix::ffi::OsStringExt;
        let path = PathText(std::ffi::OsString::from_vec(bytes).into());
        let line = encode(&path, MAX_REQUEST).unwrap();
        prop_assert_eq!(decode::<PathText>(&line).unwrap(), path);
    }
}
