//! Lines of the log and the chain through them. Pure.
//!
//! A line is *authentic* if its MAC is that of its content and of the MAC in the line before it. Without the event key nobody
//! can make such a line, only repeat, move and remove existing ones. Nothing is taken from a line that isn't authentic:
//! neither the place where the chain continues nor the keyring's generation.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::anchor::Anchor;
use super::event::{KEY_REPLACED, LINE_TORN, LOG_CONTINUED, LOG_PRUNED};
use super::lines::{LONGEST, Line};
use super::subject::HeldBack;
use super::{Actor, Event, LogKeys, arn};
use crate::crypto::keys::EventKey;
use crate::crypto::sha256;
use crate::ids::{Generation, Timestamp};

/// Separates a line's content from its MAC, which covers everything before this.
const MAC_MARK: &str = ",\"mac\":\"";

/// What checking the whole log against its chain and the keyring's anchor found.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Verification {
    /// Events whose MAC fits the line before them.
    pub good: u64,
    /// What crashes tore, each closed by an event that says so: no sign of tampering.
    pub torn: u64,
    /// Whether the log ends in a torn line: a crash, or it is being written now. The next event closes it.
    pub torn_end: bool,
    /// Places where the chain doesn't fit: a line was changed, removed, added or moved.
    pub breaks: u64,
    /// The line, from 1 on, of the first of them.
    pub first_break: Option<u64>,
    /// The lines that don't fit, the first thousand of them.
    #[serde(default)]
    pub broken_lines: Vec<u64>,
    /// The lines that are no events of the vault, for whatever reason, the first thousand of them: those that don't fit,
    /// and what a crash tore or is said to have torn.
    #[serde(default)]
    pub strange_lines: Vec<u64>,
    /// Whether the log ends before the keyring's anchor, or has another event in its place.
    pub cut: bool,
    /// How many events the keyring's anchor says that there are at least.
    pub anchored: u64,
    /// The sequence number of the last event before the first one that is there: those up to it are in files that aren't.
    #[serde(default)]
    pub begins_after: u64,
    /// Whether no event says that these files were pruned: somebody removed them.
    #[serde(default)]
    pub files_removed: bool,
}

impl Verification {
    /// How many lines of a kind are named: of those behind the last of them nothing is known.
    pub const NAMED: usize = 1000;

    /// Whether no tampering was found.
    pub fn is_good(&self) -> bool {
        self.breaks == 0 && !self.cut && !self.files_removed
    }

    fn broken(&mut self, line: u64) {
        self.breaks += 1;
        self.first_break.get_or_insert(line);
        if self.broken_lines.len() < Self::NAMED {
            self.broken_lines.push(line);
        }
    }

    fn strange(&mut self, line: u64) {
        if self.strange_lines.len() < Self::NAMED {
            self.strange_lines.push(line);
        }
    }
}

/// What is written beside the event itself.
#[derive(Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now: Timestamp,
    pub(super) actor: Actor,
    /// The keyring generation that the event is a part of.
    pub(super) generation: Option<Generation>,
    /// Events that were held back before it.
    pub(super) held_back: HeldBack,
}

/// The line (without its end) of the event after `last`, and the place in the chain after it.
pub(super) fn line(keys: &LogKeys, last: Anchor, event: &Event, beside: Circumstances) -> (String, Anchor) {
    let count = last.count + 1;
    let mut detail = event.detail();
    detail["uid"] = beside.actor.uid.into();
    detail["pid"] = beside.actor.pid.into();
    if let Some(principal) = beside.actor.principal {
        detail["principal"] = principal.to_string().into();
    }
    if let Some(generation) = beside.generation {
        detail["generation"] = generation.0.into();
    }
    let mut object = json!({
        "version": "0",
        "sequence": count,
        "detail-type": event.detail_type(),
        "source": "rekeyfs.kms",
        "account": "000000000000",
        "time": beside.now.to_string(),
        "region": "local",
        "resources": event.key().map(arn).into_iter().collect::<Vec<_>>(),
        "detail": detail,
    });
    if beside.held_back.total() > 0 {
        object["events-held-back"] = beside.held_back.total().into();
        for (class, count) in beside.held_back.each().filter(|(_, count)| *count > 0) {
            object["held-back"][class.name()] = count.into();
        }
    }
    let mut text = object.to_string();
    text.pop(); // The closing brace: the MAC becomes the last member.
    let mac = link(keys.current(), &last.mac, &text);
    text.push_str(MAC_MARK);
    text.push_str(&HEXLOWER.encode(&mac));
    text.push_str("\"}");
    (text, Anchor { count, mac })
}

fn link(key: &EventKey, previous: &[u8; 32], content: &str) -> [u8; 32] {
    key.mac(&[previous.as_slice(), content.as_bytes()].concat())
}

/// What a whole line states.
struct Parsed<'a> {
    content: &'a str,
    place: Anchor,
    object: Value,
}

