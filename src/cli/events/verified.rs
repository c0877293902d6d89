//! Which lines of the log are known to be the vault's, as it is read on. A verification takes the whole log, so one is
//! made only when lines come that the last one can't have seen.

use std::collections::HashSet;

use super::tail::Tail;
use crate::events::Verification;

/// Lines that may be anybody's.
#[derive(Default)]
pub(super) struct Doubtful {
    lines: HashSet<u64>,
    /// A verification names so many lines and no more: those behind this one aren't known.
    known_to: Option<u64>,
}

impl Doubtful {
    /// What a verification says. One of an older daemon names only the lines that break the chain.
    pub(super) fn of(found: &Verification) -> Self {
        let named = [&found.strange_lines, &found.broken_lines];
        let full = named.iter().filter(|lines| lines.len() >= Verification::NAMED);
        let known_to = full.filter_map(|lines| lines.last().copied()).min();
        Self { lines: named.into_iter().flatten().copied().collect(), known_to }
    }

    /// Whether this line is one of them.
    pub(super) fn has(&self, line: u64) -> bool {
        self.lines.contains(&line) || self.known_to.is_some_and(|last| line > last)
    }
}

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

    #[test]
    fn behind_the_lines_that_a_verification_names_all_are_doubtful() {
        let mut found = Verification { strange_lines: (2..1001).collect(), ..Verification::default() };
        assert!(!Doubtful::of(&found).has(1) && Doubtful::of(&found).has(2));
        assert!(!Doubtful::of(&found).has(1001));
        found.strange_lines.push(1500);
        assert!(!Doubtful::of(&found).has(1499) && Doubtful::of(&found).has(1501));
        let older = Verification { broken_lines: vec![7], ..Verification::default() };
        assert!(Doubtful::of(&older).has(7));
    }

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
                    Doubtful { lines: HashSet::from([verifications]), known_to: None }
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
