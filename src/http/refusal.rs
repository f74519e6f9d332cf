//! The response to a request that is refused: a status, and a short text that teaches.
//!
//! Each refusal says what is wrong, which rule it breaks, what was sent, and a correct command.

use crate::escape::quote;
use crate::http::host::{host, is_host, schemes};
use crate::limits::QUOTE_LENGTH;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Response, StatusCode};
use std::borrow::Cow;
use std::net::SocketAddr;

/// The head of a request: method, target, version and header fields.
pub type Head = hyper::http::request::Parts;

/// Header fields that a status requires, such as `Allow` with 405.
pub type Fields = &'static [(&'static str, &'static str)];

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: StatusCode,
    /// The header fields that go with the status.
    pub fields: Fields,
    /// What is wrong, in a sentence.
    pub fault: Cow<'static, str>,
    /// The rule that was broken, and its section.
    pub rule: Cow<'static, str>,
    /// The part of the request that breaks it.
    pub sent: Sent,
}

/// The part of a request that a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The method.
    Method,
    /// The version of HTTP.
    Version,
    /// The path, without the query.
    Path,
    /// Header fields, by their names in lower case.
    Fields(&'static [&'static str]),
    /// The host: of the target, if it has one, and `Host`.
    Host,
    /// `Origin`, and the host that it is compared with.
    Origin,
    /// No part: the request is fine.
    Nothing,
}

const HOST_FIELD: Sent = Sent::Fields(&["host"]);

impl Sent {
    /// That part as it was sent, escaped.
    pub fn show(self, head: &Head) -> String {
        match self {
            Self::Method => quote(head.method.as_str().as_bytes()),
            Self::Version => format!("{:?}", head.version),
            Self::Path => quote(head.uri.path().as_bytes()),
            Self::Host => match head.uri.authority() {
                Some(host) => format!("target: {} | {}", quote(host.as_str().as_bytes()), HOST_FIELD.show(head)),
                None => HOST_FIELD.show(head),
            },
            Self::Fields(names) => {
                let lines: Vec<_> = names.iter().flat_map(|name| lines(&head.headers, name)).collect();
                if lines.is_empty() { format!("no {}", names[0]) } else { lines.join(" | ") }
            }
            Self::Origin if !head.headers.contains_key("origin") => "no origin".into(),
            Self::Origin => format!("{} | {}", Self::Fields(&["origin"]).show(head), Self::Host.show(head)),
            Self::Nothing => "nothing wrong".into(),
        }
    }
}

/// Each line of a header field.
fn lines(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    headers.get_all(name).iter().map(move |value| format!("{name}: {}", quote(value.as_bytes())))
}

impl Refusal {
    /// The text of the response. `local` is the server's address, where the request arrived.
    fn text(&self, head: &Head, local: SocketAddr) -> String {
        let works = |host: &&str| self.status != StatusCode::MISDIRECTED_REQUEST && is_host(host) && is_harmless(host);
        let ((ws, http), host) = match host(head).filter(works) {
            Some(host) => (schemes(&head.headers), host.to_owned()),
            // A socket for IPv6 may have accepted a connection over IPv4, from an address such as ::ffff:127.0.0.1.
            None => (("ws", "http"), SocketAddr::new(local.ip().to_canonical(), local.port()).to_string()),
        };
        format!(
            "{status}\n\n\
             fault: {fault}\n\
             rule:  {rule}\n\
             sent:  {sent}\n\
             works: websocat -E {ws}://{host}{path}\n\
             or:    curl -iN -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
             -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' {http}://{host}{path}\n",
            path = if head.uri.path() == "/echo" { "/echo" } else { "/ws/1" },
            status = self.status,
            fault = self.fault,
            rule = self.rule,
            sent = self.sent.show(head),
        )
    }

    /// The whole response to the request with this head, which arrived at this address of the server.
    pub fn response(&self, head: &Head, local: SocketAddr) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.text(head, local))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.fields {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}

