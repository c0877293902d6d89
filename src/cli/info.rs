//! `rekeyfs info`: what a vault's directory shows to anyone who can read it. It takes no lock, asks no daemon and writes
//! nothing. None of it is authenticated: someone who can write the directory can write this.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::fit;
use super::output;
use super::target::Target;
use super::terminal;
use super::unlock::{Row, slot_lines, unlabelled};
use crate::ids::{PathText, Timestamp, VaultId};
use crate::keyring::{Header, KeyringDir};
use crate::local_time;
use crate::printable;
use crate::storage::LowerFs;

/// Files that may lie beside the tree.
const FILES: [&str; 3] = ["keyring", "keyring.prev", "events.jsonl"];

#[derive(Serialize)]
struct Info {
    vault_id: VaultId,
    vault: PathText,
    format: u16,
    features: Vec<String>,
    suite: String,
    files: Vec<FileInfo>,
    filesystem: String,
    /// Why a power cut may cost synced data there.
    power_cut_risk: Option<String>,
    mount: Option<MountInfo>,
    slots: Vec<Row>,
}

#[derive(Serialize)]
struct FileInfo {
    name: &'static str,
    bytes: u64,
    modified: String,
}

#[derive(Serialize)]
struct MountInfo {
    mountpoint: PathText,
    pid: i32,
    uid: u32,
}

/// Shows it.
///
/// # Errors
/// [`Exit::Vault`] if it is no vault; why its keyring can't be read.
pub(super) fn run(args: &args::Info) -> Outcome {
    let info = Info::of(&Target::resolve(&args.target)?)?;
    if *args.json {
        return output::print_json(&info);
    }
    output::print(&text(&info, terminal::width(), &local_time::zone()))
}

impl Info {
    fn of(target: &Target) -> Outcome<Self> {
        let dir = KeyringDir::open(target.vault()).map_err(|error| errors::opening(&error))?;
        let header = dir.read().map_err(|error| errors::opening(&error))?.into_header();
        let failed = |error: std::io::Error| Failure::new(Exit::Vault, target.vault().display(), error);
        let descriptor = dir.descriptor().map_err(|error| errors::opening(&error))?;
        let lower = LowerFs::probe(descriptor.as_fd()).map_err(|error| failed(error.into()))?;
        let mount = match target {
            Target::Vault(_) => None,
            Target::Mounted(entry) => {
                Some(MountInfo { mountpoint: entry.mountpoint.clone(), pid: entry.pid, uid: entry.owner })
            }
        };
        Ok(Self {
            vault_id: header.vault,
            vault: PathText(dir.path().to_owned()),
            format: Header::FORMAT,
            features: header.features(),
            suite: header.suite.to_string(),
            files: FILES.into_iter().filter_map(|name| FileInfo::of(name, dir.path())).collect(),
            power_cut_risk: lower.power_cut_risk(),
            filesystem: lower.fs_type.into_owned(),
            mount,
            slots: unlabelled(header.slots.list()),
        })
    }
}

impl FileInfo {
    fn of(name: &'static str, vault: &Path) -> Option<Self> {
        let meta =
            fs::symlink_metadata(PathBuf::from(vault).join(name)).ok().filter(fs::Metadata::is_file)?;
        let modified = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis();
        let modified = Timestamp(i64::try_from(modified).ok()?).to_string();
        Some(Self { name, bytes: meta.len(), modified })
    }
}

/// Columns of a line's name.
const NAME: usize = 12;

/// No line is wider but for a word that can't be parted, such as a path.
fn text(info: &Info, width: usize, zone: &TimeZone) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        out.push_str(&fit::folded(&format!("{name:<NAME$} {value}"), width, NAME + 1));
    };
    line("vault", &info.vault_id.to_string());
    line("directory", &printable::path(info.vault.as_path()));
    line("format", &info.format.to_string());
    line("features", &if info.features.is_empty() { "none".to_owned() } else { info.features.join(", ") });
    line("suite", &info.suite);
    for file in &info.files {
        let size = printable::counted(i128::from(file.bytes), "byte", "bytes");
        line(file.name, &format!("{size}, written {}", local_time::reworded(&file.modified, zone)));
    }
    let risk = info.power_cut_risk.as_ref().map(|risk| format!("; {risk}")).unwrap_or_default();
    line("filesystem", &format!("{}{risk}", printable::line(&info.filesystem)));
    match &info.mount {
        None => line("mount", "not mounted, as far as this user can see"),
        Some(mount) => {
            let at = printable::path(mount.mountpoint.as_path());
            line("mount", &format!("{at} (process {}, uid {})", mount.pid, mount.uid));
        }
    }
    let last =
        "Nothing of this is authenticated: `rekeyfs status` shows what a secret of the vault vouches for.";
    out + "\n" + &slot_lines(&info.slots, width, zone) + "\n" + &fit::folded(last, width, 0)
}
