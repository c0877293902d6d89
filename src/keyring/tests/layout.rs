//! The sealed body byte by byte, put together by hand as docs/format.md has it: no change of a type, of a
//! field's place or of the codec goes unnoticed.
use super::*;
use crate::crypto::keys::KeyMaterial;
use crate::ids::{KeyId, KeyVersion};
use crate::keyring::format::extensions::{Extension, Extensions};
use crate::keyring::format::model::*;

/// Writes what docs/format.md says, with no help from serde.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn u8(self, n: u8) -> Self {
        self.raw(&[n])
    }
    fn u16(self, n: u16) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn u32(self, n: u32) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn u64(self, n: u64) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn time(self, n: i64) -> Self {
        self.raw(&n.to_le_bytes())
    }
    fn text(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }
}

fn body() -> KeyringBody {
    let version = |n: u32, cause, rotated, material: Option<u8>| Version {
        number: KeyVersion(n),
        material_id: [0x40 + n as u8; 32],
        material: material.map(|b| Arc::new(KeyMaterial::from_bytes(&[b; 32]))),
        created: Timestamp(1000 + i64::from(n)),
        rotated,
        cause,
        expires: None,
    };
    let key = Key {
        id: KeyId::from_bytes([1; 16]),
        manager: Manager::Customer,
        origin: Origin::External,
        usage: Usage::EncryptDecrypt,
        description: "été".to_owned(),
        created: Timestamp(1000),
        state: KeyState::PendingDeletion,
        deletion_date: Some(Timestamp(-2)),
        rotation: RotationSchedule {
            enabled: true,
            period_days: 90,
            next: Some(Timestamp(3000)),
            on_demand_count: 25,
            on_demand_started: None,
        },
        policy: "{}".to_owned(),
        tags: vec![Tag { key: "k".to_owned(), value: "v".to_owned() }],
        versions: vec![
            version(1, Cause::Creation, None, None),
            version(2, Cause::OnDemand, Some(Timestamp(2000)), Some(0x52)),
        ],
        current: KeyVersion(2),
        min_decryption: KeyVersion(2),
        gaps: Vec::new(),
    };
    let alias =
        Alias { name: "alias/x".parse().unwrap(), key: key.id, created: Timestamp(1), updated: Timestamp(2) };
    let tree = WrappedTreeKey {
        id: TreeKeyId::from_bytes([3; 16]),
        created: Timestamp(4),
        key: key.id,
        version: KeyVersion(2),
        wrapped: [0x72; 72],
    };
    KeyringBody {
        generation: Generation(7),
        previous: [0x11; 32],
        keys: vec![key],
        aliases: vec![alias],
        tree_keys: vec![tree],
        current_tree_key: TreeKeyId::from_bytes([3; 16]),
        event_key: Arc::new(EventKey::from_bytes(&[0x22; 32])),
        event_anchor: Anchor { count: 9, mac: [0x33; 32] },
        extensions: Extensions::of(vec![Extension { tag: 5, data: vec![1, 2, 3] }]),
        lost_generations: None,
    }
}

#[test]
fn the_body_is_as_documented() {
    let expected = Bytes::default()
        .u64(7)
        .raw(&[0x11; 32])
        .u64(1) // keys
        .raw(&[1; 16])
        .u32(0) // customer
        .u32(1) // imported
        .u32(0) // encrypt and decrypt
        .text("été")
        .time(1000)
        .u32(2) // pending deletion
        .u8(1)
        .time(-2)
        .u8(1) // rotation enabled
        .u16(90)
        .u8(1)
        .time(3000)
        .u32(25)
        .u8(0)
        .text("{}")
        .u64(1) // tags
        .text("k")
        .text("v")
        .u64(2) // versions
        .u32(1)
        .raw(&[0x41; 32])
        .u8(0)
        .time(1001)
        .u8(0)
        .u32(0) // creation
        .u8(0)
        .u32(2)
        .raw(&[0x42; 32])
        .u8(1)
        .raw(&[0x52; 32])
        .time(1002)
        .u8(1)
        .time(2000)
        .u32(2) // on demand
        .u8(0)
        .u32(2) // current
        .u32(2) // min decryption
        .u64(1) // aliases
        .text("alias/x")
        .raw(&[1; 16])
        .time(1)
        .time(2)
        .u64(1) // tree keys
        .raw(&[3; 16])
        .time(4)
        .raw(&[1; 16])
        .u32(2)
        .raw(&[0x72; 72])
        .raw(&[3; 16])
        .raw(&[0x22; 32])
        .u64(9)
        .raw(&[0x33; 32])
        .u64(1) // extensions
        .u32(5)
        .u64(3)
        .raw(&[1, 2, 3]);
    let encoded = body::encode(&body()).unwrap();
    assert_eq!(*encoded, expected.0);
    assert_eq!(*body::encode(&body::decode(&encoded).unwrap()).unwrap(), expected.0);
}

#[test]
fn a_body_that_makes_no_sense_is_refused() {
    let refused = |change: fn(&mut KeyringBody)| {
        let mut body = body();
        change(&mut body);
        body::decode(&body::encode(&body).unwrap()).is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|b| b.keys.push(b.keys[0].clone())));
    assert!(refused(|b| b.aliases.push(b.aliases[0].clone())));
    assert!(refused(|b| b.aliases[0].key = KeyId::from_bytes([9; 16])));
    assert!(refused(|b| b.current_tree_key = TreeKeyId::from_bytes([9; 16])));
    assert!(refused(|b| b.keys[0].versions.clear()));
    assert!(refused(|b| b.keys[0].versions[1].number = KeyVersion(3)));
    assert!(refused(|b| b.keys[0].current = KeyVersion(3)));
    assert!(refused(|b| b.keys[0].current = KeyVersion(0)));
}

#[test]
fn retired_and_trimmed_versions_unwrap_nothing() {
    let mut body = body();
    let vault = VaultId::random();
    body.keys[0].state = KeyState::Enabled;
    let state = |body: &KeyringBody, version| {
        let id = BackingKeyId { key: body.keys[0].id, version: KeyVersion(version) };
        let table = key_table::Table::new(vault, &TreeKey::generate(), body, None, Timestamp(0));
        table.wrapping(id).map(|_| ()).map_err(|e| (e, id))
    };
    let (error, id) = state(&body, 1).unwrap_err();
    assert_eq!(error, KeyError::NotUsable { key: id.key, state: Unusable::Retired(id) });
    body.keys[0].min_decryption = KeyVersion(1);
    let (error, id) = state(&body, 1).unwrap_err();
    assert_eq!(error, KeyError::NotUsable { key: id.key, state: Unusable::NoMaterial(id) });
    assert!(state(&body, 2).is_ok());
}
