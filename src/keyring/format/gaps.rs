//! Version numbers of a key that have no entry in its list of versions, kept as runs.
//!
//! *Lost*: the version may have existed in a keyring that is gone, and files may be wrapped under it. Such a number is
//! never given to new material. A file that names it has a missing key (ENOKEY), and opens again once the keyring that has
//! the version is merged; if the number were used again, the file would look damaged. *Trimmed*: it was lost and then
//! retired for good, so that no merge restores it.
//!
//! Versions and gaps together hold each number from 1 to the key's last one exactly once ([`Key::check_numbers`]).

use super::model::{Key, KeyringBody, Version};
use super::ranges::{Gap, GapKind, LostGenerations, VersionRange};
use crate::ids::{BackingKeyId, Generation, KeyId, KeyVersion};
use crate::keyring::error::{KeyError, KeyringError, Unusable};

/// The extension of the body that holds the gaps (docs/format.md, "Body").
const GAPS: u32 = 2;
/// Bytes before the first gap: two generations.
const HEAD: usize = 16;
/// Bytes of a gap: key id, first, last, kind.
const GAP: usize = 28;

impl Key {
    /// The highest number that the key has used, or may have; 0: none.
    pub(in crate::keyring) fn last_number(&self) -> KeyVersion {
        let version = self.versions.last().map_or(KeyVersion(0), |version| version.number);
        self.gaps.last().map_or(version, |gap| gap.last.max(version))
    }

    /// The number of the next version.
    ///
    /// # Errors
    /// [`KeyringError::Full`] if there are no more.
    pub(in crate::keyring) fn next_number(&self) -> Result<KeyVersion, KeyringError> {
        let last = self.last_number();
        last.0.checked_add(1).map(KeyVersion).ok_or_else(|| {
            KeyringError::Full(format!(
                "key {} has used version number {last}; no more are possible",
                self.id
            ))
        })
    }

    /// The versions that are lost.
    pub(crate) fn lost_versions(&self) -> Vec<VersionRange> {
        let lost = self.gaps.iter().filter(|gap| gap.kind == GapKind::Lost);
        lost.map(|gap| VersionRange { first: gap.first, last: gap.last }).collect()
    }

    /// The error for a version that has no entry.
    pub(in crate::keyring) fn missing(&self, number: KeyVersion) -> KeyError {
        missing(self.id, &self.gaps, number)
    }

    /// Marks the numbers after the last one as lost, up to and with `last`.
    pub(in crate::keyring) fn lose_up_to(&mut self, last: KeyVersion) {
        let first = KeyVersion(self.last_number().0.saturating_add(1));
        if first <= last {
            self.gaps.push(Gap { first, last, kind: GapKind::Lost });
            self.join_gaps();
        }
    }

    /// Frees the lost numbers after `last`, unless a version was made after them.
    pub(in crate::keyring) fn free_after(&mut self, last: KeyVersion) {
        let end = self.last_number();
        if let Some(gap) = self.gaps.pop_if(|gap| gap.kind == GapKind::Lost && gap.last == end)
            && let (Some(low), _) = gap.split_at(KeyVersion(last.0.saturating_add(1)))
        {
            self.gaps.push(low);
        }
    }

    /// Gives up the lost versions below `below` for good.
    pub(in crate::keyring) fn trim_gaps(&mut self, below: KeyVersion) {
        let mut gaps = Vec::with_capacity(self.gaps.len() + 1);
        for gap in self.gaps.drain(..) {
            let (low, high) = gap.split_at(below);
            gaps.extend(low.map(|low| Gap { kind: GapKind::Trimmed, ..low }));
            gaps.extend(high);
        }
        self.gaps = gaps;
        self.join_gaps();
    }

    /// Inserts a version if its number is lost. Returns whether it was.
    pub(in crate::keyring) fn fill_gap(&mut self, version: Version) -> bool {
        let number = version.number;
        let Some(at) = self.gaps.iter().position(|gap| gap.kind == GapKind::Lost && gap.has(number)) else {
            return false;
        };
        let (low, rest) = self.gaps[at].split_at(number);
        let high = rest.and_then(|rest| rest.split_at(KeyVersion(number.0.saturating_add(1))).1);
        self.gaps.splice(at..=at, low.into_iter().chain(high));
        let place = self.versions.partition_point(|known| known.number < number);
        self.versions.insert(place, version);
        true
    }

    /// Makes a number without a version a lost one.
    pub(in crate::keyring) fn gap_at(&mut self, number: KeyVersion) {
        let place = self.gaps.partition_point(|gap| gap.first < number);
        self.gaps.insert(place, Gap { first: number, last: number, kind: GapKind::Lost });
        self.join_gaps();
    }

    fn join_gaps(&mut self) {
        self.gaps.dedup_by(|next, gap| {
            let joined = next.kind == gap.kind && next.first.0 == gap.last.0.saturating_add(1);
            if joined {
                gap.last = next.last;
            }
            joined
        });
    }

