//! The list at the end of the body that holds what later versions of the format added: a tag and bytes each. Unknown ones
//! are kept, at their position.
//!
//! Three of them hold secrets: keys that a revocation replaced, and those of kept backups (docs/format.md, "Body"). A list of bytes would keep them in
//! memory that may be swapped and dumped, so they are read into locked memory and written from there. An empty entry with
//! their tag keeps their position in the list.

use std::collections::HashSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::key_backups::KeyBackups;
use crate::crypto::keys::{Endorsement, EventKey};
use crate::events::{Anchor, FormerKey};

/// The event keys that were replaced.
const FORMER_EVENT_KEYS: u32 = 6;
/// Endorsements of the root keys that were replaced.
const FORMER_ROOTS: u32 = 7;
/// What is known of key backups.
const KEY_BACKUPS: u32 = 10;
/// Bytes of a key's id.
const KEY_ID: usize = 16;
/// Bytes of a former event key: how many events it made, the MAC of the last, the key.
const EVENT_KEY: usize = 8 + 32 + 32;
/// Bytes of an endorsement.
const ROOT: usize = 32;
/// Endorsements that are kept, the last ones. A host that has seen none of these root keys asks its user.
const MOST_ROOTS: usize = 256;

/// A part of the body that the format's first version doesn't have.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::keyring) struct Extension {
    /// What it is.
    pub(in crate::keyring) tag: u32,
    /// Its bytes.
    pub(in crate::keyring) data: Vec<u8>,
}

/// All of them.
#[derive(Clone, Default)]
pub(in crate::keyring) struct Extensions {
    list: Vec<Extension>,
    /// Oldest first.
    event_keys: Vec<FormerKey>,
    /// Oldest first.
    roots: Vec<Arc<Endorsement>>,
    key_backups: Option<KeyBackups>,
}

impl Deref for Extensions {
    type Target = Vec<Extension>;

    fn deref(&self) -> &Self::Target {
        &self.list
    }
}

impl DerefMut for Extensions {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.list
    }
}

impl Extensions {
    #[cfg(test)]
    pub(in crate::keyring) fn of(list: Vec<Extension>) -> Self {
        Self { list, ..Self::default() }
    }

    /// The bytes of one; none if it isn't there.
    pub(in crate::keyring) fn data(&self, tag: u32) -> &[u8] {
        self.list.iter().find(|extension| extension.tag == tag).map_or(&[], |extension| &extension.data)
    }

    /// Makes these the bytes of one, at its position among the others; without any it is removed.
    pub(in crate::keyring) fn set(&mut self, tag: u32, data: Vec<u8>) {
        let place = self.list.iter().position(|extension| extension.tag == tag);
        match place {
            Some(at) if data.is_empty() => drop(self.list.remove(at)),
            Some(at) => self.list[at].data = data,
            None if data.is_empty() => {}
            None => self.list.push(Extension { tag, data }),
        }
    }

    /// Whether there is one of a tag at most, and its bytes, of which there are some, are good.
    pub(in crate::keyring) fn is_one_at_most(&self, tag: u32, is_good: impl FnOnce(&[u8]) -> bool) -> bool {
        let mut found = self.list.iter().filter(|extension| extension.tag == tag);
        let Some(extension) = found.next() else { return true };
        found.next().is_none() && !extension.data.is_empty() && is_good(&extension.data)
    }

    /// Whether there is one list of a tag at most, of whole records, each of which begins with the id of another key.
    pub(in crate::keyring) fn has_each_key_once<const RECORD: usize>(&self, tag: u32) -> bool {
        self.is_one_at_most(tag, |data| {
            let (records, rest) = data.as_chunks::<RECORD>();
            let keys: HashSet<_> = records.iter().map(|record| record.first_chunk::<KEY_ID>()).collect();
            rest.is_empty() && keys.len() == records.len()
        })
    }

    /// The event keys that were replaced, oldest first, and up to where each made the log.
    pub(in crate::keyring) fn former_event_keys(&self) -> &[FormerKey] {
        &self.event_keys
    }

