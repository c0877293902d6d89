//! Whose the untagged files of a key are, in an extension of the body (docs/format.md, "Body"): a record for each key that
//! an alias has left. What is recorded when, rules/departures.rs tells; what comes of it, rules/follow.rs.

use super::model::KeyringBody;
use crate::ids::{AliasId, KeyId};

/// The extension that holds the records.
const UNTAGGED: u32 = 8;
/// Bytes of an id.
const ID: usize = 16;
/// Where the alias id lies in a record:
///
/// ```text
/// 0         16                          32
/// | key id  | alias id (zeros: of none) |
/// ```
const ALIAS_AT: usize = ID;
/// Bytes of a record.
const RECORD: usize = ALIAS_AT + ID;

/// Whose the untagged files of a key are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Untagged {
    /// Of this alias: it was the key's only one.
    Of(AliasId),
    /// It can't be told: the key had several.
    OfNone,
}

impl KeyringBody {
    /// What is recorded, oldest first. Of a key that isn't there it may be, where an older program deleted the key.
    pub(in crate::keyring) fn untagged(&self) -> impl Iterator<Item = (KeyId, Untagged)> {
        self.extensions.data(UNTAGGED).as_chunks::<RECORD>().0.iter().map(parse)
    }

    /// Makes this what is recorded.
    pub(in crate::keyring) fn set_untagged(&mut self, records: &[(KeyId, Untagged)]) {
        let data = records.iter().flat_map(|(key, whose)| encode(*key, *whose)).collect();
        self.extensions.set(UNTAGGED, data);
    }

    /// Whether there is one list at most, of whole records, with each key once.
    pub(in crate::keyring) fn check_untagged(&self) -> Result<(), &'static str> {
        if self.extensions.has_each_key_once::<RECORD>(UNTAGGED) {
            Ok(())
        } else {
            Err("its list of keys with untagged files makes no sense")
        }
    }
}

fn parse(record: &[u8; RECORD]) -> (KeyId, Untagged) {
    let [mut key, mut alias] = [[0; ID]; 2];
    key.copy_from_slice(&record[..ALIAS_AT]);
    alias.copy_from_slice(&record[ALIAS_AT..]);
    let whose = if alias == [0; ID] { Untagged::OfNone } else { Untagged::Of(AliasId(alias)) };
    (KeyId::from_bytes(key), whose)
}

fn encode(key: KeyId, whose: Untagged) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..ALIAS_AT].copy_from_slice(key.as_bytes());
    if let Untagged::Of(alias) = whose {
        record[ALIAS_AT..].copy_from_slice(&alias.0);
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Timestamp, VaultId};
    use crate::keyring::format::extensions::Extension;

    fn with(data: Vec<u8>) -> KeyringBody {
        let mut body = crate::keyring::open::first_body(VaultId::random(), Timestamp(0)).unwrap();
        body.extensions.push(Extension { tag: UNTAGGED, data });
        body
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        assert!(with(vec![1; 32]).check_untagged().is_ok(), "of a key that an older program deleted");
        for data in [vec![], vec![1; 31], vec![1; 64]] {
            assert!(with(data).check_untagged().is_err());
        }
        let mut twice = with(vec![1; 32]);
        twice.extensions.push(Extension { tag: UNTAGGED, data: vec![2; 32] });
        assert!(twice.check_untagged().is_err());
    }

    #[test]
    fn a_list_is_written_in_its_place_and_not_when_it_is_empty() {
        let mut body = with(vec![1; 32]);
        body.extensions.push(Extension { tag: 99, data: vec![3] });
        let records =
            [(KeyId::random(), Untagged::OfNone), (KeyId::random(), Untagged::Of(AliasId([7; 16])))];
        body.set_untagged(&records);
        assert!(body.untagged().eq(records) && body.extensions[0].tag == UNTAGGED);
        body.set_untagged(&[]);
        assert_eq!(body.extensions.iter().map(|extension| extension.tag).collect::<Vec<_>>(), [99]);
    }
}
