//! 3. The opening handshake (phase 2): RFC 6455 4.2, as a pure function.
//!
//! On the wire: the client sends `Upgrade: websocket` and a `Sec-WebSocket-Key`, the server answers
//! `101 Switching Protocols` with the matching `Sec-WebSocket-Accept`. After the empty line that ends the 101, the same
//! TCP connection carries frames in both directions.
//!
//! The head of a request in, an [`Accept`] or a [`Refusal`] out: no socket, no async. [`CHECKS`] follows the
//! required items of RFC 6455 4.2.1 in their order; the last two checks are for a body and for the origin (4.2.2).
//! [`accept`] stops at the first check that fails. Nothing else makes an `Accept`, so each one stands for a request
//! that passed every check.

use crate::http::admission::Admission;
use crate::http::refusal::{Fields, Head, Refusal, Sent};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};
use std::borrow::Cow;

/// The GUID that every WebSocket server appends to the key (RFC 6455 1.3). No other protocol does, so the accept value
/// proves that the server understood the request.
pub const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a decoded `Sec-WebSocket-Key` in bytes (RFC 6455 4.1, item 7).
pub const KEY_LENGTH: usize = 16;

/// The section of the rule for `Sec-WebSocket-Key`, and the rule.
pub const KEY_RULE: (&str, &str) = ("RFC 6455 4.2.1, item 5", "one Sec-WebSocket-Key, base64 of 16 bytes");

/// Standard base64. With 16 bytes, four bits of the last character are unused. Clients should leave them zero, but some
/// do not, so they are ignored.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// One check of the opening handshake, and what is shown about it.
#[derive(Debug)]
pub struct Check {
    /// What holds if the request passes, in a few words.
    pub label: &'static str,
    /// The section of the RFC.
    pub rfc: &'static str,
    /// What that section requires.
    pub requires: &'static str,
    /// The part of the request that it looks at.
    pub sent: Sent,
    /// The status of the response to a request that fails it, and the header fields that go with that status.
    pub answer: (StatusCode, Fields),
    /// The check itself. Its error says what is wrong.
    holds: fn(&Head, &Admission) -> Result<(), Cow<'static, str>>,
}

const UPGRADE_REQUIRED: (StatusCode, Fields) =
    (StatusCode::UPGRADE_REQUIRED, &[("upgrade", "websocket"), ("connection", "Upgrade")]);

/// The checks: those of RFC 6455 4.2.1 in its order, then the one for a body (4.1) and the one for the origin (4.2.2).
pub static CHECKS: [Check; 9] = [
    Check {
        label: "the method is GET",
        rfc: "RFC 6455 4.2.1, item 1",
        requires: "an HTTP/1.1 or higher GET request",
        sent: Sent::Method,
        answer: (StatusCode::METHOD_NOT_ALLOWED, &[("allow", "GET")]),
        holds: |head, _| require(head.method == Method::GET, "a WebSocket is opened with GET"),
    },
    Check {
        label: "HTTP/1.1 or higher",
        rfc: "RFC 6455 4.2.1, item 1",
        requires: "an HTTP/1.1 or higher GET request",
        sent: Sent::Version,
        answer: (StatusCode::HTTP_VERSION_NOT_SUPPORTED, &[]),
        holds: |head, _| require(head.version >= Version::HTTP_11, "this version of HTTP has no upgrade"),
    },
    Check {
        label: "Host is present",
        rfc: "RFC 6455 4.2.1, item 2",
        requires: "a Host header field with the server's authority",
        sent: Sent::Fields(&["host"]),
        answer: (StatusCode::BAD_REQUEST, &[]),
        holds: |head, _| require(head.headers.contains_key(HOST), "the request has no Host"),
    },
    Check {
        label: "Upgrade has websocket",
        rfc: "RFC 6455 4.2.1, item 3",
        requires: "an Upgrade header field with the value websocket",
        sent: Sent::Fields(&["upgrade"]),
        answer: UPGRADE_REQUIRED,
        holds: |head, _| {
            let fault = "this is a WebSocket address, and the request does not ask for an upgrade to websocket";
            require(has_token(&head.headers, &UPGRADE, "websocket"), fault)
        },
    },
    Check {
        label: "Connection has Upgrade",
        rfc: "RFC 6455 4.2.1, item 4",
        requires: "a Connection header field with the token Upgrade",
        sent: Sent::Fields(&["connection"]),
        answer: UPGRADE_REQUIRED,
        holds: |head, _| {
            let fault = "the Connection header field does not have the token Upgrade";
            require(has_token(&head.headers, &CONNECTION, "upgrade"), fault)
        },
    },
    Check {
        label: "Sec-WebSocket-Key of 16 bytes",
        rfc: KEY_RULE.0,
        requires: KEY_RULE.1,
        sent: Sent::Fields(&["sec-websocket-key"]),
        answer: (StatusCode::BAD_REQUEST, &[]),
        holds: |head, _| {
            let mut keys = head.headers.get_all(SEC_WEBSOCKET_KEY).iter();
            let key = keys.next().ok_or("the key is missing")?;
            require(keys.next().is_none(), "there is more than one key")?;
            decode_key(key.as_bytes()).map(drop)
        },
    },
    Check {
        label: "Sec-WebSocket-Version is 13",
        rfc: "RFC 6455 4.2.1, item 6",
        requires: "a Sec-WebSocket-Version header field with the value 13",
        sent: Sent::Fields(&["sec-websocket-version"]),
        answer: (
            StatusCode::UPGRADE_REQUIRED,
            &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")],
        ),
        holds: |head, _| {
            let mut versions = head.headers.get_all(SEC_WEBSOCKET_VERSION).iter();
            let is_13 = versions.next().is_some_and(|version| version == "13") && versions.next().is_none();
            require(is_13, "this server speaks version 13 only")
        },
    },
    Check {
        // Not in the list of 4.2.1, but the bytes after the head are frames: a body would be taken for them.
        label: "no body follows",
        rfc: "RFC 6455 4.1",
        requires: "frames follow the handshake at once: there is no room for a body",
        sent: Sent::Fields(&["content-length", "transfer-encoding"]),
        answer: (StatusCode::BAD_REQUEST, &[]),
        holds: |head, _| {
            let has_length = head.headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
            require(!has_length && !head.headers.contains_key(TRANSFER_ENCODING), "the request announces a body")
        },
    },
    Check {
        label: "the origin is allowed",
        rfc: "RFC 6455 4.2.2, item 4",
        requires: "an Origin that the server accepts, see also 10.2",
        sent: Sent::Origin,
        answer: (StatusCode::FORBIDDEN, &[]),
        holds: |head, admission| {
            let fault = "this server does not accept the origin of the request; allow it with `--allow-origin ORIGIN`";
            require(admission.allows_origin(head), fault)
        },
    },
];

