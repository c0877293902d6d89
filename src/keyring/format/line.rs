//! The line of a keyring: the hashes of the keyrings that it comes from, oldest first, in an extension of the body
//! (docs/format.md, "Body"). By it, a host that remembers one keyring decides whether a newer one comes from that one, or
//! from another that was changed elsewhere.
//!
//! Each entry is a file that the next one replaced; the last is the file that this keyring replaced. So from the first
//! entry to the keyring every generation is listed that ever was. A program that doesn't know the extension keeps it
//! unchanged when it saves: then its end isn't `previous`, and it counts as none.

use super::model::KeyringBody;
use crate::ids::Generation;

/// The extension that holds it.
const LINE: u32 = 4;
/// Entries that are kept.
pub(in crate::keyring) const MOST: usize = 512;
/// Where the hash lies in an entry:
///
/// ```text
/// 0              8                             24
/// | generation   | first bytes of the hash     |
/// | u64, LE      |                             |
/// ```
const HASH_AT: usize = size_of::<u64>();
/// Bytes of an entry.
const ENTRY: usize = HASH_AT + HASH;
/// Bytes of a hash that are kept. Without the root key nobody can choose what is hashed or write an entry, so 16 bytes are
/// far more than distinguishing files takes.
const HASH: usize = 16;

/// What identifies one saved keyring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Head {
    /// Its generation.
    pub(in crate::keyring) generation: Generation,
    /// SHA-256 of the file.
    pub(in crate::keyring) hash: [u8; 32],
}

/// Whether a keyring comes from another one, which has a lower generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum Descent {
    /// It does.
    Proven,
    /// It comes from another one of about that generation.
    Other,
    /// Unknown: its line doesn't go back that far.
    Unknown,
}

impl KeyringBody {
    /// Whether the keyring with this body comes from the one that `head` is of.
    pub(in crate::keyring) fn comes_from(&self, head: Head) -> Descent {
        let told = |same| if same { Descent::Proven } else { Descent::Other };
        let line = self.line();
        let Some(first) = line.first() else {
            // Without a line only the predecessor is known, if no generation was skipped.
            let follows = head.generation.0.checked_add(1) == Some(self.generation.0);
            return if follows { told(self.previous == head.hash) } else { Descent::Unknown };
        };
        if head.generation < generation(first) {
            return Descent::Unknown;
        }
        told(line.iter().any(|entry| *entry == entry_of(head)))
    }

    /// Whether a keyring that this one comes from had an earlier generation; `None`: its line doesn't go back that far.
    pub(in crate::keyring) fn line_had(&self, earlier: Generation) -> Option<bool> {
        let line = self.line();
        let first = line.first().map(generation)?;
        (earlier >= first).then(|| line.binary_search_by_key(&earlier, generation).is_ok())
    }

    /// The keyring that this one replaced, if its line tells.
    pub(in crate::keyring) fn predecessor(&self) -> Option<Head> {
        self.line().last().map(|last| Head { generation: generation(last), hash: self.previous })
    }

    /// Continues the line for the next keyring: `from` identifies the present one, which it replaces.
    pub(in crate::keyring) fn continue_line(&mut self, from: Head) {
        let line = self.line();
        let over = (line.len() + 1).saturating_sub(MOST);
        let mut data = line[over..].as_flattened().to_vec();
        data.extend_from_slice(&entry_of(from));
        self.extensions.set(LINE, data);
        self.previous = from.hash;
    }

    /// Ends the line: what this keyring comes from isn't known.
    pub(in crate::keyring) fn forget_line(&mut self) {
        self.extensions.retain(|extension| extension.tag != LINE);
    }

    /// The entries; none if they aren't this keyring's (an older program saved it).
    fn line(&self) -> &[[u8; ENTRY]] {
        let (line, _) = self.extensions.data(LINE).as_chunks::<ENTRY>();
        let is_ours = line.last().is_some_and(|last| last[HASH_AT..] == self.previous[..HASH]);
        if is_ours { line } else { &[] }
    }

    /// Checks that there is at most one line, of whole entries, in the order of their generations.
    pub(in crate::keyring) fn check_line(&self) -> Result<(), &'static str> {
        const WRONG: &str = "its line of earlier generations makes no sense";
        let is_good = |data: &[u8]| {
            let (line, rest) = data.as_chunks::<ENTRY>();
            let generations = line.iter().map(generation).chain([self.generation]);
            rest.is_empty() && (1..=MOST).contains(&line.len()) && generations.is_sorted_by(|a, b| a < b)
        };
        if self.extensions.is_one_at_most(LINE, is_good) { Ok(()) } else { Err(WRONG) }
    }
}

