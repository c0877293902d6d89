use super::*;

/// As fuser 0.18 decodes a time sent by the kernel.
fn as_fuser_decodes(secs: i64, nanos: u32) -> SystemTime {
    if secs >= 0 {
        SystemTime::UNIX_EPOCH + Duration::new(secs as u64, nanos)
    } else {
        SystemTime::UNIX_EPOCH - Duration::new((-secs) as u64, nanos)
    }
}

/// As fuser 0.18 encodes a time for the kernel.
fn as_fuser_encodes(time: SystemTime) -> (i64, u32) {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(d) => (d.as_secs() as i64, d.subsec_nanos()),
        Err(e) if e.duration().subsec_nanos() == 0 => (-(e.duration().as_secs() as i64), 0),
        Err(e) => (-(e.duration().as_secs() as i64) - 1, 1_000_000_000 - e.duration().subsec_nanos()),
    }
}

#[test]
fn times_pass_both_ways_unchanged() {
    for secs in [0, 1, -1, -2, 1_700_000_000, -2_208_988_800, i64::from(i32::MIN), 1 << 33] {
        for nanos in [0, 1, 500_000_000, 999_999_999] {
            let time = Time { secs, nanos };
            assert_eq!(sent_time(as_fuser_decodes(secs, nanos)), time, "in {secs} {nanos}");
            assert_eq!(as_fuser_encodes(system_time(time)), (secs, nanos), "out {secs} {nanos}");
        }
    }
}

#[test]
fn extreme_times_do_not_panic() {
    for secs in [i64::MIN, i64::MIN + 1, i64::MAX] {
        system_time(Time { secs, nanos: 999_999_999 });
    }
}

#[test]
fn flags_decode() {
    let flags = open_flags(fuser::OpenFlags(libc::O_WRONLY | libc::O_TRUNC | libc::O_APPEND));
    assert!(!flags.read && flags.write && flags.truncate);
    assert_eq!(falloc_mode(libc::FALLOC_FL_COLLAPSE_RANGE), None);
    assert!(falloc_mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE).is_some());
    assert_eq!(xattr_mode(libc::XATTR_CREATE | libc::XATTR_REPLACE), None);
    assert_eq!(whence(libc::SEEK_SET), None);
}
