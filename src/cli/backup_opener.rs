//! What opens a keyring file or key backup that is named: a secret of it, or an age identity.

use std::path::Path;

use super::age;
use super::exit::{Exit, Failure, Outcome};
use super::secrets::SecretPlan;
use crate::keyring::BackupOpener;
use crate::unlock::{AgeOpened, Secret};

/// What opens it, read.
pub(super) enum Opener {
    Secret(Secret),
    Age(AgeOpened),
}

impl Opener {
    /// By the age identity if there is one, else by the secret that is planned. No secret is asked for that can't open it.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a backup for age recipients without an identity; those of reading a secret and of age.
    pub(super) fn read(
        identity: Option<&Path>,
        age_files: &[Vec<u8>],
        secret: &SecretPlan,
        file: &Path,
    ) -> Outcome<Self> {
        match identity {
            Some(identity) => age::decrypt(identity, age_files).map(Self::Age),
            None if !age_files.is_empty() => {
                let cause = "the key backup is sealed for age recipients, and has no passphrase; give --identity FILE, a file \
                             with the age identity of one of them";
                Err(Failure::new(Exit::Usage, file.display(), cause))
            }
            None => secret.read(file).map(Self::Secret),
        }
    }

    pub(super) fn borrowed(&self) -> BackupOpener<'_> {
        match self {
            Self::Secret(secret) => BackupOpener::Secret(secret),
            Self::Age(opened) => BackupOpener::Age(opened),
        }
    }

    /// The kind of slot that it opens.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Secret(secret) => secret.kind().name(),
            Self::Age(_) => "age",
        }
    }
}
