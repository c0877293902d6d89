//! Custodians: programs that wrap a key outside of the vault (docs/custodians.md).
//!
//! A custodian is where an organisation keeps keys: a KMS, an HSM, a TPM, an age identity. It never sees the root key. It
//! wraps a fresh key of 32 bytes, the [`CustodyKek`](crate::crypto::keys::CustodyKek), with a [`Context`] that says which
//! vault and slot it is of; what the root key does with that is the format's.
//!
//! A custodian is spoken to by a *helper*, a program `rekeyfs-custodian-NAME`: one line of JSON in, prompts, one line of
//! JSON out (`protocol`). So vendors' libraries, TLS and SDKs never share memory with the root key. [`Helper`] is the
//! only way to one.
//!
//! The rules:
//! - **The host chooses what runs, the vault doesn't.** A vault may be forged, so its header is a stranger's text. A
//!   custodian is used only if [`AllowList`], the file `custodians.conf` of this host, has a line for it; what in the
//!   parameters is an endpoint, a module, a plugin, a file or a URL must stand on that line. Helpers lie in fixed directories,
//!   never in `$PATH`, and they, the list and what they lie in belong to root or the user and can't be written by others.
//! - **A helper inherits nothing** but descriptors 0 to 2, a session of its own, and the variables that its custodian
//!   is configured by (`environment`); none at all where mount(8) runs this program.
//! - **A helper doesn't outlive the question.** The thread that starts it waits for it, so the kernel kills it when that
//!   thread ends (PR_SET_PDEATHSIG counts threads); it is ended by its pidfd and its group, and nobody waits longer than
//!   a second for one that SIGKILL doesn't end. All questions of an unlock share
//!   one deadline. No thread is started: the process can still fork.
//! - **A helper's answer is a stranger's text too**: at most 64 KiB, parsed into types with bounds; what is printed of it is
//!   escaped. That a KEK is the right one is for the slot's authentication to show.

mod allow;
mod ask;
mod environment;
mod find;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod helper;
mod process;
mod prompt;
mod protocol;
mod refusal;
mod several;
mod types;

#[cfg(test)]
mod tests;

pub use allow::{AllowError, AllowList, Allowed};
pub use ask::MAX_AT_ONCE;
pub use environment::Environment;
pub use find::HELPER_DIRS;
pub use helper::{Helper, Host};
pub use prompt::{NobodyAnswers, Prompt, PromptKind};
pub use refusal::{Refusal, RefusalKind};
pub use several::{Tried, Unwrap, unwrap_any};
pub use types::{Context, Standing, Use};
