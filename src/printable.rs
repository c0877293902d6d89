//! Text from a disk, a socket or another program, made safe to print. A file name, an unlock slot's type or a key's
//! description may hold escape sequences, line feeds or marks that turn the direction of writing: printed as they
//! are, they move a terminal's cursor, forge a line of output, or show another name than the one that is meant.
//!
//! A value goes through [`line()`] or [`path()`] where it may hold a line feed; whole outputs go through [`lines`] or
//! [`json`] on their way out, so that no command can forget it.
//!
//! A number of things is told by [`counted`], so that one of them is told as one.

use std::borrow::Cow;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Control characters (C0, DEL, C1), and what changes lines or the direction of writing: line and paragraph
/// separators, the bidirectional controls of UAX #9, the byte order mark.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escaped<'a>(
    text: &'a str,
    kept: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'a, str> {
    let must = |c: char| is_unsafe(c) && !kept(c);
    if !text.contains(must) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if must(c) { escape(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// One line: what would end it, or would do anything but show a character, as Rust's escapes.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false, |out, c| out.extend(c.escape_default()))
}

/// Whole lines, with tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'), |out, c| out.extend(c.escape_default()))
}

/// A JSON text, which means the same afterwards: outside its strings there is nothing to escape, and inside
/// `\uXXXX` is the character (RFC 8259, section 7).
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| matches!(c, '\n' | '\t' | '\r'),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// A path on one line; bytes that are no UTF-8 as `\xNN`.
pub fn path(path: &Path) -> String {
    let mut out = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        out.push_str(&line(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A number and what it is a number of: the first text for one of them.
pub fn counted(n: impl Into<i128>, one: &str, many: &str) -> String {
    let n: i128 = n.into();
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A path as a word of a shell's command line that is to be pasted; what [`path()`] escapes is escaped here too.
pub fn shell(name: &Path) -> String {
    let text = path(name);
    // It fails for a NUL only, which no path has.
    shlex::try_quote(&text).map(Cow::into_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    const HOSTILE: &str = "a\x1b[31m\nb\u{202e}c\u{9b}d\u{7f}\u{2028}\u{feff}";

    #[test]
    fn a_line_shows_what_would_move_the_cursor() {
        assert_eq!(line(HOSTILE), "a\\u{1b}[31m\\nb\\u{202e}c\\u{9b}d\\u{7f}\\u{2028}\\u{feff}");
        assert_eq!(line("Grüße, 世界 👩\u{200d}💻"), "Grüße, 世界 👩\u{200d}💻");
    }

    #[test]
    fn whole_outputs_keep_their_lines() {
        assert_eq!(lines("one\ttwo\nthree\r\n"), "one\ttwo\nthree\\r\n");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "é"] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let printed = json(&text);
        assert!(!printed.contains(|c| is_unsafe(c) && c != '\n'), "{printed:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn one_is_told_as_one() {
        let told: Vec<String> = (0..3).map(|n| counted(n, "entry lies", "entries lie")).collect();
        assert_eq!(told, ["0 entries lie", "1 entry lies", "2 entries lie"]);
    }

    #[test]
    fn a_path_in_a_command_line_is_one_word() {
        for (name, word) in
            [("/v", "/v"), ("/my v", "'/my v'"), ("a'b", "\"a'b\""), ("", "''"), ("$x", "'$x'")]
        {
            assert_eq!(shell(Path::new(name)), word);
        }
    }

    #[test]
    fn a_path_shows_its_bytes() {
        assert_eq!(path(Path::new(OsStr::from_bytes(b"/a\xff\n\xc3\xa9"))), "/a\\xff\\né");
    }
}
