//! What is shown is the same with and without bars, and says what it knows.
use super::*;
use crate::ids::VaultId;
use crate::keyring::{Staying, UnusableReason};
use crate::service::{AliasStatus, KeyStatus, KeyVersionStatus, MountStatus, PendingStatus, VersionStatus};

fn status() -> Status {
    let (key, other) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
    let unusable = |why| VersionState::Unusable { why };
    let version = |number| KeyVersionStatus {
        version: KeyVersion(number),
        created: "2026-01-01T00:00:00.000Z".to_owned(),
        has_material: number != 1,
        expires: (number == 2).then(|| "2027-03-01T00:00:00.000Z".to_owned()),
        rotated: None,
        automatic: None,
        state: (number == 4).then_some(VersionState::Current),
    };
    let files = |key_id, number, files, state| VersionStatus {
        key_id,
        version: KeyVersion(number),
        files,
        state: Some(state),
    };
    Status {
        vault_id: VaultId::from_bytes([9; 16]),
        vault: std::path::Path::new("/v").into(),
        suite: "aes-256-gcm".to_owned(),
        mount: Some(MountStatus {
            mountpoint: std::path::Path::new("/m").into(),
            pid: 7,
            read_only: false,
            always_read_only: false,
            detached: false,
            lazy_rewrap: true,
            shared: false,
            lease: None,
        }),
        aliases: vec![AliasStatus {
            alias: "alias/default".parse().unwrap(),
            key_id: key,
            version: KeyVersion(4),
            state: "Enabled".to_owned(),
        }],
        keys: vec![KeyStatus {
            key_id: key,
            description: String::new(),
            tags: Vec::new(),
            service_managed: false,
            state: "Enabled".to_owned(),
            current: KeyVersion(4),
            min_decryption: KeyVersion(3),
            rotation_period_days: Some(365),
            next_rotation: Some("2027-01-01T00:00:00.000Z".to_owned()),
            versions: (1..=4).map(version).collect(),
            lost: vec![VersionRange { first: KeyVersion(5), last: KeyVersion(9) }],
        }],
        counted: None,
        counts_as_of: None,
        versions: vec![
            files(key, 1, 1, unusable(UnusableReason::NoMaterial)),
            files(key, 2, 99, unusable(UnusableReason::Retired)),
            files(key, 3, 300, VersionState::Old),
            files(other, 1, 600, VersionState::UnknownKey),
        ],
        files_seen: 1000,
        files_stale: 1000,
        files_staying: Staying::default(),
        files_unknown: 0,
        files_noted: Vec::new(),
        key_backup: None,
        pending_rewraps: 5,
        pending_deletions: vec![PendingStatus {
            key_id: other,
            date: "2026-12-01T00:00:00.000Z".to_owned(),
            forced: true,
            blocked: None,
        }],
    }
}

fn at(width: usize, bar: Option<char>) -> Layout {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    Layout { width, bar, zone }
}

/// A text without its line breaks.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shown(status: &Status) -> String {
    text(status, &at(80, None))
}

#[test]
fn the_layout_is_as_it_was_looked_at() {
    for (width, wanted) in [
        (80, include_str!("at-80.txt")),
        (120, include_str!("at-120.txt")),
        (200, include_str!("at-200.txt")),
    ] {
        let shown = text(&status(), &at(width, Some('█')));
        assert_eq!(shown, wanted, "at {width}:\n{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{shown}");
    }
}

#[test]
fn no_line_is_wider_than_asked_but_one_word() {
    let mut status = status();
    status.counted = Some("2026-11-22T02:00:00.000Z".to_owned());
    (status.files_unknown, status.files_staying.undecided) = (3, 12_345_678);
    status.pending_deletions[0].blocked = Some("files of it may be on a disk that is away ".repeat(4));
    status.aliases[0].alias = format!("alias/{}", "x".repeat(250)).parse().unwrap();
    status.versions[0].files = 100_000_000;
    for width in [80, 100, 119, 120, 150, 200] {
        let shown = text(&status, &at(width, Some('#')));
        for line in shown.lines().filter(|line| line.chars().count() > width) {
            assert!(!line.trim().contains(' '), "{width}: {line}");
        }
    }
}

