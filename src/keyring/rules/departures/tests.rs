//! What is recorded, over changes of aliases.
use data_encoding::HEXLOWER;

use super::*;
use crate::crypto::random::fill;
use crate::ids::{Timestamp, VaultId};
use crate::keyring::format::model::{Key, Manager};

fn name(n: usize) -> AliasName {
    format!("alias/{n}").parse().unwrap()
}

/// A keyring with this many keys of the user's, and no aliases.
fn keyring(keys: usize) -> KeyringBody {
    let mut body = crate::keyring::open::first_body(VaultId::random(), Timestamp(0)).unwrap();
    body.aliases.clear();
    body.keys.truncate(0);
    body.keys.extend((0..keys).map(|_| Key::create(Manager::Customer, "", Timestamp(0))));
    body
}

/// Changes the aliases, given as name, time of creation and number of the key, as one save does.
fn save(body: &mut KeyringBody, tree: &TreeKey, aliases: &[(usize, i64, usize)]) {
    let before = body.aliases.clone();
    let alias = |(n, created, key): &(usize, i64, usize)| Alias {
        name: name(*n),
        key: body.keys[*key].id,
        created: Timestamp(*created),
        updated: Timestamp(9),
    };
    body.aliases = aliases.iter().map(alias).collect();
    body.record_departures(&before, tree);
    body.check_untagged().unwrap();
}

fn recorded(body: &KeyringBody, key: usize) -> Option<Untagged> {
    body.untagged().find(|(id, _)| *id == body.keys[key].id).map(|(_, whose)| whose)
}

#[test]
fn the_only_alias_that_leaves_a_key_is_recorded_for_good() {
    let tree = TreeKey::generate();
    let mut body = keyring(3);
    save(&mut body, &tree, &[(0, 1, 0)]);
    assert!(body.untagged().next().is_none() && body.extensions.is_empty(), "none has left");
    let of = Some(Untagged::Of(tree.alias_id(Timestamp(1), &name(0))));
    // Re-pointed, and a dated one for the old key in the same save.
    save(&mut body, &tree, &[(0, 1, 1), (1, 2, 0)]);
    assert_eq!((recorded(&body, 0), recorded(&body, 1)), (of, None));
    // Again; others come and go; and it comes back.
    save(&mut body, &tree, &[(0, 1, 2), (1, 2, 0), (2, 3, 0)]);
    save(&mut body, &tree, &[(0, 1, 0), (1, 2, 1)]);
    save(&mut body, &tree, &[(1, 2, 1)]);
    assert_eq!([0, 1, 2].map(|key| recorded(&body, key)), [of; 3]);
}

#[test]
fn of_several_aliases_none_is_taken_for_the_one() {
    let tree = TreeKey::generate();
    let mut body = keyring(2);
    save(&mut body, &tree, &[(0, 1, 0), (1, 1, 0)]);
    save(&mut body, &tree, &[(0, 1, 1), (1, 1, 0)]);
    assert_eq!(recorded(&body, 0), Some(Untagged::OfNone));
    save(&mut body, &tree, &[(0, 1, 1)]);
    assert_eq!(recorded(&body, 0), Some(Untagged::OfNone));
    // Two that leave at once.
    let mut body = keyring(2);
    save(&mut body, &tree, &[(0, 1, 0), (1, 1, 0)]);
    save(&mut body, &tree, &[]);
    assert_eq!(recorded(&body, 0), Some(Untagged::OfNone));
}

#[test]
fn an_alias_that_is_made_again_is_one_that_has_left() {
    let tree = TreeKey::generate();
    let mut body = keyring(2);
    save(&mut body, &tree, &[(0, 1, 0)]);
    save(&mut body, &tree, &[(0, 2, 0)]);
    assert_eq!(recorded(&body, 0), Some(Untagged::Of(tree.alias_id(Timestamp(1), &name(0)))));
}

