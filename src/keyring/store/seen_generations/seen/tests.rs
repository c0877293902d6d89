//! What counts where, as tables of what is seen one after the other.
use super::*;
use crate::crypto::keys::RootKey;
use crate::ids::Timestamp;
use crate::keyring::open::first_body;

/// One saved keyring of a line.
#[derive(Clone)]
struct Saved {
    vault: VaultId,
    head: Head,
    root: u8,
    body: KeyringBody,
}

impl Saved {
    fn first() -> Self {
        let vault = VaultId::from_bytes([7; 16]);
        let body = first_body(vault, Timestamp(0)).unwrap();
        Self { vault, head: Head { generation: Generation(1), hash: [1; 32] }, root: 1, body }
    }

    /// The keyring some saves later, of the line that `fork` tells from others.
    fn later(&self, saves: u64, fork: u8) -> Self {
        let mut next = self.clone();
        for _ in 0..saves {
            next.body.continue_line(next.head);
            next.body.generation.0 += 1;
            let mut hash = [fork; 32];
            hash[..8].copy_from_slice(&next.body.generation.0.to_le_bytes());
            next.head = Head { generation: next.body.generation, hash };
        }
        next
    }

    /// The next one, under another root key.
    fn under(&self, root: u8, endorsed: bool) -> Self {
        let mut next = self.clone();
        if endorsed {
            next.body.extensions.endorse(root_key(self.root).endorsement(self.vault));
        }
        next.root = root;
        next.later(1, 9)
    }

    fn at<'a>(&'a self, path: &'a str) -> Sighting<'a> {
        let root = root_key(self.root).commitment(self.vault);
        Sighting { vault: self.vault, path: Path::new(path), head: self.head, root, body: &self.body }
    }
}

fn root_key(byte: u8) -> RootKey {
    RootKey::from_bytes(&[byte; 32])
}

fn word(check: &RollbackCheck) -> &'static str {
    match check {
        RollbackCheck::Fine => "fine",
        RollbackCheck::Unproven(_) => "unproven",
        RollbackCheck::RolledBack(_) => "rolled back",
        RollbackCheck::Forked(_) => "forked",
        RollbackCheck::OtherRoot(_) => "other root",
    }
}

fn checked(seen: &Seen, saved: &Saved, path: &str) -> &'static str {
    word(&seen.check(&saved.at(path)))
}

#[test]
fn the_mark_counts_at_every_path_and_forks_of_any_length_are_seen() {
    let start = Saved::first().later(4, 1);
    let mark = start.later(3, 1);
    let seen = first(&mark.at("/v"));
    for path in ["/v", "/moved", "/bound"] {
        assert_eq!(checked(&seen, &mark, path), "fine");
        assert_eq!(checked(&seen, &mark.later(1, 1), path), "fine");
        assert_eq!(checked(&seen, &mark.later(512, 1), path), "fine");
        assert_eq!(checked(&seen, &start, path), "rolled back");
        for saves in [3, 4, 5, 100, 512] {
            assert_eq!(checked(&seen, &start.later(saves, 2), path), "forked", "{saves}");
        }
        // What was seen is farther back than the line goes.
        assert_eq!(checked(&seen, &mark.later(513, 1), path), "unproven");
        assert_eq!(checked(&seen, &start.later(600, 2), path), "unproven");
    }
}

#[test]
fn the_mark_is_never_lowered_and_leaves_its_line_for_no_other() {
    let start = Saved::first();
    let mark = start.later(5, 1);
    let mut seen = first(&mark.at("/v"));
    for other in [start.clone(), start.later(5, 2), start.later(9, 2), mark.under(2, false)] {
        assert!(!seen.follow(&other.at("/v")));
        assert!(!seen.follow(&other.at("/elsewhere")));
    }
    assert_eq!(checked(&seen, &mark, "/v"), "fine");
    assert!(seen.follow(&mark.later(1, 1).at("/moved")));
    assert_eq!(checked(&seen, &mark, "/v"), "rolled back");
    assert_eq!(seen.at(Path::new("/v")).generation(), Generation(7));
}

#[test]
fn an_accepted_keyring_counts_at_its_place_alone() {
    for place in ["/copy", "/v"] {
        let start = Saved::first();
        let mark = start.later(5, 1);
        let mut seen = first(&mark.at("/v"));
        let accepted = start.later(6, 2);
        assert!(seen.accept(&accepted.at(place)));
        // It continues there, and neither what it was before nor the original comes back.
        assert!(seen.follow(&accepted.later(2, 2).at(place)));
        assert_eq!(checked(&seen, &accepted.later(2, 2), place), "fine");
        assert_eq!(checked(&seen, &accepted, place), "rolled back");
        assert_eq!(checked(&seen, &mark, place), "rolled back");
        assert_eq!(checked(&seen, &mark.later(9, 1), place), "forked");
        // Everywhere else the mark counts, as before.
        assert_eq!(checked(&seen, &mark, "/elsewhere"), "fine");
        assert_eq!(checked(&seen, &mark.later(9, 1), "/elsewhere"), "fine");
        for found in [&accepted, &accepted.later(20, 2)] {
            assert_eq!(checked(&seen, found, "/elsewhere"), "forked");
            assert!(!seen.follow(&found.at("/elsewhere")));
        }
        assert_eq!(checked(&seen, &start, "/elsewhere"), "rolled back");
        // Nor is the record of a path lowered, whatever a user accepts.
        assert!(!seen.accept(&accepted.at(place)));
        assert_eq!(seen.newest_at(Path::new(place)), Generation(9));
    }
}

