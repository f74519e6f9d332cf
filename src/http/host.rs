//! The host that a request is addressed to (RFC 9112 3.2), and the scheme that the client used.

use hyper::HeaderMap;
use hyper::header::HOST;
use hyper::http::request::Parts;
use std::net::Ipv6Addr;

/// The host and port that a request is addressed to: the authority of an absolute target, which overrides `Host`
/// (RFC 9112 3.2.2), else the `Host`.
pub fn host(head: &Parts) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST)?.to_str().ok(),
    }
}

/// Checks the `Host` lines and the authority of the target, where there are any (RFC 9112 3.2).
///
/// # Errors
/// What is wrong, in a sentence.
pub fn check(head: &Parts) -> Result<(), &'static str> {
    let mut lines = head.headers.get_all(HOST).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err("there is more than one Host");
    }
    if first.is_some_and(|host| !host.to_str().is_ok_and(is_host)) {
        return Err("the Host is not a host with an optional port");
    }
    if head.uri.authority().is_some_and(|authority| !is_host(authority.as_str())) {
        return Err("the target does not have a host with an optional port");
    }
    Ok(())
}

/// Whether this is a host and perhaps a port (RFC 3986 3.2.2, 3.2.3). The host must not be empty (RFC 9110 4.2.1).
pub fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (text, ""),
    };
    is_name(name) && (port.is_empty() || is_port(port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_name(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return literal.parse::<Ipv6Addr>().is_ok();
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// The schemes of WebSockets and of HTTP that the client used: those of TLS if a proxy says so. Any client can send
/// this header field, so the schemes are for texts only.
pub fn schemes(headers: &HeaderMap) -> (&'static str, &'static str) {
    let mut lines = headers.get_all("x-forwarded-proto").iter();
    match (lines.next().map(|line| line.as_bytes()), lines.next()) {
        (Some(b"https" | b"wss"), None) => ("wss", "https"),
        _ => ("ws", "http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    /// The head of a request with this target and these `Host` lines.
    fn head(target: &str, hosts: &[&str]) -> Parts {
        let request = Request::builder().uri(target);
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn authority_of_an_absolute_target_overrides_host() {
        assert_eq!(host(&head("/", &["a.example"])), Some("a.example"));
        assert_eq!(host(&head("http://b.example:81/", &["a.example"])), Some("b.example:81"));
        assert_eq!(host(&head("http://b.example/", &[])), Some("b.example"));
        assert_eq!(host(&head("/", &[])), None);
    }

    #[test]
    fn hosts() {
        for host in [
            "localhost",
            "localhost:8000",
            "localhost:",
            "a.example:65535",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "a_b-c.example.",
            "%41",
            "!$&'()*+,;=~",
        ] {
            assert_eq!(check(&head("/", &[host])), Ok(()), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "evil example.localhost",
            "localhost:99999",
            "localhost:65536",
            "localhost:+1",
            "localhost:http",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[localhost]",
            "[::1]:99999",
            "a@localhost",
            "a/b",
            "a:1:2",
            "\"localhost\"",
            "<a>",
            "a\tb",
        ] {
            assert_eq!(check(&head("/", &[host])), Err("the Host is not a host with an optional port"), "{host}");
        }
    }

    #[test]
    fn host_that_is_not_ascii_is_no_host() {
        assert!(check(&head("/", &["h\u{f6}st"])).is_err());
    }

    #[test]
    fn two_hosts() {
        for hosts in [["a", "a"], ["a", "b"], ["a", ""]] {
            assert_eq!(check(&head("/", &hosts)), Err("there is more than one Host"), "{hosts:?}");
        }
    }

    #[test]
    fn absolute_target_does_not_excuse_its_host_lines() {
        assert_eq!(check(&head("http://a/", &["b"])), Ok(()));
        assert_eq!(check(&head("http://a/", &[])), Ok(()));
        assert!(check(&head("http://a/", &["b c"])).is_err());
        assert!(check(&head("http://a/", &["a", "a"])).is_err());
    }

    #[test]
    fn authority_of_a_target_must_be_a_host() {
        for target in ["http://user:password@a/", "http://a:99999/", "http://:80/"] {
            let fault = "the target does not have a host with an optional port";
            assert_eq!(check(&head(target, &["a"])), Err(fault), "{target}");
        }
    }
}