fn entry_of(head: Head) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..HASH_AT].copy_from_slice(&head.generation.0.to_le_bytes());
    entry[HASH_AT..].copy_from_slice(&head.hash[..HASH]);
    entry
}

fn generation(entry: &[u8; ENTRY]) -> Generation {
    Generation(entry.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Timestamp, VaultId};

    fn head(generation: u64, line: u8) -> Head {
        let mut hash = [line; 32];
        hash[..8].copy_from_slice(&generation.to_le_bytes());
        Head { generation: Generation(generation), hash }
    }

    /// The body of generation `last` of a line whose generations have all been saved.
    fn saved(last: u64) -> KeyringBody {
        let mut body = crate::keyring::open::first_body(VaultId::random(), Timestamp(0)).unwrap();
        for generation in 1..last {
            body.continue_line(head(generation, 1));
            body.generation = Generation(generation + 1);
        }
        body
    }

    #[test]
    fn a_keyring_tells_whether_it_comes_from_another() {
        let body = saved(700);
        body.check_line().unwrap();
        for generation in [188, 400, 699] {
            assert_eq!(body.comes_from(head(generation, 1)), Descent::Proven, "{generation}");
            assert_eq!(body.comes_from(head(generation, 2)), Descent::Other, "{generation}");
        }
        for generation in [1, 187] {
            assert_eq!(body.comes_from(head(generation, 1)), Descent::Unknown, "{generation}");
        }
        assert_eq!(body.extensions[0].data.len(), MOST * ENTRY);
    }

    #[test]
    fn the_line_tells_which_generations_it_had() {
        let mut body = saved(4);
        assert_eq!([1, 2, 3].map(|n| body.line_had(Generation(n))), [Some(true); 3]);
        body.continue_line(head(4, 1));
        body.generation = Generation(9);
        let had = [0, 4, 5, 8].map(|n| body.line_had(Generation(n)));
        assert_eq!(had, [None, Some(true), Some(false), Some(false)]);
        body.forget_line();
        assert_eq!(body.line_had(Generation(4)), None);
    }

    #[test]
    fn a_generation_that_was_passed_over_is_of_another_line() {
        let mut body = saved(3);
        body.continue_line(head(3, 1));
        body.generation = Generation(9);
        assert_eq!(body.comes_from(head(3, 1)), Descent::Proven);
        for generation in [4, 5, 8] {
            assert_eq!(body.comes_from(head(generation, 1)), Descent::Other, "{generation}");
        }
    }

    #[test]
    fn a_line_that_an_older_program_left_as_it_was_counts_as_none() {
        let mut body = saved(5);
        // Saved by a program that keeps the extension and doesn't know it.
        (body.previous, body.generation) = (head(5, 1).hash, Generation(6));
        body.check_line().unwrap();
        assert_eq!(body.comes_from(head(5, 1)), Descent::Proven);
        assert_eq!(body.comes_from(head(5, 2)), Descent::Other);
        assert_eq!(body.comes_from(head(4, 1)), Descent::Unknown);
        // And the next save by one that does begins it again.
        body.continue_line(head(6, 1));
        body.generation = Generation(7);
        assert_eq!(body.comes_from(head(6, 1)), Descent::Proven);
        assert_eq!(body.comes_from(head(4, 1)), Descent::Unknown);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut Vec<u8>)| {
            let mut body = saved(4);
            change(&mut body.extensions[0].data);
            body.check_line().is_err()
        };
        assert!(!refused(|_| {}));
        assert!(refused(Vec::clear));
        assert!(refused(|data| data.truncate(data.len() - 1)));
        assert!(refused(|data| data[0] = 9));
        assert!(refused(|data| data[48] = 4));
        assert!(refused(|data| *data = data.repeat(200)));
        let mut body = saved(4);
        let twice = body.extensions[0].clone();
        body.extensions.push(twice);
        assert!(body.check_line().is_err());
        body.forget_line();
        assert_eq!(body.comes_from(head(1, 1)), Descent::Unknown);
    }
}