#[test]
fn an_imported_keyring_is_the_mark_and_ends_what_counted_at_its_path() {
    let start = Saved::first();
    let mark = start.later(5, 1);
    let mut seen = first(&mark.at("/v"));
    let accepted = start.later(6, 2);
    assert!(seen.accept(&accepted.at("/v")) && seen.accept(&accepted.at("/copy")));
    let imported = mark.later(4, 3).under(2, false);
    assert!(seen.import(&imported.at("/v")));
    for path in ["/v", "/moved"] {
        assert_eq!(checked(&seen, &imported, path), "fine");
        assert_eq!(checked(&seen, &imported.later(600, 1), path), "unproven");
        for old in [&mark, &accepted, &mark.later(4, 1)] {
            assert_eq!(checked(&seen, old, path), "rolled back");
        }
        assert_eq!(checked(&seen, &mark.later(90, 1), path), "other root");
    }
    // What was accepted elsewhere goes on there.
    assert_eq!(checked(&seen, &accepted.later(1, 2), "/copy"), "fine");
    // A newer one that another process saved meanwhile isn't replaced.
    let mut seen = first(&mark.later(20, 1).at("/v"));
    assert!(seen.import(&imported.at("/v")));
    assert_eq!(checked(&seen, &mark.later(20, 1), "/moved"), "fine");
    assert_eq!(checked(&seen, &imported, "/v"), "fine");
}

#[test]
fn another_root_key_takes_an_endorsement_by_the_one_that_is_remembered() {
    let mark = Saved::first().later(3, 1);
    let seen = first(&mark.at("/v"));
    assert_eq!(checked(&seen, &mark.under(2, true), "/v"), "fine");
    assert_eq!(checked(&seen, &mark.under(2, true).under(3, true).later(5, 1), "/v"), "fine");
    assert_eq!(checked(&seen, &mark.under(2, false), "/v"), "other root");
    // Endorsed by the second, which wasn't endorsed itself.
    assert_eq!(checked(&seen, &mark.under(2, false).under(3, true), "/v"), "other root");
    // Once the new one is seen, the old one is another.
    let mut seen = seen;
    assert!(seen.follow(&mark.under(2, true).at("/v")));
    let mut by_the_old = mark.under(2, true);
    by_the_old.root = 1;
    assert_eq!(checked(&seen, &by_the_old.later(1, 1), "/v"), "other root");
}

#[test]
fn records_of_before_are_taken_over_each_for_its_path() {
    let start = Saved::first();
    let (newest, other) = (start.later(9, 1), start.later(4, 2));
    let bare = |path: &str, saved: &Saved| Record::bare(path.into(), saved.head);
    let records = vec![bare("/v", &newest), bare("/copy", &other)];
    let mut seen = Seen::taken_over(newest.vault, records).unwrap();
    assert_eq!(checked(&seen, &other, "/copy"), "fine");
    assert_eq!(checked(&seen, &start, "/copy"), "rolled back");
    assert_eq!(checked(&seen, &newest, "/moved"), "fine");
    assert_eq!(checked(&seen, &other, "/moved"), "rolled back");
    // The root key is that of the same keyring, or of the next one; then it counts.
    assert_eq!(checked(&seen, &newest.under(2, false), "/v"), "fine");
    assert!(seen.follow(&newest.at("/v")));
    assert_eq!(checked(&seen, &newest.under(2, false), "/v"), "other root");
    assert!(Seen::taken_over(newest.vault, Vec::new()).is_none());
}

#[test]
fn what_is_kept_is_bounded_and_what_is_dropped_is_refused_again() {
    let start = Saved::first();
    let mark = start.later(5, 1);
    let mut seen = first(&mark.at("/v"));
    let accepted = start.later(6, 2);
    let long = "x".repeat(4000);
    for number in 0..=MOST_PLACES {
        assert!(seen.accept(&accepted.at(&format!("/{long}/{number}"))));
        // Used all along.
        assert!(number > 0 || seen.follow(&accepted.later(1, 2).at(&format!("/{long}/0"))));
        let first = accepted.later(number as u64 + 2, 2);
        assert!(seen.follow(&first.at(&format!("/{long}/0"))));
    }
    assert_eq!(seen.places.len(), MOST_PLACES);
    assert_eq!(checked(&seen, &accepted, &format!("/{long}/1")), "forked");
    assert_eq!(checked(&seen, &accepted, &format!("/{long}/2")), "fine");
    assert_eq!(checked(&seen, &accepted.later(90, 2), &format!("/{long}/0")), "fine");
    let bytes = seen.encode().unwrap();
    assert!((bytes.len() as u64) < super::super::MAX_LEN / 4, "{}", bytes.len());
    let again = Seen::decode(mark.vault, &bytes).unwrap();
    assert_eq!(again.places.len(), MOST_PLACES);
    assert_eq!(checked(&again, &mark, "/v"), "fine");
    for at in (0..bytes.len()).step_by(997) {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        assert!(Seen::decode(mark.vault, &torn).is_none(), "{at}");
        assert!(Seen::decode(mark.vault, &bytes[..at]).is_none(), "{at}");
    }
    assert!(Seen::decode(VaultId::from_bytes([8; 16]), &bytes).is_none());
}
