//! Helpers that break the protocol, hang, or are killed.

use super::*;

#[test]
fn a_helper_that_breaks_the_protocol_is_refused_as_broken() {
    let bench = Bench::new();
    for (order, cause) in [
        ("megabyte", "it printed more than 64 KiB"),
        ("nothing", "the helper's answer isn't one of protocol version 1"),
        ("garbage", "the helper's answer isn't one of protocol version 1"),
        ("half", "the helper's answer isn't one of protocol version 1"),
        ("v2", "the helper's answer isn't one of protocol version 1"),
        ("two", "it printed something after its answer"),
        ("exit", "its helper ended with exit status: 3"),
        ("stderr", "its helper ended with exit status: 3: the \\u{1b}[31mlast line"),
        ("kill-read", "its helper ended with signal: 9 (SIGKILL)"),
        ("kill-half", "its helper ended with signal: 9 (SIGKILL)"),
    ] {
        let refused = bench.unwrapped(order).err().unwrap();
        assert_eq!(refused.kind, RefusalKind::Internal, "{order}");
        assert_eq!(refused.to_string(), format!("broke down: {cause}"), "{order}");
    }
    let wrapped = bench.wrapped(&CustodyKek::generate(), json!({}));
    std::fs::write(bench.path("kill-start"), "").unwrap();
    let refused = bench.helper().unwrap(&wrapped, &context(), &mut NobodyAnswers).err().unwrap();
    assert_eq!(refused.to_string(), "broke down: its helper ended with signal: 9 (SIGKILL)");
}

#[test]
fn what_a_helper_says_moves_no_cursor() {
    let refused = Bench::new().unwrapped("escape").err().unwrap().to_string();
    assert_eq!(refused, "doesn't let you use the key: no \\u{1b}[31mway\\nat all");
}

#[test]
fn one_that_does_not_answer_is_ended_and_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let wrapped = |order: &str| bench.wrapped(&CustodyKek::generate(), json!({ "unwrap": order }));
    let orders = ["hang", "mute", "deaf"].map(|order| (order, wrapped(order)));
    bench.host.limit = Duration::from_millis(700);
    for (order, wrapped) in orders {
        // SIGTERM is enough for some; the others have another second, once they have begun to be deaf.
        let grace = if order == "deaf" { 1000 } else { 0 };
        // A busy machine lets the helper begin late, and this test see its end late.
        eventually(|| {
            let started = Instant::now();
            let refused = bench.helper().unwrap(&wrapped, &context(), &mut NobodyAnswers).err().unwrap();
            let took = started.elapsed().as_millis();
            assert_eq!(refused.to_string(), "can't be reached: no answer in 0.7 s", "{order}");
            assert!(took >= 700, "{order}: {took} ms");
            assert!(!bench.something_runs(), "{order}");
            (700 + grace..700 + grace + 900).contains(&took)
        });
    }
}

#[test]
fn processes_that_a_helper_leaves_behind_end_with_it() {
    let bench = Bench::new();
    let started = Instant::now();
    bench.unwrapped("orphan").unwrap();
    // What is left behind sleeps for two minutes.
    assert!(started.elapsed() < PATIENCE);
    eventually(|| !bench.something_runs());
}

#[test]
fn a_request_of_any_length_reaches_a_helper_that_reads_it() {
    let bench = Bench::new();
    let kek = CustodyKek::generate();
    let wrapped = bench.wrapped(&kek, json!({"text": "x".repeat(8000)}));
    assert!(bench.helper().unwrap(&wrapped, &context(), &mut NobodyAnswers).is_ok());
    // It isn't what the double takes for its blob.
    let params = wrapped.params().clone();
    let wrapped = Custody::new(double(), params, vec![7; MAX_CUSTODY_BLOB], None).unwrap();
    let refused = bench.helper().unwrap(&wrapped, &context(), &mut NobodyAnswers).err().unwrap();
    assert_eq!(refused.kind, RefusalKind::Damaged);
}
