//! A line for each file, as a terminal shows a list of them: key, version and state, in columns, and then the path. What
//! doesn't fit of a path is left out at its beginning, since the name is at its end. A pipe gets whole lines with all that is
//! known.

use super::file::Row;
use crate::cli::fit::{columns, cut_start};
use crate::cli::short_ids::ShortIds;
use crate::cli::terminal;
use crate::keyring::VersionState;
use crate::printable;
use crate::service::Status;

/// Columns of a version: of `version 99`.
const VERSION: usize = 10;
/// Columns of a state: of `current`.
const STATE: usize = 7;
/// The least that is shown of a path, whatever stands before it.
const PATH: usize = 16;

pub(super) struct Columns {
    width: usize,
    ids: ShortIds,
    ellipsis: &'static str,
}

impl Columns {
    /// Those of the terminal that standard output is; `None` if it is none. `status` knows the keys.
    pub(super) fn of_terminal(status: Option<&Status>) -> Option<Self> {
        let width = terminal::columns()?;
        let keys = status.iter().flat_map(|status| status.keys.iter().map(|key| key.key_id));
        Some(Self { width, ids: ShortIds::of(keys, width), ellipsis: terminal::ellipsis() })
    }

    /// The file's line.
    pub(super) fn line(&self, row: &Row) -> String {
        let key = row.key_id.map_or_else(|| "-".to_owned(), |key| self.ids.show(key));
        let version = row.version.map_or_else(|| "-".to_owned(), |version| format!("version {version}"));
        let before = format!("{key:0$}  {version:VERSION$}  {1:STATE$}  ", self.ids.columns(), state(row));
        let path = printable::path(row.path.as_path()).to_string();
        let left = self.width.saturating_sub(columns(&before)).max(PATH);
        format!("{before}{}\n", cut_start(&path, left, self.ellipsis))
    }
}

/// What the file's state is in a word, where it is known.
fn state(row: &Row) -> String {
    match (row.state, row.stale) {
        _ if row.empty => "empty".to_owned(),
        (None | Some(VersionState::Current | VersionState::Old), Some(true)) => "stale".to_owned(),
        (Some(state), _) => state.to_string(),
        (None, Some(false)) => "current".to_owned(),
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file::Source;
    use super::*;
    use crate::ids::{KeyId, KeyVersion};
    use crate::keyring::UnusableReason;

    fn row(path: &str, version: u32, stale: Option<bool>, state: Option<VersionState>) -> Row {
        let (key_id, version) = (Some(KeyId::from_bytes([1; 16])), Some(KeyVersion(version)));
        Row { empty: false, key_id, version, stale, state, ..Row::empty(Path::new(path), Source::Mount) }
    }

    fn line(width: usize, row: &Row) -> String {
        Columns { width, ids: ShortIds::of(row.key_id, width), ellipsis: "…" }.line(row)
    }

    #[test]
    fn a_file_is_a_line_that_says_stale() {
        let old = row("/m/d/plan", 1, Some(true), Some(VersionState::Old));
        assert_eq!(line(80, &old), "01010101  version 1   stale    /m/d/plan\n");
        assert_eq!(
            line(80, &row("/m/new", 12, Some(false), Some(VersionState::Current))),
            "01010101  version 12  current  /m/new\n"
        );
        assert_eq!(line(80, &row("/m/x", 3, None, None)), "01010101  version 3   -        /m/x\n");
        assert_eq!(
            line(80, &Row::empty(Path::new("/m/e"), Source::Mount)),
            "-         -           empty    /m/e\n"
        );
        assert!(line(120, &old).starts_with("01010101-0101-0101-0101-010101010101  version 1"));
    }

    #[test]
    fn a_line_fits_whatever_the_path() {
        let why = UnusableReason::NoMaterial;
        for state in [VersionState::Old, VersionState::Unusable { why }] {
            for path in ["/m/short".to_owned(), format!("/m/{}/name", "世界".repeat(90))] {
                let shown = line(80, &row(&path, 1, Some(true), Some(state)));
                assert!(columns(shown.trim_end()) <= 80 && shown.lines().count() == 1, "{shown}");
                assert_eq!(shown.trim_end().ends_with(&path), path.len() < 20, "{shown}");
                assert!(
                    path.len() < 20 || shown.contains('…') && shown.trim_end().ends_with("/name"),
                    "{shown}"
                );
            }
        }
    }
}
