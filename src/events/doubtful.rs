//! Which lines of the log aren't known to be the vault's, by what a check of the whole log found.

use std::collections::HashSet;

use super::chain::Verification;

/// Lines that may be anybody's.
#[derive(Default, Debug)]
pub struct Doubtful {
    lines: HashSet<u64>,
    /// A verification names so many lines and no more: those behind this one aren't known.
    known_to: Option<u64>,
}

impl Doubtful {
    /// What a verification says. One of an older daemon names only the lines that break the chain.
    pub fn of(found: &Verification) -> Self {
        let named = [&found.strange_lines, &found.broken_lines];
        let full = named.iter().filter(|lines| lines.len() >= Verification::NAMED);
        let known_to = full.filter_map(|lines| lines.last().copied()).min();
        Self { lines: named.into_iter().flatten().copied().collect(), known_to }
    }

    /// Whether this line is one of them.
    pub fn has(&self, line: u64) -> bool {
        self.lines.contains(&line) || self.known_to.is_some_and(|last| line > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
