//! Asking all custodians of a vault at once.

use std::time::Duration;

use rekeyfs_format::unlock::{Custody, MAX_CUSTODIAN_SLOTS};

use super::ask::{MAX_AT_ONCE, ask};
use super::helper::Helper;
use super::prompt::NobodyAnswers;
use super::protocol::{self, Question};
use super::refusal::{Refusal, RefusalKind};
use super::types::{Context, Standing};
use crate::crypto::keys::CustodyKek;

/// A wrapped key, and who unwraps it.
pub struct Unwrap<'a> {
    /// The custodian's helper.
    pub helper: &'a Helper,
    /// What it wrapped.
    pub custody: &'a Custody,
    /// What for.
    pub context: Context,
}

/// What [`unwrap_any`] came to; numbers are those of the questions.
pub struct Tried<T> {
    /// The first that opened.
    pub opened: Option<(usize, T)>,
    /// Those that were refused before that.
    pub refused: Vec<(usize, Refusal)>,
}

/// Has the custodians unwrap their keys, at most [`MAX_AT_ONCE`] at a time, until `open` makes something of one. Nobody is
/// asked for a PIN. All of it takes `limit` at most, and a second for each [`MAX_AT_ONCE`] of which one has to be killed: where there
/// are more than run at once, each has its part of the time, so that some that hang don't keep the others from being tried.
pub fn unwrap_any<T>(
    all: &[Unwrap<'_>],
    limit: Duration,
    mut open: impl FnMut(usize, &CustodyKek, Standing) -> Option<T>,
) -> Tried<T> {
    let (now, later) = all.split_at(all.len().min(MAX_CUSTODIAN_SLOTS));
    let share = limit / u32::try_from(now.len().div_ceil(MAX_AT_ONCE)).unwrap_or(1).max(1);
    let mut tried = Tried { opened: None, refused: Vec::new() };
    let asked = now.iter().map(|one| {
        let question = Question::Unwrap(one.custody);
        one.helper.asked(question, &one.context, &NobodyAnswers)
    });
    ask(asked.collect(), share, &mut NobodyAnswers, &mut |at, answer| {
        let opened = answer.and_then(protocol::unwrapped).and_then(|(kek, standing)| {
            let wrong = || Refusal::new(RefusalKind::Damaged, "the key that it gave doesn't open the slot");
            open(at, &kek, standing).ok_or_else(wrong)
        });
        match opened {
            Ok(opened) => tried.opened = Some((at, opened)),
            Err(refusal) => tried.refused.push((at, refusal)),
        }
        tried.opened.is_some()
    });
    let too_many = |at| {
        let cause =
            format!("only {MAX_CUSTODIAN_SLOTS} slots of custodians are tried; name the one that is meant");
        (now.len() + at, Refusal::new(RefusalKind::Unsupported, cause))
    };
    if tried.opened.is_none() {
        tried.refused.extend((0..later.len()).map(too_many));
    }
    tried
}
