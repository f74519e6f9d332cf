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
/// that are not `VISIBLE`.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nA: b\r\n\r\nmore"), Some(24));
        assert_eq!(head_length(b"GET / HTTP/1.1\nA: b\n\nmore"), Some(21));
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nA: b\r\n\r"), None);
        assert_eq!(head_length(b""), None);
    }

    #[test]
    fn a_request_is_parsed_as_hyper_does() {
        let head = parse_request(b"GET /ws/1?a HTTP/1.1\r\nHost:h\r\nUPGRADE: a \r\nUpgrade: b\r\n\r\n").unwrap();
        assert_eq!((head.method.as_str(), head.uri.path(), head.version), ("GET", "/ws/1", Version::HTTP_11));
        let values: Vec<_> = head.headers.get_all("upgrade").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((values, head.headers.len()), (vec!["a", "b"], 3));
        assert_eq!(parse_request(b"GET / HTTP/1.0\r\n\r\n").unwrap().version, Version::HTTP_10);
        assert!(parse_request(b"GET\r\n\r\n").is_none());
        assert!(parse_request(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").is_none());
        assert!(parse_request(b"").is_none());
    }

    #[test]
    fn the_status_is_the_second_word() {
        assert_eq!(status(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), 101);
        assert_eq!(status(b"HTTP/1.1"), 0);
    }

    #[test]
    fn only_the_handshakes_values_are_shown() {
        let shown = |head: &str| String::from_utf8(visible_head(head.as_bytes())).unwrap();
        let head = "GET /ws/1?a=b?c HTTP/1.1\r\nHOST: h\r\nUpgrade:websocket\r\nCookie: a\r\nX:b\r\nEmpty:\r\n\r\nbody";
        let hidden = "GET /ws/1?... HTTP/1.1\r\nHOST: h\r\nUpgrade:websocket\r\nCookie: ...\r\nX:...\r\nEmpty:\r\n\r\n";
        assert_eq!(shown(head), hidden);
        assert_eq!(shown("GET http://u:p@h/ HTTP/1.1\r\n\r\n"), "GET ... HTTP/1.1\r\n\r\n");
        assert_eq!(shown("CONNECT u:p@h HTTP/1.1\r\n\r\n"), "CONNECT ... HTTP/1.1\r\n\r\n");
        assert_eq!(shown("GET  HTTP/1.1\r\n\r\n"), "GET ... HTTP/1.1\r\n\r\n");
        assert_eq!(shown("GET /#a HTTP/1.1\r\n\r\n"), "GET /#... HTTP/1.1\r\n\r\n");
        assert_eq!(shown("GET /?a\r\n\r\n"), "GET /?...\r\n\r\n");
        assert_eq!(shown("GET\r\n\r\n"), "GET\r\n\r\n");
        assert_eq!(shown("HTTP/1.1 404 What?\r\nServer: x\r\n\r\n"), "HTTP/1.1 404 What?\r\nServer: ...\r\n\r\n");
        // Not quite header lines, and a head that is cut off.
        let odd = "GET / HTTP/1.1\r\nHost : a\r\n Host: a\r\n folded\r\n: a\r\nnameless\r\nCookie: a";
        let hidden = "GET / HTTP/1.1\r\nHost : ...\r\n Host: ...\r\n...\r\n: ...\r\n...\r\nCookie: ...";
        assert_eq!(shown(odd), hidden);
    }
}
