//! What is and what isn't an alias name.
use super::AliasName;

#[test]
fn alias_names_follow_the_kms_pattern() {
    let long = format!("alias/{}", "a".repeat(250));
    for good in ["alias/x", "alias/application-20180606", "alias/a/b_C-9", "alias/rekeyfs/tree", &long] {
        assert_eq!(good.parse::<AliasName>().map(String::from).as_deref(), Ok(good));
    }
    let too_long = format!("alias/{}", "a".repeat(251));
    for bad in ["", "alias", "alias/", "default", "Alias/x", "alias/x y", "alias/é", "alias/x\n", &too_long]
    {
        assert!(bad.parse::<AliasName>().is_err(), "{bad:?}");
    }
    assert!(AliasName::tree().is_reserved());
    assert!(!AliasName::default_alias().is_reserved());
}

#[test]
fn alias_names_are_checked_when_deserialised() {
    assert!(serde_json::from_str::<AliasName>("\"alias/x\"").is_ok());
    assert!(serde_json::from_str::<AliasName>("\"x\"").is_err());
}
