//! Which custodians may open a vault, as the options say.

use std::time::Duration;

use super::args;
use super::exit::{Exit, Failure, Outcome};
use super::options::Options;
use crate::custody::Host;

/// Which custodians may open a vault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// Those that it has, before a passphrase.
    All,
    /// Those of this name, or the one of the slot with this id; nothing else.
    Only(String),
    /// None.
    None,
}

/// Which custodians are asked, and how long they may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Custodians {
    pub(super) choice: Choice,
    pub(super) limit: Duration,
}

impl Custodians {
    /// As [`Choice::of`].
    pub(super) fn of(open: &args::Open) -> Self {
        Self { choice: Choice::of(open), limit: limit(Some(open), None) }
    }

    /// As [`Choice::with_options`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn with_options(open: Option<&args::Open>, options: &Options, given: bool) -> Outcome<Self> {
        let choice = Choice::with_options(open, options, given)?;
        Ok(Self { choice, limit: limit(open, Some(options)) })
    }

    /// None, where a key backup is opened.
    pub(super) fn none() -> Self {
        Self { choice: Choice::None, limit: Host::LIMIT }
    }
}

/// How long custodians may take, as the options say; a command's own come first.
pub(super) fn limit(open: Option<&args::Open>, options: Option<&Options>) -> Duration {
    let typed = open.and_then(|open| open.custodian_timeout);
    typed.or_else(|| options.and_then(|options| options.custodian_timeout)).unwrap_or(Host::LIMIT)
}

impl Choice {
    /// What a command's own options say. An option that gives a secret leaves custodians alone.
    fn of(open: &args::Open) -> Self {
        match &open.custodian {
            Some(name) => Self::Only(name.clone()),
            None if open.no_custodian || open.gives_a_secret() => Self::None,
            None => Self::All,
        }
    }

    /// As [`Choice::of`], with `-o` options beside it. `given` says whether any of them gives a secret.
    ///
    /// # Errors
    /// [`Exit::Usage`] if they don't go together.
    fn with_options(open: Option<&args::Open>, options: &Options, given: bool) -> Outcome<Self> {
        let named = open.and_then(|open| open.custodian.as_ref()).or(options.custodian.as_ref());
        let none = options.no_custodian || open.is_some_and(|open| open.no_custodian);
        match named {
            Some(_) if given || none => {
                let cause = "of a custodian, no custodian and a secret only one can be given";
                Err(Failure::new(Exit::Usage, "command line", cause))
            }
            Some(name) => Ok(Self::Only(name.clone())),
            None if none || given => Ok(Self::None),
            None => Ok(Self::All),
        }
    }
}
