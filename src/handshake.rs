//! 3. The opening handshake (phase 2): RFC 6455 4.2, as a pure function.
//!
//! Headers in, [`Accept`] or [`Rejection`] out; no socket, no async. [`accept`] is one guard per item of RFC 6455 4.2.1,
//! in the RFC's order. An `Accept` can't be made in any other way, so whoever holds one has a request that passed them
//! all. A `Rejection` knows its own [`Refusal`].

use crate::refusal::{Refusal, quote};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};
use std::fmt::Write;

/// The GUID that every WebSocket server joins to the key (RFC 6455 1.3). No other protocol would do that, so the answer
/// proves that the server understood the question.
pub const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a decoded `Sec-WebSocket-Key` in bytes (RFC 6455 4.1, item 7).
pub const KEY_LENGTH: usize = 16;

/// Standard base64. The last bits of the last character carry nothing, so nothing is asked of them.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// A request that passed every check, and the answer to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    computation: Computation,
}

/// How `Sec-WebSocket-Accept` is computed (RFC 6455 4.2.2, item 5.4), step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computation {
    /// The client's key.
    pub key: String,
    /// Key and [`GUID`], joined.
    pub joined: String,
    /// The SHA-1 of that.
    pub digest: [u8; 20],
    /// The base64 of the digest: the value.
    pub value: String,
}

impl Computation {
    /// Computes the answer to a key.
    pub fn of(key: &str) -> Self {
        let joined = format!("{key}{GUID}");
        let digest = Sha1::digest(&joined).into();
        Self { key: key.into(), joined, digest, value: BASE64.encode(digest) }
    }
}

/// Decodes a key.
///
/// # Errors
/// It is not base64, or not of [`KEY_LENGTH`] bytes.
pub fn decode_key(key: &[u8]) -> Result<Vec<u8>, Rejection> {
    match BASE64.decode(key) {
        Err(_) => Err(Rejection::KeyNotBase64(quote(key))),
        Ok(nonce) if nonce.len() == KEY_LENGTH => Ok(nonce),
        Ok(nonce) => Err(Rejection::KeyLength { key: quote(key), bytes: nonce.len() }),
    }
}

/// Checks an opening handshake, in the order of RFC 6455 4.2.1.
///
/// # Errors
/// The first rule that the request breaks.
pub fn accept(method: &Method, version: Version, headers: &HeaderMap) -> Result<Accept, Rejection> {
    // Item 1: "An HTTP/1.1 or higher GET request".
    if method != Method::GET {
        return Err(Rejection::Method(method.clone()));
    }
    if version < Version::HTTP_11 {
        return Err(Rejection::HttpVersion(version));
    }
    // Item 2: "A |Host| header field containing the server's authority."
    if !headers.contains_key(HOST) {
        return Err(Rejection::NoHost);
    }
    // Item 3: "An |Upgrade| header field containing the value "websocket", treated as an ASCII case-insensitive value."
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(Rejection::NoUpgrade(sent(headers, &UPGRADE)));
    }
    // Item 4: "A |Connection| header field that includes the token "Upgrade", treated as an ASCII case-insensitive value."
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(Rejection::NoConnectionUpgrade(sent(headers, &CONNECTION)));
    }
    // Item 5: "A |Sec-WebSocket-Key| header field with a base64-encoded value that, when decoded, is 16 bytes in length."
    let key = key(headers)?;
    // Item 6: "A |Sec-WebSocket-Version| header field, with a value of 13."
    if !is_exactly(headers, &SEC_WEBSOCKET_VERSION, "13") {
        return Err(Rejection::WebSocketVersion(sent(headers, &SEC_WEBSOCKET_VERSION)));
    }
    // Not in the list, but after the head the stream is frames: a body would be taken for them.
    if headers.contains_key(TRANSFER_ENCODING) || length_announced(headers) {
        return Err(Rejection::Body);
    }
    Ok(Accept { computation: Computation::of(key) })
}

/// The one key of the request, checked (RFC 6455 4.2.1, item 5).
fn key(headers: &HeaderMap) -> Result<&str, Rejection> {
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().ok_or(Rejection::NoKey)?;
    if keys.next().is_some() {
        return Err(Rejection::KeyRepeated(sent(headers, &SEC_WEBSOCKET_KEY)));
    }
    decode_key(key.as_bytes())?;
    Ok(key.to_str().expect("base64 is ASCII"))
}

