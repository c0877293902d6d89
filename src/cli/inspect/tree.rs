//! The files below directories. Names are read here, so that they are as the user sees them; what wraps the files of a
//! mount is asked of its daemon for many at a time, and of ciphertext it is read here.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::columns::Columns;
use super::file::{Around, Inspector, Row, open, text, through_xattrs};
use super::filter::Filter;
use crate::cli::args;
use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::cli::target::{self, unread};
use crate::control::{Client, Entry};
use crate::ids::Ino;
use crate::names::LowerKind;
use crate::service::{ErrorKind, INSPECTED_TOGETHER, Inspected, Operations};

/// Where the files of a directory tree are looked up.
enum Place {
    /// In a mount, by its daemon.
    Mount(Box<Entry>),
    /// In a mount whose daemon doesn't serve this user.
    Xattrs,
    /// In the ciphertext.
    Ciphertext(Box<Around>),
}

/// Lists what is below a directory; `failures` receives what can't be looked at. Ends silently where nobody reads the list
/// any more.
///
/// # Errors
/// The directory can't be read, the filter names no key, or the list can't be written.
pub(super) fn list(
    inspector: &Inspector,
    args: &args::Inspect,
    top: &Path,
    failures: &mut dyn FnMut(Failure),
) -> Outcome {
    let meta = fs::metadata(top).map_err(|error| unread(top, error))?;
    let of_mount = inspector.entries.iter().find(|entry| entry.mount_dev == meta.dev());
    // Of a vault's directory the tree has the files.
    let is_vault = meta.is_dir() && of_mount.is_none() && target::is_vault(top);
    let top = if is_vault { top.join("tree") } else { top.to_owned() };
    let place = match of_mount {
        Some(entry) => Place::Mount(Box::new(entry.clone())),
        None if inspector.in_a_vaults_mount(meta.dev()) => Place::Xattrs,
        None => match target::left_mountpoint(&top) {
            Some(failure) => return Err(failure),
            None => Place::Ciphertext(Box::new(inspector.around(&top))),
        },
    };
    let status = match &place {
        Place::Mount(entry) => Some(Client::of(entry).status().map_err(|error| errors::operation(&error))?),
        Place::Xattrs => None,
        Place::Ciphertext(around) => around.status().cloned(),
    };
    let filter = Filter::new(args, status.as_ref())?;
    let columns = if *args.json || args.print0 { None } else { Columns::of_terminal(status.as_ref()) };
    if columns.is_some() && matches!(place, Place::Ciphertext(_)) {
        output::complain(&format!("{}: of ciphertext nothing is verified", top.display()));
    }
    let (device, found) = (meta.dev(), Vec::new());
    let mut list = List { inspector, args, filter, columns, place, device, found, failures };
    list.below(&top)?;
    list.flush()
}

struct List<'a> {
    inspector: &'a Inspector,
    args: &'a args::Inspect,
    filter: Filter,
    /// How lines are laid out on a terminal.
    columns: Option<Columns>,
    place: Place,
    device: u64,
    /// Files of the mount that its daemon is to be asked for.
    found: Vec<(PathBuf, Ino)>,
    failures: &'a mut dyn FnMut(Failure),
}

