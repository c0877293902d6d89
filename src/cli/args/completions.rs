//! Completions of the command line for shells, from the definitions of the commands.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Typed;

/// One shell's script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct Completion {
    /// The file name that the shell looks for.
    pub(in crate::cli) file: &'static str,
    /// What it runs.
    pub(in crate::cli) script: Vec<u8>,
}

/// The scripts for all shells.
pub(in crate::cli) fn completions() -> Vec<Completion> {
    let of = |shell, file| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Typed::command(), "rekeyfs", &mut script);
        Completion { file, script }
    };
    vec![of(Shell::Bash, "rekeyfs"), of(Shell::Zsh, "_rekeyfs"), of(Shell::Fish, "rekeyfs.fish")]
}
