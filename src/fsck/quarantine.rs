//! Moves files that can't be read whole out of the vault: the ciphertext as it is, a report of what is wrong and which pages can
//! be read, and on request those pages decrypted. **Crash order**: the copy is durable before the file is removed.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::file::{Checkable, Content, check_header};
use super::finding::{Code, Disposition, Finding, Pages, Severity};
use super::pages::{Bad, Buffers, Runs, ranges, scan};
use super::repair::locate;
use super::run::CheckError;
use crate::content::block::{self, Opened};
use crate::content::layout::{self, PAGE};
use crate::ids::{LowerOffset, PageCount, PageIndex, PathText};
use crate::keyring::Keys;
use crate::names::{LowerKind, LowerName};
use crate::storage::{self, Access, Errno, FileKind, Writable};

/// Bytes copied in one call.
const CHUNK: u64 = 1 << 20;
/// The most directories in one quarantine.
const MOST: u32 = 1_000_000;

/// A directory outside the vault, and what was moved there.
pub(super) struct Quarantine<'a> {
    keys: &'a Keys,
    dir: OwnedFd,
    path: PathBuf,
    salvage: bool,
    /// By lower path: other findings about the same file have the same disposition.
    taken: HashMap<PathText, Disposition>,
}

/// Whether a finding means that a file's content can't be read whole.
fn is_loss(code: Code) -> bool {
    matches!(
        code,
        Code::HeaderDamaged
            | Code::HeaderMissing
            | Code::SizeImpossible
            | Code::SizeBelowFloor
            | Code::PageDamaged
            | Code::PageDamagedBelowFloor
            | Code::PageMissing
            | Code::Unreadable
    )
}

impl<'a> Quarantine<'a> {
    /// In the directory `path`, which is created if needed.
    pub(super) fn open(keys: &'a Keys, path: &Path, salvage: bool) -> Result<Self, CheckError> {
        let failed = |e| CheckError::Quarantine(path.to_owned(), e);
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if above.canonicalize().is_ok_and(|above| above.starts_with(keys.vault_path())) {
            return Err(CheckError::QuarantineInside(path.to_owned()));
        }
        let found = match storage::open_walked(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => storage::make_walked(path, 0o700),
            found => found,
        };
        let (dir, path) = found.map_err(failed)?;
        if path.starts_with(keys.vault_path()) {
            return Err(CheckError::QuarantineInside(path));
        }
        Ok(Self { keys, dir, path, salvage, taken: HashMap::new() })
    }

    /// Moves the file of a finding here. `None`: the finding doesn't call for that.
    pub(super) fn take(
        &mut self,
        _leave: Writable,
        vault: &OwnedFd,
        finding: &Finding,
    ) -> Option<Disposition> {
        if !is_loss(finding.code) || !finding.lower.as_path().starts_with("tree") {
            return None;
        }
        if let Some(disposition) = self.taken.get(&finding.lower) {
            return Some(disposition.clone());
        }
        let disposition = match self.move_here(vault, finding) {
            Ok(None) => return None,
            Ok(Some(disposition)) => disposition,
            Err(e) => Disposition::Refused { why: format!("not moved to {}: {e}", self.path.display()) },
        };
        self.taken.insert(finding.lower.clone(), disposition.clone());
        Some(disposition)
    }

    fn move_here(&self, vault: &OwnedFd, finding: &Finding) -> storage::Result<Option<Disposition>> {
        let (parent, entry) = locate(vault, finding)?;
        let file = storage::open_file(parent.as_fd(), entry, Access::ReadOnly)?;
        let fd = file.as_fd();
        let stat = storage::fstat(fd)?;
        if stat.kind() != FileKind::Regular {
            return Ok(None);
        }
        if stat.nlink > 1 {
            let why = format!("it has {} names; remove all but one in the mount, then move it", stat.nlink);
            return Ok(Some(Disposition::Refused { why }));
        }
        let header_check = check_header(fd, self.keys)?;
        if header_check.found.iter().any(|(code, _)| code.severity() == Severity::KeyMissing) {
            let why = "the keyring lacks its key: look for that first, the file may be whole";
            return Ok(Some(Disposition::Refused { why: why.to_owned() }));
        }
        let saved = match &header_check.body {
            Checkable::Sealed(content) => readable(fd, content)?,
            Checkable::Nothing | Checkable::Closed => Vec::new(),
        };
        if let Checkable::Sealed(content) = &header_check.body
            && !header_check.found.iter().any(|(code, _)| is_loss(*code))
            && saved.iter().map(|run| run.count.0).sum::<u64>() == content.pages.0
        {
            // The finding isn't about content.
            return Ok(None);
        }
        let (name, place) = self.new_directory()?;
        let copy = storage::create_file(place.as_fd(), b"ciphertext", 0o600)?;
        copy_sparse(fd, copy.as_fd(), stat.size)?;
        if let (Checkable::Sealed(content), true) = (&header_check.body, self.salvage) {
            let plain = storage::create_file(place.as_fd(), b"salvaged", 0o600)?;
            salvage(fd, content, &saved, plain.as_fd())?;
            storage::fsync(plain.as_fd())?;
        }
        let found: Vec<_> =
            header_check.found.iter().map(|(code, detail)| json!({"code": code, "detail": detail})).collect();
        let about = json!({
            "path": finding.path,
            "lower": finding.lower,
            "mode": format!("{:o}", stat.perm()),
            "uid": stat.uid,
            "gid": stat.gid,
            "modified": stat.mtime.secs,
            "header": found,
            "readable": saved,
        });
        let listing = storage::create_file(place.as_fd(), b"about.json", 0o600)?;
        storage::pwrite_all(listing.as_fd(), format!("{about:#}\n").as_bytes(), LowerOffset(0))?;
        for made in [&copy, &listing] {
            storage::fsync(made.as_fd())?;
        }
        for holding in [&place, &self.dir] {
            storage::fsync_dir(holding.as_fd())?;
        }
        storage::unlink(parent.as_fd(), entry)?;
        if LowerKind::of(entry) == LowerKind::LongEntry {
            // A failure leaves an orphan, which the next check reports.
            let _ = storage::unlink(parent.as_fd(), &LowerName::companion_of(entry));
        }
        storage::fsync_dir(parent.as_fd())?;
        Ok(Some(Disposition::Quarantined { into: PathText(self.path.join(name)), saved }))
    }

