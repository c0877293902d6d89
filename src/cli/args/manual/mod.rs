//! Manual pages: one a command, from the definition that clap parses by, so that they say what `--help` says. What is
//! more to be said (where mount(8) finds a vault, files, environment) stands beside this file, as roff.
//!
//! A page's name is the command's words with hyphens, `rekeyfs-key-retire`. Commands are in section 1. What an operator
//! looks for beside mount(8) and fsck(8) is in section 8, and only there.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Fstab, Typed, UmountHelper, VERSION};

/// The heading of all pages.
const MANUAL: &str = "rekeyfs Manual";
/// Pages of section 8.
const ADMINISTRATION: &[&str] =
    &["rekeyfs-fsck", "rekeyfs-mount", "mount.fuse.rekeyfs", "umount.fuse.rekeyfs"];
/// Pages with more to say than the command's definition: sections in roff, put before the exit statuses.
const MORE: &[(&str, &str)] = &[
    ("rekeyfs", include_str!("rekeyfs.roff")),
    ("rekeyfs-mount", include_str!("mount.roff")),
    ("rekeyfs-umount", include_str!("umount.roff")),
    ("rekeyfs-fsck", include_str!("fsck.roff")),
    ("mount.fuse.rekeyfs", include_str!("mount_helper.roff")),
    ("umount.fuse.rekeyfs", include_str!("umount_helper.roff")),
];
/// What pages refer to beside rekeyfs(1) and their own commands.
const SEE_ALSO: &[(&str, &[&str])] = &[
    ("rekeyfs", &["mount.fuse.rekeyfs(8)", "rekeyfs-vault(5)", "fuse(8)"]),
    (
        "rekeyfs-mount",
        &["rekeyfs-umount(1)", "mount.fuse.rekeyfs(8)", "mount(8)", "fstab(5)", "fusermount3(1)"],
    ),
    ("rekeyfs-umount", &["rekeyfs-mount(8)", "umount.fuse.rekeyfs(8)", "umount(8)"]),
    ("rekeyfs-fsck", &["rekeyfs-vault(5)", "fsck(8)"]),
    ("mount.fuse.rekeyfs", &["rekeyfs-mount(8)", "umount.fuse.rekeyfs(8)", "mount(8)", "fstab(5)"]),
    ("umount.fuse.rekeyfs", &["rekeyfs-umount(1)", "mount.fuse.rekeyfs(8)", "umount(8)"]),
];

/// A manual page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct Page {
    name: String,
    /// The manual's section.
    pub(in crate::cli) section: u8,
    /// The page, as man(1) takes it.
    pub(in crate::cli) roff: String,
}

impl Page {
    /// As man(1) looks for it.
    pub(in crate::cli) fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// All pages that come from the definitions of commands.
pub(in crate::cli) fn manual() -> Vec<Page> {
    let mut pages = Vec::new();
    for mut command in [Typed::command(), Fstab::command(), UmountHelper::command()] {
        command.build();
        add(&command, &mut pages);
    }
    pages
}

fn add(command: &Command, pages: &mut Vec<Page>) {
    pages.push(page(command));
    shown(command).for_each(|sub| add(sub, pages));
}

/// Its commands that `--help` lists.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn name_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn section_of(name: &str) -> u8 {
    if ADMINISTRATION.contains(&name) { 8 } else { 1 }
}

fn page(command: &Command) -> Page {
    let name = name_of(command).to_owned();
    let section = section_of(&name);
    let empty_default =
        |arg: &clap::Arg| arg.get_default_values().first().is_some_and(|text| text.is_empty());
    let shown_defaults = command.clone().mut_args(|arg| {
        let hide = empty_default(&arg);
        arg.hide_default_value(hide)
    });
    let man = Man::new(shown_defaults);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();

    let mut head = Roff::new();
    head.control("SH", ["NAME"]);
    head.text([roman(format!("{name} - {}", in_short(&about)))]);
    head.control("SH", ["SYNOPSIS"]);
    synopsis(&mut head, command);
    head.control("SH", ["DESCRIPTION"]);
    head.text([roman(sentence(&about))]);
    if shown(command).next().is_some() {
        head.control("SH", ["COMMANDS"]);
        for sub in shown(command) {
            let name = name_of(sub);
            head.control("TP", []);
            head.text([bold(name), roman(format!("({})", section_of(name)))]);
            head.text([roman(sentence(&sub.get_about().map(ToString::to_string).unwrap_or_default()))]);
        }
    }
    let mut tail = Roff::new();
    if let Some(after) = command.get_after_help() {
        after_help(&mut tail, &after.to_string());
    }
    see_also(&mut tail, &name, command);

    // A line that is empty and two breaks are a gap of two lines for mandoc(1).
    let options = rendered(|out| man.render_options_section(out)).replace("\n.br\n\n.br\n", "\n.sp\n");
    // Without a date, which would be that of the build: the same sources give the same pages.
    let mut roff =
        format!(".TH {} {section} \"\" \"rekeyfs {}\" \"{MANUAL}\"\n", name.to_uppercase(), VERSION);
    roff += &head.to_roff();
    roff += &options;
    roff += MORE.iter().find(|(page, _)| *page == name).map_or("", |(_, more)| more);
    roff += &tail.to_roff();
    Page { name, section, roff: with_code_in_bold(&roff) }
}

