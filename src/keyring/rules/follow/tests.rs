//! The table: what becomes of a file, for each way that it and the keyring can have come. Where the file lies is no
//! part of it, so that a move, a link, a copy of the ciphertext and one that was restored are one case: same header.
use std::collections::BTreeMap;

use super::*;
use crate::header::{AliasTag, OtherSlot};
use crate::ids::KeyVersion;

const K1: u8 = 1;
const K2: u8 = 2;
const K3: u8 = 3;
const A: u8 = 0xA;
const B: u8 = 0xB;

#[derive(Clone)]
struct Keyring {
    generation: u64,
    /// Generations that were lost.
    lost: std::ops::Range<u64>,
    /// Alias id to key.
    aliases: Vec<(u8, u8)>,
    /// What was recorded of untagged files.
    untagged: BTreeMap<u8, Untagged>,
    /// The current version of each key that can be used.
    current: BTreeMap<u8, u32>,
}

fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn alias(n: u8) -> AliasId {
    AliasId([n; 16])
}

impl KeyringView for Keyring {
    fn had(&self, generation: Generation) -> bool {
        generation.0 <= self.generation && !self.lost.contains(&generation.0)
    }
    fn key_of(&self, of: AliasId) -> Option<KeyId> {
        self.aliases.iter().find(|(id, _)| alias(*id) == of).map(|(_, to)| key(*to))
    }
    fn untagged_of(&self, of: KeyId) -> Option<Untagged> {
        self.untagged.iter().find(|(id, _)| key(**id) == of).map(|(_, whose)| *whose)
    }
    fn only_alias_of(&self, of: KeyId) -> Option<AliasId> {
        let mut pointing = self.aliases.iter().filter(|(_, to)| key(*to) == of);
        let first = pointing.next()?;
        pointing.next().is_none().then(|| alias(first.0))
    }
    fn usable_current(&self, of: KeyId) -> Option<BackingKeyId> {
        let current = self.current.iter().find(|(id, _)| key(**id) == of);
        current.map(|(_, version)| BackingKeyId { key: of, version: KeyVersion(*version) })
    }
}

/// At generation 10, with A and B to K1, whose versions are three; K2 has two.
fn keyring(aliases: &[(u8, u8)]) -> Keyring {
    Keyring {
        generation: 10,
        lost: 0..0,
        aliases: aliases.to_vec(),
        untagged: BTreeMap::new(),
        current: [(K1, 3), (K2, 2), (K3, 1)].into(),
    }
}

fn at(key_of: u8, version: u32) -> BackingKeyId {
    BackingKeyId { key: key(key_of), version: KeyVersion(version) }
}

fn slots(backing: BackingKeyId, tag: Option<AliasTag>) -> SlotKeys {
    SlotKeys { backing, other: OtherSlot::Names(backing), tag }
}

fn of(follows: u8, generation: u64) -> Option<AliasTag> {
    Some(AliasTag { follows: Some(alias(follows)), generation: Generation(generation) })
}

fn pinned(generation: u64) -> Option<AliasTag> {
    Some(AliasTag { follows: None, generation: Generation(generation) })
}

/// What it is, aliases and their keys, what wraps the file and its tag; where it is to be, and why.
type Row = (&'static str, &'static [(u8, u8)], BackingKeyId, Option<AliasTag>, BackingKeyId, Belonging);

