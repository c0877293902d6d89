use proptest::prelude::*;

use super::*;
use crate::crypto::keys::TreeKey;
use crate::ids::{AliasName, DirId};

const DIR: DirId = DirId([7; 16]);
const OTHER: DirId = DirId([8; 16]);

fn tree() -> TreeKey {
    TreeKey::from_bytes(&[42; 32])
}

/// Bytes that a name can have, the inconvenient ones included.
fn name_of(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| match (i as u8).wrapping_mul(31).wrapping_add(seed) {
            0 | b'/' => 0xff,
            b => b,
        })
        .collect()
}

/// Every string that differs from `bytes` in one byte, by `change`.
fn flips(bytes: &[u8], change: u8) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).map(move |i| {
        let mut flipped = bytes.to_vec();
        flipped[i] ^= change;
        flipped
    })
}

#[test]
fn names_of_every_length_round_trip() {
    let cipher = NameCipher::new(&tree());
    for len in 1..=MAX_NAME {
        for seed in [1, 0x80, 0xfe] {
            let name = name_of(len, seed);
            check_new(&name).unwrap();
            let lower = cipher.encrypt(DIR, &name);
            assert_eq!(cipher.decrypt(DIR, lower.full()).unwrap(), name, "{len}");
            assert!(lower.entry().len() <= 255 && lower.full().len() <= LowerName::MAX_FULL);
            assert_eq!(cipher.encrypt(DIR, &name), lower, "deterministic");
            assert_ne!(cipher.encrypt(OTHER, &name), lower, "bound to its directory");
            assert!(cipher.decrypt(OTHER, lower.full()).is_err());
            assert_eq!(cipher.locate(DIR, &name).unwrap(), lower);
        }
    }
}

#[test]
fn names_over_160_bytes_are_long() {
    let cipher = NameCipher::new(&tree());
    for len in 1..=MAX_NAME {
        match cipher.encrypt(DIR, &name_of(len, 3)) {
            LowerName::Short(entry) => {
                assert!(len <= 160, "{len}");
                assert_eq!(LowerKind::of(&entry), LowerKind::Name);
            }
            LowerName::Long { entry, companion, full } => {
                assert!(len > 160, "{len}");
                assert_eq!(LowerKind::of(&entry), LowerKind::LongEntry);
                assert_eq!(LowerKind::of(&companion), LowerKind::LongCompanion);
                assert_eq!(LowerName::companion_of(&entry), companion);
                assert_eq!(cipher.decrypt_long(DIR, &entry, &full).unwrap(), name_of(len, 3));
                for flipped in flips(&full, 1) {
                    assert!(cipher.decrypt_long(DIR, &entry, &flipped).is_err());
                }
                for flipped in flips(&entry, 1) {
                    assert!(cipher.decrypt_long(DIR, &flipped, &full).is_err());
                }
            }
        }
    }
    assert_eq!(cipher.encrypt(DIR, &name_of(255, 3)).full().len(), LowerName::MAX_FULL);
}

#[test]
fn a_lower_name_changed_in_any_byte_is_refused() {
    let cipher = NameCipher::new(&tree());
    for len in [1, 15, 16, 17, 160, 161, 255] {
        let lower = cipher.encrypt(DIR, &name_of(len, 9));
        for change in [0x01, 0x20, 0x80, 0xff] {
            for flipped in flips(lower.full(), change) {
                assert!(cipher.decrypt(DIR, &flipped).is_err());
            }
        }
        for len in 0..lower.full().len() {
            assert!(cipher.decrypt(DIR, &lower.full()[..len]).is_err());
        }
        for more in [&b"A"[..], b"=", b"==", b"AAAA"] {
            assert!(cipher.decrypt(DIR, &[lower.full(), more].concat()).is_err());
        }
    }
}