impl Parsed<'_> {
    /// Whether it is the event after `last`.
    fn follows(&self, keys: &LogKeys, last: Anchor) -> bool {
        let key = keys.of_line(self.place.count);
        Some(self.place.count) == last.count.checked_add(1)
            && keys.allows(self.place)
            && bool::from(link(key, &last.mac, self.content).ct_eq(&self.place.mac))
    }

    /// The place that it says it follows, if it is the first line of a file that continues the log. Its MAC covers that.
    fn continues(&self) -> Option<Anchor> {
        let detail = &self.object["detail"];
        let mac = HEXLOWER.decode(detail["previous-mac"].as_str()?.as_bytes()).ok()?.try_into().ok()?;
        let previous = Anchor { count: detail["previous-sequence"].as_u64()?, mac };
        let opens = self.object["detail-type"] == LOG_CONTINUED
            && previous.count > 0
            && self.place.count.checked_sub(1) == Some(previous.count);
        opens.then_some(previous)
    }
}

/// None for a torn line, or one that isn't ours.
fn parse(line: &[u8]) -> Option<Parsed<'_>> {
    let text = std::str::from_utf8(line).ok()?;
    let at = text.rfind(MAC_MARK)?;
    let mac = text[at + MAC_MARK.len()..].strip_suffix("\"}")?;
    let mac = HEXLOWER.decode(mac.as_bytes()).ok()?.try_into().ok()?;
    let object: Value = serde_json::from_str(text).ok()?;
    let place = Anchor { count: object.get("sequence")?.as_u64()?, mac };
    Some(Parsed { content: &text[..at], place, object })
}

/// The place in the chain before a file of the log, by what its first line says: only the line's MAC proves it. Zeros for
/// the first file, and for what says nothing.
pub(super) fn start_of(file: &[u8]) -> Anchor {
    let first = file.split(|&byte| byte == b'\n').next().and_then(parse);
    first.and_then(|line| line.continues()).unwrap_or_default()
}

/// What the end of a log says.
#[derive(Default)]
pub(super) struct End<'a> {
    /// The place that its last authentic line states.
    pub(super) place: Option<Anchor>,
    /// The keyring generation that the last authentic line with one states.
    pub(super) generation: Option<Generation>,
    /// What stands behind the last authentic line, without its line feed; empty if nothing does.
    pub(super) rest: &'a [u8],
    /// Whether there are whole lines in `rest`, which no crash leaves.
    pub(super) forged: bool,
    /// Whether its last authentic line says that the key it was made with is replaced: whole lines in `rest` may be
    /// the next key's then.
    pub(super) key_replaced: bool,
}

/// Reads the end of a log. `before` is the place before `tail`; `None` if that isn't known, and `tail` may begin in the middle
/// of a line. The first line after an unknown one can't be checked; it only gives the place that the next line must follow.
pub(super) fn end_of<'a>(keys: &LogKeys, before: Option<Anchor>, tail: &'a [u8]) -> End<'a> {
    let mut end = End::default();
    let (mut at, mut rest_from) = (0, 0);
    let (mut unverified, mut good) = (before, before);
    for line in tail.split_inclusive(|&b| b == b'\n') {
        at += line.len();
        let Some(parsed) = parse(line.strip_suffix(b"\n").unwrap_or(line)) else { continue };
        if [unverified, good].into_iter().flatten().any(|last| parsed.follows(keys, last)) {
            good = Some(parsed.place);
            end.place = good;
            end.key_replaced = parsed.object["detail-type"] == KEY_REPLACED;
            end.generation =
                parsed.object["detail"]["generation"].as_u64().map(Generation).or(end.generation);
            (rest_from, end.forged) = (at, false);
        } else if unverified.is_some() {
            end.forged = true;
        }
        unverified = Some(parsed.place);
    }
    let rest = &tail[rest_from..];
    end.rest = rest.strip_suffix(b"\n").unwrap_or(rest);
    end
}

/// What the lines behind an anchor prove.
#[derive(Default)]
pub(super) struct Changes {
    /// Whether the anchor was met.
    pub(super) met: bool,
    /// The newest keyring generation that an authentic line states.
    pub(super) newest: Option<Generation>,
    /// Whether lines follow that say nothing here, because the key that these are checked with was replaced.
    pub(super) more: bool,
}