#[test]
fn ids_that_begin_alike_are_shown_as_far_as_they_differ() {
    let mut status = status();
    let ids: Vec<KeyId> = ["01010101-0202-4000-8000-000000000000", "01010101-0203-4000-8000-000000000000"]
        .iter()
        .map(|id| id.parse().unwrap())
        .collect();
    status.versions[3].key_id = ids[0];
    status.versions[2].key_id = ids[1];
    let shown = shown(&status);
    assert!(shown.contains("\n01010101-0202 ") && shown.contains("\n01010101-0203 "), "{shown}");
}

#[test]
fn every_version_has_its_line_and_a_bar_by_its_share() {
    let shown = text(&status(), &at(200, Some('#')));
    let header = shown.lines().find(|line| line.ends_with("share")).unwrap();
    let cells = 200 - header.len() - 2;
    let bars: Vec<_> =
        ["unusable (missing material)", "unusable (retired)", "old  ", "current  ", "unknown key"]
            .iter()
            .map(|used| shown.lines().find(|line| line.contains(used)).map(|line| line.matches('#').count()))
            .collect();
    let wanted = [1, 99, 300, 0, 600].map(|files: usize| Some((files * cells).div_ceil(1000)));
    assert_eq!(bars, wanted, "{shown}");
    assert!(shown.contains("   600   60.0%") && shown.contains("     1    0.1%"), "{shown}");
}

#[test]
fn without_bars_the_columns_are_the_same_and_end_there() {
    let (plain, bars) = (text(&status(), &at(80, None)), text(&status(), &at(80, Some('█'))));
    assert!(plain.is_ascii() && !plain.contains('\x1b'));
    for (plain, bars) in plain.lines().zip(bars.lines()) {
        assert_eq!(bars.trim_end_matches(['█', ' ']), plain.trim_end());
    }
    let table: Vec<usize> = plain
        .lines()
        .skip_while(|line| !line.contains("share"))
        .take_while(|line| line.starts_with("key") || line.contains('%'))
        .map(str::len)
        .collect();
    assert!(table.len() == 6 && table.iter().all(|len| *len == table[0]), "{plain}");
}

#[test]
fn what_is_to_come_is_told_in_its_order() {
    let said = shown(&status());
    let at: Vec<_> = ["is deleted, though files need it", "rotates, as every 365 days", "version 2 expires"]
        .iter()
        .map(|what| flat(&said).find(what).unwrap_or_else(|| panic!("{what}: {said}")))
        .collect();
    assert!(at.is_sorted());
    assert!(said.ends_with("5 files wait for their re-wrap\n"));
}

#[test]
fn a_census_that_is_no_count_says_so() {
    let mut status = status();
    assert!(flat(&shown(&status)).contains("--count counts all"));
    status.counted = Some("2026-11-22T02:00:00.000Z".to_owned());
    assert!(flat(&shown(&status)).contains("counted at 2026-11-22 03:00 +01:00 and kept count of since"));
    (status.counted, status.counts_as_of) = (None, Some("2026-06-22T02:00:00.000Z".to_owned()));
    let as_of = "and 1000 stale at 2026-06-22 04:00 +02:00, which may have changed since";
    assert!(flat(&shown(&status)).contains(as_of), "{}", shown(&status));
    (status.counts_as_of, status.files_unknown) = (None, 3);
    let said = shown(&status);
    assert!(said.contains("1000 files that hold data, counted now; 1000 stale"), "{said}");
    assert!(said.contains("3 files or directories could not be counted"), "{said}");
    (status.counted, status.mount, status.files_unknown) = (None, None, 0);
    assert!(flat(&shown(&status)).contains("the files are not counted"));
}

#[test]
fn lost_versions_are_named_with_their_remedy() {
    let mut status = status();
    let said = shown(&status);
    assert!(
        said.contains("if they were made: versions 5-9\n") && said.contains("key-backup merge"),
        "{said}"
    );
    status.keys[0].lost.clear();
    assert!(flat(&shown(&status)).contains("key-backup merge"), "files of an unknown key");
    status.versions.pop();
    assert!(!shown(&status).contains("key-backup merge"));
}
