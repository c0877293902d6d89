//! Checks of a copy of a vault with a keyring from elsewhere: whether the copy's own keyring would open it too. A keyring that was
//! copied before a rotation doesn't open files that were written or re-wrapped after it.

use std::path::Path;

use super::finding::{Code, Summary};
use super::reporter::{Location, Reporter};
use crate::keyring::{Beside, FILE_NAME, Keys};

fn keyring() -> Location {
    Location { path: Vec::new(), lower: FILE_NAME.as_bytes().to_vec() }
}

/// Reports that the keyring isn't the one that this host has seen last, which no older copy has.
pub(super) fn tell_behind(why: &str, reporter: &Reporter<'_>) {
    let detail = format!("as it may be in a copy; but for the vault itself: {why}");
    reporter.find(&keyring(), Code::KeyringDiffers, None, detail);
}

/// Reports an empty copy: most often the disk with the copy isn't mounted, and a check that a timer runs must not count that as
/// a good copy.
pub(super) fn tell_empty(seen: &Summary, reporter: &Reporter<'_>) {
    if seen.complete && seen.directories <= 1 && seen.files + seen.symlinks + seen.others == 0 {
        let place = Location { path: b"/".to_vec(), lower: Vec::new() };
        let detail = "nothing is in this copy; is the disk on which it lies mounted?";
        reporter.find(&place, Code::CopyEmpty, None, detail);
    }
}

/// Checks whether the keyring of the copy in `vault` has the keys of the files that were opened.
pub(super) fn check_keyring(vault: &Path, keys: &Keys, reporter: &Reporter<'_>) {
    let (opened, mut lacks) = (reporter.opened(), Vec::new());
    let remedy = "copy the keyring by which this check was made into its place, and the event log after it";
    let detail = match keys.compare_copy(vault, &opened, &mut lacks) {
        Beside::Open(_) if lacks.is_empty() => return,
        Beside::Open(generation) => {
            let versions: Vec<String> =
                lacks.iter().map(|b| format!("version {} of key {}", b.version, b.key)).collect();
            let versions = versions.join(", ");
            format!("the copy's own keyring, of generation {}, lacks {versions}; {remedy}", generation.0)
        }
        Beside::Missing => {
            let detail = format!("the copy has no keyring of its own; {remedy}; or keep that one elsewhere");
            return reporter.find(&keyring(), Code::KeyringDiffers, None, detail);
        }
        // Under a root key of its own, as after `unlock remove --revoke`, or when a key backup was given.
        Beside::Closed => {
            let detail = "the copy's own keyring doesn't open under this one's root key, so it can't be determined \
                          what it opens; check it by itself: fsck without --keyring";
            return reporter.find(&keyring(), Code::KeyringDiffers, None, detail);
        }
    };
    reporter.find(&keyring(), Code::KeyringLacks, None, detail);
}
