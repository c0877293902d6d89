//! What the properties of src/fuzzing.rs see of the event log.

use std::sync::{Arc, OnceLock};

use super::chain::{Circumstances, Verification, Verifier, end_of, line, torn};
use super::lines::Lines;
use super::subject::HeldBack;
use super::{Actor, Anchor, Event, LogKeys};
use crate::crypto::keys::EventKey;
use crate::ids::{Generation, KeyId, KeyVersion, Timestamp};

const LINES: u32 = 4;

struct Log {
    keys: LogKeys,
    text: Vec<u8>,
    anchor: Anchor,
}

fn own() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let keys = LogKeys::from(Arc::new(EventKey::from_bytes(&[0x42; 32])));
        let (mut text, mut anchor) = (Vec::new(), Anchor::default());
        for n in 1..=LINES {
            let generation = Some(Generation(u64::from(n)));
            let actor = Actor::of(1000, n);
            let beside = Circumstances {
                now: Timestamp(i64::from(n)),
                actor,
                generation,
                held_back: HeldBack::default(),
            };
            let event = if n == 3 {
                text.extend_from_slice(b"{\"version\":\"0\",\"sequ\n");
                torn(b"{\"version\":\"0\",\"sequ")
            } else {
                Event::KeyRotated {
                    key: KeyId::from_bytes([1; 16]),
                    old: KeyVersion(n),
                    new: KeyVersion(n + 1),
                }
            };
            let (written, next) = line(&keys, anchor, &event, beside);
            text.extend_from_slice(written.as_bytes());
            text.push(b'\n');
            anchor = next;
        }
        Log { keys, text, anchor }
    })
}

fn verify(text: &[u8], anchor: Anchor) -> Verification {
    let mut verifier = Verifier::new(&own().keys, anchor);
    let mut lines = Lines::default();
    lines.take(text, &mut |line| verifier.line(line));
    if lines.is_within() {
        lines.end(&mut |line| verifier.line(line));
    }
    verifier.end()
}

/// A log of some lines, one of them after a torn one; its anchor is its end.
pub(crate) fn log() -> &'static [u8] {
    &own().text
}

/// How many lines of this text fit the chain of [`log`]'s key.
pub(crate) fn good_lines(text: &[u8]) -> u64 {
    verify(text, Anchor::default()).good
}

/// Reading the end of a log finds a place only where an authentic line states one, and says what stands behind it.
pub(crate) fn reads_any_end(tail: &[u8]) {
    for before in [None, Some(Anchor::default())] {
        let end = end_of(&own().keys, before, tail);
        let without_feed = tail.strip_suffix(b"\n").unwrap_or(tail);
        assert!(without_feed.ends_with(end.rest) || tail.ends_with(end.rest));
        if end.place.is_none() {
            assert!(end.generation.is_none() && end.rest == without_feed);
        }
    }
}

/// A log that is found good holds `good` whole; what stands behind it can only be a torn line.
pub(crate) fn check_against(good: &[u8], changed: &[u8]) {
    let found = verify(changed, own().anchor);
    let content = good.strip_suffix(b"\n").unwrap_or(good);
    let kept = changed.strip_prefix(content);
    assert!(!found.is_good() || kept.is_some(), "a change wasn't found");
    if kept.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"\n")) {
        assert!(found.good == u64::from(LINES) && found.torn == 1 && !found.cut);
    }
}
