//! Who may come in: `Host` against DNS rebinding, `Origin` against other sites' pages (RFC 6455 4.2.2, item 4, and 10.2).
//!
//! A browser sends along where a page comes from, and lets any page open a WebSocket to anywhere; so the server has to
//! look. Other clients may send what they like, so this protects users of browsers, not the server.

use crate::refusal::{Refusal, quote};
use hyper::header::{HOST, HeaderName, ORIGIN};
use hyper::{HeaderMap, StatusCode};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Which hosts and origins are let in.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Whether every address that is listened on is loopback: then only loopback names, and the hosts of `allowed`, can
    /// be meant by a `Host`.
    pub loopback_only: bool,
    /// Origins that are let in beside the page's own.
    pub allowed: Vec<Origin>,
}

/// An origin on the command line: a scheme, a host and perhaps a port, or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://chat.example:8443`, in lower case.
    Of(String),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_[]".contains(c);
        match authority(text) {
            Some(authority) if !authority.is_empty() && authority.chars().all(plain) => {
                Ok(Self::Of(text.to_ascii_lowercase()))
            }
            _ => Err(format!("{text:?} is not an origin such as https://chat.example, nor *")),
        }
    }
}

impl Origin {
    /// Whether an `Origin` header field's value is this one.
    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(allowed) => allowed.eq_ignore_ascii_case(origin),
        }
    }

    /// Whether a `Host` header field's value is this one's host.
    fn is_at(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(allowed) => authority(allowed).is_some_and(|allowed| allowed.eq_ignore_ascii_case(host)),
        }
    }
}

/// Host and port of an origin, which has a scheme and nothing else.
fn authority(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https").then_some(authority)
}

impl Admission {
    /// Checks where a request is addressed to. A page of another site can have its own name resolve to 127.0.0.1; its
    /// requests still carry that name.
    ///
    /// # Errors
    /// 421 where the `Host` is none of this server's names.
    pub fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = headers.get(HOST).map_or("", |host| host.to_str().unwrap_or("?"));
        let ours = !self.loopback_only || is_loopback(host) || self.allowed.iter().any(|origin| origin.is_at(host));
        // Without a Host, the rule that asks for one answers.
        if ours || !headers.contains_key(HOST) {
            return Ok(());
        }
        Err(Refusal {
            status: StatusCode::MISDIRECTED_REQUEST,
            headers: Vec::new(),
            fault: "this server listens on loopback alone, and that is not a loopback name".into(),
            rule: "RFC 9110 7.4: a request for another host is misdirected; `--allow-origin http://HOST` takes it",
            sent: line(&HOST, headers),
        })
    }

    /// Checks which page a WebSocket is opened from (RFC 6455 4.2.2, item 4).
    ///
    /// # Errors
    /// 403 where that is neither the page of this server nor allowed.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut lines = headers.get_all(ORIGIN).iter();
        // Not a browser: nobody's page, nobody's cookies.
        let Some(first) = lines.next() else {
            return Ok(());
        };
        let origin = first.to_str().ok().filter(|_| lines.next().is_none());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let own = |origin: &str| match (authority(origin), host) {
            (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
            _ => false,
        };
        if origin.is_some_and(|origin| own(origin) || self.allowed.iter().any(|allowed| allowed.is(origin))) {
            return Ok(());
        }
        Err(Refusal {
            status: StatusCode::FORBIDDEN,
            headers: Vec::new(),
            fault: "a page of another origin wants in; `--allow-origin ORIGIN` lets it".into(),
            rule: "RFC 6455 4.2.2, item 4, and 10.2: the server checks that it knows the Origin",
            sent: format!("{}, {}", line(&ORIGIN, headers), line(&HOST, headers)),
        })
    }
}

/// A header field's lines as they were sent, escaped.
fn line(name: &HeaderName, headers: &HeaderMap) -> String {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| quote(value.as_bytes())).collect();
    format!("{name}: {}", values.join(" | "))
}

