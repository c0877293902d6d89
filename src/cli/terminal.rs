//! What the terminal can show: its width, whether it has more characters than ASCII, and whether it is to have colours. Only
//! tables of `rekeyfs kms` are coloured.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::ops::RangeInclusive;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Columns that an output is laid out for. A narrower terminal folds lines by itself.
const WIDTHS: RangeInclusive<usize> = 80..=200;
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(200);

/// How wide an output on standard output may be: as the terminal is; else `COLUMNS`, as scripts set it, or 80.
pub(super) fn width() -> usize {
    let of_scripts = || std::env::var("COLUMNS").ok()?.trim().parse().ok();
    let width = columns().or_else(of_scripts).unwrap_or(*WIDTHS.start());
    width.clamp(*WIDTHS.start(), *WIDTHS.end())
}

/// Columns of the terminal that standard output is; `None` if that is none, whose lines need not fit, or doesn't say.
pub(super) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether standard output is a terminal whose user hasn't switched colours off (<https://no-color.org>).
pub(super) fn takes_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What stands where something was cut.
pub(super) fn ellipsis() -> &'static str {
    if in_utf8() { "…" } else { "..." }
}

/// What a bar on standard output is drawn with; `None` if that is no terminal.
pub(super) fn bar() -> Option<char> {
    io::stdout().is_terminal().then(|| if in_utf8() { '█' } else { '#' })
}

/// A spinner on standard error, drawn in ASCII where the locale has no more; `None` if that is no terminal.
pub(super) fn spinner() -> Option<ProgressBar> {
    io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::no_length();
        bar.set_style(plain(ProgressStyle::default_spinner()));
        bar.enable_steady_tick(TICK);
        bar
    })
}

/// A style that is drawn in ASCII where the locale has no more.
pub(super) fn plain(style: ProgressStyle) -> ProgressStyle {
    if in_utf8() { style } else { style.tick_chars("|/-\\ ").progress_chars("##-") }
}

/// Whether the terminal shows more than ASCII.
fn in_utf8() -> bool {
    is_utf8(|name| std::env::var_os(name))
}

/// The same by the variables that say so, the strongest first.
fn is_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_variable_of_the_locale_counts() {
        let utf8 = |variables: &[(&str, &str)]| {
            is_utf8(|name| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into()))
        };
        assert!(utf8(&[("LANG", "de_DE.UTF-8")]) && utf8(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(utf8(&[("LC_ALL", ""), ("LANG", "C.UTF-8")]), "an empty one counts as none");
        assert!(!utf8(&[]) && !utf8(&[("LANG", "POSIX")]));
        assert!(!utf8(&[("LC_ALL", "C"), ("LC_CTYPE", "C.UTF-8"), ("LANG", "de_DE.UTF-8")]));
    }
}
