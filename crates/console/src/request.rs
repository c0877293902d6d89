//! A request of a session, as the pages take it, and what they make of it.

use hyper::StatusCode;
use maud::Markup;
use rekeyfs::ids::KeyId;

use crate::app::Refusal;
use crate::form::Form;
use crate::session::Visit;

/// A request that is the session's.
pub(crate) struct Request {
    visit: Visit,
    key: Option<KeyId>,
    /// What follows the path.
    pub(crate) query: Form,
    /// What a form sent.
    pub(crate) form: Form,
}

impl Request {
    pub(crate) fn new(visit: Visit, key: Option<KeyId>, query: Form, form: Form) -> Self {
        Self { visit, key, query, form }
    }

    /// The key in the path.
    ///
    /// # Errors
    /// The route has none.
    pub(crate) fn key(&self) -> Result<KeyId, Refusal> {
        self.key.ok_or_else(Refusal::not_found)
    }

    /// The address of a page: a path below the session's.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// What the addresses of all pages begin with.
    pub(crate) fn base(&self) -> String {
        base(self.visit.path.text())
    }

    /// The secret that a form carries.
    pub(crate) fn form_secret(&self) -> &str {
        self.visit.form.text()
    }
}

/// What the addresses of a session's pages begin with.
pub(crate) fn base(path: &str) -> String {
    format!("/s/{path}/")
}

/// What a page comes to.
pub(crate) enum Page {
    /// A document.
    Shown(Shown),
    /// Something was done. The browser gets this page, with the message: to reload it does nothing again.
    Done { path: String, notice: String },
    /// An answer for the script.
    Data(serde_json::Value),
}

/// A document: what is between the navigation and the end.
pub(crate) struct Shown {
    pub(crate) status: StatusCode,
    /// What the page is about; it has its heading itself.
    pub(crate) title: String,
    /// Which entry of the navigation it belongs to, by its path.
    pub(crate) place: &'static str,
    pub(crate) main: Markup,
}

impl Page {
    pub(crate) fn shown(place: &'static str, title: impl Into<String>, main: Markup) -> Self {
        Self::Shown(Shown { status: StatusCode::OK, title: title.into(), place, main })
    }

    /// The page again after its form was refused, which the document says beside the form, and its title first: that is what readers
    /// of screens read of a page that comes.
    pub(crate) fn again(place: &'static str, title: impl Into<String>, main: Markup, why: &Refusal) -> Self {
        Self::Shown(Shown { status: why.status, title: format!("Refused: {}", title.into()), place, main })
    }

    pub(crate) fn done(path: impl Into<String>, notice: impl Into<String>) -> Self {
        Self::Done { path: path.into(), notice: notice.into() }
    }
}

/// What pages return.
pub(crate) type Outcome = Result<Page, Refusal>;
