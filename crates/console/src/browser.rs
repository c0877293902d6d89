//! A request of a browser, from its headers to the reply. The order matters: what costs little is refused first, and nothing
//! of a request that isn't the session's is looked at.
//!
//! 1. It is for a loopback name (see host.rs).
//! 2. Style, script and icon are for everybody; they tell nothing. A login opens the session ([`Sessions`]).
//! 3. All else is below the session's path and has its cookie.
//! 4. A POST comes from a page of this server: `Sec-Fetch-Site` says so, or `Origin` does where a browser doesn't know that
//!    header. (Since pages tell nobody where they are, `Origin` is null in browsers that do.)
//! 5. There is such a page, and it takes this method. A console that is read-only takes no POST but that of signing out.
//! 6. The body is read, within its limits, and has the session's secret.

use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Method, Request as HttpRequest, Response, StatusCode};
use rekeyfs::console::ServePages;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::app::{Console, Refusal};
use crate::body::{self, BodyError, RequestBody};
use crate::form::{Form, URL_ENCODED};
use crate::log::{self, Limited as LimitedLog};
use crate::pages::{self, Found, layout};
use crate::reply::Reply;
use crate::request::{self, Page, Request, Shown};
use crate::server::Service;
use crate::session::{LoginError, Opened, Secret, Sessions, Visit};
use crate::{assets, host};

/// The longest body, in bytes. The longest field is a key policy of 32 KiB.
const BODY_MAX: usize = 256 << 10;
/// How long it stays after the session, so that the page that says so gets its style.
const LEAVE_TIME: Duration = Duration::from_secs(3);
const COOKIE_NAME: &str = "rekeyfs-console";
const FETCH_SITE: &str = "sec-fetch-site";
const FETCH_PURPOSE: &str = "sec-purpose";

const LOGIN: &str = "/login";
const SIGN_OUT: &str = "sign-out";
const START_AGAIN: &str =
    "Start the console again with rekeyfs console, and open the address that it prints.";

/// What answers a browser.
pub(crate) struct Browser {
    console: Console,
    token: Secret,
    limited: LimitedLog,
}

impl Browser {
    pub(crate) fn of(serve: &ServePages) -> Self {
        let (sessions, token) = Sessions::begin(Instant::now());
        Self { console: Console::of(serve, sessions), token, limited: LimitedLog::default() }
    }
}

impl Service for Browser {
    fn announcement(&self, place: &str) -> Zeroizing<String> {
        let what = if self.console.read_only { "shows" } else { "manages" };
        log::say(&format!(
            "{what} the vault {} at {place}; the address is good once, for ten minutes; end it with Ctrl-C",
            self.console.name
        ));
        Zeroizing::new(format!("{place}{LOGIN}?token={}", self.token.text()))
    }

    async fn respond(&self, request: HttpRequest<RequestBody>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        self.reply(&parts, body).await.unwrap_or_else(|refused| refused).into_response()
    }

    /// The session has ended, or nobody logged in in time: no other one comes. What was begun on all files is finished first.
    async fn over(&self) {
        self.console.sessions.over().await;
        if let Some(job) = self.console.jobs.last() {
            job.end().await;
        }
        sleep(LEAVE_TIME).await;
        log::say("the session is over");
    }
}

impl Browser {
    async fn reply(&self, parts: &Parts, body: RequestBody) -> Result<Reply, Reply> {
        if !host::is_loopback(&parts.headers) || parts.uri.authority().is_some() {
            self.limited.say("a request for another host than this one's loopback was refused");
            let sentence = "This console is for browsers of this host, at 127.0.0.1, [::1] or localhost.";
            return Err(outside(StatusCode::FORBIDDEN, "Another host", sentence).and_hang_up());
        }
        let path = parts.uri.path();
        if path == LOGIN {
            return self.login(parts).map_err(Reply::and_hang_up);
        }
        if let Some(asset) = assets::at(path).filter(|_| parts.method == Method::GET) {
            return Ok(asset);
        }
        let (visit, path) = self.enter(parts, path).ok_or_else(|| no_session().and_hang_up())?;
        self.page(parts, visit, path, body).await
    }

    fn login(&self, parts: &Parts) -> Result<Reply, Reply> {
        if parts.method != Method::GET {
            return Err(not_by(&parts.method, &Method::GET));
        }
        // A browser that fetches what might be opened next would use the token up.
        if header(parts, FETCH_PURPOSE).is_some_and(|purpose| purpose.contains("prefetch")) {
            return Err(outside(StatusCode::FORBIDDEN, "Not yet", "Open the address to sign in."));
        }
        let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
        match self.console.sessions.login(query.text("token"), Instant::now()) {
            Ok(Opened { path, cookie }) => {
                log::say("a browser signed in");
                let base = request::base(path.text());
                let cookie =
                    format!("{COOKIE_NAME}={}; Path={base}; HttpOnly; SameSite=Strict", cookie.text());
                Ok(Reply::see(format!("{base}{}", layout::CUSTOMER)).with(SET_COOKIE, cookie))
            }
            Err(why) => {
                self.limited.say("a login was refused: its token is wrong, too old, or was used before");
                let what = match why {
                    LoginError::Wrong => "This isn't the address that the console printed.",
                    LoginError::Over => "This address was opened before, or it is older than ten minutes.",
                };
                Err(outside(StatusCode::FORBIDDEN, "Not signed in", &format!("{what} {START_AGAIN}")))
            }
        }
    }

