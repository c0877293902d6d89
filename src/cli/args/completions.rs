//! Completions of the command line for shells, from the definitions of the commands.
//!
//! **What completes what.** A value that is a path completes paths, one of a fixed set these, and any other (a key, an alias,
//! a number) nothing: the files here are no keys. An empty word completes paths where a command takes one, and options come
//! after a `-`; the same in all shells.

use std::collections::BTreeMap;

use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

use super::definitions;

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
    let of = |shell| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut hinted(definitions()), "rekeyfs", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    };
    let mut takers = BTreeMap::new();
    path_takers(&definitions(), "rekeyfs", &mut takers);
    vec![
        Completion { file: "rekeyfs", script: paths_in_bash(&of(Shell::Bash), &takers).into_bytes() },
        Completion { file: "_rekeyfs", script: of(Shell::Zsh).into_bytes() },
        Completion { file: "rekeyfs.fish", script: of(Shell::Fish).into_bytes() },
    ]
}

/// The definitions, with what values are. clap knows the paths by their type.
fn hinted(command: Command) -> Command {
    let hint = |arg: Arg| {
        let named =
            |name: &str| arg.get_value_names().is_some_and(|names| names.iter().any(|known| known == name));
        let hint = match arg.get_value_hint() {
            _ if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() => return arg,
            ValueHint::AnyPath if named("DIR") => ValueHint::DirPath,
            ValueHint::AnyPath => ValueHint::FilePath,
            ValueHint::Unknown if named("COMMAND") => ValueHint::CommandString,
            ValueHint::Unknown => ValueHint::Other,
            known => known,
        };
        arg.value_hint(hint)
    };
    command.mut_args(hint).mut_subcommands(hinted)
}

/// The commands whose arguments are paths, by the names that bash's script has for them, with their own commands.
fn path_takers(command: &Command, name: &str, takers: &mut BTreeMap<String, Vec<String>>) {
    let commands: Vec<String> = command.get_subcommands().map(|known| known.get_name().to_owned()).collect();
    let is_path = |arg: &Arg| arg.get_value_hint() == ValueHint::AnyPath;
    if command.get_positionals().any(is_path) {
        takers.insert(name.to_owned(), commands);
    }
    for known in command.get_subcommands() {
        path_takers(
            known,
            &format!("{name}__subcmd__{}", known.get_name().replace('-', "__subcmd__")),
            takers,
        );
    }
}

/// clap's script completes options for an empty word. Where a command takes a path its own commands and paths come instead,
/// as `complete -o default` has them where nothing else is offered.
fn paths_in_bash(script: &str, takers: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::new();
    let mut commands: Option<&Vec<String>> = None;
    for line in script.lines() {
        // The case of a command begins with its name, eight columns in; what is completed last in it stands at twelve.
        if let Some(name) = line.strip_prefix("        ").and_then(|rest| rest.strip_suffix(')'))
            && !name.starts_with(' ')
        {
            commands = takers.get(name);
        }
        match commands {
            Some(_) if line.starts_with("            if [[ ${cur} == -* ||") => {
                out.push_str("            if [[ ${cur} == -* ]] ; then");
            }
            Some(commands) if line.starts_with("            COMPREPLY=( $(compgen -W \"${opts}\"") => {
                if commands.is_empty() {
                    out.push_str("            COMPREPLY=()");
                } else {
                    let commands = commands.join(" ");
                    out.push_str(&format!(
                        "            mapfile -t COMPREPLY < <(compgen -W \"{commands}\" -- \"${{cur}}\"; compgen -f -- \"${{cur}}\")\n            \
                         compopt -o filenames"
                    ));
                }
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
