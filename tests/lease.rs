//! A mount of a shared vault that is stopped between a check and its call, for longer than its lease: it is dead then, and nothing below it
//! has changed since.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used)]

mod served;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use served::Mount;

/// In milliseconds: mounts of a busy machine have to be able to renew theirs.
const LEASE: u64 = 8_000;
const PATIENCE: Duration = Duration::from_secs(40);

fn mount(stops: &str) -> Mount {
    Mount::new(&["--shared"], PATIENCE, |command, dir| {
        command.env("REKEYFS_LEASE", LEASE.to_string());
        command.env("REKEYFS_STOPS", stops).env("REKEYFS_STOPS_WHEN", dir.join("armed"));
    })
}

fn is_stopped(mount: &Mount) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", mount.daemon.id())).unwrap();
    stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
}

/// What lies in the vault's tree.
fn below(mount: &Mount) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![mount.dir.path().join("vault/tree")]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let is_dir = path.is_dir();
            found.insert(path.clone(), if is_dir { Vec::new() } else { fs::read(&path).unwrap() });
            dirs.extend(is_dir.then_some(path));
        }
    }
    found
}

/// What a program does in the mount, which has a file `f` of three pages that are synced and an empty directory `d`.
type Request = (&'static str, fn(&Path) -> io::Result<()>);

const REQUESTS: [Request; 5] = [
    ("Pwrite", |mnt| {
        let mut file = File::options().write(true).open(mnt.join("f"))?;
        file.seek(SeekFrom::Start(5000))?;
        file.write_all(&[2; 100])?;
        file.sync_data()
    }),
    // The last page is made whole, then the file grows.
    ("Truncate", |mnt| File::options().write(true).open(mnt.join("f"))?.set_len(100_000)),
    ("Rename", |mnt| fs::rename(mnt.join("f"), mnt.join("g"))),
    ("Rmdir", |mnt| fs::remove_dir(mnt.join("d"))),
    ("Unlink", |mnt| fs::remove_file(mnt.join("f"))),
];

fn stopped_past_its_lease((op, request): Request) {
    let mut mount = mount(op);
    let mut file = File::create(mount.path("f")).unwrap();
    file.write_all(&[1; 10_000]).unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::create_dir(mount.path("d")).unwrap();
    fs::write(mount.dir.path().join("armed"), "").unwrap();
    let asked = std::thread::spawn({
        let mnt = mount.path("");
        move || request(&mnt)
    });
    let end = Instant::now() + PATIENCE;
    while !is_stopped(&mount) {
        assert!(Instant::now() < end && mount.daemon.try_wait().unwrap().is_none(), "{op}: it isn't stopped");
        std::thread::sleep(Duration::from_millis(1));
    }
    let (before, stopped) = (below(&mount), Instant::now());
    let ended = mount.daemon.wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "{op}");
    assert!(stopped.elapsed() < Duration::from_millis(LEASE) + Duration::from_secs(5), "{op}");
    assert!(asked.join().unwrap().is_err(), "{op}");
    assert_eq!(below(&mount), before, "{op}");
    let checked = mount.rekeyfs(&["fsck", "vault", "--keyfile", "key"]).output().unwrap();
    assert!(checked.status.success(), "{op}: {checked:?}");
}

#[test]
fn a_mount_that_is_stopped_past_its_lease_changes_nothing_more() {
    if !Path::new("/dev/fuse").exists() {
        // No mount can be made: scripts/test.sh counts that as a failure of its own.
        return;
    }
    std::thread::scope(|scope| {
        for request in REQUESTS {
            scope.spawn(move || stopped_past_its_lease(request));
        }
    });
}
