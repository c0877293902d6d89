//! What is wrapped by custodians that authenticate nothing beside the key: a line of text, which says what the key is for.
//!
//! ```text
//! rekeyfs-custody-1 NAME=VALUE … KEY
//! ```
//!
//! with the names of the context in their order, and the key in base64.

use zeroize::Zeroizing;

use super::protocol::{Kind, Refusal, Request, Secret};

const MAGIC: &str = "rekeyfs-custody-1";

/// The line without its key: what a key is for, for custodians that authenticate something beside it.
pub fn context_line(request: &Request) -> String {
    let context = request.context.iter().map(|(name, value)| format!(" {name}={value}"));
    format!("{MAGIC}{} ", context.collect::<String>())
}

/// The line of a key.
pub fn bind(request: &Request, secret: &Secret) -> Zeroizing<Vec<u8>> {
    let (prefix, key) = (context_line(request), secret.to_base64());
    let mut line = Zeroizing::new(Vec::with_capacity(prefix.len() + key.len() + 1));
    line.extend_from_slice(prefix.as_bytes());
    line.extend_from_slice(key.as_bytes());
    line.push(b'\n');
    line
}

/// The key of a line, if it is for what is asked.
///
/// # Errors
/// [`Kind::Damaged`].
pub fn bound_secret(request: &Request, line: &[u8]) -> Result<Secret, Refusal> {
    let prefix = context_line(request);
    let key = line.strip_suffix(b"\n").unwrap_or(line).strip_prefix(prefix.as_bytes());
    let key = key.and_then(|key| std::str::from_utf8(key).ok()).and_then(Secret::from_base64);
    key.ok_or_else(|| Refusal::new(Kind::Damaged, "what was unwrapped is no key of this vault and slot"))
}
