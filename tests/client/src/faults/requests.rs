//! Faults before the upgrade, in one request.

use super::{Act, Fault};
use crate::frame::text;
use crate::request::Request;

const REFUSED: &str = "400, end of stream";

const READ_ONLY: &str = "405 (Allow: GET, HEAD), end of stream";

/// The answer to a valid handshake: the connection opens, and closes in order.
const ACCEPTED: &str = "101, Close 1000, end of stream";

pub fn faults() -> Vec<Fault> {
    let fault = |name, spoil, expected| Fault::new(name, Act::Request(spoil), expected);
    let bytes = |name, bytes, expected| Fault::new(name, Act::Bytes(bytes), expected);
    vec![
        fault("POST", |r| r.method("POST"), "405 (Allow: GET), end of stream"),
        fault("no Upgrade", |r| r.without("Upgrade").without("Connection"), "426 (Upgrade: websocket), end of stream"),
        fault("Upgrade: h2c", |r| r.with("Upgrade", "h2c"), "426 (Upgrade: websocket), end of stream"),
        fault(
            "Connection: notupgrade",
            |r| r.with("Connection", "notupgrade"),
            "426 (Upgrade: websocket), end of stream",
        ),
        fault("HTTP/1.0", |r| r.version("HTTP/1.0"), "505, end of stream"),
        fault("Connection: keep-alive, UPGRADE", |r| r.with("Connection", "keep-alive, UPGRADE"), ACCEPTED),
        fault(
            "Connection over two lines",
            |r| r.with("Connection", "keep-alive").and("Connection", "upgrade"),
            ACCEPTED,
        ),
        fault(
            "no version",
            |r| r.without("Sec-WebSocket-Version"),
            "426 (Upgrade: websocket, Sec-WebSocket-Version: 13), end of stream",
        ),
        fault(
            "version 12",
            |r| r.with("Sec-WebSocket-Version", "12"),
            "426 (Upgrade: websocket, Sec-WebSocket-Version: 13), end of stream",
        ),
        fault("no key", |r| r.without("Sec-WebSocket-Key"), REFUSED),
        fault("two keys", |r| r.and("Sec-WebSocket-Key", "AQIDBAUGBwgJCgsMDQ4PEA=="), REFUSED),
        fault("a key that is not base64", |r| r.with("Sec-WebSocket-Key", "?"), REFUSED),
        fault("a key of 13 bytes", |r| r.with("Sec-WebSocket-Key", "SGVsbG8sIHdvcmxkIQ=="), REFUSED),
        fault("no Host", |r| r.without("Host"), REFUSED),
        fault("a foreign Host", |r| r.with("Host", "evil.example"), "421, end of stream"),
        fault("two Hosts", |r| r.and("Host", "localhost"), REFUSED),
        fault("a Host with a space", |r| r.with("Host", "evil example.localhost"), REFUSED),
        fault("a Host with port 99999", |r| r.with("Host", "localhost:99999"), REFUSED),
        fault("a Host without a name", |r| r.with("Host", ":8000"), REFUSED),
        fault("an absolute target", |r| absolute(r, "localhost").with("Host", "evil.example"), ACCEPTED),
        fault("an absolute target with a foreign host", |r| absolute(r, "evil.example"), "421, end of stream"),
        fault("a foreign Origin", |r| r.and("Origin", "https://evil.example"), "403, end of stream"),
        fault("Origin: null", |r| r.and("Origin", "null"), "403, end of stream"),
        fault("/ws/abc", |r| with_id(r, "abc"), REFUSED),
        fault("/ws/", |r| with_id(r, ""), REFUSED),
        fault("an id of 20 digits", |r| with_id(r, "99999999999999999999"), REFUSED),
        fault("an upgrade of the page", |r| r.path("/"), "404, end of stream"),
        fault("an unknown path", |r| r.path("/nowhere"), "404, end of stream"),
        fault("100 header fields", |r| (0..100).fold(r, |r, n| r.and(&format!("X-{n}"), "x")), "431, end of stream"),
        fault("a header field of 20,000 bytes", |r| r.and("X", &"x".repeat(20_000)), "431, end of stream"),
        fault("a URI of 70,000 bytes", |r| r.path(&format!("/{}", "x".repeat(70_000))), "431, end of stream"),
        fault("a body on the upgrade", |r| r.and("Content-Length", "5").rest(b"hello"), REFUSED),
        fault(
            "a chunked body on the upgrade",
            |r| r.and("Transfer-Encoding", "chunked").rest(b"5\r\nhello\r\n0\r\n\r\n"),
            REFUSED,
        ),
        fault("a POST whose body never arrives", |r| page(r).method("POST").and("Content-Length", "100"), READ_ONLY),
        fault("a GET whose body never arrives", |r| page(r).and("Content-Length", "100"), "200, end of stream"),
        fault(
            "a POST that waits for 100 Continue",
            |r| page(r).method("POST").and("Content-Length", "100").and("Expect", "100-continue"),
            READ_ONLY,
        ),
        fault(
            "a frame in the request's packet",
            |r| r.rest(&text("early")),
            "101, message \"early\", Close 1000, end of stream",
        ),
        bytes("garbage", || b"\x00\xff garbage \r\n\r\n".to_vec(), REFUSED),
        bytes("a TLS ClientHello", tls_hello, REFUSED),
    ]
}

/// Puts this host into the target (RFC 9112 3.2.2).
fn absolute(request: Request, host: &str) -> Request {
    let target = format!("http://{host}{}", request.path);
    request.path(&target)
}

/// A request for the page.
fn page(request: Request) -> Request {
    request.path("/").without("Upgrade").without("Connection")
}

/// Replaces the client id at the end of the path.
fn with_id(request: Request, client_id: &str) -> Request {
    let path = request.path.trim_end_matches(|c: char| c.is_ascii_digit());
    let path = format!("{path}{client_id}");
    request.path(&path)
}

/// The first packet of a browser that connects to `wss://`: a record with the start of a ClientHello.
fn tls_hello() -> Vec<u8> {
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend((0..506u16).map(|n| (n % 251) as u8));
    hello
}
