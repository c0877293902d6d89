//! `rekeyfs generate`, with which the package is made: a command line of its own, since it is no command for users.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// `rekeyfs generate WHAT DIR`.
#[derive(Parser, Debug)]
#[command(name = "rekeyfs", disable_help_subcommand = true)]
pub(super) struct Packaging {
    #[command(subcommand)]
    command: PackagingCommand,
}

#[derive(Subcommand, Debug)]
enum PackagingCommand {
    /// Write what a package holds beside the program
    Generate {
        #[command(subcommand)]
        what: Generated,
    },
}

/// What is generated.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Generated {
    /// Write manual pages into man1 and man8 below a directory
    Man {
        /// The directory, which is made if need be
        dir: PathBuf,
    },
    /// Write completions for bash, zsh and fish into a directory
    Completions {
        /// The directory, which is made if need be
        dir: PathBuf,
    },
}

impl From<Packaging> for Generated {
    fn from(typed: Packaging) -> Self {
        let PackagingCommand::Generate { what } = typed.command;
        what
    }
}