/// The newest change of the keyring that the lines behind `anchor` prove. `before` as in [`end_of`].
pub(super) fn newest_change(keys: &LogKeys, before: Option<Anchor>, tail: &[u8], anchor: Anchor) -> Changes {
    let (mut unverified, mut good) = (before, before);
    let mut found = Changes { met: anchor.count == 0 && before.is_some(), ..Changes::default() };
    // The one before the newest, in case a later line says that the newest never replaced the keyring.
    let mut older = None;
    let mut key_replaced = false;
    for line in tail.split_inclusive(|&b| b == b'\n') {
        let Some(parsed) = parse(line.strip_suffix(b"\n").unwrap_or(line)) else { continue };
        let authentic = [unverified, good].into_iter().flatten().any(|last| parsed.follows(keys, last));
        unverified = Some(parsed.place);
        if parsed.place == anchor {
            (found, older, good) = (Changes { met: true, ..Changes::default() }, None, unverified);
            key_replaced = false;
            continue;
        }
        if !authentic {
            found.more |= key_replaced;
            continue;
        }
        good = unverified;
        (found.more, key_replaced) = (false, parsed.object["detail-type"] == KEY_REPLACED);
        let detail = &parsed.object["detail"];
        if let Some(generation) = detail["generation"].as_u64().map(Generation)
            && found.newest.is_none_or(|newest| newest < generation)
        {
            (older, found.newest) = (found.newest, Some(generation));
        }
        let failed = detail["failed-generation"].as_u64().map(Generation);
        if failed.is_some() && failed == found.newest && detail["keyring-replaced"] == false {
            found.newest = older;
        }
    }
    found
}

/// The event that closes what a crash tore.
pub(super) fn torn(bytes: &[u8]) -> Event {
    Event::LineTorn { bytes: bytes.len() as u64, sha256: HEXLOWER.encode(&sha256(bytes)) }
}

/// The event that says that lines were put behind the last authentic one.
pub(super) fn forged(bytes: &[u8]) -> Event {
    Event::LinesForged { bytes: bytes.len() as u64, sha256: HEXLOWER.encode(&sha256(bytes)) }
}

/// Checks a log line by line.
pub(super) struct Verifier<'a> {
    keys: &'a LogKeys,
    anchor: Anchor,
    /// The place that the last line states, and that of the last line that fits: an inserted line doesn't make the lines
    /// behind it break.
    last: Anchor,
    good: Anchor,
    line: u64,
    /// Lines that can't be read: torn by a crash if the next event says so.
    unread: Option<Unread>,
    met: bool,
    /// The events up to this one are said to be pruned.
    pruned: u64,
    found: Verification,
}

/// Lines that can't be read.
struct Unread {
    /// The number of the first.
    first: u64,
    /// What they are; none if that is more than a crash leaves, which no event vouches for.
    bytes: Option<Vec<u8>>,
}

impl Unread {
    /// Whether they are what `torn` says that a crash left.
    fn is_closed_by(&self, torn: &Value) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| torn["detail"]["sha256"] == HEXLOWER.encode(&sha256(bytes)))
    }
}

impl<'a> Verifier<'a> {
    pub(super) fn new(keys: &'a LogKeys, anchor: Anchor) -> Self {
        let found = Verification { anchored: anchor.count, ..Verification::default() };
        let met = anchor.count == 0;
        Self {
            keys,
            anchor,
            last: Anchor::default(),
            good: Anchor::default(),
            line: 0,
            unread: None,
            met,
            pruned: 0,
            found,
        }
    }

    /// The next line.
    pub(super) fn line(&mut self, line: Line<'_>) {
        self.line += 1;
        let Line::Whole(line) = line else {
            self.found.strange(self.line);
            self.unread.get_or_insert(Unread { first: self.line, bytes: None }).bytes = None;
            return;
        };
        let Some(parsed) = parse(line) else {
            self.found.strange(self.line);
            match &mut self.unread {
                None => self.unread = Some(Unread { first: self.line, bytes: Some(line.to_vec()) }),
                Some(Unread { bytes: Some(bytes), .. }) if bytes.len() + line.len() < LONGEST => {
                    bytes.push(b'\n');
                    bytes.extend_from_slice(line);
                }
                Some(unread) => unread.bytes = None,
            }
            return;
        };
        if self.line == 1
            && let Some(before) = parsed.continues()
        {
            (self.last, self.good, self.found.begins_after) = (before, before, before.count);
        }
        let fits = parsed.follows(self.keys, self.last) || parsed.follows(self.keys, self.good);
        if let Some(unread) = self.unread.take() {
            if fits && parsed.object["detail-type"] == LINE_TORN && unread.is_closed_by(&parsed.object) {
                self.found.torn += 1;
            } else {
                self.found.broken(unread.first);
            }
        }
        if fits {
            // What a keyring remembers of files that aren't there any more is before what this line says it follows.
            let before = self.good;
            self.met |= self.line == 1 && (before.count > self.anchor.count || before == self.anchor);
            if parsed.object["detail-type"] == LOG_PRUNED {
                self.pruned = parsed.object["detail"]["until"].as_u64().unwrap_or_default().max(self.pruned);
            }
            self.found.good += 1;
            self.good = parsed.place;
        } else {
            self.found.strange(self.line);
            self.found.broken(self.line);
        }
        self.met |= parsed.place == self.anchor;
        self.last = parsed.place;
    }

    /// The end of the log.
    pub(super) fn end(mut self) -> Verification {
        match self.unread.take() {
            Some(Unread { first, bytes: None }) => self.found.broken(first),
            unread => self.found.torn_end = unread.is_some(),
        }
        self.found.cut = !self.met;
        self.found.files_removed = self.found.begins_after > self.pruned;
        self.found
    }
}
