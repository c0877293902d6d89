//! Texts that are to fit a number of columns, as a terminal counts them: a character may take two, or none.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// A text as lines of this width, each with its line feed, of which those after the first are indented. A word that is longer
/// by itself goes beyond.
pub(super) fn folded(text: &str, width: usize, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let options = textwrap::Options::new(width)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(text, options) + "\n"
}

/// As much of a text's beginning as fits, ended by the ellipsis if that isn't all.
pub(super) fn cut_end(text: &str, width: usize, ellipsis: &str) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let kept = fitting(text.chars(), width.saturating_sub(columns(ellipsis)));
    kept.chars().chain(ellipsis.chars()).collect()
}

/// As much of a text's end as fits, behind the ellipsis if that isn't all: of a path, its name.
pub(super) fn cut_start(text: &str, width: usize, ellipsis: &str) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let kept = fitting(text.chars().rev(), width.saturating_sub(columns(ellipsis)));
    ellipsis.chars().chain(kept.chars().rev()).collect()
}

fn fitting(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = Some(width);
    chars
        .take_while(|c| {
            left = left.and_then(|left| left.checked_sub(c.width().unwrap_or_default()));
            left.is_some()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_fits_and_ends_or_begins_with_the_ellipsis() {
        for (text, width, end, start) in [
            ("abcdef", 6, "abcdef", "abcdef"),
            ("abcdef", 5, "abcd…", "…cdef"),
            ("世界世界", 6, "世界…", "…世界"),
            ("世界世界", 8, "世界世界", "世界世界"),
            ("abc", 1, "…", "…"),
        ] {
            assert_eq!((cut_end(text, width, "…"), cut_start(text, width, "…")), (end.into(), start.into()));
        }
        assert_eq!(cut_end("abcdef", 5, "..."), "ab...");
    }

    #[test]
    fn a_text_is_folded_at_spaces_alone() {
        assert_eq!(folded("one two-three four", 9, 2), "one\n  two-three\n  four\n");
        assert_eq!(folded("short", 80, 4), "short\n");
    }
}