#[test]
fn what_is_no_name_is_refused_though_it_authenticates() {
    let tree = tree();
    let (cipher, key) = (NameCipher::new(&tree), tree.name_key());
    let decrypt = |plain: &[u8]| cipher.decrypt(DIR, &encode64(&key.encrypt(Some(&DIR.0), plain)));
    let padded = |name: &[u8]| [name, &[0; 16][name.len()..]].concat();
    assert_eq!(decrypt(&padded(b"a")).unwrap(), b"a");
    for bad in [&b"."[..], b"..", b"a/b", b"a\0b", b"", b".rekeyfs-bad.x"] {
        assert!(decrypt(&padded(bad)).is_err(), "{bad:?}");
    }
    assert!(decrypt(b"").is_err());
    assert!(decrypt(b"unpadded").is_err());
    assert!(decrypt(&[padded(b"a"), vec![0; 16]].concat()).is_err(), "padded too far");
    assert!(decrypt(&[b'a'; 256]).is_err(), "too long");
}

#[test]
fn which_names_there_are() {
    assert_eq!(check_plain(b""), Err(NameError::Invalid));
    for bad in [&b"."[..], b"..", b"a/b", b"\0", b"/"] {
        assert_eq!(check_plain(bad), Err(NameError::Invalid), "{bad:?}");
    }
    for good in [&b"..."[..], b".a", b"..a", b"\xff\xfe", b"\n", b".dir", b".long.x"] {
        assert_eq!(check_new(good), Ok(()), "{good:?}");
    }
    assert_eq!(check_plain(&[b'a'; 255]), Ok(()));
    assert_eq!(check_plain(&[b'a'; 256]), Err(NameError::TooLong));
    assert_eq!(check_new(b".rekeyfs-bad.x"), Err(NameError::Reserved));
    assert_eq!(check_new(b".rekeyfs-ba"), Ok(()));
}

#[test]
fn kinds_of_lower_names() {
    let hash = "A-_9".repeat(11)[..43].to_owned();
    let cases = [
        ("x".to_owned(), LowerKind::Name),
        (String::new(), LowerKind::Name),
        (".dir".into(), LowerKind::DirRecord),
        (".dirx".into(), LowerKind::Unknown),
        (".tmp.".into(), LowerKind::Temporary),
        (".tmp.abc".into(), LowerKind::Temporary),
        (".tmp".into(), LowerKind::Unknown),
        (".".into(), LowerKind::Unknown),
        ("..".into(), LowerKind::Unknown),
        (format!(".long.{hash}"), LowerKind::LongEntry),
        (format!(".long.{hash}.name"), LowerKind::LongCompanion),
        (format!(".long.{hash}.nam"), LowerKind::Unknown),
        (format!(".long.{hash}A"), LowerKind::Unknown),
        (format!(".long.{}", &hash[1..]), LowerKind::Unknown),
        (format!(".long.+{}", &hash[1..]), LowerKind::Unknown),
        (".long.".into(), LowerKind::Unknown),
        (".tmp.x".into(), LowerKind::Temporary),
        (".tmp.".into(), LowerKind::Temporary),
        (".tmp".into(), LowerKind::Unknown),
    ];
    for (lower, kind) in cases {
        assert_eq!(LowerKind::of(lower.as_bytes()), kind, "{lower}");
    }
}

#[test]
fn bad_names_lead_to_what_they_show() {
    let cipher = NameCipher::new(&tree());
    for lower in [&b"foreign"[..], b"\xff\xfe", &[b'x'; 255]] {
        let shown = cipher.show(DIR, lower);
        assert!(shown.starts_with(BAD_PREFIX));
        assert_eq!(cipher.locate(DIR, &shown).unwrap(), LowerName::Short(lower.to_vec()));
    }
    // One that does decrypt has one name only.
    let good = cipher.encrypt(DIR, b"good");
    assert_eq!(cipher.show(DIR, good.entry()), b"good");
    assert_eq!(cipher.locate(DIR, &bad_name(good.entry())), Err(NameError::Absent));
    // Not a way out of the directory, nor to rekeyfs's own files.
    for lower in [&b""[..], b".", b"..", b".dir", b"../keyring", b"a/b", b".long.x", &[b'x'; 256]] {
        assert_eq!(cipher.locate(DIR, &bad_name(lower)), Err(NameError::Absent), "{lower:?}");
    }
    // The name of another directory doesn't decrypt here, so it is shown and found.
    let moved = cipher.encrypt(OTHER, b"good");
    assert_eq!(cipher.locate(DIR, &cipher.show(DIR, moved.entry())).unwrap(), moved);
}

