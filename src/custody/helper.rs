//! A custodian, as the program that speaks for it.

use std::path::PathBuf;
use std::time::Duration;

use rekeyfs_format::unlock::{CustodianName, Custody, CustodyParams};

use super::allow::{AllowError, AllowList, Allowed};
use super::ask::{Asked, ask_one};
use super::environment::Environment;
use super::find::{HELPER_DIRS, find};
use super::process::Program;
use super::prompt::{NobodyAnswers, Prompt};
use super::protocol::{self, Question};
use super::refusal::{Refusal, RefusalKind};
use super::types::{Context, Standing};
use crate::crypto::keys::CustodyKek;

/// What this host lets run, and how.
#[derive(Clone, Debug)]
pub struct Host {
    /// Which custodians, and what they may use.
    pub allow: AllowList,
    /// Where their helpers are: the first directory that has one counts.
    pub dirs: Vec<PathBuf>,
    /// Whose variables they get.
    pub environment: Environment,
    /// How long a question may take, but for the time that a person takes.
    pub limit: Duration,
}

impl Host {
    /// How long a question may take if nothing else is said.
    pub const LIMIT: Duration = Duration::from_secs(10);

    /// As it is configured, with so much time for a question.
    ///
    /// # Errors
    /// [`AllowError`].
    pub fn configured(environment: Environment, limit: Duration) -> Result<Self, AllowError> {
        let dirs = HELPER_DIRS.map(PathBuf::from).to_vec();
        Ok(Self { allow: AllowList::of_this_host()?, dirs, environment, limit })
    }

    /// The helper of a custodian.
    ///
    /// # Errors
    /// [`Refusal`]: the custodian isn't on the list, it has no helper, or others could change that.
    pub fn helper(&self, name: &CustodianName) -> Result<Helper, Refusal> {
        let allowed = self.allow.get(name).cloned().ok_or_else(|| {
            let cause = format!("custodians.conf has no line `{name}`; add it if vaults may be opened by it");
            Refusal::new(RefusalKind::NotAllowed, cause)
        })?;
        let uid = rustix::process::geteuid();
        let path = find(name, &self.dirs, uid.as_raw())?;
        let variables = self.environment.variables(&allowed, uid.is_root());
        let program = Program { path, variables };
        Ok(Helper { name: name.clone(), program, allowed, limit: self.limit })
    }
}

/// A custodian's helper: found, and allowed to run.
#[derive(Clone, Debug)]
pub struct Helper {
    name: CustodianName,
    program: Program,
    allowed: Allowed,
    limit: Duration,
}

impl Helper {
    /// The custodian.
    pub fn name(&self) -> &CustodianName {
        &self.name
    }

    /// Has a KEK wrapped.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn wrap(
        &self,
        params: &CustodyParams,
        context: &Context,
        kek: &CustodyKek,
        on: &mut dyn Prompt,
    ) -> Result<Custody, Refusal> {
        let asked = self.asked(Question::Wrap(params, kek), context, on)?;
        let wrapped = ask_one(asked, self.limit, on, |line| protocol::wrapped(line, &self.name, params))?;
        // What it pinned has to open here, too.
        self.allowed.permits(wrapped.params())?;
        Ok(wrapped)
    }

    /// Has a KEK unwrapped. It may be the wrong one: only what it opens shows that.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn unwrap(
        &self,
        custody: &Custody,
        context: &Context,
        on: &mut dyn Prompt,
    ) -> Result<(CustodyKek, Standing), Refusal> {
        let asked = self.asked(Question::Unwrap(custody), context, on)?;
        ask_one(asked, self.limit, on, protocol::unwrapped)
    }

    /// How the custodian's key stands. Nobody is asked for anything.
    ///
    /// # Errors
    /// [`Refusal`]; [`RefusalKind::Unsupported`] where only unwrapping tells it.
    pub fn status(&self, custody: &Custody, context: &Context) -> Result<Standing, Refusal> {
        let asked = self.asked(Question::Status(custody), context, &NobodyAnswers)?;
        ask_one(asked, self.limit, &mut NobodyAnswers, protocol::status)
    }

    /// A question that may be asked, where `on` is who the helper may ask.
    pub(super) fn asked(
        &self,
        question: Question<'_>,
        context: &Context,
        on: &dyn Prompt,
    ) -> Result<Asked, Refusal> {
        self.allowed.permits(question.params())?;
        let request = question.line(&self.allowed, context, on);
        Ok(Asked::new(self.program.clone(), request, on.interactive()))
    }
}
