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
    let field =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
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
