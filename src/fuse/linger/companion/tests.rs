use std::sync::mpsc;

use super::*;

const TAR: ThreadId = ThreadId(7);
const GIT: ThreadId = ThreadId(8);
const NEXT: Duration = Duration::from_micros(20);

fn small(caller: ThreadId) -> Served {
    Served { caller: Some(caller), bulk: false }
}

/// A stay for [`TAR`], and what it says to each of these requests, which come closely.
fn judged(requests: impl IntoIterator<Item = Served>) -> (Stay, Vec<Verdict>) {
    let mut now = Instant::now();
    let mut stay = Stay::new(1, TAR, now);
    let verdicts = requests.into_iter().map(|served| {
        now += NEXT;
        stay.judge(served, now)
    });
    let verdicts = verdicts.collect();
    (stay, verdicts)
}

#[test]
fn it_stays_with_its_caller_and_checks_now_and_then() {
    let release = Served { caller: None, bulk: false };
    let requests = (0..CHECK as usize * 4).map(|n| if n % 3 == 0 { release } else { small(TAR) });
    let (stay, verdicts) = judged(requests);
    assert_eq!(stay.count, CHECK * 4);
    assert!(!verdicts.contains(&Verdict::Leave));
    let checks: Vec<_> =
        (1..).zip(&verdicts).filter(|(_, v)| **v == Verdict::Check).map(|(n, _)| n).collect();
    assert_eq!(checks, [CHECK, CHECK * 2, CHECK * 3, CHECK * 4]);
}

#[test]
fn it_leaves_when_requests_are_large_or_of_several() {
    let leaves = |requests: &mut dyn Iterator<Item = Served>| judged(requests).1.contains(&Verdict::Leave);
    let bulk = Served { bulk: true, ..small(TAR) };
    assert!(leaves(&mut [bulk, bulk].into_iter()));
    assert!(!leaves(&mut (0..500).map(|n| if n % 20 == 0 { bulk } else { small(TAR) })));
    assert!(leaves(&mut (0..50).map(|n| if n % 2 == 0 { small(GIT) } else { small(TAR) })));
    assert!(!leaves(&mut (0..500).map(|n| if n % 10 == 0 { small(GIT) } else { small(TAR) })));
}

#[test]
fn it_leaves_when_the_machine_stays_busy() {
    let (mut stay, _) = judged([]);
    let crowded_out: Vec<_> = [true, false, true, true].map(|busy| stay.is_crowded_out(busy)).into();
    assert_eq!(crowded_out, [false, false, false, true]);
}

#[test]
fn it_leaves_when_it_is_late() {
    let mut now = Instant::now();
    let mut stay = Stay::new(1, TAR, now);
    now += LATE;
    assert_eq!(stay.judge(small(TAR), now), Verdict::Stay);
    now += LATE + NEXT;
    assert_eq!(stay.judge(small(TAR), now), Verdict::Leave);
}

#[test]
fn it_looks_for_a_caller_that_follows_another() {
    let before = (0..20).map(|_| small(TAR));
    let after = (0..20).map(|_| small(GIT));
    let (stay, verdicts) = judged(before.chain(after));
    assert_eq!((stay.caller, stay.doubts), (GIT, 0));
    assert!(!verdicts.contains(&Verdict::Leave));
    assert_eq!(verdicts.iter().position(|v| *v == Verdict::Check), Some(20 + ADOPT as usize - 1));
}

#[test]
fn it_leaves_a_caller_that_never_stays() {
    let here = core_of(this_thread());
    let mut stay = Stay::new(1, TAR, Instant::now());
    std::thread::spawn(move || {
        assert!(stay.follow(here) && stay.follow(here));
        assert!(!stay.follow(None), "a caller that has ended");
        let mut stays = 0;
        while stay.follow(here) {
            stays += 1;
            stay.core = None;
        }
        assert!(stays < ASTRAY);
    })
    .join()
    .unwrap();
}

fn this_thread() -> ThreadId {
    ThreadId(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs())
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
    let companion = Arc::new(Companion::new(Cores::allowed().unwrap()));
    let caller = this_thread();
    let (say, said) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let thread = std::thread::spawn({
        let companion = Arc::clone(&companion);
        move || {
            assert!(!Companion::is_me());
            assert_eq!(companion.call(caller), Called::Me);
            assert!(Companion::is_me());
            assert_eq!(policy(), SCHED_IDLE);
            say.send(()).unwrap();
            gone.recv().unwrap();
            assert_eq!(companion.goes_on(small(caller), || false), Err(1), "it was dismissed");
            companion.park();
            assert_eq!(companion.goes_on(small(caller), || false), Ok(()), "it was called");
            while companion.goes_on(small(caller), || true) == Ok(()) {}
            say.send(()).unwrap();
            companion.park();
            say.send(()).unwrap();
        }
    });
    said.recv().unwrap();
    assert!(companion.serving());
    companion.dismiss();
    assert!(!companion.serving());
    go.send(()).unwrap();
    assert_eq!(companion.call(caller), Called::Other);
    assert_ne!(policy(), SCHED_IDLE);
    said.recv().unwrap();
    assert!(said.recv_timeout(LATE * 10).is_err(), "nobody calls it");
    // Another session thread ends.
    std::thread::spawn({
        let companion = Arc::clone(&companion);
        move || companion.attend()
    })
    .join()
    .unwrap();
    said.recv().unwrap();
    thread.join().unwrap();
    assert!(!companion.serving());
    assert_eq!(companion.call(caller), Called::Nobody, "the session ends");
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
            let companion = Companion::new(Cores::allowed().unwrap());
            assert_eq!(companion.call(there), Called::Nobody);
            assert_eq!(companion.call(this_thread()), Called::Me);
            let mut stay = Stay::new(1, there, Instant::now());
            assert!(!stay.follow(companion.core_of(there)));
        })
        .join()
        .unwrap();
    }
    drop(end);
    caller.join().unwrap();
}
