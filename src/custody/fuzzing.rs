//! What the properties of src/fuzzing.rs see of a helper's answers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use rekeyfs_format::unlock::{CustodianName, Custody, CustodyParams};

use super::protocol::{self, Line, line_kind};
use super::refusal::{Refusal, shown};
use crate::printable;

/// More than the longest text of a refusal or prompt has.
const MAX_SHOWN: usize = 500;

/// See [`crate::fuzzing::custodian_answer`].
pub(crate) fn answer_is_bounded(line: &[u8]) {
    let name: CustodianName = "acme".parse().unwrap();
    let wrapped = protocol::wrapped(line, &name, &CustodyParams::default());
    if let Ok(custody) = &wrapped {
        let version = custody.key_version().map(str::to_owned);
        let again = Custody::new(name, custody.params().clone(), custody.blob().to_vec(), version);
        assert_eq!(again.as_ref(), Ok(custody), "what a helper wrapped fits a slot");
    }
    let unwrapped = protocol::unwrapped(line).map(drop);
    let standing = protocol::status(line).map(drop);
    // One that is a refusal is that for whatever was asked.
    if let Err(refusal) = protocol::refused(line) {
        assert!(
            wrapped.is_err() && unwrapped.as_ref() == Err(&refusal) && standing.as_ref() == Err(&refusal)
        );
    }
    let refusals = [wrapped.map(drop), unwrapped, standing].into_iter().filter_map(Result::err);
    refusals.for_each(|refusal: Refusal| check_shown(&refusal.to_string()));
    if let Line::Prompt(_, text) = line_kind(line) {
        check_shown(&shown(&text));
    }
}

fn check_shown(text: &str) {
    assert_eq!(printable::line(text), text, "it is one line that moves no cursor");
    assert!(text.chars().count() < MAX_SHOWN);
}
