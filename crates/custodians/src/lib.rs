//! What the helpers of custodians share; each is a program of its own in `src/bin`. docs/custodians.md, "The protocol", has
//! the rules. Nothing of rekeyfs is used here: a helper is what anybody could write by that page.
//!
//! A helper's answer is one line, and it does what it does for one request: secrets are in memory that is wiped, no core is
//! dumped, and programs that it runs get them by their standard input alone.

mod bound;
mod jwe;
mod leave;
mod pcrs;
mod pin_file;
mod pkcs11_uri;
mod protocol;
mod tool;

pub use bound::{bind, bound_secret, context_line};
pub use jwe::{Jwe, is_tpm_word, pin_permitted};
pub use pcrs::parse_pcrs;
pub use pin_file::{alone_with, pin_of_file};
pub use pkcs11_uri::{KeyClass, Pkcs11Uri};
pub use protocol::{Allowed, Custodian, Kind, Prompt, Refusal, Request, Secret, Unwrapped, Wrapped, serve};
pub use tool::{Ended, Tool};
