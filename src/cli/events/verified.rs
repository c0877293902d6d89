//! Which lines of the log are known to be the vault's, as it is read on. A verification takes the whole log, so one is
//! made only when lines come that the last one can't have seen.

use super::tail::Tail;
use crate::events::Doubtful;

/// What the last verification found.
#[derive(Default)]
pub(super) struct Verified {
    doubtful: Doubtful,
    /// Bytes of the log that it has seen, at least.
    size: u64,
}

impl Verified {
    /// The doubtful lines among all that were read so far. `verify` tells those of the log as it is now.
    pub(super) fn doubtful(&mut self, tail: &Tail, verify: impl FnOnce() -> Doubtful) -> &Doubtful {
        if tail.began_again() {
            self.size = 0;
        }
        if tail.offset() > self.size {
            self.doubtful = verify();
            // It was that long before it was verified.
            self.size = tail.len().max(tail.offset());
        }
        &self.doubtful
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::cli::events::tail::UnendedLine;
    use crate::events::Verification;

    #[test]
    fn a_log_is_verified_once_and_again_only_for_lines_that_came_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::events::FILE_NAME);
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        std::fs::write(&path, line.repeat(60_000)).unwrap();
        let (mut tail, mut verified) =
            (Tail::new(File::open(dir.path()).unwrap().into()), Verified::default());
        let (mut batches, mut verifications) = (0, 0);
        let mut read_on = || {
            while !tail.next_lines(UnendedLine::AwaitEnd).unwrap().is_empty() {
                batches += 1;
                let doubtful = verified.doubtful(&tail, || {
                    verifications += 1;
                    Doubtful::of(&Verification { strange_lines: vec![verifications], ..Default::default() })
                });
                assert!(doubtful.has(verifications));
            }
            (batches, verifications)
        };
        assert_eq!(read_on(), (6, 1));
        assert_eq!(read_on(), (6, 1), "nothing came");
        let mut log = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut log, &line).unwrap();
        assert_eq!(read_on(), (7, 2));
        // Another one in its place, a shorter one.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &line).unwrap();
        assert_eq!(read_on(), (8, 3));
    }
}