/// Whether a `Host`, with or without a port, can only mean this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if let Some(v6) = literal {
        return v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() && address.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(host: &str, origins: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers
    }

    fn admission(allowed: &[&str]) -> Admission {
        Admission { loopback_only: true, allowed: allowed.iter().map(|text| text.parse().unwrap()).collect() }
    }

    #[test]
    fn a_host_must_be_a_loopback_name_where_only_loopback_is_listened_on() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "chat.localhost:1",
            "localhost.",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:8000",
        ] {
            assert_eq!(admission(&[]).check_host(&headers(host, &[])), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "notlocalhost",
            "128.0.0.1",
            "[::2]",
            "::1",
            "",
        ] {
            let refusal = admission(&[]).check_host(&headers(host, &[])).unwrap_err();
            assert_eq!((refusal.status.as_u16(), refusal.sent), (421, format!("host: {host}")));
        }
    }

    #[test]
    fn any_host_may_be_meant_where_more_than_loopback_is_listened_on() {
        let open = Admission::default();
        assert_eq!(open.check_host(&headers("chat.example", &[])), Ok(()));
    }

    #[test]
    fn the_host_of_an_allowed_origin_is_allowed() {
        let admission = admission(&["https://Chat.Example", "http://other:81"]);
        assert_eq!(admission.check_host(&headers("chat.example", &[])), Ok(()));
        assert_eq!(admission.check_host(&headers("OTHER:81", &[])), Ok(()));
        assert!(admission.check_host(&headers("other:82", &[])).is_err());
    }

    #[test]
    fn without_a_host_another_rule_answers() {
        assert_eq!(admission(&[]).check_host(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn the_page_of_this_server_is_let_in_whatever_its_scheme() {
        for (host, origin) in [
            ("localhost:8000", "http://localhost:8000"),
            ("chat.example", "https://chat.example"),
            ("Chat.example", "https://chat.Example"),
        ] {
            assert_eq!(admission(&[]).check_origin(&headers(host, &[origin])), Ok(()));
        }
    }

    #[test]
    fn no_origin_is_not_a_browser() {
        assert_eq!(admission(&[]).check_origin(&headers("localhost", &[])), Ok(()));
    }

    #[test]
    fn a_page_of_another_origin_is_refused_with_both_values() {
        for origin in [
            "http://localhost:8001",
            "http://localhost",
            "https://evil.example",
            "null",
            "localhost:8000",
            "file://localhost:8000",
            "",
        ] {
            let refusal = admission(&["https://chat.example"]).check_origin(&headers("localhost:8000", &[origin]));
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.status.as_u16(), 403);
            assert_eq!(refusal.sent, format!("origin: {origin}, host: localhost:8000"));
            assert!(refusal.fault.contains("--allow-origin"));
        }
    }

    #[test]
    fn two_origins_are_none() {
        let headers = headers("localhost:8000", &["http://localhost:8000", "http://localhost:8000"]);
        assert!(admission(&[]).check_origin(&headers).is_err());
    }

    #[test]
    fn an_allowed_origin_is_let_in_and_a_star_is_for_any() {
        let from = |origin: &str| headers("localhost:8000", &[origin]);
        let some = admission(&["https://chat.example"]);
        assert_eq!(some.check_origin(&from("https://CHAT.example")), Ok(()));
        assert!(some.check_origin(&from("http://chat.example")).is_err());
        let any = admission(&["*"]);
        assert_eq!(any.check_origin(&from("https://evil.example")), Ok(()));
        assert_eq!(any.check_origin(&from("null")), Ok(()));
        assert_eq!(any.check_host(&headers("evil.example", &[])), Ok(()));
    }

    #[test]
    fn what_is_not_an_origin_is_refused_on_the_command_line() {
        for text in ["", "chat.example", "https://", "ftp://chat.example", "https://chat.example/", "https://a b"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        assert_eq!("HTTPS://Chat.example:8443".parse(), Ok(Origin::Of("https://chat.example:8443".into())));
    }
}
