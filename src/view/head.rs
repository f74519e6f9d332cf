//! The head of a request or response: parsed for the dissector, and shown without its secrets.

use crate::http::refusal::Head;
use hyper::{Request, Version};

/// The length of the head at the start of these bytes, with its empty line (RFC 9112 2.1). None if it is incomplete. Like
/// hyper, this takes a bare LF for the end of a line (2.2).
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    let line_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let mut empty = line_ends.filter_map(|line| match &bytes[line..] {
        [b'\n', ..] => Some(line + 1),
        [b'\r', b'\n', ..] => Some(line + 2),
        _ => None,
    });
    empty.next()
}

/// Parses the head of a request that hyper took. hyper is the judge of its syntax, so this needs no judgement of its own.
pub fn parse_request(head: &[u8]) -> Option<Head> {
    let mut lines = head.trim_ascii_end().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?).version(match words.next()? {
        b"HTTP/1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    });
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    Some(request.body(()).ok()?.into_parts().0)
}

/// The status in the first line of a response. 0 if there is none.
pub fn status(head: &[u8]) -> u16 {
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    std::str::from_utf8(status).unwrap_or_default().parse().unwrap_or(0)
}

/// Header fields whose values are shown. All others may hold secrets: cookies, credentials, addresses of clients behind a
/// proxy. `Sec-WebSocket-Protocol` may too: pages that can't set header fields send tokens in it.
const VISIBLE: [&str; 13] = [
    "host",
    "upgrade",
    "connection",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "content-type",
    "content-length",
    "transfer-encoding",
    "allow",
    "date",
];

/// A head of HTTP as it was on the wire. `...` replaces the query, a target that is not a path, and the values of header fields
/// that are not the handshake's.
pub fn visible_head(bytes: &[u8]) -> Vec<u8> {
    let end = head_length(bytes).unwrap_or(bytes.len());
    let mut visible = Vec::with_capacity(end);
    for (index, line) in bytes[..end].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let cut = if index == 0 { hidden_target(line) } else { hidden_value(line) };
        match cut {
            None => visible.extend_from_slice(line),
            Some((start, end)) => {
                visible.extend_from_slice(&line[..start]);
                visible.extend_from_slice(b"...");
                visible.extend_from_slice(&line[end..]);
            }
        }
    }
    visible
}

/// The part of a request line to hide: the query, or a target that is not a path, because it may contain credentials
/// (RFC 9112 3.2.2). A status line has none.
fn hidden_target(line: &[u8]) -> Option<(usize, usize)> {
    if line.starts_with(b"HTTP/") {
        return None;
    }
    let target = line.iter().position(|byte| *byte == b' ')? + 1;
    let end = line.iter().rposition(|byte| *byte == b' ').filter(|end| *end >= target);
    let end = end.unwrap_or(line.trim_ascii_end().len());
    let path = line.get(target..end)?;
    let start = if path.starts_with(b"/") { path.iter().position(|byte| b"?#".contains(byte))? + 1 } else { 0 };
    Some((target + start, end))
}

/// The part of a header line to hide: the value, unless the field is visible. A line without a name is hidden as a whole.
fn hidden_value(line: &[u8]) -> Option<(usize, usize)> {
    let end = line.trim_ascii_end().len();
    let colon = line[..end].iter().position(|byte| *byte == b':');
    let name = colon.map(|colon| line[..colon].to_ascii_lowercase());
    match (name, colon) {
        (Some(name), _) if VISIBLE.iter().any(|visible| visible.as_bytes() == name) => None,
        (_, Some(colon)) => {
            let value = colon + 1 + usize::from(line.get(colon + 1) == Some(&b' '));
            Some((value, end)).filter(|(value, end)| value < end)
        }
        (_, None) => Some((0, end)).filter(|(_, end)| *end > 0),
    }
}
