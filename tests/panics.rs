//! A panic in one request of a mount: that request is answered with EIO and its cause is logged, all others go on.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used)]

mod served;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use served::Mount;

/// A mount whose daemon panics in the first call below of each of these kinds.
fn mount(panics: &str) -> Mount {
    Mount::new(&[], Duration::from_secs(20), |command, _| {
        command.env("REKEYFS_PANICS", panics).stderr(Stdio::piped());
    })
}

/// Unmounts; what the daemon logged, and what fsck says then.
fn end(mut mount: Mount) -> (String, Output) {
    let done = mount.rekeyfs(&["umount", "mnt"]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let lines = BufReader::new(mount.daemon.stderr.take().unwrap()).lines();
    let log = lines.map(Result::unwrap).collect::<Vec<_>>().join("\n");
    assert!(mount.daemon.wait().unwrap().success(), "{log}");
    let checked = mount.rekeyfs(&["fsck", "vault", "--keyfile", "key"]).output().unwrap();
    (log, checked)
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
    let mount = mount(&panics.join(","));
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
    let (log, checked) = end(mount);
    for op in panics {
        assert!(log.contains(&format!("a panic in {op}")), "{op}: {log}");
    }
    assert!(log.contains("answered with EIO"), "{log}");
    assert!(checked.status.success(), "{checked:?}");
}
