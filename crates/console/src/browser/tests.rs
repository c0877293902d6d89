use super::*;

fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = HttpRequest::builder().uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn a_form_is_from_here_if_the_browser_says_so() {
    let host = ("host", "127.0.0.1:80");
    let is = |headers: &[(&str, &str)]| is_from_here(&parts(&[&[host], headers].concat()));
    let (own, null, same) =
        (("origin", "http://127.0.0.1:80"), ("origin", "null"), (FETCH_SITE, "same-origin"));
    assert!(is(&[own]) && is(&[own, same]) && is(&[null, same]) && is(&[same]));
    assert!(!is(&[]) && !is(&[null]));
    for origin in
        ["http://127.0.0.1:81", "http://127.0.0.1", "https://127.0.0.1:80", "http://example.org", ""]
    {
        assert!(!is(&[("origin", origin)]) && !is(&[("origin", origin), same]), "{origin}");
    }
    for site in ["same-site", "cross-site", "none", ""] {
        assert!(!is(&[(FETCH_SITE, site)]) && !is(&[own, (FETCH_SITE, site)]), "{site}");
    }
}