    /// Endorsements of the root keys that were replaced, oldest first.
    pub(in crate::keyring) fn former_roots(&self) -> &[Arc<Endorsement>] {
        &self.roots
    }

    /// Keeps an event key that is replaced: the part of the log that it authenticates is checked with it.
    pub(in crate::keyring) fn keep_event_key(&mut self, former: FormerKey) {
        self.event_keys.push(former);
        self.hold_place(FORMER_EVENT_KEYS);
    }

    /// Adds the endorsement of the new root key by the one that it replaces.
    pub(in crate::keyring) fn endorse(&mut self, by: Endorsement) {
        self.roots.push(Arc::new(by));
        let over = self.roots.len().saturating_sub(MOST_ROOTS);
        self.roots.drain(..over);
        self.hold_place(FORMER_ROOTS);
    }

    /// What is known of key backups, if there ever was one.
    pub(in crate::keyring) fn key_backups(&self) -> Option<&KeyBackups> {
        self.key_backups.as_ref()
    }

    /// Makes this what is known of key backups.
    pub(in crate::keyring) fn set_key_backups(&mut self, known: KeyBackups) {
        self.key_backups = Some(known);
        self.hold_place(KEY_BACKUPS);
    }

    fn hold_place(&mut self, tag: u32) {
        if self.list.iter().all(|extension| extension.tag != tag) {
            self.list.push(Extension { tag, data: Vec::new() });
        }
    }

    /// Reads one of those that hold secrets.
    fn read_secret(&mut self, tag: u32, data: &[u8]) -> Option<()> {
        let new = self.list.iter().all(|extension| extension.tag != tag);
        if !new || data.is_empty() {
            return None;
        }
        if tag == FORMER_EVENT_KEYS {
            let (records, []) = data.as_chunks::<EVENT_KEY>() else { return None };
            for record in records {
                let (count, rest) = record.split_first_chunk::<8>()?;
                let (mac, key) = rest.split_first_chunk::<32>()?;
                let until = Anchor { count: u64::from_le_bytes(*count), mac: *mac };
                if self.event_keys.last().is_some_and(|former| former.until.count >= until.count) {
                    return None;
                }
                let key = Arc::new(EventKey::from_bytes(key.try_into().ok()?));
                self.event_keys.push(FormerKey { key, until });
            }
        } else if tag == KEY_BACKUPS {
            self.key_backups = Some(KeyBackups::parse(data)?);
        } else {
            let (records, []) = data.as_chunks::<ROOT>() else { return None };
            if records.len() > MOST_ROOTS {
                return None;
            }
            self.roots.extend(records.iter().map(|record| Arc::new(Endorsement::from_bytes(record))));
        }
        self.hold_place(tag);
        Some(())
    }
}

fn holds_secrets(tag: u32) -> bool {
    matches!(tag, FORMER_EVENT_KEYS | FORMER_ROOTS | KEY_BACKUPS)
}

impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(Some(self.list.len()))?;
        for extension in &self.list {
            match extension.tag {
                FORMER_EVENT_KEYS => {
                    out.serialize_element(&(extension.tag, EventKeyBytes(&self.event_keys)))?
                }
                FORMER_ROOTS => out.serialize_element(&(extension.tag, RootBytes(&self.roots)))?,
                KEY_BACKUPS => out.serialize_element(&(extension.tag, BackupBytes(&self.key_backups)))?,
                _ => out.serialize_element(extension)?,
            }
        }
        out.end()
    }
}

/// As the bytes of an extension, straight out of locked memory.
struct EventKeyBytes<'a>(&'a [FormerKey]);

impl Serialize for EventKeyBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(Some(self.0.len() * EVENT_KEY))?;
        for FormerKey { key, until } in self.0 {
            let place = until.count.to_le_bytes().into_iter().chain(until.mac);
            for byte in place.chain(key.expose().iter().copied()) {
                out.serialize_element(&byte)?;
            }
        }
        out.end()
    }
}

/// As the bytes of an extension, straight out of locked memory.
struct RootBytes<'a>(&'a [Arc<Endorsement>]);

