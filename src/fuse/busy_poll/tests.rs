use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::tunables::STANDBY_CHECK;
use super::*;
use crate::sys::schedule::this_thread;

/// What `poll_until` says if the `at`th look is the first to find something and each takes 7 µs.
fn polled(at: u32) -> PollResult {
    let (looks, start) = (Cell::new(0), Instant::now());
    let ready = || {
        looks.set(looks.get() + 1);
        looks.get() >= at
    };
    poll_until(ready, || start + Duration::from_micros(7) * looks.get())
}

#[test]
fn polling_ends_with_a_request_or_with_the_window() {
    assert_eq!(polled(1), PollResult::Waiting);
    assert_eq!(polled(2), PollResult::Came);
    assert_eq!(polled(7), PollResult::Came);
    assert_eq!(polled(20), PollResult::Nothing);
    assert_eq!(polled(u32::MAX), PollResult::Nothing);
}

#[test]
fn it_ends_when_there_is_something_to_read_and_when_the_other_side_is_gone() {
    const SERVED: Served = Served { caller: None, bulk: false };
    let (device, mut kernel) = UnixStream::pair().unwrap();
    let Some(poller) = BusyPoller::new(device.into()) else { return };
    assert!(!poller.may_read());
    poller.poll_for_next(SERVED);
    kernel.write_all(b"x").unwrap();
    assert!(poller.may_read());
    drop(kernel);
    assert!(poller.may_read());
    let polling = poller.policy.lock();
    poller.poll_for_next(SERVED);
    drop(polling);
}

/// Threads that serve one caller through one device: a byte is a request, and is answered with a byte.
#[test]
fn one_caller_is_served_by_one_thread_and_others_take_over_from_it() {
    const REQUESTS: usize = 2_000;
    let (device, mut kernel) = UnixStream::pair().unwrap();
    let Some(poller) = BusyPoller::new(device.try_clone().unwrap().into()) else { return };
    let caller = this_thread();
    let left = std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let (mut device, poller) = (&device, &poller);
                let mut request = [0];
                while device.read(&mut request).unwrap() > 0 {
                    if request == *b"s" {
                        // Longer than the others wait.
                        std::thread::sleep(STANDBY_CHECK * 20);
                    }
                    device.write_all(&request).unwrap();
                    poller.poll_for_next(Served { caller: Some(caller), bulk: request == *b"b" });
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
        // Large requests are for all. On a busy machine it takes the worker a while to leave.
        let began = Instant::now();
        while poller.worker.serving() && began.elapsed() < Duration::from_secs(10) {
            ask(b"b", 1);
        }
        let left = !poller.worker.serving();
        ask(b"q", REQUESTS);
        kernel.shutdown(std::net::Shutdown::Both).unwrap();
        left
    });
    assert!(left);
}
