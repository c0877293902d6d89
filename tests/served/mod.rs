//! A mount of a vault of its own, served by a process of this build: for tests of what a process has to be stopped or made to panic for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Mount {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) daemon: Child,
}

impl Mount {
    /// Serves it in the foreground with these options too, and with what `set` gives its command. It is mounted within `patience`.
    pub(crate) fn new(options: &[&str], patience: Duration, set: impl Fn(&mut Command, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["run", "state", "mnt"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("key"), [7; 32]).unwrap();
        let made = rekeyfs(dir.path(), &["init", "vault", "--keyfile", "key", "--no-recovery-key"]).output();
        assert!(made.as_ref().unwrap().status.success(), "{made:?}");
        let mut serve = rekeyfs(dir.path(), &["mount", "vault", "mnt", "--keyfile", "key", "--foreground"]);
        set(serve.args(options), dir.path());
        let mount = Self { daemon: serve.spawn().unwrap(), dir };
        let end = Instant::now() + patience;
        while device(&mount.path("")) == device(mount.dir.path()) {
            assert!(Instant::now() < end, "it isn't mounted");
            std::thread::sleep(Duration::from_millis(10));
        }
        mount
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mnt").join(name)
    }

    pub(crate) fn rekeyfs(&self, args: &[&str]) -> Command {
        rekeyfs(self.dir.path(), args)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Ok(None) = self.daemon.try_wait() {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        if device(&self.path("")) != device(self.dir.path()) {
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

/// 0 of a mountpoint whose daemon is gone.
fn device(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.dev())
}