    /// The session that a request belongs to, and the path below its own.
    fn enter<'a>(&self, parts: &Parts, path: &'a str) -> Option<(Visit, &'a str)> {
        let (session, rest) = path.strip_prefix("/s/")?.split_once('/')?;
        let cookies = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let ours = cookies.flat_map(|line| line.split(';')).filter_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == COOKIE_NAME).then_some(value)
        });
        Some((self.console.sessions.enter(session, ours, Instant::now())?, rest))
    }

    async fn page(&self, parts: &Parts, visit: Visit, path: &str, body: RequestBody) -> Result<Reply, Reply> {
        let posts = parts.method == Method::POST;
        if posts && !is_from_here(parts) {
            self.limited.say("a form that another site sent was refused");
            let sentence =
                "A form is taken only from a page of this console. Go back, reload the page, and try again.";
            return Err(outside(StatusCode::FORBIDDEN, "A form of another site", sentence).and_hang_up());
        }
        let signs_out = path == SIGN_OUT;
        if posts && self.console.read_only && !signs_out {
            let sentence = "This console is read-only. Start it without --read-only to change something.";
            return Err(self
                .refusal(&plain_request(visit), &Refusal::new(StatusCode::METHOD_NOT_ALLOWED, sentence))
                .allowing(&Method::GET)
                .and_hang_up());
        }
        let (route, key) = match pages::find(&parts.method, path) {
            Found::Page(route, key) => (Some(route), key),
            Found::Nothing if signs_out && posts => (None, None),
            Found::Nothing if signs_out => return Err(not_by(&parts.method, &Method::POST).and_hang_up()),
            Found::Not(method) => return Err(not_by(&parts.method, method).and_hang_up()),
            Found::Nothing => {
                return Err(self.refusal(&plain_request(visit), &Refusal::not_found()).and_hang_up());
            }
        };
        let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let form = if posts { read_form(parts, body, &visit).await? } else { Form::default() };
        let Some(route) = route else {
            self.console.sessions.end();
            log::say("the browser signed out");
            return Ok(outside(StatusCode::OK, "Signed out", START_AGAIN));
        };
        let request = Request::new(visit, key, query, form);
        match (route.page)(&self.console, &request).await {
            Ok(Page::Shown(shown)) => Ok(self.shown(&request, &shown)),
            Ok(Page::Done { path, notice }) => {
                self.console.sessions.leave_notice(notice);
                Ok(Reply::see(request.url(&path)))
            }
            Ok(Page::Data(data)) => Ok(Reply::json(&data)),
            Err(refusal) => Err(self.refusal(&request, &refusal)),
        }
    }

    fn shown(&self, request: &Request, shown: &Shown) -> Reply {
        Reply::html(shown.status, layout::document(&self.console, request, shown))
    }

    /// A page that can't be shown.
    fn refusal(&self, request: &Request, refusal: &Refusal) -> Reply {
        let title = match refusal.status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::METHOD_NOT_ALLOWED => "Read-only",
            _ => "Not possible",
        };
        let main = maud::html! {
            h1 { (title) }
            (layout::alert(Some(refusal)))
            @if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
                p { "Reload the page once the vault is mounted." }
            }
        };
        self.shown(request, &Shown { status: refusal.status, title: title.to_owned(), place: "", main })
    }
}

fn plain_request(visit: Visit) -> Request {
    Request::new(visit, None, Form::default(), Form::default())
}

/// A form that carries the session's secret.
async fn read_form(parts: &Parts, body: RequestBody, visit: &Visit) -> Result<Form, Reply> {
    let is_form =
        |text: &str| text.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(URL_ENCODED));
    if !header(parts, CONTENT_TYPE.as_str()).is_some_and(is_form) {
        let sentence = format!("A form is sent as {URL_ENCODED}.");
        return Err(outside(StatusCode::UNSUPPORTED_MEDIA_TYPE, "No form", &sentence).and_hang_up());
    }
    let body = body::read(body, BODY_MAX).await.map_err(|error| {
        let status = match error {
            BodyError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::BrokeOff => StatusCode::BAD_REQUEST,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        };
        outside(status, "The form wasn't read", &format!("Nothing was changed: {error}.")).and_hang_up()
    })?;
    let form = Form::parse(&body);
    if !visit.form.is(form.text(layout::SECRET)) {
        let sentence = "The form isn't one of this session. Go back, reload the page, and try again.";
        return Err(outside(StatusCode::FORBIDDEN, "A form of another session", sentence));
    }
    Ok(form)
}

/// Whether a form was sent by a page of this server.
fn is_from_here(parts: &Parts) -> bool {
    let own = header(parts, HOST.as_str()).map(|host| format!("http://{host}"));
    match (header(parts, ORIGIN.as_str()), header(parts, FETCH_SITE)) {
        (Some("null") | None, Some(site)) => site == "same-origin",
        (Some(origin), site) => {
            own.is_some_and(|own| own.eq_ignore_ascii_case(origin))
                && site.is_none_or(|site| site == "same-origin")
        }
        (None, None) => false,
    }
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// A page for a request that belongs to no session, or can't be taken.
fn outside(status: StatusCode, title: &str, sentence: &str) -> Reply {
    Reply::html(status, layout::plain(title, sentence))
}

fn no_session() -> Reply {
    let sentence = format!(
        "This address belongs to a session of another browser, or to one that has ended. {START_AGAIN}"
    );
    outside(StatusCode::FORBIDDEN, "Not signed in", &sentence)
}

fn not_by(method: &Method, other: &Method) -> Reply {
    let sentence = format!("This address takes {other}, and no {method}.");
    outside(StatusCode::METHOD_NOT_ALLOWED, "Another method", &sentence).allowing(other)
}

#[cfg(test)]
mod tests;
