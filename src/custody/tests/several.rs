//! Several custodians at once.

use super::*;

/// What each order's slot comes to, and which one opened with the key that was wrapped.
fn unwrap(bench: &Bench, orders: &[&str], limit: Duration) -> (Option<usize>, Vec<(usize, RefusalKind)>) {
    let kek = CustodyKek::generate();
    let template = bench.wrapped(&kek, json!({}));
    let wrapped: Vec<Custody> =
        orders.iter().map(|order| with_params(&template, json!({ "unwrap": order }))).collect();
    let helper = bench.helper();
    let all: Vec<_> =
        wrapped.iter().map(|custody| Unwrap { helper: &helper, custody, context: context() }).collect();
    let tried = unwrap_any(&all, limit, |_, found, _| (found.expose() == kek.expose()).then_some(()));
    let refused = tried.refused.iter().map(|(at, refusal)| (*at, refusal.kind)).collect();
    (tried.opened.map(|(at, ())| at), refused)
}

#[test]
fn one_that_hangs_delays_nobody() {
    let bench = Bench::new();
    let started = Instant::now();
    let limit = PATIENCE * 2;
    let (opened, refused) = unwrap(&bench, &["hang", "denied", "ok"], limit);
    assert_eq!(opened, Some(2));
    assert!(refused.is_empty() || refused == [(1, RefusalKind::Denied)], "{refused:?}");
    assert!(started.elapsed() < limit / 2, "{:?}", started.elapsed());
    assert!(!bench.something_runs());
}

#[test]
fn a_key_that_opens_nothing_is_a_refusal_and_the_others_count() {
    let bench = Bench::new();
    let (opened, refused) = unwrap(&bench, &["wrong-key"], Host::LIMIT);
    assert_eq!((opened, refused), (None, vec![(0, RefusalKind::Damaged)]));
    assert_eq!(unwrap(&bench, &["wrong-key", "ok"], Host::LIMIT).0, Some(1));
}

#[test]
fn more_than_run_at_once_share_the_time() {
    let bench = Bench::new();
    let (started, limit) = (Instant::now(), Duration::from_secs(8));
    // Four hang; the fifth has its turn all the same.
    let (opened, refused) = unwrap(&bench, &["hang", "hang", "hang", "hang", "ok"], limit);
    assert_eq!(opened, Some(4));
    // It may have opened before the last of them has reached its end.
    assert!(
        !refused.is_empty() && refused.iter().all(|refusal| matches!(refusal, (0..4, RefusalKind::Offline)))
    );
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
}

#[test]
fn no_more_than_sixteen_are_tried() {
    let bench = Bench::new();
    let mut orders = ["denied"; 18];
    orders[16] = "ok";
    let (opened, mut refused) = unwrap(&bench, &orders, Host::LIMIT * 3);
    refused.sort_by_key(|(at, _)| *at);
    assert_eq!(opened, None);
    assert_eq!(refused.len(), 18);
    assert!(refused[..16].iter().all(|(_, kind)| *kind == RefusalKind::Denied));
    assert!(refused[16..].iter().all(|(_, kind)| *kind == RefusalKind::Unsupported));
    assert!(unwrap(&bench, &[], Host::LIMIT).0.is_none());
}
