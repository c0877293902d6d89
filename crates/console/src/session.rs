//! Who may see the pages: one browser, to which a token was given that is good once.
//!
//! ```text
//! waiting ── login with the token, within LOGIN_TIME ──> open ── IDLE_TIME without a request, or sign-out ──> ended
//!    └────────────────── LOGIN_TIME is over ────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Cookies know hosts and no ports: a browser sends one of 127.0.0.1 to whatever server listens there, another user's too.
//! So the pages lie below a path of random bits, for which alone the cookie is good: who doesn't know the path isn't sent
//! the cookie, and who knows the path alone is refused. Forms carry a third secret, so that a page of elsewhere can't have a
//! form sent by the browser.
//!
//! An ended session is the last one: nothing can be asked any more ([`Sessions::over`]).
//!
//! The time is a parameter of all this, but of that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use rekeyfs::crypto::random;
use subtle::ConstantTimeEq;
use tokio::select;
use tokio::sync::Notify;
use tokio::time::sleep_until;
use zeroize::Zeroizing;

/// How long the token is good.
pub(crate) const LOGIN_TIME: Duration = Duration::from_secs(10 * 60);
/// How long a session lasts without a request.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(60 * 60);

/// 256 random bits, as URLs, cookies and forms have them.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    fn random() -> Self {
        let bytes = Zeroizing::new(random::array::<32>());
        Self(Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice())))
    }

    /// Whether a text is it. The time doesn't tell how much of it is right.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Why a token opens no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoginError {
    /// It isn't the token.
    Wrong,
    /// It opened one before, or is too old.
    Over,
}

/// What a browser needs to get in.
pub(crate) struct Opened {
    pub(crate) path: Secret,
    pub(crate) cookie: Secret,
}

/// What a page needs to know of its session.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) path: Secret,
    /// What forms carry.
    pub(crate) form: Secret,
}

/// The one session that there is, was or will be.
pub(crate) struct Sessions {
    state: Mutex<State>,
    /// It ends at another time than was thought.
    changed: Notify,
}

enum State {
    Waiting { token: Secret, until: Instant },
    Open(Session),
    Ended,
}

struct Session {
    path: Secret,
    cookie: Secret,
    form: Secret,
    until: Instant,
    notice: Option<String>,
}

impl Sessions {
    /// Waits for a login. The token is its way in.
    pub(crate) fn begin(now: Instant) -> (Self, Secret) {
        let token = Secret::random();
        let waiting = State::Waiting { token: token.clone(), until: now + LOGIN_TIME };
        (Self { state: Mutex::new(waiting), changed: Notify::new() }, token)
    }

    /// Opens the session.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) fn login(&self, token: &str, now: Instant) -> Result<Opened, LoginError> {
        let mut state = self.at(now);
        let State::Waiting { token: wanted, .. } = &*state else { return Err(LoginError::Over) };
        if !wanted.is(token) {
            return Err(LoginError::Wrong);
        }
        let [path, cookie, form] = std::array::from_fn(|_| Secret::random());
        let opened = Opened { path: path.clone(), cookie: cookie.clone() };
        *state = State::Open(Session { path, cookie, form, until: now + IDLE_TIME, notice: None });
        Ok(opened)
    }

    /// The session of a request with this path and these cookies, which makes it last longer. Both must be right.
    pub(crate) fn enter<'a>(
        &self,
        path: &str,
        cookies: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> Option<Visit> {
        let mut state = self.at(now);
        let State::Open(session) = &mut *state else { return None };
        // Another server of this host can give the browser a second cookie of the name.
        let known = cookies.fold(false, |known, cookie| known | session.cookie.is(cookie));
        if !(session.path.is(path) & known) {
            return None;
        }
        session.until = now + IDLE_TIME;
        Some(Visit { path: session.path.clone(), form: session.form.clone() })
    }

    /// Leaves a message for the next page.
    pub(crate) fn leave_notice(&self, text: String) {
        if let State::Open(session) = &mut *self.lock() {
            session.notice = Some(text);
        }
    }

    /// The message that was left, once.
    pub(crate) fn take_notice(&self) -> Option<String> {
        match &mut *self.lock() {
            State::Open(session) => session.notice.take(),
            _ => None,
        }
    }

    /// Ends the session.
    pub(crate) fn end(&self) {
        *self.lock() = State::Ended;
        self.changed.notify_one();
    }

    /// Waits until the session has ended, or can't begin any more.
    pub(crate) async fn over(&self) {
        // A request that makes it last longer is seen when it would have ended.
        while let Some(until) = self.lasts_until(Instant::now()) {
            select! {
                () = sleep_until(until.into()) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// When it ends if nobody asks anything any more. None: it has ended.
    fn lasts_until(&self, now: Instant) -> Option<Instant> {
        match &*self.at(now) {
            State::Waiting { until, .. } | State::Open(Session { until, .. }) => Some(*until),
            State::Ended => None,
        }
    }

    /// The state at this time.
    fn at(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if let State::Waiting { until, .. } | State::Open(Session { until, .. }) = &*state
            && now >= *until
        {
            *state = State::Ended;
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