impl List<'_> {
    fn below(&mut self, top: &Path) -> Outcome {
        let mut todo = vec![top.to_owned()];
        while let Some(dir) = todo.pop() {
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                // A file that was named beside directories.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory && dir == top => {
                    self.file(dir)?;
                    continue;
                }
                Err(error) => {
                    self.failed(&dir, dir != top, error);
                    continue;
                }
            };
            let first = todo.len();
            for entry in entries {
                let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                    Ok(found) => found,
                    Err(error) => {
                        self.failed(&dir, false, error);
                        break;
                    }
                };
                if kind.is_dir() {
                    todo.push(path);
                } else if kind.is_file() {
                    self.file(path)?;
                }
            }
            // By name: the first is the last that was pushed.
            todo[first..].sort_unstable_by(|a, b| b.cmp(a));
            let device = self.device;
            // Another filesystem that is mounted below holds other files.
            todo.retain(|dir| fs::symlink_metadata(dir).map_or(true, |meta| meta.dev() == device));
        }
        Ok(())
    }

    fn failed(&mut self, path: &Path, below: bool, error: io::Error) {
        // What was removed meanwhile isn't there to be listed.
        if !(below && error.kind() == io::ErrorKind::NotFound) {
            (self.failures)(unread(path, error));
        }
    }

    fn file(&mut self, path: PathBuf) -> Outcome {
        match &self.place {
            Place::Mount(_) => {
                let meta = match fs::symlink_metadata(&path) {
                    Ok(meta) if meta.dev() == self.device => meta,
                    Ok(_) => return Ok(()),
                    Err(error) => {
                        self.failed(&path, true, error);
                        return Ok(());
                    }
                };
                self.found.push((path, Ino(meta.ino())));
                if self.found.len() == INSPECTED_TOGETHER { self.flush() } else { Ok(()) }
            }
            Place::Xattrs => {
                let read = open(&path, libc::O_NONBLOCK);
                match read {
                    Ok(file) => self.tell(through_xattrs(&path, &file)),
                    Err(error) => {
                        self.failed(&path, true, error);
                        Ok(())
                    }
                }
            }
            Place::Ciphertext(around) => {
                let name = path.file_name().unwrap_or_default().as_bytes();
                if matches!(LowerKind::of(name), LowerKind::Name | LowerKind::LongEntry) {
                    let read = open(&path, libc::O_NONBLOCK);
                    match read {
                        Ok(file) => {
                            let row = self.inspector.ciphertext(&path, file, around);
                            self.tell(row)
                        }
                        Err(error) => {
                            self.failed(&path, true, error);
                            Ok(())
                        }
                    }
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Asks the daemon for the files that were found. One that it doesn't know is asked for again by itself, which tells why.
    fn flush(&mut self) -> Outcome {
        let Place::Mount(entry) = &self.place else { return Ok(()) };
        if self.found.is_empty() {
            return Ok(());
        }
        let entry = entry.clone();
        let found = std::mem::take(&mut self.found);
        let inos: Vec<Ino> = found.iter().map(|(_, ino)| *ino).collect();
        let answers: Vec<Option<Inspected>> = match Client::of(&entry).inspect_files(&inos) {
            Ok(answers) => answers,
            // An older daemon doesn't take many at a time.
            Err(error) if error.kind == ErrorKind::BadRequest => Vec::new(),
            Err(error) => return Err(errors::operation(&error)),
        };
        let mut answers = answers.into_iter();
        for (path, _) in found {
            let row = match answers.next().flatten() {
                Some(inspected) => Ok(Row::of(&path, inspected)),
                None => match self.inspector.through_daemon(&path, &entry, self.device) {
                    Err(_) if !path.exists() => continue,
                    row => row,
                },
            };
            self.tell(row)?;
        }
        Ok(())
    }

    /// Prints a file if the filter takes it.
    fn tell(&mut self, row: Outcome<Row>) -> Outcome {
        let row = match row {
            Ok(row) => row,
            Err(failure) => {
                (self.failures)(failure);
                return Ok(());
            }
        };
        match self.filter.takes(&row) {
            Ok(false) => Ok(()),
            Err(why) => {
                (self.failures)(Failure::new(Exit::Other, row.path.as_path().display(), why));
                Ok(())
            }
            Ok(true) if self.args.print0 => output::print_path0(row.path.as_path()),
            Ok(true) if *self.args.json => output::print_json_line(&row),
            Ok(true) => match &self.columns {
                Some(columns) => output::print(&columns.line(&row)),
                None => output::print(&text(&row)),
            },
        }
    }
}
