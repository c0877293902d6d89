//! What a keyring knows of its key backups, in an extension of the body (docs/format.md, "Body"): the last export, and the
//! backups that are kept true. It lies under the keyring's seal: who can write the ciphertext can't have the keys of a vault
//! written elsewhere.
//!
//! How far a backup is behind is told by two numbers that it and the keyring have: the generation, and how many versions keys
//! got so far (`made`), which counts from the first backup on. An older program keeps the extension and doesn't count; the
//! generation tells of what it changed.
//!
//! ```text
//!  0      8      16           24     32     40
//!  | made | time | generation | made | zero | kept backups, until the end       8 bytes each
//!         |<--- of the last export -->|
//!
//!  kept:  root key 32 | begun i64 | mount u32 | to: u32 length, bytes | slots: u32 length, JSON as in a header
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::crypto::keys::RootKey;
use crate::ids::{Generation, Timestamp};
use crate::unlock::Slots;

/// Backups that can be kept at a time.
pub(in crate::keyring) const MOST_KEPT: usize = 16;
/// The longest path, in bytes: PATH_MAX.
const MAX_PATH: usize = 4096;
/// The longest slots, in bytes: as in a header.
const MAX_SLOTS: usize = 1 << 20;

/// What is known of a vault's key backups.
#[derive(Clone, Default)]
pub(in crate::keyring) struct KeyBackups {
    /// Versions with material that keys got since this is counted.
    pub(in crate::keyring) made: u64,
    /// The last export.
    pub(in crate::keyring) exported: Option<Exported>,
    /// The backups that are kept.
    pub(in crate::keyring) kept: Vec<Kept>,
}

/// An export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Exported {
    /// When.
    pub(in crate::keyring) at: Timestamp,
    /// The generation of the keyring in it.
    pub(in crate::keyring) generation: Generation,
    /// What was `made` then.
    pub(in crate::keyring) made: u64,
}

/// A backup that is written again after each change.
#[derive(Clone)]
pub(in crate::keyring) struct Kept {
    /// Seals it. Drawn for this backup alone, and the same each time it is written.
    pub(in crate::keyring) root: Arc<RootKey>,
    /// Since when it is kept.
    pub(in crate::keyring) begun: Timestamp,
    /// Where: absolute, and without symlinks when it was given.
    pub(in crate::keyring) to: PathBuf,
    /// How many bytes of the path name the mount point that it lies under: a directory whose disk isn't there is another one.
    pub(in crate::keyring) mount: usize,
    /// What opens it: a passphrase slot, or one for age recipients.
    pub(in crate::keyring) slots: Slots,
}

impl Kept {
    /// The mount point that it lay under when it was given.
    pub(in crate::keyring) fn mount_point(&self) -> &Path {
        let bytes = self.to.as_os_str().as_bytes();
        Path::new(std::ffi::OsStr::from_bytes(bytes.get(..self.mount).unwrap_or(bytes)))
    }
}

impl KeyBackups {
    /// As the bytes of the extension. Of the right size from the start: a buffer that grows leaves copies behind.
    pub(in crate::keyring) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let slots: Vec<Vec<u8>> =
            self.kept.iter().map(|kept| serde_json::to_vec(&kept.slots).unwrap_or_default()).collect();
        let of = |kept: &Kept| 32 + 8 + 4 + 4 + kept.to.as_os_str().len() + 4;
        let len = 8 * 5 + self.kept.iter().map(of).sum::<usize>() + slots.iter().map(Vec::len).sum::<usize>();
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        let last = self.exported;
        out.extend_from_slice(&self.made.to_le_bytes());
        out.extend_from_slice(&last.map_or(0, |last| last.at.0).to_le_bytes());
        for number in [last.map_or(0, |last| last.generation.0), last.map_or(0, |last| last.made), 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (kept, slots) in self.kept.iter().zip(&slots) {
            let to = kept.to.as_os_str().as_bytes();
            out.extend_from_slice(kept.root.expose());
            out.extend_from_slice(&kept.begun.0.to_le_bytes());
            out.extend_from_slice(&(kept.mount as u32).to_le_bytes());
            for part in [to, slots] {
                out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                out.extend_from_slice(part);
            }
        }
        out
    }

