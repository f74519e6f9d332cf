//! Which requests are admitted: the host against DNS rebinding, `Origin` against other sites' pages (RFC 6455 4.2.2, item 4,
//! and 10.2).
//!
//! A browser lets any page open a WebSocket to any server, and names the page's origin in the request; the server has to
//! check it. Other clients can send any `Origin`, so this protects the users of browsers, not the server.

use crate::http::host::{self, host};
use crate::http::refusal::{Head, Refusal, Sent};
use hyper::StatusCode;
use hyper::header::ORIGIN;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Which hosts and origins are admitted.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Whether the server listens on loopback addresses only. If so, a request's host must be a loopback name, or the host of an
    /// allowed origin.
    pub loopback_only: bool,
    /// Allowed origins, besides that of the server's own page.
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

/// What follows the scheme of an origin: its host and port.
fn authority(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https").then_some(authority)
}

impl Admission {
    /// Checks the host: one at most, and if `loopback_only`, one that is admitted. A page of another site can have its own
    /// name resolve to 127.0.0.1 (DNS
    /// rebinding); its requests still carry that name.
    ///
    /// # Errors
    /// 400: there are two, or one that is no host. 421: the host is none of this server's names.
    pub fn check_host(&self, head: &Head) -> Result<(), Refusal> {
        host::check(head).map_err(|fault| Refusal {
            status: StatusCode::BAD_REQUEST,
            fields: &[],
            fault: fault.into(),
            rule: "RFC 9112 3.2: a request has one Host header field with a valid host".into(),
            sent: Sent::Host,
        })?;
        // HTTP/1.1 without a Host is refused elsewhere; 1.0 needs none.
        let Some(host) = host(head) else { return Ok(()) };
        if !self.loopback_only || is_loopback(host) || self.allowed.iter().any(|origin| origin.is_at(host)) {
            return Ok(());
        }
        Err(Refusal {
            status: StatusCode::MISDIRECTED_REQUEST,
            fields: &[],
            fault: "this server listens on loopback alone, and that is not a loopback name".into(),
            rule: "RFC 9110 7.4: a request for another host is misdirected; allow the host with \
                   `--allow-origin http://HOST`"
                .into(),
            sent: Sent::Host,
        })
    }

    /// Whether a WebSocket may be opened from the page that a request names in `Origin` (RFC 6455 4.2.2, item 4): the page
    /// of this server, or one that is allowed.
    pub fn allows_origin(&self, head: &Head) -> bool {
        let mut lines = head.headers.get_all(ORIGIN).iter();
        // No Origin: not a browser, so there is no user to protect.
        let Some(first) = lines.next() else { return true };
        let Some(origin) = first.to_str().ok().filter(|_| lines.next().is_none()) else { return false };
        let own = match (authority(origin), host(head)) {
            (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
            _ => false,
        };
        own || self.allowed.iter().any(|allowed| allowed.is(origin))
    }
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
