use super::*;
use crate::crypto::keys::KeyMaterial;
use crate::ids::{Timestamp, VaultId};
use crate::keyring::format::body;
use crate::keyring::format::extensions::Extension;
use crate::keyring::format::model::{Cause, Manager};

fn key(versions: u32) -> Key {
    let mut key = Key::create(Manager::Customer, "", Timestamp(0));
    for _ in 1..versions {
        key.rotate(Timestamp(0)).unwrap();
    }
    key
}

fn version(number: u32) -> Version {
    Version {
        number: KeyVersion(number),
        material_id: [7; 32],
        material: Some(std::sync::Arc::new(KeyMaterial::generate())),
        created: Timestamp(0),
        rotated: None,
        cause: Cause::Manual,
        expires: None,
    }
}

fn gaps(key: &Key) -> Vec<(u32, u32, GapKind)> {
    assert_eq!(key.check_numbers(), Ok(()));
    key.gaps.iter().map(|gap| (gap.first.0, gap.last.0, gap.kind)).collect()
}

#[test]
fn a_lost_number_is_never_given_out_again() {
    let mut key = key(2);
    key.lose_up_to(KeyVersion(2));
    assert_eq!(gaps(&key), []);
    key.lose_up_to(KeyVersion(5));
    key.lose_up_to(KeyVersion(7));
    assert_eq!(gaps(&key), [(3, 7, GapKind::Lost)]);
    assert_eq!(key.rotate(Timestamp(1)).unwrap(), (KeyVersion(2), KeyVersion(8)));
    assert!(key.version(KeyVersion(8)).is_some() && key.version(KeyVersion(7)).is_none());
    let id = |number| BackingKeyId { key: key.id, version: KeyVersion(number) };
    assert_eq!(key.missing(KeyVersion(7)), KeyError::LostVersion(id(7)));
    assert_eq!(key.missing(KeyVersion(9)), KeyError::UnknownVersion(id(9)));
    assert_eq!(key.missing(KeyVersion(0)), KeyError::UnknownVersion(id(0)));
}

#[test]
fn a_version_that_is_found_fills_its_place_and_no_other() {
    let mut key = key(1);
    key.lose_up_to(KeyVersion(5));
    for (number, left) in [(3, vec![(2, 2), (4, 5)]), (2, vec![(4, 5)]), (5, vec![(4, 4)]), (4, vec![])] {
        assert!(key.fill_gap(version(number)));
        assert!(!key.fill_gap(version(number)));
        let lost: Vec<_> = gaps(&key).iter().map(|(first, last, _)| (*first, *last)).collect();
        assert_eq!(lost, left);
    }
    assert!(!key.fill_gap(version(6)), "it was never lost");
}

#[test]
fn what_is_trimmed_does_not_come_back() {
    let mut key = key(1);
    key.lose_up_to(KeyVersion(9));
    key.rotate(Timestamp(1)).unwrap();
    key.trim_gaps(KeyVersion(4));
    key.trim_gaps(KeyVersion(6));
    assert_eq!(gaps(&key), [(2, 5, GapKind::Trimmed), (6, 9, GapKind::Lost)]);
    assert!(!key.fill_gap(version(5)) && key.fill_gap(version(6)));
    assert!(matches!(key.missing(KeyVersion(5)), KeyError::NotUsable { state: Unusable::NoMaterial(_), .. }));
    key.trim_gaps(KeyVersion(100));
    assert_eq!(gaps(&key), [(2, 5, GapKind::Trimmed), (7, 9, GapKind::Trimmed)]);
}

#[test]
fn gaps_come_back_from_a_body_in_one_form_only() {
    let mut body = crate::keyring::open::first_body(VaultId::random(), Timestamp(0)).unwrap();
    let plain = body::encode(&body).unwrap();
    body.lost_generations = Some(LostGenerations { after: Generation(3), known: Some(Generation(9)) });
    for key in &mut body.keys {
        key.lose_up_to(KeyVersion(4096));
        key.trim_gaps(KeyVersion(3));
    }
    body.write_gaps();
    let bytes = body::encode(&body).unwrap();
    assert!(bytes.len() < plain.len() + 150, "{} {}", bytes.len(), plain.len());
    let again = body::decode(&bytes).unwrap();
    assert_eq!(again.lost_generations, body.lost_generations);
    for (key, was) in again.keys.iter().zip(&body.keys) {
        assert_eq!(key.gaps, was.gaps);
    }
    assert_eq!(*body::encode(&again).unwrap(), *bytes);

    let data = body.extensions.pop().unwrap().data;
    let with = |data: &[u8]| {
        let mut body = body.clone();
        body.extensions.push(Extension { tag: GAPS, data: data.to_vec() });
        body::decode(&body::encode(&body).unwrap()).map(drop)
    };
    assert!(with(&data).is_ok());
    for len in 0..data.len() {
        // Without its last gaps it is another list that makes sense.
        let whole = len >= HEAD && (len - HEAD).is_multiple_of(GAP);
        assert_eq!(with(&data[..len]).is_ok(), whole, "{len}");
    }
    let mut twice = data.clone();
    twice.extend_from_slice(&data[HEAD..]);
    assert!(with(&twice).is_err());
    for (at, byte) in [(HEAD + 16, 1), (HEAD + 16, 3), (HEAD + 24, 0), (HEAD + 24, 2), (HEAD, data[HEAD] ^ 1)]
    {
        let mut other = data.clone();
        other[at] = byte;
        assert!(with(&other).is_err(), "{at} {byte}");
    }
}
