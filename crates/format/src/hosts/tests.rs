use proptest::prelude::*;

use super::*;
use crate::crypto::keys::RootKey;
use crate::ids::{Generation, MemberId, VaultId};

fn key() -> HostRecordKey {
    RootKey::from_bytes(&[7; 32]).host_record_key(VaultId::from_bytes([1; 16]))
}

fn slot(number: u8) -> SlotNumber {
    SlotNumber::all().nth(usize::from(number)).unwrap()
}

fn member() -> Member {
    Member {
        slot: slot(3),
        id: MemberId::from_bytes([2; 16]),
        mode: Mode::Reader,
        left: false,
        host: HostName::new("node-a").unwrap(),
        boot: BootId([3; 16]),
        pid: 4711,
        beat: Beat(9),
        generation: Generation(12),
        in_force: EpochNonce([4; 16]),
    }
}

#[test]
fn what_a_member_writes_is_read_back_from_its_own_slot_alone() {
    let bytes = member().encode(&key());
    let read = UnverifiedMember::parse(&bytes, slot(3)).unwrap();
    assert_eq!(read.unproven(), &member());
    assert_eq!(read.verify(&key()).unwrap(), member());
    assert_eq!(UnverifiedMember::parse(&bytes, slot(4)).unwrap_err(), RecordError::OfAnotherSlot(3));
    // Moved by somebody who has no key.
    let mut moved = bytes;
    moved[6] = 4;
    assert!(UnverifiedMember::parse(&moved, slot(4)).unwrap().verify(&key()).is_err());
    let other = RootKey::from_bytes(&[8; 32]).host_record_key(VaultId::from_bytes([1; 16]));
    assert!(UnverifiedMember::parse(&bytes, slot(3)).unwrap().verify(&other).is_err());
    let other = RootKey::from_bytes(&[7; 32]).host_record_key(VaultId::from_bytes([2; 16]));
    assert!(UnverifiedMember::parse(&bytes, slot(3)).unwrap().verify(&other).is_err());
}

#[test]
fn an_epoch_follows_the_one_before_and_is_no_members_record() {
    let first = Epoch::after(None, Generation(5));
    let next = Epoch::after(Some(&first), Generation(6));
    assert_eq!((first.number.0, next.number.0), (1, 2));
    assert_ne!(first.nonce, next.nonce);
    let bytes = next.encode(&key());
    assert_eq!(UnverifiedEpoch::parse(&bytes).unwrap().verify(&key()).unwrap(), next);
    assert_eq!(UnverifiedMember::parse(&bytes, slot(0)).unwrap_err(), RecordError::Malformed);
    assert_eq!(UnverifiedEpoch::parse(&member().encode(&key())).unwrap_err(), RecordError::Malformed);
}

#[test]
fn no_byte_can_be_changed() {
    let (bytes, epoch) = (member().encode(&key()), Epoch::after(None, Generation(5)).encode(&key()));
    for at in 0..RECORD {
        let (mut changed, mut later) = (bytes, epoch);
        changed[at] ^= 1;
        later[at] ^= 1;
        let read = UnverifiedMember::parse(&changed, slot(3)).ok().and_then(|read| read.verify(&key()).ok());
        assert_eq!(read, None, "byte {at}");
        assert!(
            UnverifiedEpoch::parse(&later).ok().and_then(|read| read.verify(&key()).ok()).is_none(),
            "byte {at}"
        );
    }
}

#[test]
fn a_newer_format_is_named_and_a_name_has_its_bounds() {
    let mut newer = member().encode(&key());
    newer[4] = 2;
    assert_eq!(UnverifiedMember::parse(&newer, slot(3)).unwrap_err(), RecordError::Newer(2));
    assert!(HostName::new("").is_none() && HostName::new(&"x".repeat(65)).is_none());
    let longest = Member { host: HostName::new(&"x".repeat(64)).unwrap(), ..member() };
    let bytes = longest.encode(&key());
    assert_eq!(UnverifiedMember::parse(&bytes, slot(3)).unwrap().verify(&key()).unwrap(), longest);
}

proptest! {
    #[test]
    fn any_bytes_are_taken_apart_without_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
        begins in any::<bool>(),
        number in 0..SlotNumber::COUNT,
    ) {
        if begins && bytes.len() >= 6 {
            bytes[..6].copy_from_slice(b"RKHM\x01\x00");
        }
        if let Ok(read) = UnverifiedMember::parse(&bytes, slot(number)) {
            prop_assert!(read.unproven().slot == slot(number));
            prop_assert!(read.verify(&key()).is_err());
        }
        if let Ok(read) = UnverifiedEpoch::parse(&bytes) {
            prop_assert!(read.verify(&key()).is_err());
        }
    }
}
