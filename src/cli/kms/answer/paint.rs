//! The colours of a table, as the AWS CLI has them.

const CELL: &str = "\x1b[1m\x1b[34m";
const BAR: &str = "\x1b[2m\x1b[33m";
const END: &str = "\x1b[0m";

/// Whether a table is coloured. What is painted has been made safe for a terminal before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli::kms) enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    /// A value: bright and blue.
    pub(super) fn cell(self, text: &str) -> String {
        self.with(CELL, text)
    }

    /// The bars on one side of a section of this depth: dim and yellow.
    pub(super) fn bars(self, depth: usize) -> String {
        self.with(BAR, "|").repeat(depth)
    }

    fn with(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("{colour}{text}{END}"),
        }
    }
}
