//! How events and counts write lower paths and names.

/// Appends a lower path or name as events state it: bytes that aren't printable ASCII, and `%`, percent-encoded.
pub(in crate::vault) fn encoded(bytes: &[u8], to: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Takes the percent-encoding off.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    Some(bytes)
}
