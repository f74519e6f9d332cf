//! Who may come in: `Host` against DNS rebinding, `Origin` against other sites' pages (RFC 6455 4.2.2, item 4, and 10.2).
//!
//! A browser sends along where a page comes from, and lets any page open a WebSocket to anywhere; so the server has to
//! look. Other clients may send what they like, so this protects users of browsers, not the server.

use crate::http::refusal::{Refusal, quote};
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
mod tests;
