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
        (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "253402300800000 ms since 1970"),
        (-62_167_219_200_001, "-62167219200001 ms since 1970"),
        (i64::MAX, "9223372036854775807 ms since 1970"),
        (i64::MIN, "-9223372036854775808 ms since 1970"),
    ] {
        assert_eq!(Timestamp(ms).to_string(), text);
    }
}

#[test]
fn times_are_parsed_as_the_aws_cli_takes_them() {
    for (text, shown) in [
        ("0", "1970-01-01T00:00:00.000Z"),
        ("1528289057.531", "2018-06-06T12:44:17.531Z"),
        ("2024-02-29", "2024-02-29T00:00:00.000Z"),
        ("1528289057.5", "2018-06-06T12:44:17.500Z"),
        ("1528289057.5319", "2018-06-06T12:44:17.531Z"),
        ("2026-11-22T01:02:03.0019", "2026-11-22T01:02:03.001Z"),
        ("2026-11-22T01:02:03Z", "2026-11-22T01:02:03.000Z"),
        ("2026-11-22T01:02:03.5+02:00", "2026-11-21T23:02:03.500Z"),
        ("2026-11-22T01:02:03-00:30", "2026-11-22T01:32:03.000Z"),
        ("2027-01-31T12:00", "2027-01-31T12:00:00.000Z"),
        ("2027-01-31T12:00Z", "2027-01-31T12:00:00.000Z"),
        ("2027-01-31T12:00+01:00", "2027-01-31T11:00:00.000Z"),
        ("9999-12-31T23:59:59.999", "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), shown, "{text}");
    }
    for text in [
        "",
        "x",
        "-1",
        "1.x",
        "2023-02-29",
        "2023-13-01",
        "2023-00-10",
        "2023-1-1",
        "2026-11-22 01:02:03Z",
        "2026-11-22T",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-00:01",
        "1.",
        "2026-11-22T24:00:00Z",
        "2026-11-22T01Z",
        "2026-11-22T1:02:3",
        "2026-11-22T01:02:03+02",
        "10000-01-01",
        "99999999999999999999",
        "1e3",
        "+5",
    ] {
        assert_eq!(Timestamp::parse(text), None, "{text}");
    }
}