    /// Whether each number from 1 to the last one is a version or in a gap, once.
    pub(in crate::keyring) fn check_numbers(&self) -> Result<(), &'static str> {
        let (mut gaps, mut next, mut before) = (self.gaps.iter().peekable(), 1u64, None);
        let mut pass_gaps = |next: &mut u64| {
            while let Some(gap) = gaps.next_if(|gap| u64::from(gap.first.0) == *next) {
                if gap.last < gap.first || before == Some((*next, gap.kind)) {
                    return Err("a gap in a key's versions that is empty or in two parts");
                }
                *next = u64::from(gap.last.0) + 1;
                before = Some((*next, gap.kind));
            }
            Ok(gaps.peek().is_none())
        };
        for version in &self.versions {
            pass_gaps(&mut next)?;
            if u64::from(version.number.0) != next {
                return Err("a key whose versions aren't numbered 1, 2, 3, …");
            }
            next += 1;
        }
        if pass_gaps(&mut next)? { Ok(()) } else { Err("a gap where a key's versions are") }
    }
}

/// The error for a version of a key with these gaps that has no entry.
pub(in crate::keyring) fn missing(key: KeyId, gaps: &[Gap], number: KeyVersion) -> KeyError {
    let id = BackingKeyId { key, version: number };
    match gaps.iter().find(|gap| gap.has(number)).map(|gap| gap.kind) {
        None => KeyError::UnknownVersion(id),
        Some(GapKind::Lost) => KeyError::LostVersion(id),
        Some(GapKind::Trimmed) => KeyError::NotUsable { key, state: Unusable::NoMaterial(id) },
    }
}

impl KeyringBody {
    /// Whether any key has numbers without entries: what a program that knows no gaps can't read.
    pub(in crate::keyring) fn has_gaps(&self) -> bool {
        self.keys.iter().any(|key| !key.gaps.is_empty())
    }

    /// Reads the gaps from their extension, once the body is decoded.
    pub(in crate::keyring) fn read_gaps(&mut self) -> Result<(), &'static str> {
        const WRONG: &str = "its list of lost key versions makes no sense";
        let mut found = self.extensions.iter().filter(|e| e.tag == GAPS);
        let (Some(extension), None) = (found.next(), found.next()) else {
            let several = self.extensions.iter().any(|e| e.tag == GAPS);
            return if several { Err(WRONG) } else { Ok(()) };
        };
        let data = extension.data.clone();
        let (head, gaps) = data.split_first_chunk::<HEAD>().ok_or(WRONG)?;
        let (after, known) = head.split_first_chunk::<8>().ok_or(WRONG)?;
        let known = u64::from_le_bytes(known.try_into().map_err(|_| WRONG)?);
        self.lost_generations = Some(LostGenerations {
            after: Generation(u64::from_le_bytes(*after)),
            known: (known != 0).then_some(Generation(known)),
        });
        let (gaps, []) = gaps.as_chunks::<GAP>() else { return Err(WRONG) };
        // They come in the order of the keys.
        let mut keys = self.keys.iter_mut().peekable();
        for gap in gaps {
            let (id, gap) = read_gap(gap).ok_or(WRONG)?;
            while keys.next_if(|key| key.id != id).is_some() {}
            keys.peek_mut().ok_or(WRONG)?.gaps.push(gap);
        }
        // There is one encoding only: encoded again it is the same bytes.
        if self.gaps_extension().as_deref() == Some(&data) { Ok(()) } else { Err(WRONG) }
    }

    /// Writes the gaps to their extension, at its position among the others, before the body is encoded.
    pub(in crate::keyring) fn write_gaps(&mut self) {
        let data = self.gaps_extension().unwrap_or_default();
        self.extensions.set(GAPS, data);
    }

    fn gaps_extension(&self) -> Option<Vec<u8>> {
        if self.lost_generations.is_none() && !self.has_gaps() {
            return None;
        }
        let none = LostGenerations { after: Generation(0), known: None };
        let lost = self.lost_generations.unwrap_or(none);
        let mut data = lost.after.0.to_le_bytes().to_vec();
        data.extend_from_slice(&lost.known.map_or(0, |known| known.0).to_le_bytes());
        for key in &self.keys {
            for gap in &key.gaps {
                let kind: u32 = match gap.kind {
                    GapKind::Lost => 0,
                    GapKind::Trimmed => 1,
                };
                data.extend_from_slice(key.id.as_bytes());
                for number in [gap.first.0, gap.last.0, kind] {
                    data.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        Some(data)
    }
}

fn read_gap(bytes: &[u8; GAP]) -> Option<(KeyId, Gap)> {
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let ([first, last, kind], []) = rest.as_chunks::<4>() else { return None };
    let kind = match u32::from_le_bytes(*kind) {
        0 => GapKind::Lost,
        1 => GapKind::Trimmed,
        _ => return None,
    };
    let number = |bytes: &[u8; 4]| KeyVersion(u32::from_le_bytes(*bytes));
    Some((KeyId::from_bytes(*id), Gap { first: number(first), last: number(last), kind }))
}

#[cfg(test)]
mod tests;