impl Serialize for RootBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(|root| root.expose()))
    }
}

/// As the bytes of an extension, from a buffer that is wiped.
struct BackupBytes<'a>(&'a Option<KeyBackups>);

impl Serialize for BackupBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.as_ref().map(KeyBackups::encode).unwrap_or_default();
        serializer.collect_seq(bytes.iter())
    }
}

impl<'de> Deserialize<'de> for Extensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Extensions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of extensions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Extensions, A::Error> {
                let mut all = Extensions::default();
                while let Some(mut extension) = seq.next_element::<Extension>()? {
                    if holds_secrets(extension.tag) {
                        let data = Zeroizing::new(std::mem::take(&mut extension.data));
                        all.read_secret(extension.tag, &data).ok_or_else(|| {
                            A::Error::custom("its list of former keys or of key backups makes no sense")
                        })?;
                    } else {
                        all.list.push(extension);
                    }
                }
                Ok(all)
            }
        }
        deserializer.deserialize_seq(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(extensions: &Extensions) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &extensions.list {
            out.extend_from_slice(&part.tag.to_le_bytes());
        }
        out
    }

    fn with_secrets() -> Extensions {
        let mut all = Extensions::of(vec![Extension { tag: 9, data: vec![1] }]);
        for n in 1..4u8 {
            let until = Anchor { count: u64::from(n) * 10, mac: [n; 32] };
            all.keep_event_key(FormerKey { key: Arc::new(EventKey::from_bytes(&[0x40 + n; 32])), until });
            all.endorse(Endorsement::from_bytes(&[0x50 + n; 32]));
        }
        all.push(Extension { tag: 2, data: vec![2, 3] });
        all
    }

    #[test]
    fn former_keys_keep_their_place_and_leave_no_bytes_in_the_list() {
        let all = with_secrets();
        let tags: Vec<u32> = all.iter().map(|extension| extension.tag).collect();
        assert_eq!(tags, [9, FORMER_EVENT_KEYS, FORMER_ROOTS, 2]);
        let json = serde_json::to_vec(&all).unwrap();
        let again: Extensions = serde_json::from_slice(&json).unwrap();
        assert_eq!(encoded(&again), encoded(&all));
        assert!(again.iter().filter(|extension| holds_secrets(extension.tag)).all(|e| e.data.is_empty()));
        let keys: Vec<(u64, u8)> =
            again.former_event_keys().iter().map(|key| (key.until.count, key.key.expose()[0])).collect();
        assert_eq!(keys, [(10, 0x41), (20, 0x42), (30, 0x43)]);
        assert_eq!(again.former_roots()[2].expose(), &[0x53; 32]);
        assert_eq!(serde_json::to_vec(&again).unwrap(), json);
    }

    #[test]
    fn former_keys_that_make_no_sense_are_refused() {
        let whole = with_secrets();
        let reads = |tag: u32, data: &[u8]| Extensions::default().read_secret(tag, data).is_some();
        let record = |count: u64| [&count.to_le_bytes()[..], &[7; 64]].concat();
        assert!(reads(FORMER_EVENT_KEYS, &record(5)));
        assert!(!reads(FORMER_EVENT_KEYS, &record(5)[1..]));
        assert!(!reads(FORMER_EVENT_KEYS, &[record(5), record(5)].concat()));
        assert!(!reads(FORMER_EVENT_KEYS, &[]));
        assert!(!reads(FORMER_ROOTS, &[1; 33]));
        assert!(!reads(FORMER_ROOTS, &[1; 32 * (MOST_ROOTS + 1)]));
        assert!(whole.clone().read_secret(FORMER_ROOTS, &[1; 32]).is_none(), "twice");
    }

    #[test]
    fn the_endorsements_that_are_kept_are_the_last_ones() {
        let mut all = Extensions::default();
        for n in 0..=MOST_ROOTS {
            all.endorse(Endorsement::from_bytes(&[n as u8; 32]));
        }
        assert_eq!((all.former_roots().len(), all.former_roots()[0].expose()[0]), (MOST_ROOTS, 1));
    }
}
