//! `rekeyfs unlock` as clap takes it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::common::{Json, Kdf, NewCustodian, NewSecret, Open, Revoke, TargetArg};

/// `rekeyfs unlock`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(in crate::cli) struct Unlock {
    #[command(subcommand)]
    pub(in crate::cli) command: UnlockCommand,
}

/// The commands of `rekeyfs unlock`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum UnlockCommand {
    /// Show the unlock slots; asks for no secret
    List(UnlockList),
    /// Tell which slot a secret opens, and how long that takes; changes nothing, and asks nothing of a mount
    Test(UnlockTest),
    /// Add a passphrase, key file, recovery key or custodian
    Add(UnlockAdd),
    /// Give a slot a label, or take it away
    Label(UnlockLabel),
    /// Remove a slot
    Remove(UnlockRemove),
    /// Replace the secret of a slot
    Change(UnlockChange),
    /// Have the custodian of a slot keep a new key, and replace the slot: after its key or the machine was changed
    Rebind(UnlockRebind),
    /// Let this host know a vault, so that custodians may open it unattended
    Trust(UnlockTrust),
}

/// `rekeyfs unlock list`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockList {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// Show labels of a vault that isn't mounted too: they are sealed, so a secret is asked for. With an option that gives one,
    /// and of a mount, they are shown anyway
    #[arg(long)]
    pub(in crate::cli) labels: bool,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock test`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockTest {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// Try the secret on this key backup or keyring file instead of on a vault
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) keyring: Option<PathBuf>,
    /// With --keyring: open a key backup for age recipients with the age identity in this file
    #[arg(long, value_name = "FILE", requires = "keyring", conflicts_with_all = [
        "passfile", "extpass", "keyfile", "recovery_key",
    ])]
    pub(in crate::cli) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock label`. clap leaves out the first of two arguments, not of three: how many there are says which is which.
#[derive(Args, Debug)]
#[command(override_usage = "rekeyfs unlock label [OPTIONS] [TARGET] <SLOT> <TEXT>")]
pub(in crate::cli) struct UnlockLabel {
    /// A vault's directory, a mountpoint, or any path inside a mount; left out if there are two arguments
    #[arg(value_name = "TARGET")]
    first: OsString,
    /// The slot: its id, at least 4 characters from its beginning, or its label
    #[arg(value_name = "SLOT")]
    second: String,
    /// What it is called from now on: one line of at most 64 bytes; an empty text takes the label away
    #[arg(value_name = "TEXT")]
    third: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// Which slot of which vault gets which label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct Labelling {
    pub(in crate::cli) target: TargetArg,
    pub(in crate::cli) slot: String,
    pub(in crate::cli) label: String,
}

impl UnlockLabel {
    /// What the arguments say; none if one that is no text is to be a slot.
    pub(in crate::cli) fn labelling(&self) -> Option<Labelling> {
        let (first, second) = (self.first.clone(), self.second.clone());
        Some(match self.third.clone() {
            Some(label) => Labelling { target: TargetArg::or_here(Some(first.into())), slot: second, label },
            None => {
                Labelling { target: TargetArg::or_here(None), slot: first.into_string().ok()?, label: second }
            }
        })
    }
}

/// `rekeyfs recover`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Recover {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The slot of the forgotten passphrase: its id, at least 4 characters from its beginning, or its label; without it, the
    /// only one of a passphrase
    #[arg(long, value_name = "SLOT")]
    pub(in crate::cli) slot: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Take the new passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "new_extpass")]
    pub(in crate::cli) new_passfile: Option<PathBuf>,
    /// Take the new passphrase from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) new_extpass: Option<OsString>,
    /// What the new passphrase's slot is called; without it, what the forgotten one's was
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) label: Option<String>,
    /// Draw a new recovery key, which is shown once, in the place of the one that is used
    #[arg(long)]
    pub(in crate::cli) new_recovery_key: bool,
    #[command(flatten)]
    pub(in crate::cli) kdf: Kdf,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock add`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockAdd {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// What the slot is called: one line of at most 64 bytes
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) label: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) new: NewSecret,
    #[command(flatten)]
    pub(in crate::cli) custodian: NewCustodian,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock rebind`.
#[derive(Args, Debug)]
#[command(allow_missing_positional = true)]
pub(in crate::cli) struct UnlockRebind {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The custodian's slot: its id, at least 4 characters from its beginning, or its label
    pub(in crate::cli) slot: String,
    /// What the custodian finds its key by, as a JSON object; without it, what the slot says
    #[arg(long, value_name = "JSON")]
    pub(in crate::cli) params: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock trust`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockTrust {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock remove`.
#[derive(Args, Debug)]
#[command(allow_missing_positional = true)]
pub(in crate::cli) struct UnlockRemove {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The slot: its id, as `rekeyfs unlock list` shows it, at least 4 characters from its beginning, or its label
    pub(in crate::cli) slot: String,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) revoke: Revoke,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs unlock change`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockChange {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The slot to replace: its id, at least 4 characters from its beginning, or its label; without it, the one that the
    /// given secret opens, if the new secret is of its kind
    #[arg(long, value_name = "SLOT")]
    pub(in crate::cli) slot: Option<String>,
    /// What the new slot is called; without it, what the old one was
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) label: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) new: NewSecret,
    #[command(flatten)]
    pub(in crate::cli) revoke: Revoke,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