/// Whether a header field's list, over all of its lines, has this token (RFC 9110 5.6.1). A part of a token is not it:
/// `notupgrade` is another token.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a header field is there once, with this value.
fn is_exactly(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    let mut lines = headers.get_all(name).iter();
    lines.next().is_some_and(|line| line == value) && lines.next().is_none()
}

/// Whether the head says that a body follows by its length.
fn length_announced(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
}

/// The lines of a header field as they were sent, escaped.
pub fn sent(headers: &HeaderMap, name: &HeaderName) -> String {
    let mut lines = String::new();
    for line in headers.get_all(name) {
        let _ = write!(lines, "{}{name}: {}", if lines.is_empty() { "" } else { " | " }, quote(line.as_bytes()));
    }
    if lines.is_empty() { format!("no {name}") } else { lines }
}

impl Accept {
    /// The value of `Sec-WebSocket-Accept`.
    pub fn value(&self) -> &str {
        &self.computation.value
    }

    /// How the value came about.
    pub fn computation(&self) -> &Computation {
        &self.computation
    }

    /// The server's half of the opening handshake (RFC 6455 4.2.2, item 5). It has no `Sec-WebSocket-Protocol` and no
    /// `Sec-WebSocket-Extensions`: none is spoken here, so none is agreed to.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let value = HeaderValue::from_str(self.value()).expect("base64 is ASCII");
        headers.insert(SEC_WEBSOCKET_ACCEPT, value);
        response
    }
}

/// The rule of RFC 6455 4.2.1 that a request breaks, and what it sent instead, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A method other than GET.
    Method(Method),
    /// A version before HTTP/1.1.
    HttpVersion(Version),
    /// No `Host`.
    NoHost,
    /// `Upgrade` without `websocket`: a plain HTTP request.
    NoUpgrade(String),
    /// `Connection` without the token `upgrade`.
    NoConnectionUpgrade(String),
    /// No `Sec-WebSocket-Key`.
    NoKey,
    /// `Sec-WebSocket-Key` more than once.
    KeyRepeated(String),
    /// A `Sec-WebSocket-Key` that is not base64.
    KeyNotBase64(String),
    /// A `Sec-WebSocket-Key` that is base64 of another length.
    KeyLength {
        /// The key as it was sent.
        key: String,
        /// How many bytes it decodes to.
        bytes: usize,
    },
    /// `Sec-WebSocket-Version` other than 13.
    WebSocketVersion(String),
    /// A body is announced.
    Body,
}

/// The checks of [`accept`], in their order: where each stands, and the header field that it looks at.
const CHECKS: [(&str, &str, Option<HeaderName>); 8] = [
    ("the method is GET", "RFC 6455 4.2.1, item 1", None),
    ("HTTP/1.1 or higher", "RFC 6455 4.2.1, item 1", None),
    ("Host is there", "RFC 6455 4.2.1, item 2", Some(HOST)),
    ("Upgrade has websocket", "RFC 6455 4.2.1, item 3", Some(UPGRADE)),
    ("Connection has Upgrade", "RFC 6455 4.2.1, item 4", Some(CONNECTION)),
    ("Sec-WebSocket-Key of 16 bytes", "RFC 6455 4.2.1, item 5", Some(SEC_WEBSOCKET_KEY)),
    ("Sec-WebSocket-Version is 13", "RFC 6455 4.2.1, item 6", Some(SEC_WEBSOCKET_VERSION)),
    ("no body follows", "RFC 6455 4.1", Some(CONTENT_LENGTH)),
];

/// One check of the opening handshake, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it asks for.
    pub rule: &'static str,
    /// Where that stands.
    pub rfc: &'static str,
    /// What it looked at, escaped.
    pub sent: String,
    /// Whether the request passed.
    pub passed: bool,
}

/// The checks that led to this outcome: all that were made, and the last of them failed if one did.
pub fn checks(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    outcome: &Result<Accept, Rejection>,
) -> impl Iterator<Item = Checked> {
    let failed = outcome.as_ref().err().map_or(CHECKS.len(), Rejection::check);
    CHECKS.iter().enumerate().take(failed + 1).map(move |(index, (rule, rfc, header))| {
        let sent = match (index, header) {
            (7, _) if headers.contains_key(TRANSFER_ENCODING) => sent(headers, &TRANSFER_ENCODING),
            (_, Some(header)) => sent(headers, header),
            (0, None) => quote(method.as_str().as_bytes()),
            (_, None) => format!("{version:?}"),
        };
        Checked { rule, rfc, sent, passed: index < failed }
    })
}

