//! How many files there are for a walk to find, and what they have: the names of the lower tree are counted on a thread beside it,
//! which is quicker by far, for no file is opened. So there is a total after a moment, however the files lie in
//! directories, and nothing waits for it. A file with several names counts once for each.

use std::sync::OnceLock;

use crate::ids::Ino;
use crate::monitor::Cancellation;
use crate::monitor::time_left::Amount;
use crate::vault::{Measure, Vault};

/// All files, once they are known.
#[derive(Default)]
pub(super) struct Total(OnceLock<Amount>);

impl Total {
    /// The total, of which so many files were found: they are no less than that.
    pub(super) fn known(&self, found: u64) -> Option<Amount> {
        self.0.get().map(|total| Amount { files: total.files.max(found), ..*total })
    }
}

/// Calls `walk` while the names below a directory are counted. What can't be counted leaves the total unknown.
pub(super) fn counting_beside<T>(
    vault: &Vault,
    top: Ino,
    measure: Measure,
    cancellation: &Cancellation,
    walk: impl FnOnce(&Total) -> T,
) -> T {
    let (total, walked) = (Total::default(), Cancellation::default());
    let stop = Cancellation::linked_to(&[cancellation, &walked]);
    std::thread::scope(|scope| {
        let count = || {
            if let Ok(Some(all)) = vault.files_below(top, measure, &stop) {
                let _ = total.0.set(all);
            }
        };
        // Without a thread there is no total.
        let _ = std::thread::Builder::new().name("rekeyfs-total".into()).spawn_scoped(scope, count);
        let done = walk(&total);
        walked.cancel();
        done
    })
}
