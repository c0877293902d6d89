//! Lines of the log and the chain through them. Pure.

use data_encoding::HEXLOWER;
use serde_json::json;

use super::{Event, arn};
use crate::crypto::keys::EventKey;
use crate::ids::Timestamp;

/// What parts a line's content from its MAC; the MAC covers everything before it.
const MAC_MARK: &str = ",\"mac\":\"";

/// A place in the chain: how many events there were, and the MAC of the last one (zeros before the first).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Anchor {
    /// How many events.
    pub count: u64,
    /// MAC of the last one.
    pub mac: [u8; 32],
}

/// What checking the whole log against its chain and the keyring's anchor found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verification {
    /// Events whose MAC fits the line before them.
    pub good: u64,
    /// Lines that a crash tore; they are no sign of tampering by themselves.
    pub torn: u64,
    /// Places where the chain doesn't fit: a line was changed, removed, added or moved.
    pub breaks: u64,
    /// Whether the log ends before the keyring's anchor, or has another event in its place.
    pub cut: bool,
}

/// The line (without its end) of the event after `last`, and the place in the chain after it.
pub(super) fn line(
    key: &EventKey,
    last: Anchor,
    event: &Event,
    now: Timestamp,
    held_back: u64,
) -> (String, Anchor) {
    let count = last.count + 1;
    let mut object = json!({
        "version": "0",
        "sequence": count,
        "detail-type": event.detail_type(),
        "source": "rekeyfs.kms",
        "account": "000000000000",
        "time": now.to_string(),
        "region": "local",
        "resources": event.key().map(arn).into_iter().collect::<Vec<_>>(),
        "detail": event.detail(),
    });
    if held_back > 0 {
        object["events-held-back"] = held_back.into();
    }
    let mut text = object.to_string();
    text.pop(); // The closing brace: the MAC becomes the last member.
    let mac = link(key, &last.mac, &text);
    text.push_str(MAC_MARK);
    text.push_str(&HEXLOWER.encode(&mac));
    text.push_str("\"}");
    (text, Anchor { count, mac })
}

fn link(key: &EventKey, previous: &[u8; 32], content: &str) -> [u8; 32] {
    key.mac(&[previous.as_slice(), content.as_bytes()].concat())
}

/// The content and the place in the chain that a line states; none for a torn line.
fn parse(line: &[u8]) -> Option<(&str, Anchor)> {
    let text = std::str::from_utf8(line).ok()?;
    let at = text.rfind(MAC_MARK)?;
    let mac = text[at + MAC_MARK.len()..].strip_suffix("\"}")?;
    let mac = HEXLOWER.decode(mac.as_bytes()).ok()?.try_into().ok()?;
    let object: serde_json::Value = serde_json::from_str(text).ok()?;
    Some((&text[..at], Anchor { count: object.get("sequence")?.as_u64()?, mac }))
}

/// The place that the last whole line of `tail` states.
pub(super) fn last_place(tail: &[u8]) -> Option<Anchor> {
    tail.split(|&b| b == b'\n').rev().find_map(|line| parse(line).map(|(_, place)| place))
}

/// Checks the whole log.
pub(super) fn verify(key: &EventKey, log: &[u8], anchor: Anchor) -> Verification {
    let mut found = Verification::default();
    let mut last = Anchor::default();
    let mut anchored = anchor.count == 0;
    for line in log.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
        let Some((content, place)) = parse(line) else {
            found.torn += 1;
            continue;
        };
        let fits = place.count == last.count + 1 && link(key, &last.mac, content) == place.mac;
        if fits {
            found.good += 1;
        } else {
            found.breaks += 1;
        }
        anchored |= place == anchor;
        last = place;
    }
    found.cut = !anchored;
    found
}
