//! 3. The opening handshake (phase 2): RFC 6455 4.2, as a pure function.
//!
//! On the wire: `Upgrade: websocket` and `Sec-WebSocket-Key` come, `101 Switching Protocols` and `Sec-WebSocket-Accept` go.
//! Behind the empty line that ends the 101, the same TCP connection carries frames in both directions.
//!
//! Headers in, [`Accept`] or [`Rejection`] out; no socket, no async. [`accept`] is one guard per item of RFC 6455 4.2.1,
//! in the RFC's order. An `Accept` can't be made in any other way, so whoever holds one has a request that passed them
//! all. A `Rejection` knows its own [`Refusal`].

use crate::http::refusal::{Refusal, quote};
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
mod tests;
