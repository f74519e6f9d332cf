use super::*;
use hyper::body::Body;
use hyper::header::ORIGIN;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The address at which the requests arrive.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 81);

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

fn head((method, version, headers): &Request) -> Head {
    let request = hyper::Request::builder().method(method).version(*version).uri("/ws/1");
    let mut head = request.body(()).unwrap().into_parts().0;
    head.headers = headers.clone();
    head
}

fn answer(request: &Request) -> Result<Accept, Refusal> {
    accept(&head(request), &Admission::default())
}

/// The answer to the valid request after one change.
fn after(change: impl FnOnce(&mut Request)) -> Result<Accept, Refusal> {
    let mut request = valid();
    change(&mut request);
    answer(&request)
}

fn value(accept: &Accept) -> &str {
    &accept.computation().value
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
    let field =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().map(field).collect()
}

#[test]
fn the_sample_of_rfc_6455_1_3() {
    let accept = answer(&valid()).unwrap();
    assert_eq!(value(&accept), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let fields = map(&[
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]);
    assert_eq!(parts(accept.response()), (StatusCode::SWITCHING_PROTOCOLS, fields, String::new()));
}

#[test]
fn the_accept_value_is_for_the_key_as_sent() {
    let value = |key| value(&after(|r| set(r, SEC_WEBSOCKET_KEY, key)).unwrap()).to_owned();
    assert_eq!(value("x3JJHMbDL1EzLkh9GBhXDw=="), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
    // The same 16 bytes as in the RFC, with a bit set that carries nothing.
    assert_eq!(value("dGhlIHNhbXBsZSBub25jZR=="), "Zgw8jYXtqX5qJr7MJ1Q/MqzeSRI=");
}

#[test]
fn the_rules_leave_this_open() {
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

/// A name, what is spoiled, and the answer: the check that fails, the status, its header fields, the text.
type Spoiled = (&'static str, Change, usize, u16, &'static [(&'static str, &'static str)], &'static str);

const UPGRADE_FIELDS: &[(&str, &str)] = &[("upgrade", "websocket"), ("connection", "Upgrade")];
const VERSION_FIELDS: &[(&str, &str)] =
    &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")];

fn spoiled() -> Vec<Spoiled> {
    vec![
        (
            "POST",
            |r| r.0 = Method::POST,
            0,
            405,
            &[("allow", "GET")],
            "fault: a WebSocket is opened with GET\n\
             rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
             sent:  POST",
        ),
        (
            "HEAD",
            |r| r.0 = Method::HEAD,
            0,
            405,
            &[("allow", "GET")],
            "fault: a WebSocket is opened with GET\n\
             rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
             sent:  HEAD",
        ),
        (
            "HTTP/1.0",
            |r| r.1 = Version::HTTP_10,
            1,
            505,
            &[],
            "fault: this version of HTTP has no upgrade\n\
             rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
             sent:  HTTP/1.0",
        ),
        (
            "HTTP/0.9",
            |r| r.1 = Version::HTTP_09,
            1,
            505,
            &[],
            "fault: this version of HTTP has no upgrade\n\
             rule:  RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request\n\
             sent:  HTTP/0.9",
        ),
        (
            "no host",
            |r| drop(r.2.remove(HOST)),
            2,
            400,
            &[],
            "fault: the request has no Host\n\
             rule:  RFC 6455 4.2.1, item 2: a Host header field with the server's authority\n\
             sent:  no host",
        ),
        (
            "no upgrade",
            |r| drop(r.2.remove(UPGRADE)),
            3,
            426,
            UPGRADE_FIELDS,
            "fault: this is a WebSocket address, and the request does not ask for an upgrade to websocket\n\
             rule:  RFC 6455 4.2.1, item 3: an Upgrade header field with the value websocket\n\
             sent:  no upgrade",
        ),
        (
            "upgrade to other things",
            |r| {
                set(r, UPGRADE, "notwebsocket, websockets");
                add(r, UPGRADE, "web socket");
            },
            3,
            426,
            UPGRADE_FIELDS,
            "fault: this is a WebSocket address, and the request does not ask for an upgrade to websocket\n\
             rule:  RFC 6455 4.2.1, item 3: an Upgrade header field with the value websocket\n\
             sent:  upgrade: notwebsocket, websockets | upgrade: web socket",
        ),
        (
            "no connection",
            |r| drop(r.2.remove(CONNECTION)),
            4,
            426,
            UPGRADE_FIELDS,
            "fault: the Connection header field does not have the token Upgrade\n\
             rule:  RFC 6455 4.2.1, item 4: a Connection header field with the token Upgrade\n\
             sent:  no connection",
        ),
        (
            "connection: notupgrade",
            |r| set(r, CONNECTION, "notupgrade, keep-alive"),
            4,
            426,
            UPGRADE_FIELDS,
            "fault: the Connection header field does not have the token Upgrade\n\
             rule:  RFC 6455 4.2.1, item 4: a Connection header field with the token Upgrade\n\
             sent:  connection: notupgrade, keep-alive",
        ),
        (
            "no key",
            |r| drop(r.2.remove(SEC_WEBSOCKET_KEY)),
            5,
            400,
            &[],
            "fault: the key is missing\n\
             rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
             sent:  no sec-websocket-key",
        ),
        (
            "the key twice",
            |r| add(r, SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
            5,
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
            5,
            400,
            &[],
            "fault: the key is not base64\n\
             rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
             sent:  sec-websocket-key: not base64!",
        ),
        (
            "a key without its padding",
            |r| set(r, SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ"),
            5,
            400,
            &[],
            "fault: the key is not base64\n\
             rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
             sent:  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ",
        ),
        (
            "a key of 13 bytes, as on many web pages",
            |r| set(r, SEC_WEBSOCKET_KEY, "SGVsbG8sIHdvcmxkIQ=="),
            5,
            400,
            &[],
            "fault: the key decodes to 13 bytes, must be 16\n\
             rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
             sent:  sec-websocket-key: SGVsbG8sIHdvcmxkIQ==",
        ),
        (
            "an empty key",
            |r| set(r, SEC_WEBSOCKET_KEY, ""),
            5,
            400,
            &[],
            "fault: the key decodes to 0 bytes, must be 16\n\
             rule:  RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes\n\
             sent:  sec-websocket-key: ",
        ),
        (
            "no version",
            |r| drop(r.2.remove(SEC_WEBSOCKET_VERSION)),
            6,
            426,
            VERSION_FIELDS,
            "fault: this server speaks version 13 only\n\
             rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
             sent:  no sec-websocket-version",
        ),
        (
            "version 8",
            |r| set(r, SEC_WEBSOCKET_VERSION, "8"),
            6,
            426,
            VERSION_FIELDS,
            "fault: this server speaks version 13 only\n\
             rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
             sent:  sec-websocket-version: 8",
        ),
        (
            "version 13 twice",
            |r| add(r, SEC_WEBSOCKET_VERSION, "13"),
            6,
            426,
            VERSION_FIELDS,
            "fault: this server speaks version 13 only\n\
             rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
             sent:  sec-websocket-version: 13 | sec-websocket-version: 13",
        ),
        (
            "versions 13 and 8 in a list",
            |r| set(r, SEC_WEBSOCKET_VERSION, "13, 8"),
            6,
            426,
            VERSION_FIELDS,
            "fault: this server speaks version 13 only\n\
             rule:  RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13\n\
             sent:  sec-websocket-version: 13, 8",
        ),
        (
            "a body by its length",
            |r| set(r, CONTENT_LENGTH, "5"),
            7,
            400,
            &[],
            "fault: the request announces a body\n\
             rule:  RFC 6455 4.1: frames follow the handshake at once: there is no room for a body\n\
             sent:  content-length: 5",
        ),
        (
            "a body by a second length",
            |r| {
                set(r, CONTENT_LENGTH, "0");
                add(r, CONTENT_LENGTH, "5");
            },
            7,
            400,
            &[],
            "fault: the request announces a body\n\
             rule:  RFC 6455 4.1: frames follow the handshake at once: there is no room for a body\n\
             sent:  content-length: 0 | content-length: 5",
        ),
        (
            "a body in chunks",
            |r| set(r, TRANSFER_ENCODING, "chunked"),
            7,
            400,
            &[],
            "fault: the request announces a body\n\
             rule:  RFC 6455 4.1: frames follow the handshake at once: there is no room for a body\n\
             sent:  transfer-encoding: chunked",
        ),
        (
            "another origin",
            |r| set(r, ORIGIN, "http://evil.example"),
            8,
            403,
            &[],
            "fault: this server does not accept the origin of the request; allow it with `--allow-origin ORIGIN`\n\
             rule:  RFC 6455 4.2.2, item 4: an Origin that the server accepts, see also 10.2\n\
             sent:  origin: http://evil.example | host: server.example.com",
        ),
    ]
}

#[test]
fn each_failed_check_has_its_own_whole_response() {
    for (name, spoil, check, status, fields, lines) in spoiled() {
        let mut request = valid();
        spoil(&mut request);
        let refusal = answer(&request).unwrap_err();
        let failed = CHECKS.iter().position(|check| check.apply(&head(&request), &Admission::default()).is_err());
        assert_eq!(failed, Some(check), "{name}");

        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = map(&[
            ("content-type", "text/plain; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
        ]);
        headers.extend(map(fields));
        let host = if request.2.contains_key(HOST) { "server.example.com" } else { "127.0.0.1:81" };
        let text = format!(
            "{status}\n\n{lines}\n\
             works: websocat -E ws://{host}/ws/1\n\
             or:    curl -iN -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
             -H 'Sec-WebSocket-Version: 13' \
             -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' http://{host}/ws/1\n"
        );
        assert_eq!(parts(refusal.response(&head(&request), LOCAL)), (status, headers, text), "{name}");
    }
}

#[test]
fn sent_text_is_escaped() {
    let shown = |name: HeaderName, value| {
        let mut request = valid();
        set(&mut request, name, value);
        answer(&request).unwrap_err().sent.show(&head(&request))
    };
    assert_eq!(shown(SEC_WEBSOCKET_KEY, "\t\""), r#"sec-websocket-key: \t\""#);
    assert_eq!(shown(UPGRADE, "h2c\t"), r"upgrade: h2c\t");
}

/// The cases are in the order of the RFC, so of two broken rules the upper one is named.
#[test]
fn the_first_failed_check_in_the_order_of_the_rfc_is_named() {
    let cases = spoiled();
    for (first, upper) in cases.iter().enumerate() {
        for lower in cases[first + 1..].iter().filter(|lower| lower.2 != upper.2) {
            let mut request = valid();
            lower.1(&mut request);
            upper.1(&mut request);
            let rule = answer(&request).unwrap_err().rule;
            assert_eq!(upper.5.lines().nth(1), Some(&*format!("rule:  {rule}")), "{} and {}", upper.0, lower.0);
        }
    }
}

/// The rules once more, written in another way: over strings, and the key by its 24 characters.
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
    fn a_request_is_accepted_exactly_if_all_rules_hold(request in request()) {
        let answer = answer(&request);
        prop_assert_eq!(answer.is_ok(), all_rules_hold(&request));
        match answer {
            Ok(accept) => prop_assert_eq!(accept.response().status(), 101),
            Err(refusal) => {
                let status = refusal.response(&head(&request), LOCAL).status();
                prop_assert!(status.is_client_error() || status == 505);
            }
        }
    }
}
