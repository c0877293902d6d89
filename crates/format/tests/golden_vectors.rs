//! The format, pinned by vectors that an independent implementation made (tests/golden/make_vectors.py):
//! what the crate derives, wraps, seals and reads is compared with it, byte for byte.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use data_encoding::HEXLOWER;
use rekeyfs_format::blob::{BlobKey, EncryptionContext, Plaintext, UnverifiedBlob};
use rekeyfs_format::content::layout;
use rekeyfs_format::crypto::derive::derive;
use rekeyfs_format::crypto::keys::{
    AuthenticatorSecret, CustodyKek, Dek, KeyMaterial, RootCommitment, RootKey, SlotKek, TreeKey,
    WrapContext, Wrapped,
};
use rekeyfs_format::crypto::labels::{self, Label};
use rekeyfs_format::crypto::password::{KdfParams, derive_kek};
use rekeyfs_format::crypto::sha256;
use rekeyfs_format::crypto::suite::Suite;
use rekeyfs_format::header::{self, AliasTag, UnwrapFailure};
use rekeyfs_format::hosts::{
    Beat, BootId, Epoch, EpochNonce, EpochNumber, HostName, Member, Mode, SlotNumber, UnverifiedEpoch,
    UnverifiedMember,
};
use rekeyfs_format::ids::*;
use rekeyfs_format::names::{
    DirRecord, LowerName, NameCipher, RecordCipher, SymlinkCipher, XattrCipher, XattrSpace,
};
use rekeyfs_format::unlock::{CostBounds, HeldKek, Secret, Slots};
use serde_json::Value;

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/vectors.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn rows<'a>(v: &'a Value, name: &str) -> &'a [Value] {
    let rows = v[name].as_array().unwrap();
    assert!(!rows.is_empty());
    rows
}

