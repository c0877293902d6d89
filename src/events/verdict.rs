//! What a check of the log found, in words: the same wherever it is told.

use std::fmt::Write;

use super::chain::Verification;
use crate::printable;

impl Verification {
    /// What is there and what isn't: a line for each.
    pub fn summary(&self) -> String {
        let mut out = format!("{} in order", printable::counted(self.good, "event", "events"));
        // Writing to a string can't fail.
        if self.breaks == 0 && self.good > 1 {
            let _ = write!(out, ", number {} to {}", self.begins_after + 1, self.begins_after + self.good);
        }
        out.push('\n');
        if self.begins_after > 0 {
            let why = if self.files_removed { "no event says why" } else { "they were pruned" };
            let _ = writeln!(out, "number 1 to {} aren't there: {why}", self.begins_after);
        }
        if self.anchored > 0 {
            let _ = writeln!(
                out,
                "number {} is recorded in the keyring: a log that ends before it would be noticed",
                self.anchored
            );
        }
        if self.torn > 0 {
            let _ = writeln!(
                out,
                "{} torn by a crash, each closed by an event that says so",
                printable::counted(self.torn, "line", "lines")
            );
        }
        if self.torn_end {
            out.push_str(
                "the last line is torn: by a crash, or it is being written; the next event closes it\n",
            );
        }
        if self.breaks > 0 {
            let _ = writeln!(
                out,
                "{} where the chain doesn't fit",
                printable::counted(self.breaks, "place", "places")
            );
        }
        if self.cut {
            out.push_str("the event that the keyring remembers as the last isn't there\n");
        }
        out
    }

    /// How the log was tampered with, and what to do; none if it wasn't, as far as that can be seen.
    pub fn tampering(&self) -> Option<String> {
        if self.is_good() {
            return None;
        }
        if self.files_removed && self.breaks == 0 {
            return Some(format!(
                "the events up to {} aren't there, and no event says that they were pruned: a file of the log was \
                 removed; bring it back from a backup",
                self.begins_after
            ));
        }
        let cause = match self.first_break {
            Some(line) => format!(
                "line {line} doesn't follow the one before it: something was changed, moved, added or taken out"
            ),
            None => "it ends before the place that the keyring remembers: the log was truncated".to_owned(),
        };
        Some(format!("{cause}; compare it with a backup"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_told_with_what_to_do() {
        let good = Verification { good: 9, begins_after: 3, anchored: 12, ..Verification::default() };
        let told = "9 events in order, number 4 to 12\nnumber 1 to 3 aren't there: they were pruned\n\
                    number 12 is recorded in the keyring: a log that ends before it would be noticed\n";
        assert_eq!((good.summary(), good.tampering()), (told.to_owned(), None));
        let broken = Verification { breaks: 1, first_break: Some(7), ..good.clone() };
        assert!(broken.summary().contains("1 place where the chain doesn't fit\n"));
        assert!(broken.tampering().is_some_and(|why| why.starts_with("line 7 doesn't follow")));
        let removed = Verification { files_removed: true, ..good.clone() };
        assert!(removed.tampering().is_some_and(|why| why.starts_with("the events up to 3 aren't there")));
        let cut = Verification { cut: true, ..good };
        assert!(cut.tampering().is_some_and(|why| why.ends_with("truncated; compare it with a backup")));
    }
}