#[test]
fn records_round_trip_and_are_refused_when_changed() {
    let cipher = RecordCipher::new(&tree());
    let longest: AliasName = format!("alias/{}", "a".repeat(250)).parse().unwrap();
    for alias in [None, Some(AliasName::default_alias()), Some(longest)] {
        let record = DirRecord { id: DIR, alias };
        let lower = cipher.encode(&record);
        assert!(lower.len() <= DirRecord::MAX_LEN);
        assert_eq!(cipher.decode(&lower).unwrap(), record);
        for bit in 0..8 {
            for flipped in flips(&lower, 1 << bit) {
                assert!(cipher.decode(&flipped).is_err());
            }
        }
        for len in 0..lower.len() {
            assert!(cipher.decode(&lower[..len]).is_err());
        }
        assert!(cipher.decode(&[&lower[..], b"\0"].concat()).is_err());
    }
    let newer = [&[2, 0][..], &cipher.encode(&DirRecord { id: DIR, alias: None })[2..]].concat();
    assert_eq!(cipher.decode(&newer), Err(OpenError::Newer));
    assert!(RecordCipher::new(&TreeKey::from_bytes(&[1; 32])).decode(&newer).is_err());
}

#[test]
fn records_that_authenticate_but_make_no_sense_are_refused() {
    let tree = tree();
    let (cipher, key) = (RecordCipher::new(&tree), tree.dir_record_key());
    let decode = |plain: &[u8]| cipher.decode(&[&[1, 0][..], &key.seal(&[1, 0], plain)].concat());
    let plain = |len: u16, alias: &[u8]| [&DIR.0[..], &len.to_le_bytes(), alias].concat();
    assert!(decode(&plain(9, b"alias/abc")).is_ok());
    for bad in [
        plain(8, b"alias/abc"),
        plain(10, b"alias/abc"),
        plain(3, b"abc"),
        plain(9, b"alias/\xff\xffc"),
        DIR.0.to_vec(),
        vec![0; 17],
        Vec::new(),
    ] {
        assert_eq!(decode(&bad), Err(OpenError::Damaged));
    }
}

#[test]
fn symlink_targets_of_every_length() {
    let cipher = SymlinkCipher::new(&tree());
    for len in (0..64).chain([255, 1000, 3027, 3028, 3029, 3030]) {
        let target = name_of(len, 5);
        let lower = cipher.encode(&target).unwrap();
        assert!(lower.len() <= 4095);
        assert_eq!(cipher.decode(&lower).unwrap(), target);
        assert_eq!(SymlinkCipher::plain_len(lower.len() as u64), Some(len as u64));
    }
    assert_eq!(cipher.encode(&[b'a'; 3030]).unwrap().len(), 4095);
    assert_eq!(cipher.encode(&[b'a'; 3031]), Err(TooLong));
    assert_eq!(SymlinkCipher::plain_len(0), None);
    assert_eq!(SymlinkCipher::plain_len(54), None);
    assert_eq!(SymlinkCipher::plain_len(57), None, "no base64 has 4n + 1 characters");
}

#[test]
fn a_symlink_target_changed_in_any_byte_is_refused() {
    let cipher = SymlinkCipher::new(&tree());
    // All three lengths of the last group of base64.
    for target in [&b"target"[..], b"target1", b"target12"] {
        let lower = cipher.encode(target).unwrap();
        for change in 1..=255 {
            for flipped in flips(&lower, change) {
                assert!(cipher.decode(&flipped).is_err());
            }
        }
        for len in 0..lower.len() {
            assert!(cipher.decode(&lower[..len]).is_err());
        }
    }
    assert_eq!(cipher.decode(b"../../etc/passwd"), Err(OpenError::Damaged));
}

