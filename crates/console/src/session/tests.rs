use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn opened(now: Instant) -> (Sessions, Opened) {
    let (sessions, token) = Sessions::begin(now);
    let opened = sessions.login(token.text(), now).ok().unwrap();
    (sessions, opened)
}

fn enters(sessions: &Sessions, path: &str, cookies: &[&str], now: Instant) -> bool {
    sessions.enter(path, cookies.iter().copied(), now).is_some()
}

#[test]
fn a_token_is_good_once() {
    let now = Instant::now();
    let (sessions, token) = Sessions::begin(now);
    for wrong in ["", "x", &token.text()[1..], &format!("{}A", token.text())] {
        assert_eq!(sessions.login(wrong, now).err(), Some(LoginError::Wrong), "{wrong}");
    }
    assert!(sessions.login(token.text(), now).is_ok());
    assert_eq!(sessions.login(token.text(), now).err(), Some(LoginError::Over));
}

#[test]
fn a_token_is_good_for_ten_minutes() {
    let now = Instant::now();
    let (sessions, token) = Sessions::begin(now);
    assert_eq!(sessions.login(token.text(), now + LOGIN_TIME).err(), Some(LoginError::Over));
    let (sessions, token) = Sessions::begin(now);
    assert!(sessions.login(token.text(), now + LOGIN_TIME - SECOND).is_ok());
}

#[test]
fn a_session_takes_its_path_and_its_cookie() {
    let now = Instant::now();
    let (sessions, Opened { path, cookie }) = opened(now);
    let (path, cookie) = (path.text(), cookie.text());
    assert!(enters(&sessions, path, &[cookie], now));
    assert!(enters(&sessions, path, &["another's", cookie], now), "a second cookie of the name");
    assert!(!enters(&sessions, path, &[], now));
    assert!(!enters(&sessions, path, &[path, ""], now));
    assert!(!enters(&sessions, cookie, &[cookie], now));
    assert!(!enters(&sessions, "", &[cookie], now));
}

#[test]
fn a_session_ends_after_an_hour_without_a_request() {
    let now = Instant::now();
    let (sessions, Opened { path, cookie }) = opened(now);
    let enters = |now| enters(&sessions, path.text(), &[cookie.text()], now);
    let later = now + IDLE_TIME - SECOND;
    assert!(enters(later) && enters(later + IDLE_TIME - SECOND), "a request makes it last longer");
    assert!(!enters(later + IDLE_TIME * 2));
    assert!(!enters(later), "and it stays ended");
}

#[test]
fn nobody_enters_after_a_sign_out_nor_before_a_login() {
    let now = Instant::now();
    let (sessions, Opened { path, cookie }) = opened(now);
    sessions.end();
    assert!(!enters(&sessions, path.text(), &[cookie.text()], now));
    let (sessions, token) = Sessions::begin(now);
    assert!(!enters(&sessions, "", &[""], now) && !enters(&sessions, token.text(), &[token.text()], now));
}

#[test]
fn it_is_over_once_the_session_ended_or_can_not_begin() {
    let now = Instant::now();
    let (sessions, token) = Sessions::begin(now);
    assert_eq!(sessions.lasts_until(now), Some(now + LOGIN_TIME));
    let login = now + LOGIN_TIME - SECOND;
    let Opened { path, cookie } = sessions.login(token.text(), login).ok().unwrap();
    assert_eq!(sessions.lasts_until(login), Some(login + IDLE_TIME));
    let later = login + IDLE_TIME - SECOND;
    assert!(enters(&sessions, path.text(), &[cookie.text()], later));
    assert_eq!(sessions.lasts_until(later), Some(later + IDLE_TIME), "a request makes it last longer");
    sessions.end();
    assert_eq!(sessions.lasts_until(later), None);
    let (sessions, _) = Sessions::begin(now);
    assert_eq!(sessions.lasts_until(now + LOGIN_TIME), None, "nobody logged in");
}

#[test]
fn a_message_is_shown_once() {
    let (sessions, _) = opened(Instant::now());
    assert_eq!(sessions.take_notice(), None);
    sessions.leave_notice("done".to_owned());
    assert_eq!((sessions.take_notice().as_deref(), sessions.take_notice()), (Some("done"), None));
}

#[test]
fn secrets_have_256_bits_and_no_two_are_equal() {
    let (one, other) = (Secret::random(), Secret::random());
    assert_eq!(BASE64URL_NOPAD.decode(one.text().as_bytes()).unwrap().len(), 32);
    assert!(one.is(one.text()) && !one.is(other.text()));
}