/// What a part of the page is rendered to.
fn rendered(render: impl Fn(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    // Writing to memory doesn't fail.
    let _ = render(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// For apropos(1): a line without what comes after a semicolon, colon or dot; where that is long, after a comma.
fn in_short(about: &str) -> String {
    let first = about.split([';', ':', '.', '\n']).next().unwrap_or_default().trim_end();
    let first = if first.len() > 80 { first.split(", ").next().unwrap_or_default() } else { first };
    let mut chars = first.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn sentence(about: &str) -> String {
    if about.ends_with('.') { about.to_owned() } else { format!("{about}.") }
}

/// The usage that `--help` shows.
fn synopsis(roff: &mut Roff, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let called = command.get_bin_name().unwrap_or_else(|| command.get_name());
    for line in usage.trim_start_matches("Usage:").lines().map(str::trim).filter(|line| !line.is_empty()) {
        let rest = line.strip_prefix(called).unwrap_or(line).to_owned();
        roff.text([bold(called), roman(rest)]);
    }
}

/// The text below a command's options. A paragraph that begins with "Exit status" is the table of those: a number and what
/// it means on each line.
fn after_help(roff: &mut Roff, text: &str) {
    for paragraph in text.split("\n\n") {
        let Some(table) = paragraph.strip_prefix("Exit status") else {
            roff.control("PP", []);
            roff.text([roman(paragraph.to_owned())]);
            continue;
        };
        let mut lines = table.lines();
        roff.control("SH", ["EXIT STATUS"]);
        let heading = lines.next().unwrap_or_default().trim_matches([',', ':', ' ']);
        if !heading.is_empty() {
            roff.text([roman(format!("The status is {heading}:"))]);
        }
        for line in lines {
            match line.trim().split_once("  ") {
                Some((status, meaning)) => {
                    roff.control("TP", []);
                    roff.text([bold(status.to_owned())]);
                    roff.text([roman(meaning.trim().to_owned())]);
                }
                None => {
                    roff.text([roman(line.trim().to_owned())]);
                }
            }
        }
    }
}

fn see_also(roff: &mut Roff, name: &str, command: &Command) {
    let page = |name: &str| format!("{name}({})", section_of(name));
    let above = name.rsplit_once('-').map(|_| "rekeyfs".to_owned());
    // Of a nested command also the command above it.
    let group = name.strip_prefix("rekeyfs-").and_then(|_| {
        let of = command.get_bin_name()?.rsplit_once(' ')?.0.replace(' ', "-");
        (of != "rekeyfs").then_some(of)
    });
    let own = SEE_ALSO.iter().find(|(page, _)| *page == name).map_or(&[] as &[&str], |(_, pages)| pages);
    let helper = name.ends_with("mount.fuse.rekeyfs").then(|| "rekeyfs".to_owned());
    let pages: Vec<String> = (above.or(helper).into_iter().chain(group).map(|name| page(&name)))
        .chain(own.iter().map(|&page| page.to_owned()))
        .collect();
    roff.control("SH", ["SEE ALSO"]);
    let last = pages.len().saturating_sub(1);
    for (at, page) in pages.iter().enumerate() {
        let (name, section) = page.split_once('(').unwrap_or((page, ""));
        let comma = if at == last { "" } else { "," };
        roff.text([bold(name), roman(format!("({section}{comma}"))]);
    }
}

/// Backticks, which texts of `--help` have around what is typed, as bold face.
fn with_code_in_bold(roff: &str) -> String {
    let mut out = String::with_capacity(roff.len());
    for line in roff.lines() {
        let parts: Vec<&str> = line.split('`').collect();
        for (at, part) in parts.iter().enumerate() {
            match at {
                0 => {}
                _ if parts.len().is_multiple_of(2) => out.push_str("\\(ga"),
                _ if at.is_multiple_of(2) => out.push_str("\\fR"),
                _ => out.push_str("\\fB"),
            }
            out.push_str(part);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
