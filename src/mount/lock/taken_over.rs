//! A mount, or a command that changes a vault, whose vault another host has taken over: it ends itself as soon as it sees that.
//!
//! A host that is cut off from the cluster can't be told. Once it is connected again the process reads the record in the lock file
//! anew, every few seconds, and where that names another host it kills itself, without writing anything more: what it has
//! not written yet would destroy the other host's files. A record that is empty says as much: the other host has come and gone, or
//! this one was evicted. It is looked at twice. What its kernel and the cluster's client send by themselves, and what programs
//! write until then, this doesn't keep out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::super::log;
use super::record::Record;

/// How often the record is read.
const INTERVAL: Duration = Duration::from_secs(3);

/// The thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub struct TakeOverWatch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TakeOverWatch {
    /// Looks at the vault of this directory, for the host called `us`, whose record was written if `recorded` is set.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(dir: OwnedFd, vault: PathBuf, us: String, recorded: bool) -> io::Result<Self> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().name("rekeyfs-lock".into()).spawn(move || {
            let mut was_empty = false;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let record = Record::of(dir.as_fd());
                let is_empty = recorded && matches!(record, Ok(Record::Empty));
                let other = match record {
                    Ok(Record::Of(holder)) if holder.is_of_other_than(&us) => {
                        format!("host {}", holder.host.escape_default())
                    }
                    _ if is_empty && was_empty => "another host".to_owned(),
                    _ => {
                        was_empty = is_empty;
                        continue;
                    }
                };
                tracing::error!(
                    "{}: {other} has taken it over: this process ends now, without writing anything more",
                    vault.display()
                );
                log::finish();
                let _ = kill_process(getpid(), Signal::KILL);
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for TakeOverWatch {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks at the vault's lock panicked");
        }
    }
}
