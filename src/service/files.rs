//! What is done to single files, and the count of all: re-encryption, re-wraps to a key of the caller's choice.

use std::time::Duration;

use serde_json::json;

use super::errors;
use super::local::OpenVault;
use super::operations::Result;
use super::reports::{FileReencrypted, KmsReply, ReencryptionEnded};
use crate::events::{Event, arn};
use crate::ids::{Ino, Timestamp};
use crate::keyring::KeyringError;
use crate::kms::{KmsError, KmsErrorName};
use crate::monitor::Monitor;
use crate::rewrap::{self, FileOutcome, ReencryptReport};
use crate::vault::{Destination, Error, NamedFile, Reencrypted};

/// How often a file that is in use is tried again, and how long that waits.
const CLOSE_TRIES: u32 = 4;
const CLOSE_PAUSE: Duration = Duration::from_millis(50);

impl OpenVault {
    /// Counts all files; the census is complete then. Returns how many files and directories can't be determined.
    pub(super) fn complete_census(&self, monitor: &mut Monitor<'_>) -> Result<(u64, Vec<NamedFile>)> {
        let (vault, path) = (self.files()?, self.path());
        let counted = rewrap::count(vault, &mut monitor.linked_to(&self.ending));
        match counted.map_err(|error| errors::of_vault(&path, &error))? {
            count if count.stopped => {
                Err(self.stopped(format!("{path}: stopped before all files were counted")))
            }
            count => Ok((count.unknown(), count.named)),
        }
    }

    /// Re-encrypts one file.
    pub(super) fn reencrypt_file(
        &self,
        ino: Ino,
        before: Option<Timestamp>,
        monitor: &mut Monitor<'_>,
    ) -> Result<FileReencrypted> {
        let (vault, stop) = self.writable_files("re-encrypt its files")?;
        let mut monitor = monitor.linked_to(&stop);
        let mut tries = 0;
        let outcome = loop {
            let outcome = rewrap::reencrypt_file(vault, ino, before, &mut monitor)
                .map_err(|error| errors::of_vault(&format!("inode {ino}"), &error))?;
            // The kernel tells of the last close a little after it.
            if outcome != FileOutcome::Was(Reencrypted::InUse) || tries == CLOSE_TRIES {
                break outcome;
            }
            tries += 1;
            std::thread::sleep(CLOSE_PAUSE);
        };
        Ok(match outcome {
            FileOutcome::Newer => FileReencrypted::Newer,
            FileOutcome::Was(Reencrypted::Done(new)) => FileReencrypted::Done { ino: new.0 },
            FileOutcome::Was(Reencrypted::Empty) => FileReencrypted::Empty,
            FileOutcome::Was(Reencrypted::Linked) => FileReencrypted::Linked,
            FileOutcome::Was(Reencrypted::InUse) => FileReencrypted::InUse,
            FileOutcome::Was(Reencrypted::Stopped) => {
                if !self.ending.is_cancelled() {
                    // By a remount, or by the client.
                    self.writable_files("re-encrypt its files")?;
                }
                FileReencrypted::Stopped
            }
        })
    }

    /// Re-encrypts all files of a vault that isn't mounted.
    ///
    /// # Errors
    /// If the root can't be read.
    pub fn reencrypt_all(
        &self,
        before: Option<Timestamp>,
        monitor: &mut Monitor<'_>,
    ) -> Result<ReencryptReport> {
        let (vault, path) = (self.files()?, self.path());
        let events = self.keys.events();
        events.record(&ReencryptionEnded::event(None));
        let report = rewrap::reencrypt_all(vault, before, &mut monitor.linked_to(&self.ending))
            .map_err(|error| errors::of_vault(&path, &error))?;
        events.record(&ReencryptionEnded::event(Some(ReencryptionEnded {
            files: report.files,
            reencrypted: report.reencrypted,
            left: report.left,
            complete: !report.stopped,
        })));
        Ok(report)
    }

    /// KMS's ReEncrypt, for a file's DEK.
    pub(super) fn rewrap_file_to(&self, ino: Ino, key_id: &str) -> Result<KmsReply> {
        let ((vault, _), keys) = (self.writable_files("re-wrap its files")?, &self.keys);
        let failed = |error: KeyringError| match KmsError::of(error) {
            Ok(error) => Ok(KmsReply::Failed { error }),
            Err(error) => Err(errors::of_keyring(&error)),
        };
        let named =
            |name, message: &str| Ok(KmsReply::Failed { error: KmsError { name, message: message.into() } });
        let to = match keys.re_encrypt_target(key_id) {
            Ok(to) => to,
            Err(error) => return failed(error),
        };
        let object = format!("inode {ino}");
        let from = match vault.count_file(ino) {
            Ok(Some(info)) => info.backing,
            Ok(None) => {
                let message = "The file has no data key: it is empty, or no regular file.";
                return named(KmsErrorName::ValidationException, message);
            }
            Err(Error::Corrupt(_)) => {
                return named(KmsErrorName::InvalidCiphertextException, "The file's header is damaged.");
            }
            Err(error) => return Err(errors::of_vault(&object, &error)),
        };
        if let Err(error) = keys.usable(from) {
            return failed(error.into());
        }
        vault.rewrap_to(ino, &Destination::Key(to)).map_err(|error| errors::of_vault(&object, &error))?;
        keys.events().record(&Event::KeyOperation { key: to, operation: "ReEncrypt" });
        Ok(KmsReply::Done { answer: json!({ "SourceKeyId": arn(from.key), "KeyId": arn(to) }) })
    }
}
