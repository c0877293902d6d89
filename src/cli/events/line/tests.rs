use serde_json::json;

use super::*;

const KEY: &str = "7b0c5f8e-6a1d-4c57-9f2b-3f1d2f0c9a44";

fn style(zone: Option<TimeZone>, width: Option<usize>) -> Style {
    Style { zone, width, ellipsis: "…", cut: Cell::new(false) }
}

fn at_80() -> Style {
    style(Some(TimeZone::fixed(jiff::tz::offset(1))), Some(80))
}

fn refused() -> Value {
    json!({
        "time": "2026-11-22T01:02:03.004Z", "detail-type": "File Access Refused", "events-held-back": 7,
        "held-back": {"refusals": 5, "damage": 2},
        "detail": {"event-name": "open", "reason": "key-policy", "lower-path": "tree/AB", "file-id": null,
                   "key-id": KEY, "outcome": "refused", "uid": 1000, "pid": 42},
    })
}

#[test]
fn an_event_is_one_line_that_says_what_which_file_and_who() {
    let told = "2026-11-22T01:02:03.004Z  File Access Refused: open key-policy file \"a\\nb\" \
                key 7b0c5f8e-6a1d-4c57-9f2b-3f1d2f0c9a44 uid 1000 pid 42 \
                (7 more were held back before this: 5 refusals, 2 damage)";
    assert_eq!(human(&refused(), Some(Path::new("a\nb")), None, &style(None, None)), told);
    assert!(human(&refused(), None, None, &style(None, None)).contains(" file tree/AB "));
}

#[test]
fn an_outcome_that_the_type_does_not_say_is_told() {
    let detail = json!({"event-name": "DisableKey", "error-code": "NotFound", "outcome": "refused", "uid": 0, "pid": 1});
    let event = json!({"time": "t", "detail-type": "KMS Key Operation", "detail": detail});
    let told = "t  KMS Key Operation (refused): DisableKey NotFound uid 0 pid 1";
    assert_eq!(human(&event, None, None, &style(None, None)), told);
}

#[test]
fn a_change_is_told_from_what_to_what() {
    let rotated = json!({
        "time": "2026-11-22T01:02:03.004Z", "detail-type": "KMS CMK Rotation",
        "detail": {"key-id": KEY, "previous-version": 1, "version": 2, "outcome": "success", "uid": 0, "pid": 4711},
    });
    let shown = human(&rotated, None, None, &at_80());
    assert_eq!(shown, "2026-11-22 02:02 +01:00  KMS CMK Rotation: version 1 -> 2 key 7b0c5f8e uid 0 …");
    let moved = json!({
        "time": "t", "detail-type": "Files Moved",
        "detail": {"previous-key-id": KEY, "key-id": KEY.replace("7b", "8c"), "files": 3, "uid": 0, "pid": 1},
    });
    let shown = human(&moved, None, None, &style(None, Some(80)));
    assert_eq!(shown, "t  Files Moved: files 3 key 7b0c5f8e -> 8c0c5f8e uid 0 pid 1");
}

#[test]
fn times_are_those_of_all_commands_with_milliseconds_where_lines_are_whole() {
    let zone = TimeZone::fixed(jiff::tz::offset(-9));
    let shown = human(&refused(), None, None, &style(Some(zone), None));
    assert!(shown.starts_with("2026-11-21 16:02:03.004 -09:00  File Access"), "{shown}");
    assert!(human(&refused(), None, None, &at_80()).starts_with("2026-11-22 02:02 +01:00  File Access"));
    assert_eq!(style(Some(TimeZone::UTC), None).time("no time"), "no time");
}

#[test]
fn what_does_not_fit_is_left_out_from_the_end_where_ids_are() {
    let mounted = json!({
        "time": "2026-11-22T01:02:03.004Z", "detail-type": "Vault Mounted",
        "detail": {"mountpoint": "/srv/plain", "read-only": false, "slot-id": KEY, "slot-kind": "passphrase",
                   "outcome": "success", "uid": 0, "pid": 1},
    });
    let style = at_80();
    let shown = human(&mounted, None, None, &style);
    assert!(shown.contains("mountpoint /srv/plain not read only") && shown.ends_with('…'), "{shown}");
    assert!(style.hint().is_some() && style.hint().is_none(), "it is said once");
    let whole = human(&mounted, None, None, &self::style(None, Some(150)));
    assert!(whole.ends_with("slot kind passphrase uid 0 pid 1 slot id 7b0c5f8e"), "{whole}");
    // An id is whole or isn't there.
    for width in 80..150 {
        let shown = human(&mounted, None, None, &self::style(None, Some(width)));
        assert!(shown.ends_with("7b0c5f8e") || shown.ends_with('…') && !shown.contains("slot id"), "{shown}");
    }
}

#[test]
fn a_line_fits_any_terminal() {
    for width in [1, 2, 40, 57, 80, 400] {
        let style = style(None, Some(width));
        let shown = human(&refused(), Some(Path::new(&"世界".repeat(30))), None, &style);
        assert!(columns(&shown) <= width, "{width}: {shown}");
        assert_eq!(width == 400, style.hint().is_none());
    }
    assert!(human(&refused(), None, None, &style(None, Some(200))).contains(" key 7b0c5f8e "));
    let ascii = Style { ellipsis: "...", ..style(None, Some(60)) };
    assert!(human(&refused(), None, None, &ascii).ends_with("..."));
}

#[test]
fn what_may_be_forged_is_told_before_anything_of_it() {
    let shown = human(&refused(), None, Some(12), &style(None, None));
    assert!(
        shown.starts_with("line 12 doesn't follow the one before it, so it may be forged: 2026-"),
        "{shown}"
    );
    let shown = human(&refused(), None, Some(12), &at_80());
    assert!(shown.starts_with("line 12 may be forged: 2026-11-22 02:02 +01:00  File Access"), "{shown}");
}