#[test]
fn a_key_that_is_deleted_takes_its_record_along() {
    let tree = TreeKey::generate();
    let mut body = keyring(2);
    save(&mut body, &tree, &[(0, 1, 0), (1, 1, 1)]);
    save(&mut body, &tree, &[(0, 1, 1), (1, 1, 1)]);
    body.keys.remove(0);
    save(&mut body, &tree, &[(0, 1, 0)]);
    assert_eq!((body.untagged().count(), recorded(&body, 0)), (1, Some(Untagged::OfNone)));
    let before = std::mem::take(&mut body.aliases);
    body.keys.clear();
    body.record_departures(&before, &tree);
    assert!(body.extensions.is_empty(), "an empty list isn't written");
}

/// Over changes of all kinds: untagged files are never taken for those of another alias than the one that was alone at
/// their key when its aliases were those of before, and for that one's if it was the first to change.
#[test]
fn untagged_files_are_of_nobody_elses_alias() {
    let tree = TreeKey::generate();
    for _ in 0..300 {
        let mut random = [0; 64];
        fill(&mut random);
        let mut random = random.into_iter().map(usize::from);
        let mut next = |below: usize| random.next().unwrap_or_default() % below;
        let mut body = keyring(3);
        let mut aliases: Vec<(usize, i64, usize)> = (0..1 + next(3)).map(|n| (n, 0, next(3))).collect();
        save(&mut body, &tree, &aliases);
        let first = aliases.clone();
        // Whether the first change of a key's aliases took away the last of them.
        let mut emptied_first: [Option<bool>; 3] = [None; 3];
        for step in 1..15 {
            let before = aliases.clone();
            match (next(3), aliases.len()) {
                (0, _) if aliases.iter().all(|(n, ..)| *n != step) => {
                    aliases.push((step, step as i64, next(3)))
                }
                (1, 1..) => aliases[next(before.len())].2 = next(3),
                (2, 2..) => drop(aliases.remove(next(before.len()))),
                _ => {}
            }
            for (key, emptied) in emptied_first.iter_mut().enumerate() {
                let at = |list: &[(usize, i64, usize)]| -> Vec<usize> {
                    list.iter().filter(|(.., to)| *to == key).map(|(n, ..)| *n).collect()
                };
                if at(&before) != at(&aliases) {
                    emptied.get_or_insert(at(&aliases).is_empty());
                }
            }
            save(&mut body, &tree, &aliases);
            for (key, emptied) in emptied_first.iter().enumerate() {
                let at_first: Vec<_> = first.iter().filter(|(.., to)| *to == key).collect();
                let only = match at_first[..] {
                    [(n, created, _)] => Some(tree.alias_id(Timestamp(*created), &name(*n))),
                    _ => None,
                };
                match recorded(&body, key) {
                    Some(Untagged::Of(alias)) if !at_first.is_empty() => assert_eq!(Some(alias), only),
                    found => {
                        assert!(only.is_none() || *emptied != Some(true), "{found:?}: {first:?}")
                    }
                }
            }
        }
    }
}

/// As an implementation of docs/format.md makes the list that shares no code with this one.
#[test]
fn the_list_is_as_the_independent_implementation_makes_it() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/golden/vectors.json")).unwrap();
    let vector = &vectors["untagged"];
    let hex = |name: &str| HEXLOWER.decode(vector[name].as_str().unwrap().as_bytes()).unwrap();
    let tree = TreeKey::from_bytes(&hex("tree").try_into().unwrap());
    let (alias, created) = (vector["alias"].as_str().unwrap(), vector["created"].as_i64().unwrap());
    let mut body = keyring(3);
    for (n, name) in ["only_alias_left", "one_of_two_left"].into_iter().enumerate() {
        body.keys[n].id = KeyId::from_bytes(hex(name).try_into().unwrap());
    }
    save(&mut body, &tree, &[(0, 1, 1), (1, 1, 1)]);
    let (key, created) = (body.keys[0].id, Timestamp(created));
    let before = Alias { name: alias.parse().unwrap(), key, created, updated: created };
    body.aliases.insert(0, before);
    let before = body.aliases.clone();
    (body.aliases[0].key, body.aliases[1].key) = (body.keys[2].id, body.keys[2].id);
    body.record_departures(&before, &tree);
    assert_eq!(body.extensions[0].data, hex("extension"));
}