fn hex(v: &Value) -> Vec<u8> {
    HEXLOWER.decode(v.as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(v: &Value) -> [u8; N] {
    hex(v).try_into().unwrap()
}

fn number(v: &Value) -> u64 {
    v.as_u64().unwrap()
}

fn suite(v: &Value) -> Suite {
    Suite::from_number(number(v) as u8).unwrap()
}

fn backing(v: &Value) -> BackingKeyId {
    BackingKeyId {
        key: KeyId::from_bytes(array(&v["key"])),
        version: KeyVersion(number(&v["version"]) as u32),
    }
}

#[test]
fn every_label() {
    let all: [(&str, Label); 17] = [
        ("keyring", labels::KEYRING),
        ("slot-wrap", labels::SLOT_WRAP),
        ("wrap", labels::WRAP),
        ("header-mac", labels::HEADER_MAC),
        ("content", labels::CONTENT),
        ("names", labels::NAMES),
        ("dir-id", labels::DIR_ID),
        ("dir-record", labels::DIR_RECORD),
        ("symlink", labels::SYMLINK),
        ("xattr-name", labels::XATTR_NAME),
        ("xattr-value", labels::XATTR_VALUE),
        ("endorsement", labels::ENDORSEMENT),
        ("root-commitment", labels::ROOT_COMMITMENT),
        ("alias-id", labels::ALIAS_ID),
        ("kms-blob", labels::KMS_BLOB),
        ("fido2-wrap", labels::FIDO2_WRAP),
        ("host-record", labels::HOST_RECORD),
    ];
    let v = vectors();
    for (name, label) in all {
        let mut seen = 0;
        for row in rows(&v, "derive").iter().filter(|row| row["label"] == name) {
            let context: Vec<Vec<u8>> = row["context"].as_array().unwrap().iter().map(hex).collect();
            let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
            let expected = hex(&row["out"]);
            let mut out = [0; 64];
            if expected.len() == 64 {
                derive(&hex(&row["ikm"]), label, &context, &mut out);
            } else {
                let mut short = [0; 32];
                derive(&hex(&row["ikm"]), label, &context, &mut short);
                out[..32].copy_from_slice(&short);
            }
            assert_eq!(out[..expected.len()], expected, "{name}");
            seen += 1;
        }
        assert!(seen > 0, "no vector for {name}");
    }
}

#[test]
fn a_root_keys_commitment() {
    let v = vectors();
    let row = |label: &str| rows(&v, "derive").iter().find(|row| row["label"] == label).unwrap().clone();
    let (endorsement, commitment) = (row("endorsement"), row("root-commitment"));
    let vault = VaultId::from_bytes(array(&endorsement["context"][0]));
    let root = RootKey::from_bytes(&array(&endorsement["ikm"]));
    assert_eq!(root.endorsement(vault).expose(), &array(&commitment["ikm"]));
    assert_eq!(root.commitment(vault), RootCommitment(array(&commitment["out"])));
}

#[test]
fn a_custody_kek_that_a_fido2_authenticator_keeps() {
    let v = &vectors()["fido2"];
    let secret = AuthenticatorSecret::from_bytes(&array(&v["secret"]));
    let context = v["context"].as_str().unwrap().as_bytes();
    let kek = secret.unwrap_kek(context, &array(&v["wrapped"])).unwrap();
    assert_eq!(kek.expose(), &array(&v["kek"]));
    assert!(secret.unwrap_kek(&context[1..], &array(&v["wrapped"])).is_err());
}

#[test]
fn passphrase_to_root_key() {
    let v = &vectors();
    let p = &v["passphrase"];
    let params = KdfParams {
        memory_kib: number(&p["memory_kib"]) as u32,
        passes: number(&p["passes"]) as u32,
        lanes: number(&p["lanes"]) as u32,
    };
    let kek = derive_kek(&hex(&p["passphrase"]), &array(&p["salt"]), params).unwrap();
    assert_eq!(kek.expose(), &array(&p["kek"]));

    let w = &v["root_wrap"];
    let (vault, slot) = (VaultId::from_bytes(array(&w["vault"])), SlotId::from_bytes(array(&w["slot"])));
    let kek = SlotKek::from_bytes(&array(&w["kek"]));
    let root = kek.unwrap_root(vault, slot, &hex(&w["aad"]), &array(&w["wrapped"])).unwrap();
    assert_eq!(root.expose(), &array(&w["root"]));
}

#[test]
fn a_custodians_slot() {
    let v = &vectors()["custodian_slot"];
    let vault = VaultId::from_bytes(array(&v["vault"]));
    for row in rows(v, "slots") {
        let slots: Slots = serde_json::from_value(Value::Array(vec![row.clone()])).unwrap();
        let info = slots.list().remove(0);
        let kek = CustodyKek::from_bytes(&array(&v["kek"]));
        let held = Secret::Custodian(HeldKek::new(info.id.unwrap(), info.custody.unwrap(), &kek));
        let (root, _) = slots.unlock(vault, &held, CostBounds::None).map_err(|e| e.to_string()).unwrap();
        assert_eq!(root.expose(), &array(&v["root"]));
        assert_eq!(serde_json::to_value(&slots).unwrap()[0], *row, "it is written as it was read");
    }
}

#[test]
fn keyring_seal() {
    let k = &vectors()["keyring"];
    let root = RootKey::from_bytes(&array(&k["root"]));
    let vault = VaultId::from_bytes(array(&k["vault"]));
    let body = root.open_keyring(vault, &hex(&k["aad"]), &hex(&k["sealed"])).unwrap();
    assert_eq!(body.as_slice(), hex(&k["body"]));
}

fn unwrap_dek(row: &Value) -> Dek {
    let context = WrapContext {
        vault: VaultId::from_bytes(array(&row["vault"])),
        file: FileId::from_bytes(array(&row["file"])),
        backing: backing(row),
        suite: suite(&row["suite"]).number(),
        format: Format(number(&row["format"]) as u16),
    };
    let material = KeyMaterial::from_bytes(&array(&row["material"]));
    let wrapped: Wrapped = array(&row["wrapped"]);
    material.wrapping_key(context.vault, context.backing).unwrap_dek(&context, &wrapped).unwrap()
}

#[test]
fn tree_key_wrap() {
    let t = &vectors()["wrapped_tree"];
    let context = WrapContext {
        vault: VaultId::from_bytes(array(&t["vault"])),
        file: FileId::from_bytes(array(&t["tree_id"])),
        backing: backing(t),
        suite: 0,
        format: Format(number(&t["format"]) as u16),
    };
    let material = KeyMaterial::from_bytes(&array(&t["material"]));
    let key = material.wrapping_key(context.vault, context.backing);
    let tree = key.unwrap_tree(&context, &array(&t["wrapped"])).unwrap();
    assert_eq!(tree.expose(), &array(&t["tree"]));
}

#[test]
fn records_of_hosts() {
    let v = &vectors()["hosts"];
    let key =
        RootKey::from_bytes(&array(&v["root"])).host_record_key(VaultId::from_bytes(array(&v["vault"])));
    let (nonce, generation) = (EpochNonce(array(&v["nonce"])), Generation(number(&v["generation"])));
    for row in rows(v, "members") {
        let slot = SlotNumber::all().nth(number(&row["slot"]) as usize).unwrap();
        let bytes = hex(&row["record"]);
        let member = UnverifiedMember::parse(&bytes, slot).unwrap().verify(&key).unwrap();
        let expected = Member {
            slot,
            id: MemberId::from_bytes(array(&row["member"])),
            mode: if number(&row["mode"]) == 1 { Mode::Writer } else { Mode::Reader },
            left: row["left"].as_bool().unwrap(),
            host: HostName::new(row["host"].as_str().unwrap()).unwrap(),
            boot: BootId(array(&v["boot"])),
            pid: number(&v["pid"]) as u32,
            beat: Beat(number(&v["beat"])),
            generation,
            in_force: nonce,
        };
        assert_eq!(member, expected);
        assert_eq!(expected.encode(&key).as_slice(), bytes);
    }
    let bytes = hex(&v["epoch"]["record"]);
    let epoch = Epoch { nonce, number: EpochNumber(number(&v["epoch"]["number"])), generation };
    assert_eq!(UnverifiedEpoch::parse(&bytes).unwrap().verify(&key).unwrap(), epoch);
    assert_eq!(epoch.encode(&key).as_slice(), bytes);
}

#[test]
fn blobs() {
    let v = &vectors()["blobs"];
    let vault = VaultId::from_bytes(array(&v["vault"]));
    let key = BlobKey::new(vault, backing(v), &KeyMaterial::from_bytes(&array(&v["material"])));
    for row in rows(v, "blobs") {
        let context =
            EncryptionContext::new(serde_json::from_value(row["context"].clone()).unwrap()).unwrap();
        let bytes = hex(&row["blob"]);
        let blob = UnverifiedBlob::parse(&bytes).unwrap();
        assert_eq!((blob.vault(), blob.backing()), (vault, backing(v)));
        assert_eq!(blob.open(&key, &context).unwrap().as_slice(), hex(&row["plain"]));
        let plain = hex(&row["plain"]);
        let again = key.seal(Plaintext::new(&plain).unwrap(), &context);
        assert_eq!((again.len(), &again[..41]), (bytes.len(), &bytes[..41]));
    }
}

#[test]
fn slots() {
    let v = vectors();
    for (dek, row) in rows(&v, "wrapped_deks").iter().zip(rows(&v, "slots")) {
        let mut both = [0; 1024];
        both[512..].copy_from_slice(&hex(&row["slot"]));
        let vault = VaultId::from_bytes(array(&row["vault"]));
        let material = KeyMaterial::from_bytes(&array(&row["material"]));
        let header = header::open(&both, |slot| {
            assert_eq!(slot.wrapped().as_slice(), hex(&dek["wrapped"]));
            let key = material.wrapping_key(vault, slot.backing());
            key.unwrap_dek(&slot.wrap_context(vault), &slot.wrapped())
                .map_err(|_| UnwrapFailure::<()>::Failed)
        });
        let Ok(header) = header else { panic!("the slot of {row} did not open") };
        assert_eq!(header.file(), FileId::from_bytes(array(&row["file"])));
        assert_eq!(header.suite(), suite(&row["suite"]));
        assert_eq!(header.sequence(), Sequence(number(&row["sequence"])));
        assert_eq!(header.floor(), PageCount(number(&row["floor"])));
        assert_eq!(header.to_slot().as_slice(), hex(&row["slot"]));
    }
}

#[test]
fn alias_tags() {
    let v = vectors();
    for row in rows(&v, "tagged_slots") {
        let mut both = [0; 1024];
        both[..512].copy_from_slice(&hex(&row["slot"]));
        let vault = VaultId::from_bytes(array(&row["vault"]));
        let material = KeyMaterial::from_bytes(&array(&row["material"]));
        let header = header::open(&both, |slot| {
            let key = material.wrapping_key(vault, slot.backing());
            key.unwrap_dek(&slot.wrap_context(vault), &slot.wrapped())
                .map_err(|_| UnwrapFailure::<()>::Failed)
        });
        let Ok(header) = header else { panic!("the slot of {row} did not open") };
        let tree = TreeKey::from_bytes(&array(&row["tree"]));
        let created = Timestamp(row["created"].as_i64().unwrap());
        let alias = tree.alias_id(created, &row["alias"].as_str().unwrap().parse().unwrap());
        let generation = Generation(number(&row["generation"]));
        let wanted = match row["means"].as_str().unwrap() {
            "alias" => Some(AliasTag { follows: Some(alias), generation }),
            "pinned" => Some(AliasTag { follows: None, generation }),
            _ => None,
        };
        assert_eq!(header.keys().tag, wanted, "{}", row["means"]);
    }
}

#[test]
fn pages_of_both_suites() {
    let v = vectors();
    let dek = unwrap_dek(&v["wrapped_deks"][0]);
    let file = FileId::from_bytes(array(&v["page_inputs"]["file"]));
    for row in rows(&v, "pages") {
        let index = number(&row["index"]);
        let len = layout::payload(PageIndex(index)) as usize;
        let plain: Vec<u8> = (0..len as u64).map(|k| (7 * k + index) as u8).collect();
        let key = dek.content_key(suite(&row["suite"]), file, SegmentIndex(index >> 14));
        let nonce = array(&row["nonce"]);
        let mut sealed = plain.clone();
        let tag = key.seal(&nonce, index, &mut sealed);
        assert_eq!(tag, array(&row["tag"]), "page {index}");
        assert_eq!(sealed[..32], hex(&row["ciphertext_head"]), "page {index}");
        assert_eq!(sha256(&sealed), array(&row["ciphertext_sha256"]), "page {index}");
        let mut out = vec![0; len];
        key.open(&nonce, index, &sealed, &tag, &mut out).unwrap();
        assert_eq!(out, plain);
    }
}

#[test]
fn sizes() {
    let v = &vectors()["sizes"];
    for row in rows(v, "plain_lower") {
        let (plain, lower) = (PlainOffset(number(&row[0])), LowerOffset(number(&row[1])));
        assert_eq!(layout::lower_size(plain), lower);
        assert_eq!(layout::plain_size(lower), Ok(plain));
    }
    for row in rows(v, "foreign_lower_plain") {
        assert_eq!(layout::plain_size(LowerOffset(number(&row[0]))), Ok(PlainOffset(number(&row[1]))));
    }
    for row in rows(v, "impossible_lower") {
        assert!(layout::plain_size(LowerOffset(number(row))).is_err(), "{row}");
    }
}

#[test]
fn directory_ids() {
    let t = &vectors()["tree"];
    let tree = TreeKey::from_bytes(&array(&t["tree"]));
    assert_eq!(tree.root_dir_id().0, array(&t["root_id"]));
    for row in rows(t, "dir_ids") {
        let lower = row["lower_name"].as_str().unwrap().as_bytes();
        assert_eq!(tree.dir_id(DirId(array(&row["parent"])), lower).0, array(&row["id"]));
    }
}

fn tree_key() -> (Value, TreeKey) {
    let t = vectors()["tree"].take();
    let key = TreeKey::from_bytes(&array(&t["tree"]));
    (t, key)
}

#[test]
fn names() {
    let (t, tree) = tree_key();
    let cipher = NameCipher::new(&tree);
    for row in rows(&t, "names") {
        let (dir, name) = (DirId(array(&row["dir"])), hex(&row["name"]));
        let lower = cipher.encrypt(dir, &name);
        assert_eq!(lower.full(), row["full"].as_str().unwrap().as_bytes());
        assert_eq!(lower.entry(), row["entry"].as_str().unwrap().as_bytes());
        assert_eq!(matches!(lower, LowerName::Long { .. }), row["full"] != row["entry"]);
        assert_eq!(cipher.decrypt(dir, lower.full()).unwrap(), name);
    }
}

#[test]
fn directory_records() {
    let (t, tree) = tree_key();
    let cipher = RecordCipher::new(&tree);
    for row in rows(&t, "records") {
        let record = cipher.decode(&hex(&row["record"])).unwrap();
        let alias = row["alias"].as_str().filter(|a| !a.is_empty()).map(|a| a.parse().unwrap());
        assert_eq!(record, DirRecord { id: DirId(array(&row["id"])), alias });
    }
}

#[test]
fn symlinks_and_xattrs() {
    let (t, tree) = tree_key();
    let links = SymlinkCipher::new(&tree);
    for row in rows(&t, "symlinks") {
        assert_eq!(links.decode(row["lower"].as_str().unwrap().as_bytes()).unwrap(), hex(&row["target"]));
    }
    let xattrs = XattrCipher::new(&tree);
    for row in rows(&t, "xattrs") {
        let name = row["name"].as_str().unwrap().as_bytes();
        let lower = row["lower_name"].as_str().unwrap().as_bytes();
        assert_eq!(xattrs.lower_name(XattrSpace::User, name).unwrap(), lower);
        assert_eq!(xattrs.plain_name(lower).unwrap(), name);
        assert_eq!(xattrs.open_value(name, &hex(&row["lower_value"])).unwrap(), hex(&row["value"]));
    }
}