#[test]
fn a_file_follows_the_alias_of_its_tag() {
    use Belonging::*;
    let both_k1: &[(u8, u8)] = &[(A, K1), (B, K1)];
    let rows: [Row; 19] = [
        // Moved, linked, copied, restored: the header is the same wherever it lies.
        ("fresh", &[(A, K1)], at(K1, 3), of(A, 9), at(K1, 3), To(alias(A))),
        ("rotated since", &[(A, K1)], at(K1, 1), of(A, 9), at(K1, 3), To(alias(A))),
        ("of the keyring's own generation", &[(A, K2)], at(K1, 3), of(A, 10), at(K2, 2), To(alias(A))),
        ("re-pointed once", &[(A, K2)], at(K1, 3), of(A, 9), at(K2, 2), To(alias(A))),
        ("re-pointed twice, never swept between", &[(A, K3)], at(K1, 3), of(A, 5), at(K3, 1), To(alias(A))),
        ("re-pointed twice, swept between", &[(A, K3)], at(K2, 2), of(A, 8), at(K3, 1), To(alias(A))),
        ("pointed back before it moved", &[(A, K1)], at(K1, 3), of(A, 5), at(K1, 3), To(alias(A))),
        ("pointed back after it moved", &[(A, K1)], at(K2, 2), of(A, 9), at(K1, 3), To(alias(A))),
        ("two aliases on its key", both_k1, at(K1, 2), of(A, 9), at(K1, 3), To(alias(A))),
        ("the other one was re-pointed", &[(A, K1), (B, K2)], at(K1, 3), of(A, 9), at(K1, 3), To(alias(A))),
        ("and its own was", &[(A, K1), (B, K2)], at(K1, 3), of(B, 9), at(K2, 2), To(alias(B))),
        ("alias deleted", &[(B, K1)], at(K1, 2), of(A, 9), at(K1, 3), AliasGone),
        // What was made again has another id, wherever it points.
        ("alias deleted and made again elsewhere", &[(0xAA, K2)], at(K1, 2), of(A, 9), at(K1, 3), AliasGone),
        ("pinned", &[(A, K1)], at(K1, 2), pinned(9), at(K1, 3), Pinned),
        ("pinned to a key that an alias has left", &[(A, K2)], at(K1, 3), pinned(9), at(K1, 3), Pinned),
        ("no tag, one alias", &[(A, K1), (B, K2)], at(K1, 2), None, at(K1, 3), Adopted(alias(A))),
        ("no tag, two aliases", both_k1, at(K1, 2), None, at(K1, 3), Undecided),
        ("no tag, no alias", &[(A, K2)], at(K1, 2), None, at(K1, 3), Undecided),
        // Such a program moved it from K1 to K2: the tag names K1 still, and is none.
        ("re-wrapped by an old program", &[(A, K1), (B, K2)], at(K2, 1), None, at(K2, 2), Adopted(alias(B))),
    ];
    for (name, aliases, backing, tag, target, belonging) in rows {
        let found = follow(&slots(backing, tag), &keyring(aliases));
        assert_eq!(found, Followed { target, belonging }, "{name}");
        assert!(
            found.target.key == backing.key || found.follows() == Some(tag.and_then(|tag| tag.follows)),
            "{name}: a file that changes its key bears the tag by which it does"
        );
    }
}

/// Files of before, once an alias has left their key: aliases, what was recorded of K1, where a file of K1 is to be, why.
#[test]
fn a_file_without_a_tag_follows_the_alias_that_has_left_its_key() {
    use Belonging::*;
    type Row = (&'static str, &'static [(u8, u8)], Untagged, BackingKeyId, Belonging);
    let (of_a, of_none) = (Untagged::Of(alias(A)), Untagged::OfNone);
    let rows: [Row; 10] = [
        ("re-pointed", &[(A, K2)], of_a, at(K2, 2), Adopted(alias(A))),
        ("re-pointed twice", &[(A, K3)], of_a, at(K3, 1), Adopted(alias(A))),
        ("pointed back", &[(A, K1)], of_a, at(K1, 3), Adopted(alias(A))),
        ("its key has a dated alias now", &[(A, K2), (B, K1)], of_a, at(K2, 2), Adopted(alias(A))),
        ("and two more", &[(A, K2), (B, K1), (0xC, K1)], of_a, at(K2, 2), Adopted(alias(A))),
        ("pointed back beside another", &[(A, K1), (B, K1)], of_a, at(K1, 3), Adopted(alias(A))),
        ("deleted", &[(B, K2)], of_a, at(K1, 3), AliasGone),
        ("deleted and made again elsewhere", &[(0xAA, K2)], of_a, at(K1, 3), AliasGone),
        ("and another one at its key", &[(0xAA, K2), (B, K1)], of_a, at(K1, 3), AliasGone),
        // One of two has left: the file may be of either.
        ("one of two has left", &[(A, K2), (B, K1)], of_none, at(K1, 3), Undecided),
    ];
    for (name, aliases, recorded, target, belonging) in rows {
        let mut keyring = keyring(aliases);
        keyring.untagged.insert(K1, recorded);
        let found = follow(&slots(at(K1, 2), None), &keyring);
        assert_eq!(found, Followed { target, belonging }, "{name}");
        // It says nothing of files with a tag.
        let tagged = slots(at(K1, 2), of(B, 9));
        let without = Keyring { untagged: BTreeMap::new(), ..keyring.clone() };
        assert_eq!(follow(&tagged, &keyring), follow(&tagged, &without), "{name}");
    }
}