/// Whether a host is harmless in a command that someone will paste into a shell.
fn is_harmless(host: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || ".:-[]".contains(c);
    !host.is_empty() && host.len() <= QUOTE_LENGTH && host.chars().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::responses::unavailable;
    use hyper::Request;
    use hyper::header::HOST;
    use std::net::{IpAddr, Ipv4Addr};

    /// The address at which requests arrive.
    const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 81);

    /// The commands at the end of a refusal to a request with these `X-Forwarded-Proto` lines.
    fn commands(forwarded: &[&'static str]) -> (String, String) {
        let mut request = Request::builder().uri("/ws/1").header(HOST, "chat.example");
        for scheme in forwarded {
            request = request.header("x-forwarded-proto", *scheme);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        let text = unavailable("full").text(&head, LOCAL);
        let url = |line: &str| {
            let line = text.lines().find(|text| text.starts_with(line)).expect("a command");
            line.rsplit_once(' ').expect("a URL at its end").1.to_owned()
        };
        (url("works: "), url("or: "))
    }

    #[test]
    fn the_commands_have_the_scheme_that_a_proxy_reports() {
        let plain = ("ws://chat.example/ws/1".to_owned(), "http://chat.example/ws/1".to_owned());
        let secure = ("wss://chat.example/ws/1".to_owned(), "https://chat.example/ws/1".to_owned());
        assert_eq!(commands(&[]), plain);
        for scheme in ["http", "ws", "", "HTTPS", "https, http", "https ", "x; reboot"] {
            assert_eq!(commands(&[scheme]), plain, "{scheme}");
        }
        for scheme in ["https", "wss"] {
            assert_eq!(commands(&[scheme]), secure, "{scheme}");
        }
        assert_eq!(commands(&["https", "https"]), plain);
    }

    #[test]
    fn the_command_names_only_a_host_that_is_harmless_in_a_shell() {
        for host in ["localhost:8000", "[::1]:9", &"x".repeat(QUOTE_LENGTH)] {
            assert!(is_harmless(host), "{host}");
        }
        for host in ["x; rm -rf ~", "$(reboot)", "a&b", "", &"x".repeat(QUOTE_LENGTH + 1)] {
            assert!(!is_harmless(host), "{host}");
        }
    }

    #[test]
    fn the_command_is_for_the_echo_if_that_was_asked_for() {
        for (path, works) in [("/echo", "/echo"), ("/echo/", "/ws/1"), ("/ws/2", "/ws/1")] {
            let head = Request::builder().uri(path).body(()).expect("a request").into_parts().0;
            let text = unavailable("full").text(&head, LOCAL);
            assert!(text.contains(&format!("\nworks: websocat -E ws://127.0.0.1:81{works}\n")), "{text}");
            assert!(text.ends_with(&format!(" http://127.0.0.1:81{works}\n")), "{text}");
        }
    }

    #[test]
    fn the_command_does_not_repeat_an_invalid_host() {
        for host in ["localhost:99999", ":80", "::1"] {
            let head = Request::builder().header(HOST, host).body(()).expect("a request").into_parts().0;
            let text = unavailable("full").text(&head, LOCAL);
            assert!(text.contains("\nworks: websocat -E ws://127.0.0.1:81/ws/1\n"), "{text}");
        }
    }

    #[test]
    fn the_command_names_the_servers_address_if_the_host_is_refused() {
        let request = Request::builder().header(HOST, "evil.example:9").header("x-forwarded-proto", "https");
        let head = request.body(()).expect("a request").into_parts().0;
        let refusal = Refusal { status: StatusCode::MISDIRECTED_REQUEST, ..unavailable("not this server") };
        for (local, host) in
            [("127.0.0.1:81", "127.0.0.1:81"), ("[::1]:81", "[::1]:81"), ("[::ffff:127.0.0.1]:81", "127.0.0.1:81")]
        {
            let text = refusal.text(&head, local.parse().expect("an address"));
            // The proxy's TLS is not at that address.
            assert!(text.contains(&format!("\nworks: websocat -E ws://{host}/ws/1\n")), "{text}");
            assert!(text.ends_with(&format!(" http://{host}/ws/1\n")), "{text}");
        }
    }

    #[test]
    fn the_command_names_the_host_of_an_absolute_target() {
        let request = Request::builder().uri("http://chat.example/ws/1").header(HOST, "other");
        let head = request.body(()).expect("a request").into_parts().0;
        let text = unavailable("full").text(&head, LOCAL);
        assert!(text.contains("\nworks: websocat -E ws://chat.example/ws/1\n"), "{text}");
    }
}
