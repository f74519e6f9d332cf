//! The rules of plain HTTP, and responses without a file of their own.

use super::refusal::{Fields, Head, Refusal, Sent};
use crate::limits;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Response, StatusCode, Version};

/// Checks a request against the rules of plain HTTP: the method is one of the route's, and HTTP/1.1 requires a `Host`.
/// Without methods the route is for WebSockets, and the opening handshake has these rules.
///
/// # Errors
/// 405 or 400.
pub fn check_http(head: &Head, methods: Fields) -> Result<(), Refusal> {
    let Some((_, allowed)) = methods.first() else { return Ok(()) };
    if !allowed.split(", ").any(|method| method == head.method.as_str()) {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            fields: methods,
            fault: "this path is read-only".into(),
            rule: format!("RFC 9110 15.5.6: the methods allowed here are {allowed}").into(),
            sent: Sent::Method,
        });
    }
    if head.version == Version::HTTP_11 && !head.headers.contains_key(HOST) {
        return Err(no_host());
    }
    Ok(())
}

/// `GET /healthz`: the server serves.
pub fn healthy() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"ok\n")));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The path is none of these.
pub fn not_found(paths: &str) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        fields: &[],
        fault: "there is nothing at this path".into(),
        rule: format!("the paths are {paths}").into(),
        sent: Sent::Path,
    }
}

/// The request asks for a WebSocket, but the path is none of these. Without this refusal, a client would get a page instead of
/// its 101.
pub fn no_websocket(paths: &str) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        fields: &[],
        fault: "there is no WebSocket at this path".into(),
        rule: format!("RFC 6455 4.2.2, item 4: 404 if there is no such service; WebSockets are at {paths}").into(),
        sent: Sent::Path,
    }
}

/// The id in `/ws/{client_id}` is not one.
pub fn bad_client_id() -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        fields: &[],
        fault: "the client id is not a 64-bit integer".into(),
        rule: "the path is /ws/{client_id}, with a client_id from -9223372036854775808 to 9223372036854775807".into(),
        sent: Sent::Path,
    }
}

/// An HTTP/1.1 request without `Host`.
pub fn no_host() -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        fields: &[],
        fault: "the request has no Host".into(),
        rule: "RFC 9112 3.2: an HTTP/1.1 request has a Host header field".into(),
        sent: Sent::Fields(&["host"]),
    }
}

/// The server can't serve the request now.
pub fn unavailable(fault: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        fields: &[("retry-after", limits::RETRY_AFTER)],
        fault: fault.into(),
        rule: "RFC 9110 15.6.4: try again after the seconds in Retry-After".into(),
        sent: Sent::Nothing,
    }
}

/// The log of a room on several servers is out of reach.
pub fn out_of_reach() -> Refusal {
    unavailable("the room is out of reach: the server waits for Redis")
}

/// Marks a response as the last of its connection, unless it is the 101.
pub fn last<B>(mut response: Response<B>, version: Version) -> Response<B> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        let close = if headers.contains_key(CONNECTION) { "Upgrade, close" } else { "close" };
        headers.insert(CONNECTION, HeaderValue::from_static(close));
        // In an HTTP/1.1 response hyper would add the `keep-alive` that an HTTP/1.0 request asked for.
        *response.version_mut() = version;
    }
    response
}
