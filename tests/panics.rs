//! A panic in one request of a mount: that request is answered with EIO and its cause is logged, all others go on.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A mount whose daemon panics in the first call below of each of these kinds.
struct Mount {
    dir: tempfile::TempDir,
    daemon: Child,
}

impl Mount {
    fn new(panics: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["run", "state", "mnt"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("key"), [7; 32]).unwrap();
        let made = rekeyfs(dir.path(), &["init", "vault", "--keyfile", "key", "--no-recovery-key"]).output();
        assert!(made.as_ref().unwrap().status.success(), "{made:?}");
        let daemon = rekeyfs(dir.path(), &["mount", "vault", "mnt", "--keyfile", "key", "--foreground"])
            .env("REKEYFS_PANICS", panics)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mount = Self { dir, daemon };
        let end = Instant::now() + Duration::from_secs(20);
        while device(&mount.path("")) == device(mount.dir.path()) {
            assert!(Instant::now() < end, "it isn't mounted");
            std::thread::sleep(Duration::from_millis(10));
        }
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mnt").join(name)
    }

    /// Unmounts; what the daemon logged, and what fsck says then.
    fn end(mut self) -> (String, Output) {
        let done = rekeyfs(self.dir.path(), &["umount", "mnt"]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let lines = BufReader::new(self.daemon.stderr.take().unwrap()).lines();
        let log = lines.map(Result::unwrap).collect::<Vec<_>>().join("\n");
        assert!(self.daemon.wait().unwrap().success(), "{log}");
        let checked = rekeyfs(self.dir.path(), &["fsck", "vault", "--keyfile", "key"]).output().unwrap();
        (log, checked)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Ok(None) = self.daemon.try_wait() {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
            let _ = Command::new("umount").arg("-l").arg(self.path("")).output();
        }
    }
}

fn rekeyfs(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyfs"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command.env("XDG_RUNTIME_DIR", dir.join("run")).env("XDG_STATE_HOME", dir.join("state"));
    command
}

fn device(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap())
}

fn errno(result: io::Result<()>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn a_request_that_panics_answers_eio_and_all_others_go_on() {
    if !Path::new("/dev/fuse").exists() {
        // No mount can be made: scripts/test.sh counts that as a failure of its own.
        return;
    }
    type Request = (&'static str, fn(&Mount) -> io::Result<()>);
    let requests: &[Request] = &[
        ("Mkdir", |m| fs::create_dir(m.path("dir"))),
        ("Symlink", |m| std::os::unix::fs::symlink("there", m.path("link"))),
        ("Link", |m| fs::hard_link(m.path("file"), m.path("hard"))),
        ("Fdatasync", |m| File::open(m.path("file"))?.sync_data()),
        ("Rmdir", |m| fs::remove_dir(m.path("dir"))),
        ("Unlink", |m| fs::remove_file(m.path("link"))),
    ];
    let panics: Vec<_> = requests.iter().map(|(op, _)| *op).collect();
    let mount = Mount::new(&panics.join(","));
    let mut file = File::create(mount.path("file")).unwrap();
    file.write_all(&[1; 10_000]).unwrap();
    for (op, request) in requests {
        assert_eq!(errno(request(&mount)), Some(5), "{op}");
        // No lock is left held, and nothing of it is left half done.
        request(&mount).unwrap_or_else(|error| panic!("{op}, repeated: {error}"));
        fs::write(mount.path("other"), op).unwrap();
        assert_eq!(fs::read(mount.path("other")).unwrap(), op.as_bytes());
    }
    drop(file);
    assert_eq!(fs::read(mount.path("hard")).unwrap(), [1; 10_000]);
    let (log, checked) = mount.end();
    for op in panics {
        assert!(log.contains(&format!("a panic in {op}")), "{op}: {log}");
    }
    assert!(log.contains("answered with EIO"), "{log}");
    assert!(checked.status.success(), "{checked:?}");
}
