//! What comes between the steps of a re-wrap.
use super::*;
use crate::ids::AliasName;
use crate::kms::Call;
use crate::vault::testing::TestVault;

/// An alias is pointed at another key, and back while the sweep has the files in work: none comes under the other key
/// after that has returned.
#[test]
fn an_alias_that_is_pointed_back_takes_no_file_along_any_more() {
    let test = TestVault::new();
    let v = &test.vault;
    let file = test.written_in(Ino::ROOT, b"f");
    let other = test.keys().create_key_for_test("alias/other".parse().unwrap());
    let default = AliasName::default_alias();
    let own = test.keys().current(&default).unwrap().key;
    let point_at = |key: KeyId| {
        let call = Call::UpdateAlias { alias_name: default.to_string(), target_key_id: key.to_string() };
        test.keys().call(&call).unwrap();
    };
    point_at(other);
    let mut candidate = v.rewrap_candidate(file, &Destination::Followed).unwrap().unwrap();
    assert_eq!(candidate.target.backing.key, other);
    point_at(own);
    assert!(!v.write_new_slot(&mut candidate).unwrap(), "overtaken");
    let info = v.file_header_info(file).unwrap().unwrap();
    assert_eq!((info.backing.key, info.slots().differ()), (own, false));
    // While it points there, it does.
    point_at(other);
    let mut candidate = v.rewrap_candidate(file, &Destination::Followed).unwrap().unwrap();
    assert!(v.write_new_slot(&mut candidate).unwrap());
}
