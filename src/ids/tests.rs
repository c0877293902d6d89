//! What is and what isn't an alias name; time stamps as text.
use super::{AliasName, Timestamp};

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

#[test]
fn timestamps_show_as_rfc_3339() {
    // From `date -u -d @N`.
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_001, "2000-02-29T00:00:00.001Z"),
        (1_740_700_800_000, "2025-02-28T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Timestamp(ms).to_string(), text);
    }
}
