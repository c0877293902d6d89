//! Lower paths as events, log lines and reports state them: bytes that aren't printable ASCII, and `%`, percent-encoded.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, percent_decode_str, percent_encode};

/// What is stated as `%XX`, beside bytes that aren't ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// The text for a lower path or name.
pub(in crate::vault) fn encoded(bytes: &[u8]) -> PercentEncode<'_> {
    percent_encode(bytes, ENCODED)
}

/// The bytes that a text states. A `%` without two digits stands for itself.
pub(super) fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_what_is_printable_stays() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encoded(&all).to_string();
        assert!(text.starts_with("%00%01"), "{text}");
        assert!(text.contains("%1F%20!\"#$%25&") && text.contains("}~%7F%80"), "{text}");
        assert!(text.ends_with("%FE%FF"), "{text}");
        assert_eq!(*decoded(&text), *all);
        assert_eq!(*decoded("%"), *b"%");
    }
}