impl Rejection {
    /// Which of [`CHECKS`] failed.
    fn check(&self) -> usize {
        match self {
            Self::Method(_) => 0,
            Self::HttpVersion(_) => 1,
            Self::NoHost => 2,
            Self::NoUpgrade(_) => 3,
            Self::NoConnectionUpgrade(_) => 4,
            Self::NoKey | Self::KeyRepeated(_) | Self::KeyNotBase64(_) | Self::KeyLength { .. } => 5,
            Self::WebSocketVersion(_) => 6,
            Self::Body => 7,
        }
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let (status, fault, rule, sent) = explain(rejection);
        Self { status, headers: headers(rejection), fault, rule, sent }
    }
}

/// The header fields that go with the status: what to do instead (RFC 9110 15.5.6 and 15.5.22, RFC 6455 4.4).
fn headers(rejection: &Rejection) -> Vec<(HeaderName, &'static str)> {
    match rejection {
        Rejection::Method(_) => vec![(ALLOW, "GET")],
        Rejection::NoUpgrade(_) | Rejection::NoConnectionUpgrade(_) => {
            vec![(UPGRADE, "websocket"), (CONNECTION, "Upgrade")]
        }
        Rejection::WebSocketVersion(_) => {
            vec![(UPGRADE, "websocket"), (CONNECTION, "Upgrade"), (SEC_WEBSOCKET_VERSION, "13")]
        }
        _ => Vec::new(),
    }
}

