//! `rekeyfs key-backup`, as it is typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args, Subcommand};

use super::common::{Json, Kdf, NewSecret, NextVersion, Open, TargetArg};

/// `rekeyfs key-backup`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(in crate::cli) struct KeyBackup {
    #[command(subcommand)]
    pub(in crate::cli) command: KeyBackupCommand,
}

/// The commands of `rekeyfs key-backup`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum KeyBackupCommand {
    /// Write all keys to a file, sealed under a passphrase of its own or for age recipients. Asks for a secret of the vault,
    /// also while it is mounted
    Export(Export),
    /// Keep a backup true: a file that is written again after each change of keys, by the mount, or by the command that
    /// makes the change. Asks for a secret of the vault, also while it is mounted
    Keep(Keep),
    /// Make the keyring of a vault that lost it from a backup, with new unlock slots
    Import(Import),
    /// Bring back key versions that were lost with a newer keyring, from that keyring or a backup of it. Fills lost
    /// versions and adds keys that are missing; changes nothing else
    Merge(Merge),
}

/// TARGET of a vault whose keyring is replaced. An argument that is changed becomes the last one, unless its place is said.
fn unmounted(target: Arg) -> Arg {
    target.index(1).help("The vault's directory; it must not be mounted")
}

/// Who can open a backup that has no passphrase.
#[derive(Args, Debug)]
pub(in crate::cli) struct AgeRecipients {
    /// Who can open it: an age recipient (age1…, ssh-…); several may be given. Without any, a passphrase of its own does
    #[arg(long, value_name = "RECIPIENT", conflicts_with_all = ["backup_passfile", "backup_extpass"])]
    pub(in crate::cli) recipient: Vec<String>,
    /// Who can open it: the age recipients in a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup_passfile", "backup_extpass"])]
    pub(in crate::cli) recipients_file: Vec<PathBuf>,
}

/// `rekeyfs key-backup export`.
#[derive(Args, Debug)]
#[command(allow_missing_positional = true)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The file to write; it must not exist. `-` is standard output
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) age: AgeRecipients,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) backup: BackupPass,
    #[command(flatten)]
    pub(in crate::cli) kdf: Kdf,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs key-backup import`.
#[derive(Args, Debug)]
#[command(allow_missing_positional = true, mut_arg("target", unmounted))]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The backup; `-` is standard input
    #[arg(index = 2)]
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) backup: BackupPass,
    /// Open a backup for age recipients with the age identity in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup_passfile", "backup_extpass"])]
    pub(in crate::cli) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) new: NewSecret,
    /// Also where the vault has a keyring that isn't visibly damaged; it is kept under another name
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Also a backup whose keys don't open the names in the vault's root directory: it is another vault's, or somebody else's,
    /// unless these names are damaged
    #[arg(long)]
    pub(in crate::cli) unproven: bool,
    #[command(flatten)]
    pub(in crate::cli) next: NextVersion,
    /// Try the backup's passphrase whatever that costs: only for a backup that is known to be yours
    #[arg(long)]
    pub(in crate::cli) any_cost: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs key-backup merge`.
#[derive(Args, Debug)]
#[command(allow_missing_positional = true, mut_arg("target", unmounted))]
pub(in crate::cli) struct Merge {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// A keyring file or a key backup of the same vault; `-` is standard input
    #[arg(index = 2)]
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) backup: BackupPass,
    /// Open the file with a key file of 32 random bytes instead of a passphrase
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup_passfile", "backup_extpass"])]
    pub(in crate::cli) backup_keyfile: Option<PathBuf>,
    /// Open the file with its recovery key: what is asked for or read is that, not the passphrase
    #[arg(long, conflicts_with = "backup_keyfile")]
    pub(in crate::cli) backup_recovery_key: bool,
    /// Open a backup for age recipients with the age identity in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "backup_passfile", "backup_extpass", "backup_keyfile", "backup_recovery_key",
    ])]
    pub(in crate::cli) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs key-backup keep`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Keep {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The file, which must not exist or be empty. On another disk than the vault: whatever takes the one must leave the
    /// other
    #[arg(long, value_name = "FILE", required_unless_present_any = ["list", "stop"])]
    pub(in crate::cli) to: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) age: AgeRecipients,
    /// List the backups that are kept, and how true they are
    #[arg(long, conflicts_with_all = ["to", "stop", "recipient", "recipients_file"])]
    pub(in crate::cli) list: bool,
    /// Stop keeping the backup that --to names, or all. The files stay
    #[arg(long, conflicts_with_all = ["recipient", "recipients_file"])]
    pub(in crate::cli) stop: bool,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) backup: BackupPass,
    #[command(flatten)]
    pub(in crate::cli) kdf: Kdf,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// Where the passphrase of a backup comes from; without any, it is asked for.
#[derive(Args, Debug)]
pub(in crate::cli) struct BackupPass {
    /// Take the backup's passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "backup_extpass")]
    pub(in crate::cli) backup_passfile: Option<PathBuf>,
    /// Take the backup's passphrase from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) backup_extpass: Option<OsString>,
}
