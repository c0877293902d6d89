//! A client that hangs up cancels what it asked for, and the end of the daemon cancels all.
use super::*;

#[test]
fn hanging_up_stops_a_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let (server, fake) = server(dir.path());
    let (mut last, cancellation) = (Progress::default(), Cancellation::default());
    let mut receiver = |progress: Progress| {
        last = progress;
        if progress.seen >= 3 {
            cancellation.cancel();
        }
    };
    let report = client(&server.socket(), me())
        .rewrap(&Rewrap::default(), &mut Monitor::new(&cancellation, &mut receiver))
        .unwrap();
    // The daemon's own report comes too late: it is of what was seen.
    assert_eq!((report.progress, report.complete), (last, false));
    eventually(|| fake.ended.load(Ordering::SeqCst) == 1);
}

/// Cancels a check once some files were checked.
#[derive(Default)]
struct Enough(Cancellation);

impl CheckObserver for Enough {
    fn found(&mut self, _: &Finding) {}
    fn progress(&mut self, progress: fsck::CheckProgress) {
        if progress.files >= 3 {
            self.0.cancel();
        }
    }
}

#[test]
fn hanging_up_cancels_a_check() {
    let dir = tempfile::tempdir().unwrap();
    let (server, fake) = server(dir.path());
    let mut enough = Enough::default();
    let cancellation = enough.0.clone();
    let client = client(&server.socket(), me());
    let summary = client.fsck(Some(&endless()), &cancellation, &mut enough).unwrap();
    assert!(!summary.complete && summary.files >= 3, "{summary:?}");
    eventually(|| fake.ended.load(Ordering::SeqCst) == 1);
}

#[test]
fn the_end_of_the_daemon_cancels_a_check_and_tells_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let (server, fake) = server(dir.path());
    let client = client(&server.socket(), me());
    let waiting = std::thread::spawn(move || {
        client.fsck(Some(&endless()), &Cancellation::default(), &mut Heard::default())
    });
    eventually(|| fake.checked.load(Ordering::SeqCst) > 0);
    drop(server);
    assert!(!waiting.join().unwrap().unwrap().complete);
}

#[test]
fn the_end_of_the_daemon_stops_a_sweep_and_tells_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let (server, fake) = server(dir.path());
    let client = client(&server.socket(), me());
    let waiting = std::thread::spawn(move || client.rewrap(&Rewrap::default(), &mut Monitor::unattended()));
    eventually(|| fake.sweeps.load(Ordering::SeqCst) > 0);
    drop(server);
    assert!(!waiting.join().unwrap().unwrap().complete);
}
