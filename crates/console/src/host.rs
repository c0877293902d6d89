//! Which host a request is for. A browser sends what a page asks for to whatever address the page's name has, and the page's
//! owner can make that 127.0.0.1 (DNS rebinding). The `Host` header has the page's name then, so that only names of this
//! host's loopback are taken.

use hyper::HeaderMap;
use hyper::header::HOST;
use hyper::http::uri::Authority;

/// Whether there is one `Host` header, and it names this host by a loopback name or address, at any port (which may be
/// another one at the near end of `ssh -L`).
pub(crate) fn is_loopback(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().is_ok_and(names_loopback),
        _ => false,
    }
}

fn names_loopback(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    // What is before an @ is no name.
    !text.contains('@') && (host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_taken() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(HOST, value.parse().unwrap());
            });
            is_loopback(&headers)
        };
        for good in ["127.0.0.1", "127.0.0.1:4599", "localhost", "LocalHost:80", "[::1]", "[::1]:1"] {
            assert!(of(&[good]), "{good}");
        }
        for bad in [
            "",
            "example.org",
            "example.org:4599",
            "127.0.0.1.example.org",
            "localhost.example.org",
            "127.0.0.1@example.org",
            "example.org@127.0.0.1",
            "0.0.0.0",
            "127.0.0.2",
            "[::]",
            "::1",
            "127.0.0.1:4599/",
            "2130706433",
            "localhost.",
        ] {
            assert!(!of(&[bad]), "{bad}");
        }
        assert!(!of(&[]));
        assert!(!of(&["127.0.0.1", "127.0.0.1"]));
    }
}