    /// The bytes of the extension; none if they make no sense.
    pub(in crate::keyring) fn parse(data: &[u8]) -> Option<Self> {
        let mut rest = data;
        let made = number(&mut rest)?;
        let at = Timestamp(i64::from_le_bytes(*take::<8>(&mut rest)?));
        let generation = Generation(number(&mut rest)?);
        let (made_then, reserved) = (number(&mut rest)?, number(&mut rest)?);
        let exported = (generation.0 > 0).then_some(Exported { at, generation, made: made_then });
        let none = (at.0, made_then) == (0, 0);
        if reserved != 0 || made_then > made || (exported.is_none() && !none) {
            return None;
        }
        let mut kept = Vec::new();
        while !rest.is_empty() {
            let root = Arc::new(RootKey::from_bytes(take::<32>(&mut rest)?));
            let begun = Timestamp(i64::from_le_bytes(*take::<8>(&mut rest)?));
            let mount = length(&mut rest, MAX_PATH)?;
            let to = part(&mut rest, MAX_PATH)?;
            let slots = serde_json::from_slice(part(&mut rest, MAX_SLOTS)?).ok()?;
            if !to.starts_with(b"/") || to.contains(&0) || mount > to.len() {
                return None;
            }
            let to = PathBuf::from(OsString::from_vec(to.to_vec()));
            kept.push(Kept { root, begun, to, mount, slots });
        }
        let twice = |at: usize| kept[..at].iter().any(|other: &Kept| other.to == kept[at].to);
        let sensible = kept.len() <= MOST_KEPT && !(0..kept.len()).any(twice);
        sensible.then_some(Self { made, exported, kept })
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take::<8>(rest).map(|bytes| u64::from_le_bytes(*bytes))
}

fn length(rest: &mut &[u8], most: usize) -> Option<usize> {
    take::<4>(rest).map(|bytes| u32::from_le_bytes(*bytes) as usize).filter(|len| *len <= most)
}

fn part<'a>(rest: &mut &'a [u8], most: usize) -> Option<&'a [u8]> {
    let len = length(rest, most)?;
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(to: &str) -> Kept {
        Kept {
            root: Arc::new(RootKey::from_bytes(&[0x61; 32])),
            begun: Timestamp(5),
            to: to.into(),
            mount: 4,
            slots: Slots::default(),
        }
    }

    fn some() -> KeyBackups {
        let exported = Some(Exported { at: Timestamp(9), generation: Generation(3), made: 1 });
        KeyBackups { made: 2, exported, kept: vec![kept("/mnt/a"), kept("/mnt/b")] }
    }

    #[test]
    fn what_is_known_of_backups_comes_back_as_it_was() {
        for known in [KeyBackups::default(), some(), KeyBackups { exported: None, ..some() }] {
            let bytes = known.encode();
            assert_eq!(bytes.len(), bytes.capacity(), "it grew");
            let again = KeyBackups::parse(&bytes).unwrap();
            assert_eq!((again.made, again.exported), (known.made, known.exported));
            assert!(again.kept.iter().map(|kept| &kept.to).eq(known.kept.iter().map(|kept| &kept.to)));
            assert!(again.kept.iter().all(|kept| kept.root.expose() == &[0x61; 32]));
            assert!(again.kept.iter().all(|kept| kept.mount_point() == Path::new("/mnt")));
            assert_eq!(again.encode(), bytes);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let whole = some().encode();
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = whole.to_vec();
            change(&mut bytes);
            KeyBackups::parse(&bytes).is_none()
        };
        assert!(!changed(&|_| {}));
        for len in 0..whole.len() {
            let at_an_end = len == 40 || len == 40 + (whole.len() - 40) / 2;
            assert_eq!(changed(&|bytes| bytes.truncate(len)), !at_an_end, "{len}");
        }
        assert!(changed(&|bytes| bytes[32] = 1), "the field that is zero");
        assert!(changed(&|bytes| bytes[24] = 9), "more was made then than now");
        assert!(changed(&|bytes| bytes[16] = 0), "no export, of a time");
        let path = 40 + 32 + 8 + 4 + 4;
        assert!(changed(&|bytes| bytes[path] = b'x'), "relative");
        assert!(changed(&|bytes| bytes[path - 8] = 7), "a mount point behind the path");
        let half = (whole.len() - 40) / 2;
        assert!(changed(&|bytes| bytes[path + half + 5] = b'a'), "twice the same");
        let many = (0..=MOST_KEPT).map(|n| kept(&format!("/mnt/{n}"))).collect();
        let many = KeyBackups { kept: many, ..some() };
        assert!(KeyBackups::parse(&many.encode()).is_none(), "too many");
    }
}
