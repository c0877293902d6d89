//! Which keys have encrypted data outside of files, in an extension of the body (docs/format.md, "Body"): a record for each
//! key, from before the first blob was given out.
//!
//! Blobs can't be counted: whoever asked for them keeps them. So what would make them undecryptable for good, or for now, is
//! forced or isn't done (rules/blobs.rs).

use super::model::KeyringBody;
use crate::ids::{KeyId, KeyVersion};

/// The extension that holds the records.
const DATA_USE: u32 = 11;
/// Bytes of an id.
const ID: usize = 16;
/// Where the version lies in a record:
///
/// ```text
/// 0         16                        20
/// | key id  | the first version u32   |
/// ```
const VERSION_AT: usize = ID;
/// Bytes of a record.
const RECORD: usize = VERSION_AT + size_of::<u32>();

impl KeyringBody {
    /// The first version of a key that may have encrypted data; none if none has.
    pub(in crate::keyring) fn first_data_version(&self, key: KeyId) -> Option<KeyVersion> {
        self.data_use().find(|(used, _)| *used == key).map(|(_, first)| first)
    }

    /// Records that versions of a key from this one on may have encrypted data. An earlier first version stays.
    pub(in crate::keyring) fn record_data_use(&mut self, key: KeyId, first: KeyVersion) {
        let first = self.first_data_version(key).map_or(first, |known| known.min(first));
        self.set_data_use(key, Some(first));
    }

    /// Forgets a key that is gone.
    pub(in crate::keyring) fn forget_data_use(&mut self, key: KeyId) {
        self.set_data_use(key, None);
    }

    /// What is recorded, oldest first. Of a key that isn't there it may be, where an older program deleted the key.
    pub(in crate::keyring) fn data_use(&self) -> impl Iterator<Item = (KeyId, KeyVersion)> {
        self.extensions.data(DATA_USE).as_chunks::<RECORD>().0.iter().map(parse)
    }

    fn set_data_use(&mut self, key: KeyId, first: Option<KeyVersion>) {
        let mut records: Vec<_> = self.data_use().collect();
        match (records.iter_mut().find(|(used, _)| *used == key), first) {
            (Some(record), Some(first)) => record.1 = first,
            (None, Some(first)) => records.push((key, first)),
            (_, None) => records.retain(|(used, _)| *used != key),
        }
        let data = records.iter().flat_map(|(key, first)| encode(*key, *first)).collect();
        self.extensions.set(DATA_USE, data);
    }

    /// Whether there is one list at most, of whole records, with each key once.
    pub(in crate::keyring) fn check_data_use(&self) -> Result<(), &'static str> {
        if self.extensions.has_each_key_once::<RECORD>(DATA_USE) {
            Ok(())
        } else {
            Err("its list of keys that encrypted data makes no sense")
        }
    }
}

fn parse(record: &[u8; RECORD]) -> (KeyId, KeyVersion) {
    let (mut key, mut version) = ([0; ID], [0; RECORD - VERSION_AT]);
    key.copy_from_slice(&record[..VERSION_AT]);
    version.copy_from_slice(&record[VERSION_AT..]);
    (KeyId::from_bytes(key), KeyVersion(u32::from_le_bytes(version)))
}

fn encode(key: KeyId, first: KeyVersion) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..VERSION_AT].copy_from_slice(key.as_bytes());
    record[VERSION_AT..].copy_from_slice(&first.0.to_le_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Timestamp, VaultId};
    use crate::keyring::format::extensions::Extension;

    fn body() -> KeyringBody {
        crate::keyring::open::first_body(VaultId::random(), Timestamp(0)).unwrap()
    }

    fn with(data: Vec<u8>) -> KeyringBody {
        let mut body = body();
        body.extensions.push(Extension { tag: DATA_USE, data });
        body
    }

    #[test]
    fn the_first_version_that_encrypted_data_stays_recorded_until_the_key_is_gone() {
        let (mut body, [a, b]) = (body(), [1, 2].map(|n| KeyId::from_bytes([n; 16])));
        assert_eq!(body.first_data_version(a), None);
        body.record_data_use(a, KeyVersion(0x0304));
        body.record_data_use(b, KeyVersion(7));
        body.record_data_use(a, KeyVersion(0x0305));
        assert_eq!([a, b].map(|key| body.first_data_version(key).unwrap().0), [0x0304, 7]);
        assert_eq!(body.extensions.data(DATA_USE)[..20], [[1; 16].as_slice(), &[4, 3, 0, 0]].concat());
        body.record_data_use(a, KeyVersion(2));
        assert_eq!(body.first_data_version(a), Some(KeyVersion(2)), "of a keyring that was merged");
        body.check_data_use().unwrap();
        body.forget_data_use(a);
        assert_eq!([a, b].map(|key| body.first_data_version(key)), [None, Some(KeyVersion(7))]);
        body.forget_data_use(b);
        assert!(body.extensions.iter().all(|extension| extension.tag != DATA_USE), "an empty one is none");
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        assert!(with(vec![1; 20]).check_data_use().is_ok(), "of a key that an older program deleted");
        for data in [vec![], vec![1; 19], vec![1; 40]] {
            assert!(with(data).check_data_use().is_err());
        }
        let mut twice = with(vec![1; 20]);
        twice.extensions.push(Extension { tag: DATA_USE, data: vec![2; 20] });
        assert!(twice.check_data_use().is_err());
    }
}
