use std::sync::mpsc;
use std::time::Duration;

use super::*;

const TAR: ThreadId = ThreadId(7);
const GIT: ThreadId = ThreadId(8);
const NEXT: Duration = Duration::from_micros(20);

fn small(caller: ThreadId) -> Served {
    Served { caller: Some(caller), bulk: false }
}

/// An assignment to [`TAR`], and what it says to each of these requests, which come closely.
fn decided(requests: impl IntoIterator<Item = Served>) -> (Assignment, Vec<Decision>) {
    let mut now = Instant::now();
    let mut assignment = Assignment::new(1, TAR, now);
    let decisions = requests.into_iter().map(|served| {
        now += NEXT;
        assignment.decide(served, now)
    });
    let decisions = decisions.collect();
    (assignment, decisions)
}

#[test]
fn it_stays_with_its_caller_and_checks_now_and_then() {
    let release = Served { caller: None, bulk: false };
    let requests =
        (0..WORKER_CHECK_EVERY as usize * 4).map(|n| if n % 3 == 0 { release } else { small(TAR) });
    let (assignment, decisions) = decided(requests);
    assert_eq!(assignment.count, WORKER_CHECK_EVERY * 4);
    assert!(!decisions.contains(&Decision::Leave));
    let checks: Vec<_> =
        (1..).zip(&decisions).filter(|(_, v)| **v == Decision::Check).map(|(n, _)| n).collect();
    assert_eq!(
        checks,
        [WORKER_CHECK_EVERY, WORKER_CHECK_EVERY * 2, WORKER_CHECK_EVERY * 3, WORKER_CHECK_EVERY * 4]
    );
}

#[test]
fn it_leaves_when_requests_are_large_or_of_several() {
    let leaves = |requests: &mut dyn Iterator<Item = Served>| decided(requests).1.contains(&Decision::Leave);
    let bulk = Served { bulk: true, ..small(TAR) };
    assert!(leaves(&mut [bulk, bulk].into_iter()));
    assert!(!leaves(&mut (0..500).map(|n| if n % 20 == 0 { bulk } else { small(TAR) })));
    assert!(leaves(&mut (0..50).map(|n| if n % 2 == 0 { small(GIT) } else { small(TAR) })));
    assert!(!leaves(&mut (0..500).map(|n| if n % 10 == 0 { small(GIT) } else { small(TAR) })));
}

#[test]
fn it_leaves_when_the_machine_stays_busy() {
    let (mut assignment, _) = decided([]);
    let crowded_out: Vec<_> = [true, false, true, true].map(|busy| assignment.is_crowded_out(busy)).into();
    assert_eq!(crowded_out, [false, false, false, true]);
}

#[test]
fn it_leaves_when_it_is_late() {
    let mut now = Instant::now();
    let mut assignment = Assignment::new(1, TAR, now);
    now += WORKER_LATE;
    assert_eq!(assignment.decide(small(TAR), now), Decision::Stay);
    now += WORKER_LATE + NEXT;
    assert_eq!(assignment.decide(small(TAR), now), Decision::Leave);
}

#[test]
fn it_looks_for_a_caller_that_follows_another() {
    let before = (0..20).map(|_| small(TAR));
    let after = (0..20).map(|_| small(GIT));
    let (assignment, decisions) = decided(before.chain(after));
    assert_eq!((assignment.caller, assignment.penalty), (GIT, 0));
    assert!(!decisions.contains(&Decision::Leave));
    assert_eq!(decisions.iter().position(|v| *v == Decision::Check), Some(20 + SWITCH_AFTER as usize - 1));
}

#[test]
fn it_leaves_a_caller_that_always_migrates() {
    let here = core_of(this_thread());
    let mut assignment = Assignment::new(1, TAR, Instant::now());
    std::thread::spawn(move || {
        assert!(assignment.follow(here) && assignment.follow(here));
        assert!(!assignment.follow(None), "a caller that has ended");
        let mut stays = 0;
        while assignment.follow(here) {
            stays += 1;
            assignment.core = None;
        }
        assert!(stays < MIGRATIONS_MAX);
    })
    .join()
    .unwrap();
}

/// Field 41 of proc_pid_stat(5).
fn policy() -> String {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_ascii_whitespace().nth(41 - 3).unwrap().to_owned()
}

#[test]
fn it_is_one_thread_that_comes_when_called_and_goes_when_dismissed() {
    const SCHED_IDLE: &str = "5";
    let worker = Arc::new(ColocatedWorker::new(Cores::allowed().unwrap()));
    let caller = this_thread();
    let (say, said) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let thread = std::thread::spawn({
        let worker = Arc::clone(&worker);
        move || {
            assert!(!ColocatedWorker::is_this_thread());
            assert_eq!(worker.call(caller), Called::Me);
            assert!(ColocatedWorker::is_this_thread());
            assert_eq!(policy(), SCHED_IDLE);
            say.send(String::new()).unwrap();
            gone.recv().unwrap();
            assert_eq!(worker.continues(small(caller), || false), Err(1), "it was dismissed");
            worker.park();
            assert_eq!(worker.continues(small(caller), || false), Ok(()), "it was called");
            while worker.continues(small(caller), || true) == Ok(()) {}
            say.send(String::new()).unwrap();
            worker.park();
            say.send(policy()).unwrap();
        }
    });
    said.recv().unwrap();
    assert!(worker.serving());
    worker.dismiss();
    assert!(!worker.serving());
    go.send(()).unwrap();
    assert_eq!(worker.call(caller), Called::Other);
    assert_ne!(policy(), SCHED_IDLE);
    said.recv().unwrap();
    assert!(said.recv_timeout(WORKER_LATE * 10).is_err(), "nobody calls it");
    // Another session thread ends.
    std::thread::spawn({
        let worker = Arc::clone(&worker);
        move || worker.attend()
    })
    .join()
    .unwrap();
    // The thread that ended has put it among the others again, where it may.
    let back = said.recv().unwrap();
    assert!(back != SCHED_IDLE || !rustix::process::geteuid().is_root(), "{back}");
    thread.join().unwrap();
    assert!(!worker.serving());
    assert_eq!(worker.call(caller), Called::Nobody, "the session ends");
}

#[test]
fn it_goes_nowhere_it_may_not_run() {
    let all = Cores::allowed().unwrap();
    let (say, said) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    // A caller on another core than the one that is allowed.
    let here = core_of(this_thread()).unwrap();
    let caller = std::thread::spawn(move || {
        let elsewhere = all.each().find(|&core| core != here);
        say.send(elsewhere.map(|core| run_on(core).map(|()| this_thread()).unwrap())).unwrap();
        let _ = ended.recv();
    });
    if let Some(there) = said.recv().unwrap() {
        std::thread::spawn(move || {
            run_on(here).unwrap();
            let worker = ColocatedWorker::new(Cores::allowed().unwrap());
            assert_eq!(worker.call(there), Called::Nobody);
            assert_eq!(worker.call(this_thread()), Called::Me);
            let mut assignment = Assignment::new(1, there, Instant::now());
            assert!(!assignment.follow(worker.core_of(there)));
        })
        .join()
        .unwrap();
    }
    drop(end);
    caller.join().unwrap();
}