    /// A directory of its own for a file.
    fn new_directory(&self) -> storage::Result<(String, OwnedFd)> {
        for number in 1..MOST {
            let name = format!("{number:06}");
            match storage::mkdir(self.dir.as_fd(), name.as_bytes(), 0o700) {
                Ok(()) => {
                    let dir = storage::open_dir(self.dir.as_fd(), name.as_bytes())?;
                    return Ok((name, dir));
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::MLINK)
    }
}

/// Copies a file, holes as holes. Fails if any of it can't be read.
fn copy_sparse(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> storage::Result<()> {
    storage::truncate(to, LowerOffset(size))?;
    let mut buffer = vec![0; CHUNK as usize];
    let mut at = 0;
    while at < size {
        let Some(data) = storage::seek_data(from, LowerOffset(at))? else { break };
        let end = storage::seek_hole(from, data)?.map_or(size, |hole| hole.0).min(data.0 + CHUNK);
        let part = &mut buffer[..(end - data.0) as usize];
        let got = storage::pread(from, part, data)?;
        storage::pwrite_all(to, &part[..got], data)?;
        at = end;
    }
    storage::fsync(to)
}

/// The runs of pages that can be read, including holes.
fn readable(fd: BorrowedFd<'_>, content: &Content) -> storage::Result<Vec<Pages>> {
    let mut runs = Runs::default();
    scan(
        fd,
        content,
        0..content.pages.0,
        &mut Buffers::new(),
        &mut runs,
        &mut |_| ControlFlow::Continue(()),
    )?;
    if runs.0.iter().any(|(bad, _)| matches!(bad, Bad::Unreadable(_))) {
        return Err(Errno::IO);
    }
    let mut good = Vec::new();
    let mut at = 0;
    for bad in ranges(&runs).chain(std::iter::once(content.pages.0..content.pages.0)) {
        if at < bad.start {
            good.push(Pages { first: PageIndex(at), count: PageCount(bad.start - at) });
        }
        at = bad.end.max(at);
    }
    Ok(good)
}

/// Writes the plaintext of these pages at their offsets; the rest is zeros.
fn salvage(
    fd: BorrowedFd<'_>,
    content: &Content,
    pages: &[Pages],
    to: BorrowedFd<'_>,
) -> storage::Result<()> {
    let size = match layout::plain_size(storage::fstat(fd)?.lower_size()) {
        Ok(size) => size.0,
        Err(_) => layout::block_start(PageIndex(content.pages.0)).0,
    };
    storage::truncate(to, LowerOffset(size))?;
    let (mut lower, mut payload) = (vec![0; PAGE as usize], vec![0; layout::PAYLOAD as usize]);
    for page in pages.iter().flat_map(|run| run.first.0..run.first.0 + run.count.0).map(PageIndex) {
        let block = layout::block_range(page);
        let lower = &mut lower[..(block.end - block.start) as usize];
        let got = storage::pread(fd, lower, LowerOffset(block.start))?;
        lower[got..].fill(0);
        let key = content.header.content_key(layout::segment(page));
        let start = layout::block_start(page).0;
        let len = layout::payload(page).min(size.saturating_sub(start)) as usize;
        let payload = &mut payload[..layout::payload(page) as usize];
        if let Ok(Opened::Data) = block::open(&key, page, lower, payload) {
            storage::pwrite_all(to, &payload[..len], LowerOffset(start))?;
        }
    }
    Ok(())
}
