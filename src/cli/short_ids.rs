//! Ids as people are shown them: whole where there is space, else as many characters from the beginning as tell them apart.
//! Commands take them so, by any beginning that names one alone.

use std::collections::BTreeSet;
use std::fmt::Display;

/// Columns of a line from which on ids are shown whole.
const WHOLE_IDS: usize = 120;
/// Characters of a whole one.
pub(super) const WHOLE: usize = 36;
/// Characters of one that is shown short, unless more are needed to tell it from another one.
pub(super) const SHORT: usize = 8;

/// How many characters are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShortIds(usize);

impl ShortIds {
    /// For lines of this width, in which these are.
    pub(super) fn of<T: Display>(ids: impl IntoIterator<Item = T>, width: usize) -> Self {
        if width >= WHOLE_IDS {
            return Self(WHOLE);
        }
        let ids: BTreeSet<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let apart = |shown: &usize| ids.windows(2).all(|pair| pair[0].get(..*shown) != pair[1].get(..*shown));
        Self((SHORT..WHOLE).find(apart).unwrap_or(WHOLE))
    }

    /// The columns that one takes.
    pub(super) fn columns(self) -> usize {
        self.0
    }

    /// The id.
    pub(super) fn show(self, id: impl Display) -> String {
        id.to_string().chars().take(self.0).collect()
    }
}