/// A keyring that was put back may name aliases as they were before the owner pointed them elsewhere.
#[test]
fn with_an_older_keyring_put_back_no_file_changes_its_key() {
    for (follows, aliases) in [(Some(alias(A)), [(A, K2)]), (Some(alias(B)), [(A, K2)]), (None, [(A, K1)])] {
        let tag = Some(AliasTag { follows, generation: Generation(11) });
        let found = follow(&slots(at(K1, 2), tag), &keyring(&aliases));
        assert_eq!(found, Followed { target: at(K1, 3), belonging: Belonging::NewerThanKeyring });
        assert_eq!(found.follows(), None, "the evidence stays");
    }
    // Also once the keyring has passed that generation by changes of its own, if it knows which it lost.
    let mut passed = keyring(&[(A, K2)]);
    (passed.generation, passed.lost) = (13, 11..13);
    for (generation, target) in [(10, at(K2, 2)), (11, at(K1, 3)), (12, at(K1, 3)), (13, at(K2, 2))] {
        assert_eq!(follow(&slots(at(K1, 2), of(A, generation)), &passed).target, target, "{generation}");
    }
}

#[test]
fn a_file_stays_while_what_it_would_move_to_can_not_be_used() {
    let mut shut = keyring(&[(A, K2)]);
    shut.current.remove(&K2);
    let found = follow(&slots(at(K1, 2), of(A, 9)), &shut);
    assert_eq!(found, Followed { target: at(K1, 2), belonging: Belonging::To(alias(A)) });
    shut.current.remove(&K1);
    assert_eq!(follow(&slots(at(K1, 2), pinned(9)), &shut).target, at(K1, 2));
}

/// Each of aliases, tags and keys there are here, in all ways together: where nothing is recorded, none but a tag of this
/// keyring's past moves a file to another key, and only to that of the tag's alias.
#[test]
fn only_a_tag_moves_a_file_to_another_key() {
    let keys = [K1, K2, K3];
    for (a, b) in keys.iter().flat_map(|a| keys.iter().map(move |b| (*a, *b))) {
        let view = keyring(&[(A, a), (B, b)]);
        for own in keys {
            for follows in [A, B, 0xC] {
                for generation in [1, 10, 11] {
                    for tag in [None, of(follows, generation), pinned(generation)] {
                        let found = follow(&slots(at(own, 1), tag), &view);
                        let moved = found.target.key != key(own);
                        let may =
                            tag.is_some_and(|tag| tag.follows.is_some() && tag.generation <= Generation(10));
                        assert!(!moved || may);
                        let to = match follows {
                            A => a,
                            B => b,
                            _ => own,
                        };
                        assert!(!moved || found.target.key == key(to));
                        assert_eq!(found.target, view.usable_current(found.target.key).unwrap());
                    }
                }
            }
        }
    }
}
