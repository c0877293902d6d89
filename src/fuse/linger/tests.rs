use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

/// What `watch` says if the `at`th look is the first to find something and each takes 7 µs.
fn watched(at: u32) -> Seen {
    let (looks, start) = (Cell::new(0), Instant::now());
    let ready = || {
        looks.set(looks.get() + 1);
        looks.get() >= at
    };
    watch(ready, || start + Duration::from_micros(7) * looks.get())
}

#[test]
fn a_look_out_ends_with_a_request_or_with_the_window() {
    assert_eq!(watched(1), Seen::Waiting);
    assert_eq!(watched(2), Seen::Came);
    assert_eq!(watched(7), Seen::Came);
    assert_eq!(watched(20), Seen::Nothing);
    assert_eq!(watched(u32::MAX), Seen::Nothing);
}

#[test]
fn it_ends_when_there_is_something_to_read_and_when_the_other_side_is_gone() {
    const SERVED: Served = Served { caller: None, bulk: false };
    let (device, mut kernel) = UnixStream::pair().unwrap();
    let Some(linger) = Linger::new(device.into()) else { return };
    assert!(!linger.may_read());
    linger.look_out(SERVED);
    kernel.write_all(b"x").unwrap();
    assert!(linger.may_read());
    drop(kernel);
    assert!(linger.may_read());
    let looking = linger.pace.lock();
    linger.look_out(SERVED);
    drop(looking);
}

/// Threads that serve one caller through one device: a byte is a request, and is answered with a byte.
#[test]
fn one_caller_is_served_by_one_thread_and_others_take_over_from_it() {
    const REQUESTS: usize = 2_000;
    let (device, mut kernel) = UnixStream::pair().unwrap();
    let Some(linger) = Linger::new(device.try_clone().unwrap().into()) else { return };
    let caller = ThreadId(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    let left = std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let (mut device, linger) = (&device, &linger);
                let mut request = [0];
                while device.read(&mut request).unwrap() > 0 {
                    if request == *b"s" {
                        // Longer than the others wait.
                        std::thread::sleep(away::WATCH * 20);
                    }
                    device.write_all(&request).unwrap();
                    linger.look_out(Served { caller: Some(caller), bulk: request == *b"b" });
                }
            });
        }
        let mut ask = |what: &[u8; 1], times: usize| {
            for _ in 0..times {
                let mut answer = [0];
                kernel.write_all(what).unwrap();
                kernel.read_exact(&mut answer).unwrap();
            }
        };
        ask(b"q", REQUESTS);
        // A request is served while the thread that serves all the others takes its time over one.
        ask(b"s", 3);
        ask(b"q", REQUESTS);
        ask(b"b", 10);
        // Large requests are for all. On a busy machine it takes the companion a while to leave.
        let began = Instant::now();
        while linger.companion.serving() && began.elapsed() < Duration::from_secs(10) {
            ask(b"b", 1);
        }
        let left = !linger.companion.serving();
        ask(b"q", REQUESTS);
        kernel.shutdown(std::net::Shutdown::Both).unwrap();
        left
    });
    assert!(left);
}