/// Status, fault, rule, and what was sent.
fn explain(rejection: &Rejection) -> (StatusCode, String, &'static str, String) {
    const KEY_RULE: &str = "RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes";
    let key_sent = |key: &String| format!("Sec-WebSocket-Key: {key}");
    match rejection {
        Rejection::Method(method) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "a WebSocket is opened with GET".into(),
            "RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request",
            quote(method.as_str().as_bytes()),
        ),
        Rejection::HttpVersion(version) => (
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "this version of HTTP has no upgrade".into(),
            "RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request",
            format!("{version:?}"),
        ),
        Rejection::NoHost => (
            StatusCode::BAD_REQUEST,
            "the request has no Host".into(),
            "RFC 6455 4.2.1, item 2: a Host header field with the server's authority",
            "no host".into(),
        ),
        Rejection::NoUpgrade(sent) => (
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket address, and the request does not ask for one".into(),
            "RFC 6455 4.2.1, item 3: an Upgrade header field with the value websocket",
            sent.clone(),
        ),
        Rejection::NoConnectionUpgrade(sent) => (
            StatusCode::UPGRADE_REQUIRED,
            "Connection does not name Upgrade, so Upgrade is not meant for this server".into(),
            "RFC 6455 4.2.1, item 4: a Connection header field with the token Upgrade",
            sent.clone(),
        ),
        Rejection::NoKey => {
            (StatusCode::BAD_REQUEST, "the key is missing".into(), KEY_RULE, "no sec-websocket-key".into())
        }
        Rejection::KeyRepeated(sent) => {
            (StatusCode::BAD_REQUEST, "there is more than one key".into(), KEY_RULE, sent.clone())
        }
        Rejection::KeyNotBase64(key) => {
            (StatusCode::BAD_REQUEST, "the key is not base64".into(), KEY_RULE, key_sent(key))
        }
        Rejection::KeyLength { key, bytes } => (
            StatusCode::BAD_REQUEST,
            format!("the key decodes to {bytes} bytes, must be {KEY_LENGTH}"),
            KEY_RULE,
            key_sent(key),
        ),
        Rejection::WebSocketVersion(sent) => (
            StatusCode::UPGRADE_REQUIRED,
            "the only version spoken here is 13".into(),
            "RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13",
            sent.clone(),
        ),
        Rejection::Body => (
            StatusCode::BAD_REQUEST,
            "the request announces a body".into(),
            "RFC 6455 4.1: frames follow the handshake at once, there is no room for a body",
            "content-length or transfer-encoding".into(),
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::body::Body;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Request = (Method, Version, HeaderMap);
    type Change = fn(&mut Request);

    /// The request of RFC 6455 1.2, with its own key.
    fn valid() -> Request {
        let fields = [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ];
        let headers = fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        (Method::GET, Version::HTTP_11, headers.into_iter().collect())
    }

    fn answer((method, version, headers): &Request) -> Result<Accept, Rejection> {
        accept(method, *version, headers)
    }

    /// What the valid request gets with this one thing changed.
    fn after(change: impl FnOnce(&mut Request)) -> Result<Accept, Rejection> {
        let mut request = valid();
        change(&mut request);
        answer(&request)
    }

    fn set(request: &mut Request, name: HeaderName, value: &'static str) {
        request.2.insert(name, HeaderValue::from_static(value));
    }

    fn add(request: &mut Request, name: HeaderName, value: &'static str) {
        request.2.append(name, HeaderValue::from_static(value));
    }

    /// Status, header fields and text.
    fn parts(response: Response<Full<Bytes>>) -> (StatusCode, HeaderMap, String) {
        let (head, mut body) = response.into_parts();
        let mut context = Context::from_waker(Waker::noop());
        let text = match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
            _ => Bytes::new(),
        };
        (head.status, head.headers, String::from_utf8(text.into()).unwrap())
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn the_sample_of_rfc_6455_1_3_is_answered_as_there() {
        let accept = answer(&valid()).unwrap();
        assert_eq!(accept.value(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let fields = map(&[
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ]);
        assert_eq!(parts(accept.response()), (StatusCode::SWITCHING_PROTOCOLS, fields, String::new()));
    }

    #[test]
    fn the_answer_is_to_the_key_as_it_was_sent() {
        let value = |key| after(|r| set(r, SEC_WEBSOCKET_KEY, key)).unwrap().value().to_owned();
        assert_eq!(value("x3JJHMbDL1EzLkh9GBhXDw=="), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
        // The same 16 bytes as in the RFC, with a bit set that carries nothing.
        assert_eq!(value("dGhlIHNhbXBsZSBub25jZR=="), "Zgw8jYXtqX5qJr7MJ1Q/MqzeSRI=");
    }

    #[test]
    fn what_the_rules_leave_open_is_accepted() {
        let changes: [(&str, Change); 9] = [
            ("GET by HTTP/2", |r| r.1 = Version::HTTP_2),
            ("upgrade in any case", |r| set(r, UPGRADE, "WebSOCKET")),
            ("upgrade as a list", |r| set(r, UPGRADE, "h2c ,\twebsocket")),
            ("upgrade over lines", |r| {
                set(r, UPGRADE, "h2c");
                add(r, UPGRADE, "websocket");
            }),
            ("connection in any case", |r| set(r, CONNECTION, "uPGRADE")),
            ("connection as a list", |r| {
                set(r, CONNECTION, "keep-alive, Upgrade");
            }),
            ("connection over lines", |r| {
                set(r, CONNECTION, "keep-alive");
                add(r, CONNECTION, ",Upgrade,");
            }),
            ("no body, said so", |r| set(r, CONTENT_LENGTH, "0")),
            ("an extension, not agreed to", |r| {
                add(r, hyper::header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate");
            }),
        ];
        for (name, change) in changes {
            assert_eq!(after(change), answer(&valid()), "{name}");
        }
    }

    /// What is spoiled, how, and what it gets: the rejection, the status, the header fields that go with it, the text.
    type Spoiled = (&'static str, Change, Rejection, u16, &'static [(&'static str, &'static str)], &'static str);

    const UPGRADE_FIELDS: &[(&str, &str)] = &[("upgrade", "websocket"), ("connection", "Upgrade")];
    const VERSION_FIELDS: &[(&str, &str)] =
        &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")];

    fn spoiled() -> Vec<Spoiled> {
        vec![
            (
                "POST",
                |r| r.0 = Method::POST,
                Rejection::Method(Method::POST),
                405,
                &[("allow", "GET")],
                "fault: a WebSocket is opened with GET\n\
                 rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
                 sent:  POST",
            ),
            (
                "HEAD",
                |r| r.0 = Method::HEAD,
                Rejection::Method(Method::HEAD),
                405,
                &[("allow", "GET")],
                "fault: a WebSocket is opened with GET\n\
                 rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
                 sent:  HEAD",
            ),
            (
                "HTTP/1.0",
                |r| r.1 = Version::HTTP_10,
                Rejection::HttpVersion(Version::HTTP_10),
                505,
                &[],
                "fault: this version of HTTP has no upgrade\n\
                 rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
                 sent:  HTTP/1.0",
            ),
            (
                "HTTP/0.9",
                |r| r.1 = Version::HTTP_09,
                Rejection::HttpVersion(Version::HTTP_09),
                505,
                &[],
                "fault: this version of HTTP has no upgrade\n\
                 rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
                 sent:  HTTP/0.9",
            ),
            (
                "no host",
                |r| drop(r.2.remove(HOST)),
                Rejection::NoHost,
                400,
                &[],
                "fault: the request has no Host\n\
                 rule:  RFC 6455 4.2.1, item 2: a Host header field with the server's authority\n\
                 sent:  no host",
            ),
            (
                "no upgrade",
                |r| drop(r.2.remove(UPGRADE)),
                Rejection::NoUpgrade("no upgrade".into()),
                426,
                UPGRADE_FIELDS,
                "fault: this is a WebSocket address, and the request does not ask for one\n\
                 rule:  RFC 6455 4.2.1, item 3: an Upgrade header field with the value websocket\n\
                 sent:  no upgrade",
            ),
            (
                "upgrade to other things",
                |r| {
                    set(r, UPGRADE, "notwebsocket, websockets");
                    add(r, UPGRADE, "web socket");
                },
                Rejection::NoUpgrade("upgrade: notwebsocket, websockets | upgrade: web socket".into()),
                426,
                UPGRADE_FIELDS,
                "fault: this is a WebSocket address, and the request does not ask for one\n\
                 rule:  RFC 6455 4.2.1, item 3: an Upgrade header field with the value websocket\n\
                 sent:  upgrade: notwebsocket, websockets | upgrade: web socket",
            ),
            (
                "no connection",
                |r| drop(r.2.remove(CONNECTION)),
                Rejection::NoConnectionUpgrade("no connection".into()),
                426,
                UPGRADE_FIELDS,
                "fault: Connection does not name Upgrade, so Upgrade is not meant for this server\n\
                 rule:  RFC 6455 4.2.1, item 4: a Connection header field with the token Upgrade\n\
                 sent:  no connection",
            ),
            (
                "connection: notupgrade",
                |r| set(r, CONNECTION, "notupgrade, keep-alive"),
                Rejection::NoConnectionUpgrade("connection: notupgrade, keep-alive".into()),
                426,
                UPGRADE_FIELDS,
                "fault: Connection does not name Upgrade, so Upgrade is not meant for this server\n\
                 rule:  RFC 6455 4.2.1, item 4: a Connection header field with the token Upgrade\n\
                 sent:  connection: notupgrade, keep-alive",
            ),
            (
                "no key",
                |r| drop(r.2.remove(SEC_WEBSOCKET_KEY)),
                Rejection::NoKey,
                400,
                &[],
                "fault: the key is missing\n\
                 rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
                 sent:  no sec-websocket-key",
            ),
            (
                "the key twice",
                |r| add(r, SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
                Rejection::KeyRepeated(
                    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ== | \
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
                        .into(),
                ),
                400,
                &[],
                "fault: there is more than one key\n\
                 rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
                 sent:  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ== | \
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            ),
            (
                "a key that is not base64",
                |r| set(r, SEC_WEBSOCKET_KEY, "not base64!"),
                Rejection::KeyNotBase64("not base64!".into()),
                400,
                &[],
                "fault: the key is not base64\n\
                 rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
                 sent:  Sec-WebSocket-Key: not base64!",
            ),
            (
                "a key without its padding",
                |r| set(r, SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ"),
                Rejection::KeyNotBase64("dGhlIHNhbXBsZSBub25jZQ".into()),
                400,
                &[],
                "fault: the key is not base64\n\
                 rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
                 sent:  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
            ),
            (
                "a key of 13 bytes, as on many web pages",
                |r| set(r, SEC_WEBSOCKET_KEY, "SGVsbG8sIHdvcmxkIQ=="),
                Rejection::KeyLength { key: "SGVsbG8sIHdvcmxkIQ==".into(), bytes: 13 },
                400,
                &[],
                "fault: the key decodes to 13 bytes, must be 16\n\
                 rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
                 sent:  Sec-WebSocket-Key: SGVsbG8sIHdvcmxkIQ==",
            ),
            (
                "an empty key",
                |r| set(r, SEC_WEBSOCKET_KEY, ""),
                Rejection::KeyLength { key: String::new(), bytes: 0 },
                400,
                &[],
                "fault: the key decodes to 0 bytes, must be 16\n\
                 rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
                 sent:  Sec-WebSocket-Key: ",
            ),
            (
                "no version",
                |r| drop(r.2.remove(SEC_WEBSOCKET_VERSION)),
                Rejection::WebSocketVersion("no sec-websocket-version".into()),
                426,
                VERSION_FIELDS,
                "fault: the only version spoken here is 13\n\
                 rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
                 sent:  no sec-websocket-version",
            ),
            (
                "version 8",
                |r| set(r, SEC_WEBSOCKET_VERSION, "8"),
                Rejection::WebSocketVersion("sec-websocket-version: 8".into()),
                426,
                VERSION_FIELDS,
                "fault: the only version spoken here is 13\n\
                 rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
                 sent:  sec-websocket-version: 8",
            ),
            (
                "version 13 twice",
                |r| add(r, SEC_WEBSOCKET_VERSION, "13"),
                Rejection::WebSocketVersion("sec-websocket-version: 13 | sec-websocket-version: 13".into()),
                426,
                VERSION_FIELDS,
                "fault: the only version spoken here is 13\n\
                 rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
                 sent:  sec-websocket-version: 13 | sec-websocket-version: 13",
            ),
            (
                "versions 13 and 8 in a list",
                |r| set(r, SEC_WEBSOCKET_VERSION, "13, 8"),
                Rejection::WebSocketVersion("sec-websocket-version: 13, 8".into()),
                426,
                VERSION_FIELDS,
                "fault: the only version spoken here is 13\n\
                 rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
                 sent:  sec-websocket-version: 13, 8",
            ),
            (
                "a body by its length",
                |r| set(r, CONTENT_LENGTH, "5"),
                Rejection::Body,
                400,
                &[],
                "fault: the request announces a body\n\
                 rule:  RFC 6455 4.1: frames follow the handshake at once, there is no room for a body\n\
                 sent:  content-length or transfer-encoding",
            ),
            (
                "a body by a second length",
                |r| {
                    set(r, CONTENT_LENGTH, "0");
                    add(r, CONTENT_LENGTH, "5");
                },
                Rejection::Body,
                400,
                &[],
                "fault: the request announces a body\n\
                 rule:  RFC 6455 4.1: frames follow the handshake at once, there is no room for a body\n\
                 sent:  content-length or transfer-encoding",
            ),
            (
                "a body in chunks",
                |r| set(r, TRANSFER_ENCODING, "chunked"),
                Rejection::Body,
                400,
                &[],
                "fault: the request announces a body\n\
                 rule:  RFC 6455 4.1: frames follow the handshake at once, there is no room for a body\n\
                 sent:  content-length or transfer-encoding",
            ),
        ]
    }

    #[test]
    fn each_broken_rule_has_its_own_whole_response() {
        for (name, spoil, rejection, status, fields, lines) in spoiled() {
            let mut request = valid();
            spoil(&mut request);
            assert_eq!(answer(&request), Err(rejection.clone()), "{name}");

            let status = StatusCode::from_u16(status).unwrap();
            let mut headers = map(&[
                ("content-type", "text/plain; charset=utf-8"),
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
            ]);
            headers.extend(map(fields));
            let host = if request.2.contains_key(HOST) { "server.example.com" } else { "127.0.0.1:8000" };
            let text = format!(
                "{status}\n\n{lines}\n\
                 works: websocat ws://{host}/ws/1\n\
                 or:    curl -iN -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
                 -H 'Sec-WebSocket-Version: 13' \
                 -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://{host}/ws/1\n"
            );
            assert_eq!(parts(Refusal::from(&rejection).response(&request.2)), (status, headers, text), "{name}");
        }
    }

    #[test]
    fn what_was_sent_is_escaped() {
        let key = after(|r| set(r, SEC_WEBSOCKET_KEY, "\t\"")).unwrap_err();
        assert_eq!(key, Rejection::KeyNotBase64(r#"\t\""#.into()));
        let upgrade = after(|r| set(r, UPGRADE, "h2c\t")).unwrap_err();
        assert_eq!(upgrade, Rejection::NoUpgrade(r"upgrade: h2c\t".into()));
    }

    /// The table is in the order of the RFC, so of two broken rules the upper one is named.
    #[test]
    fn of_several_broken_rules_the_first_of_rfc_6455_4_2_1_is_named() {
        let cases = spoiled();
        for (first, upper) in cases.iter().enumerate() {
            for lower in &cases[first + 1..] {
                let mut request = valid();
                lower.1(&mut request);
                upper.1(&mut request);
                let same_rule = std::mem::discriminant(&upper.2) == std::mem::discriminant(&lower.2)
                    || upper.5.lines().nth(1) == lower.5.lines().nth(1);
                if !same_rule {
                    let named = answer(&request);
                    assert_eq!(named, Err(upper.2.clone()), "{} and {}", upper.0, lower.0);
                }
            }
        }
    }

    /// The rules once more, in other words: over strings, and the key by its 24 characters.
    fn all_rules_hold((method, version, headers): &Request) -> bool {
        let values = |name: &str| -> Vec<String> {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.get_all(name).iter().map(text).collect()
        };
        let lists = |name: &str, token: &str| {
            let all = values(name).join(",").to_ascii_lowercase();
            all.split(',').any(|item| item.trim_matches([' ', '\t']) == token)
        };
        let key_of_16_bytes = |key: &String| {
            key.strip_suffix("==").is_some_and(|digits| {
                digits.len() == 22 && digits.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/')
            })
        };
        let keys = values("sec-websocket-key");
        method.as_str() == "GET"
            && ![Version::HTTP_09, Version::HTTP_10].contains(version)
            && !values("host").is_empty()
            && lists("upgrade", "websocket")
            && lists("connection", "upgrade")
            && keys.len() == 1
            && keys.iter().all(key_of_16_bytes)
            && values("sec-websocket-version") == ["13"]
            && values("transfer-encoding").is_empty()
            && values("content-length").iter().all(|length| length == "0")
    }

    fn header_value() -> impl Strategy<Value = HeaderValue> {
        let words = "|0|5|13|8|websocket|WebSocket|upgrade|keep-alive, Upgrade|notupgrade|chunked|\
                     dGhlIHNhbXBsZSBub25jZQ==|SGVsbG8sIHdvcmxkIQ==|13, 8|websocket,|,";
        let word = proptest::sample::select(words.split('|').collect::<Vec<_>>()).prop_map(str::as_bytes);
        prop_oneof![
            3 => word.prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..30),
            1 => "[A-Za-z0-9+/]{22}==".prop_map(String::into_bytes),
        ]
        .prop_filter_map("not a header value", |bytes| HeaderValue::from_bytes(&bytes).ok())
    }

    /// A valid request with up to four changes: a field removed, replaced or added.
    fn request() -> impl Strategy<Value = Request> {
        let names =
            [HOST, UPGRADE, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, CONTENT_LENGTH, TRANSFER_ENCODING];
        let change = (proptest::sample::select(names.to_vec()), 0..5, header_value());
        let method = prop_oneof![9 => Just(Method::GET), 1 => Just(Method::PUT)];
        let version = prop_oneof![9 => Just(Version::HTTP_11), 1 => Just(Version::HTTP_10)];
        (method, version, prop::collection::vec(change, 0..5)).prop_map(|(method, version, changes)| {
            let mut headers = valid().2;
            for (name, kind, value) in changes {
                match kind {
                    0 => drop(headers.remove(name)),
                    1 | 2 => drop(headers.insert(name, value)),
                    _ => drop(headers.append(name, value)),
                }
            }
            (method, version, headers)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_request_is_accepted_just_when_all_rules_hold(request in request()) {
            let answer = answer(&request);
            prop_assert_eq!(answer.is_ok(), all_rules_hold(&request));
            match answer {
                Ok(accept) => prop_assert_eq!(accept.response().status(), 101),
                Err(rejection) => {
                    let status = Refusal::from(&rejection).response(&request.2).status();
                    prop_assert!(status.is_client_error() || status == 505);
                }
            }
        }
    }
}
