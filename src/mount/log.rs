//! Lines of the program's log: which there are, and what is in one. `REKEYFS_LOG` says which, as in `REKEYFS_LOG=info` or
//! `rekeyfs::vault=debug`; without it, warnings and, of a mount, notices (`events::NOTICES`). Where they go is in `outlet`, how
//! those that repeat are held back in `repeats`; what lines hold, and what they never hold, is in docs/logging.md.
//!
//! syslog(3) isn't used, since it waits for a log daemon that is stuck, and the requests of the mount would wait with it; the
//! crates for it bring clocks and host names along, which the daemon puts in itself.

mod fields;
mod journal;
mod mount_names;
mod outlet;
mod repeats;

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::events::NOTICES;
use crate::printable;
pub(super) use mount_names::name_mount;
use outlet::Message;
use repeats::{RepeatLimit, take_all_held_back, take_held_back};

/// The environment variable that selects lines.
const VARIABLE: &str = "REKEYFS_LOG";

/// The directives for [`VARIABLE`]. Warnings and notices stay on unless `asked` has a level for all targets: who asks for more
/// of one part still needs them. fuser warns of each request that is left unanswered on purpose, and logs plaintext names with
/// each request, so only its errors are shown, unless it is asked for by name.
fn filter(asked: &str) -> String {
    let global = |part: &str| part.trim().parse::<LevelFilter>().ok();
    // What is empty would parse as `error`.
    let parts = || asked.split(',').filter(|part| !part.trim().is_empty());
    let fewer = parts().filter_map(global).next_back().is_some_and(|level| level < LevelFilter::INFO);
    let notices = if fewer { String::new() } else { format!("{NOTICES}=info,") };
    let asked = parts().filter(|part| part.trim() != "notice").collect::<Vec<_>>().join(",");
    let fuser = if asked.contains("fuser") { "" } else { ",fuser=error" };
    format!("warn,{notices}{asked}{fuser}")
}

/// Starts logging. Once, at the start of the process; a second time does nothing.
pub fn start() {
    outlet::choose();
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let (filter, wrong) = match EnvFilter::try_new(filter(&asked)) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(filter("")), Some(error)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(Output);
    // The last layer is asked first, so that unwanted lines don't count as repeated; an event comes to the first one first.
    let layers = tracing_subscriber::registry().with(fields::KeepFields).with(lines);
    let _ = layers.with(RepeatLimit).with(filter).try_init();
    if let Some(error) = wrong {
        tracing::warn!("{VARIABLE}={asked}: {error}; only warnings are logged (docs/logging.md)");
    }
    // The standard library's own hook writes to standard error, which a daemon doesn't have.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{}", panic.to_string().replace('\n', " "))));
}

/// To be called when a mount ends: reports how many lines were held back.
pub(super) fn finish() {
    let lines = take_all_held_back();
    if lines > 0 {
        let lines = printable::counted(
            lines,
            "more line was like others before it, and was",
            "more lines were like others before them, and were",
        );
        tracing::warn!("{lines} held back");
    }
}

/// From here on lines go to the system log.
pub(super) fn leave_terminal() {
    outlet::leave_terminal();
}

struct Output;

/// One line on its way.
struct Line {
    level: Level,
    target: String,
    /// Lines like it that were held back before it.
    held_back: u64,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { level: Level::INFO, target: String::new(), held_back: 0 }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        let target = metadata.target().to_owned();
        Line { level: *metadata.level(), target, held_back: take_held_back(metadata) }
    }
}

impl Line {
    fn is_notice(&self) -> bool {
        self.target == NOTICES && self.level == Level::INFO
    }

    /// The line as it is written anywhere: one, whatever the paths and names in it hold.
    fn shown(&self, line: &[u8], mount: Option<&str>) -> String {
        let line = String::from_utf8_lossy(line.trim_ascii());
        let line = match line.strip_prefix("INFO") {
            Some(rest) if self.is_notice() => format!("NOTICE{rest}").into(),
            _ => line,
        };
        let mount = mount.filter(|_| self.level <= Level::WARN || self.is_notice()).unwrap_or_default();
        let repeats = match self.held_back {
            0 => String::new(),
            more => format!(" (and {more} more like it, held back)"),
        };
        printable::line(&format!("{line}{mount}{repeats}")).into_owned()
    }

    /// As syslog(3) numbers it.
    fn severity(&self) -> libc::c_int {
        match self.level {
            _ if self.is_notice() => libc::LOG_NOTICE,
            Level::ERROR => libc::LOG_ERR,
            Level::WARN => libc::LOG_WARNING,
            Level::INFO => libc::LOG_INFO,
            Level::DEBUG | Level::TRACE => libc::LOG_DEBUG,
        }
    }
}

impl Write for Line {
    /// Takes a whole line: the formatter hands over one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mount = mount_names::of_this_process();
        let own = fields::take().into_iter().map(|(name, value)| (journal::field_name(name), value.into()));
        let of_mount = mount.into_iter().flat_map(|mount| mount.fields.iter());
        let of_mount = of_mount.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let text = self.shown(line, mount.map(|mount| mount.text.as_str()));
        outlet::write(&Message { severity: self.severity(), text, fields: own.chain(of_mount).collect() })?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
