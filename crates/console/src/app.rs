//! What the pages have: the vault of a mount, asked through its control socket as the user who started this asks it, and
//! what came of it. A refusal of the daemon is shown in its own words.

use hyper::StatusCode;
use rekeyfs::console::ServePages;
use rekeyfs::control::Client;
use rekeyfs::kms::{Call, KmsErrorName, Page};
use rekeyfs::monitor::Monitor;
use rekeyfs::printable;
use rekeyfs::service::{ErrorKind, ErrorReply, KmsReply, Operations};
use serde_json::Value;

use crate::jobs::{Job, Jobs, Work};
use crate::session::Sessions;
use crate::vault::Vault;

/// What the daemon said, or why it didn't.
pub(crate) type Answer<T> = Result<T, ErrorReply>;

/// Why something can't be shown, or wasn't done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Some of the files for which it is refused.
    pub(crate) files: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), files: Vec::new() }
    }

    /// There is no such page.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such page. Choose one in the navigation.")
    }
}

impl From<ErrorReply> for Refusal {
    fn from(error: ErrorReply) -> Self {
        let status = match error.kind {
            ErrorKind::Busy | ErrorKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Other | ErrorKind::Corrupt | ErrorKind::KeyringNotWritten => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::BAD_REQUEST,
        };
        let path = |file: &rekeyfs::service::NamedFile| match &file.path {
            Some(path) => printable::path(path.as_path()),
            None => file.lower.clone(),
        };
        let files = error.files.iter().map(|file| format!("{}: {}", path(file), file.why)).collect();
        Self { status, message: error.message, files }
    }
}

/// The console of a vault.
pub(crate) struct Console {
    vault: Vault,
    /// The vault's directory, as the pages call it.
    pub(crate) name: String,
    /// Nothing is changed.
    pub(crate) read_only: bool,
    pub(crate) sessions: Sessions,
    /// Work on all files.
    pub(crate) jobs: Jobs,
}

impl Console {
    pub(crate) fn of(serve: &ServePages, sessions: Sessions) -> Self {
        let name = printable::path(serve.vault.as_path());
        let vault = Vault::of(serve.location, serve.owner);
        Self { vault, name, read_only: serve.read_only, sessions, jobs: Jobs::default() }
    }

    /// Asks the daemon, on a thread on which waiting is allowed.
    ///
    /// # Errors
    /// Those of the question; the vault isn't mounted.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Answer<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        Ok(self.vault.ask(question).await?)
    }

    /// Begins work on all files.
    ///
    /// # Errors
    /// Other work is under way.
    pub(crate) fn start(&self, work: Work) -> Result<Job, Refusal> {
        Ok(self.jobs.start(&self.vault, work)?)
    }

    /// Does one operation of the KMS interface.
    ///
    /// # Errors
    /// Refused or failed.
    pub(crate) async fn kms(&self, call: Call) -> Result<Value, Refusal> {
        self.ask(move |client| done(client, &call)).await
    }
}

/// What an operation of the KMS interface answers. AWS's name of a refusal is in its message.
///
/// # Errors
/// Refused or failed.
pub(crate) fn done(client: &Client, call: &Call) -> Answer<Value> {
    match client.kms(call, None, &mut Monitor::unattended())? {
        KmsReply::Done { answer } => Ok(answer),
        KmsReply::Failed { error } => {
            let kind = match error.name {
                KmsErrorName::NotFoundException => ErrorKind::NotFound,
                _ => ErrorKind::KeyNotUsable,
            };
            Err(ErrorReply::new(kind, error.to_string()))
        }
    }
}

/// A whole list, which comes in pages.
///
/// # Errors
/// Refused or failed.
pub(crate) fn listed(client: &Client, field: &str, call: impl Fn(Page) -> Call) -> Answer<Vec<Value>> {
    let (mut items, mut marker) = (Vec::new(), None);
    loop {
        let mut part = done(client, &call(Page { limit: Some(PAGE_MAX), marker }))?;
        if let Some(Value::Array(some)) = part.get_mut(field).map(Value::take) {
            items.extend(some);
        }
        marker = part.get("NextMarker").and_then(Value::as_str).map(str::to_owned);
        if marker.is_none() {
            return Ok(items);
        }
    }
}

/// Items of a page, at most.
const PAGE_MAX: i64 = 1000;