fn require(holds: bool, fault: &'static str) -> Result<(), Cow<'static, str>> {
    if holds { Ok(()) } else { Err(fault.into()) }
}

impl Check {
    /// Applies the check to a request.
    ///
    /// # Errors
    /// The request fails it.
    pub fn apply(&self, head: &Head, admission: &Admission) -> Result<(), Refusal> {
        let Self { rfc, requires, sent, answer: (status, fields), .. } = *self;
        let refuse = |fault| Refusal { status, fields, fault, rule: format!("{rfc}: {requires}").into(), sent };
        (self.holds)(head, admission).map_err(refuse)
    }
}

/// Judges a request to open a WebSocket.
///
/// # Errors
/// The request fails a check. The refusal names the first one that failed.
pub fn accept(head: &Head, admission: &Admission) -> Result<Accept, Refusal> {
    CHECKS.iter().try_for_each(|check| check.apply(head, admission))?;
    let key = head.headers[SEC_WEBSOCKET_KEY].to_str().expect("base64 is ASCII");
    Ok(Accept { computation: Computation::of(key) })
}

/// Whether a request asks for a WebSocket. In HTTP/1.0, `Upgrade` is ignored (RFC 9110 7.8).
pub fn asks_for_websocket(head: &Head) -> bool {
    head.version >= Version::HTTP_11 && has_token(&head.headers, &UPGRADE, "websocket")
}

/// Decodes a key (RFC 6455 4.2.1, item 5).
///
/// # Errors
/// It is not base64, or not of [`KEY_LENGTH`] bytes.
pub fn decode_key(key: &[u8]) -> Result<Vec<u8>, Cow<'static, str>> {
    let nonce = BASE64.decode(key).map_err(|_| "the key is not base64")?;
    match nonce.len() {
        KEY_LENGTH => Ok(nonce),
        length => Err(format!("the key decodes to {length} bytes, must be {KEY_LENGTH}").into()),
    }
}

/// Whether a header field's list, over all of its lines, has this token (RFC 9110 5.6.1). Tokens match as a whole:
/// `notupgrade` is another token.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
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
    /// Computes the accept value for a key.
    pub fn of(key: &str) -> Self {
        let joined = [key, GUID].concat();
        let digest = Sha1::digest(&joined).into();
        Self { key: key.into(), joined, digest, value: BASE64.encode(digest) }
    }
}

/// A request that passed every check, and the accept value for its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    computation: Computation,
}

impl Accept {
    /// How the accept value is computed.
    pub fn computation(&self) -> &Computation {
        &self.computation
    }

    /// The server's half of the opening handshake (RFC 6455 4.2.2, item 5). This server speaks no subprotocol and no
    /// extension, so the response has no `Sec-WebSocket-Protocol` and no `Sec-WebSocket-Extensions`.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let value = HeaderValue::from_str(&self.computation.value).expect("base64 is ASCII");
        headers.insert(SEC_WEBSOCKET_ACCEPT, value);
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