#[test]
fn xattr_names_and_values() {
    let cipher = XattrCipher::new(&tree());
    let spaces = [(XattrSpace::User, &b"user.rkf."[..], 168), (XattrSpace::Trusted, b"trusted.rkf.", 166)];
    for (space, prefix, most) in spaces {
        for len in 1..=most {
            let name = name_of(len, 11);
            let lower = cipher.lower_name(space, &name).unwrap();
            assert!(lower.len() <= 255 && lower.starts_with(prefix));
            assert_eq!(XattrSpace::of(&lower), Some(space));
            assert_eq!(cipher.plain_name(&lower).unwrap(), name);
            assert_eq!(cipher.lower_name(space, &name).unwrap(), lower, "deterministic");
            for flipped in flips(&lower, 1) {
                assert_eq!(cipher.plain_name(&flipped), None);
            }
        }
        for len in most + 1..=255 {
            assert_eq!(cipher.lower_name(space, &name_of(len, 11)), Err(TooLong));
        }
    }
    for foreign in [&b"user.comment"[..], b"user.rkf.", b"user.rkf.AAAA", b"system.posix_acl_access", b""] {
        assert_eq!(cipher.plain_name(foreign), None);
    }
    let sealed = cipher.seal_value(b"user.a", b"value");
    assert_eq!(cipher.open_value(b"user.a", &sealed).unwrap(), b"value");
    assert_eq!(cipher.open_value(b"user.b", &sealed), Err(OpenError::Damaged), "bound to its name");
    assert_eq!(XattrCipher::plain_len(sealed.len()), Some(5));
    assert_eq!(XattrCipher::plain_len(40), None);
    for bit in 0..8 {
        for flipped in flips(&sealed, 1 << bit) {
            assert!(cipher.open_value(b"user.a", &flipped).is_err());
        }
    }
    for len in 0..sealed.len() {
        assert!(cipher.open_value(b"user.a", &sealed[..len]).is_err());
    }
    let empty = cipher.seal_value(b"user.a", b"");
    assert_eq!(cipher.open_value(b"user.a", &empty).unwrap(), b"");
}

#[test]
fn each_purpose_has_its_key() {
    let tree = tree();
    let (symlinks, records, xattrs) =
        (SymlinkCipher::new(&tree), RecordCipher::new(&tree), XattrCipher::new(&tree));
    let target = symlinks.encode(b"x").unwrap();
    let raw = decode64(&target).unwrap();
    assert!(xattrs.open_value(b"", &raw).is_err());
    assert!(records.decode(&raw).is_err());
    assert!(symlinks.decode(&encode64(&xattrs.seal_value(b"", b"x"))).is_err());
    let name = decode64(NameCipher::new(&tree).encrypt(DIR, b"n").full()).unwrap();
    assert_eq!(xattrs.plain_name(&[&b"user.rkf."[..], &encode64(&name)].concat()), None);
}

/// The bytes of a name: neither NUL nor a slash. Of names of any bytes most have one of them, and drawing them again ends some time.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![46 => 1..=b'.', 208 => b'0'..=255]
}

proptest! {
    #[test]
    fn any_name_round_trips(name in prop::collection::vec(byte(), 1..=MAX_NAME), id in any::<[u8; 16]>()) {
        prop_assume!(check_new(&name).is_ok());
        let cipher = NameCipher::new(&tree());
        let lower = cipher.encrypt(DirId(id), &name);
        prop_assert_eq!(cipher.decrypt(DirId(id), lower.full()).unwrap(), name);
        prop_assert!(lower.entry().iter().all(u8::is_ascii_graphic));
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let tree = tree();
        let names = NameCipher::new(&tree);
        prop_assert!(names.decrypt(DIR, &bytes).is_err());
        prop_assert!(names.decrypt_long(DIR, &bytes, &bytes).is_err());
        let _ = names.locate(DIR, &bytes);
        let _ = LowerKind::of(&bytes);
        prop_assert!(RecordCipher::new(&tree).decode(&bytes).is_err());
        prop_assert!(SymlinkCipher::new(&tree).decode(&bytes).is_err());
        let xattrs = XattrCipher::new(&tree);
        prop_assert!(xattrs.open_value(b"user.x", &bytes).is_err());
        prop_assert_eq!(xattrs.plain_name(&bytes), None);
    }
}
