//! What a request gets that is not served: a status, and a short text that teaches.
//!
//! Every refusal says what is wrong, which rule it breaks, what was sent, and a command that works. Text that came from
//! the client is escaped ([`quote`]).

use crate::limits::QUOTE_LENGTH;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Response, StatusCode};

/// The response to a request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the response.
    pub status: StatusCode,
    /// The header fields that the status asks for, such as `Allow` with 405.
    pub headers: Vec<(HeaderName, &'static str)>,
    /// What is wrong, in a sentence.
    pub fault: String,
    /// The rule that was broken, and where it stands.
    pub rule: &'static str,
    /// What was sent instead, escaped.
    pub sent: String,
}

impl Refusal {
    /// The whole response. `request` names the host that the command in its text goes to.
    pub fn response(&self, request: &HeaderMap) -> Response<Full<Bytes>> {
        let host = authority(request).unwrap_or("127.0.0.1:8000");
        let text = format!(
            "{status}\n\n\
             fault: {fault}\n\
             rule:  {rule}\n\
             sent:  {sent}\n\
             works: websocat ws://{host}/ws/1\n\
             or:    curl -iN -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
             -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://{host}/ws/1\n",
            status = self.status,
            fault = self.fault,
            rule = self.rule,
            sent = self.sent,
        );
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.headers {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A client's text, safe for a terminal and short: control characters are escaped, the rest is cut off.
pub fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut quoted: String = text.chars().take(QUOTE_LENGTH).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTE_LENGTH).is_some() {
        quoted.push('…');
    }
    // What is quoted stands between double quotes, or alone.
    quoted.replace("\\'", "'")
}

/// The request's `Host`, where it is plain enough to stand in a command that someone will paste into a shell.
fn authority(request: &HeaderMap) -> Option<&str> {
    let host = request.get(HOST)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".:-[]".contains(c);
    (!host.is_empty() && host.len() <= QUOTE_LENGTH && host.chars().all(plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quote_escapes_what_would_drive_a_terminal() {
        assert_eq!(quote(b"a\x1b[31m\r\n\x07b"), r"a\u{1b}[31m\r\n\u{7}b");
        assert_eq!(quote("é \u{202e}".as_bytes()), r"é \u{202e}");
        assert_eq!(quote(b"\xff"), "\u{fffd}");
        assert_eq!(quote(br#"it's "\'"#), r#"it's \"\\'"#);
    }

    #[test]
    fn quote_cuts_long_text() {
        assert_eq!(quote(&[b'x'; QUOTE_LENGTH]), "x".repeat(QUOTE_LENGTH));
        assert_eq!(quote(&[b'x'; QUOTE_LENGTH + 1]), "x".repeat(QUOTE_LENGTH) + "…");
    }

    #[test]
    fn the_command_names_the_host_only_if_it_is_harmless_in_a_shell() {
        let named = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            authority(&headers).map(str::to_owned)
        };
        assert_eq!(named("localhost:8000").as_deref(), Some("localhost:8000"));
        assert_eq!(named("[::1]:9").as_deref(), Some("[::1]:9"));
        assert_eq!(named("x; rm -rf ~"), None);
        assert_eq!(named("$(reboot)"), None);
        assert_eq!(named(""), None);
        assert_eq!(authority(&HeaderMap::new()), None);
        assert_eq!(named("x".repeat(QUOTE_LENGTH + 1).leak()), None);
    }
}
