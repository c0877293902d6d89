//! A request of a session, for the tests of pages.

use std::time::Instant;

use crate::form::Form;
use crate::request::Request;
use crate::session::Sessions;

/// A request with this query.
pub(super) fn request(query: &str) -> Request {
    let now = Instant::now();
    let (sessions, token) = Sessions::begin(now);
    let opened = sessions.login(token.text(), now).expect("the token is good");
    let visit = sessions.enter(opened.path.text(), std::iter::once(opened.cookie.text()), now);
    Request::new(visit.expect("the session is open"), None, Form::parse(query.as_bytes()), Form::default())
}
