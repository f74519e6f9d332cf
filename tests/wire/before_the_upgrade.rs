//! Phase 2: opening handshakes with one thing spoiled, and the whole answer to each.

use crate::SWITCHBOARD;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
use test_client::frame::{says, text};
use test_client::request::{KEY, opening, switching_protocols};
use test_client::server::limits::{MAX_HEAD_SIZE, MAX_HEADERS, REQUEST_DEADLINE};
use test_client::server::{Limits, Options, Server, beside_neighbours, loopback_only, threads};

/// The unit tests of the handshake have the whole text of its refusals; here is the rule's section.
const ITEM_1: &str = "RFC 6455 4.2.1, item 1";
const ITEM_3: &str = "RFC 6455 4.2.1, item 3";
const ITEM_4: &str = "RFC 6455 4.2.1, item 4";
const ITEM_5: &str = "RFC 6455 4.2.1, item 5";
const ITEM_6: &str = "RFC 6455 4.2.1, item 6";
const NO_BODY: &str = "RFC 6455 4.1: ";
const RULE_ID: &str = "the path is /ws/{client_id}, with a client_id from -9223372036854775808 to 9223372036854775807";

const BAD_REQUEST: &str = "400 Bad Request\r\n";
const UPGRADE_REQUIRED: &str = "426 Upgrade Required\r\nupgrade: websocket\r\n";

/// The valid opening handshake, with the first text of `spoil` replaced by the second.
fn spoiled(server: &Server, spoil: (&str, &str)) -> String {
    let good = opening(server.address, "/ws/7");
    assert!(good.contains(spoil.0), "{:?} is not in {good:?}", spoil.0);
    good.replacen(spoil.0, spoil.1, 1)
}

/// Sends a spoiled handshake beside the neighbours, and compares the refusal: the head, what is wrong, the beginning of the
/// rule, and what was sent. `status` includes the header fields that belong to it. The refusal of a handshake ends its
/// connection; another refusal does so when the client ends its side.
#[track_caller]
fn refused(spoil: (&str, &str), status: &str, fault: &str, rule: &str, sent: &str) {
    beside_neighbours(Options::default(), |server| {
        let request = spoiled(server, spoil);
        let mut client = Client::tcp(server.address);
        client.send(&request);
        let head = client.read_head();
        let target = request.split(' ').nth(1).unwrap();
        let close = if (target.starts_with("/ws/") || target == "/echo") && rule != RULE_ID {
            "connection: close\r\n"
        } else {
            client.end();
            ""
        };
        let body = String::from_utf8(client.read_to_end()).unwrap();
        let (line, fields) = status.split_once("\r\n").unwrap();
        let version = if request.contains("HTTP/1.0") { "1.0" } else { "1.1" };
        let (upgrade, fields) = match fields.strip_prefix("upgrade: websocket\r\n") {
            Some(fields) => ("upgrade: websocket\r\nconnection: Upgrade, close\r\n", fields.to_owned()),
            None => ("", format!("{fields}{close}")),
        };
        let expected = format!(
            "HTTP/{version} {line}\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
             cache-control: no-store\r\n{upgrade}{fields}content-length: "
        );
        let length = head.strip_prefix(&expected).unwrap_or_else(|| panic!("{head:?} is not {expected:?}"));
        if request.starts_with("HEAD") {
            return assert_eq!(body, "");
        }
        assert_eq!(length, format!("{}\r\n\r\n", body.len()));
        let beginning = format!("{line}\n\nfault: {fault}\nrule:  {rule}");
        assert!(body.starts_with(&beginning), "{body}");
        assert!(body.contains(&format!("\nsent:  {sent}\nworks: websocat -E ws://")), "{body}");
    });
}

/// Sends bytes that hyper refuses itself, and expects this status and the end of the stream.
#[track_caller]
fn turned_away(request: impl Fn(&Server) -> Vec<u8>, status: &str) {
    beside_neighbours(Options::default(), |server| {
        let mut client = Client::tcp(server.address);
        client.send(request(server));
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.read_head(), head);
        client.expect_end();
    });
}

/// Sends an unusual handshake, and expects to join the chat.
#[track_caller]
fn accepted(spoil: (&str, &str)) {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    client.send(spoiled(&server, spoil));
    assert_eq!(client.read_head(), switching_protocols());
    client.send_text("in");
    let Some(id) = spoil.1.strip_prefix("/ws/") else {
        return client.expect(&says(7, "in"));
    };
    client.expect(&says(id.parse().unwrap(), "in"));
}

#[test]
fn handshake_of_the_rfc() {
    accepted(("", ""));
}

#[test]
fn connection_with_more_tokens() {
    accepted(("Connection: Upgrade", "Connection: keep-alive, Upgrade"));
    accepted(("Connection: Upgrade", "Connection: Upgrade , keep-alive"));
}

#[test]
fn connection_in_several_lines() {
    accepted(("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"));
}

#[test]
fn names_and_tokens_ignore_case() {
    accepted(("Connection: Upgrade", "cONNECTION: uPGRADE"));
    accepted(("Upgrade: websocket", "UPGRADE: WebSocket"));
}

#[test]
fn client_ids_of_64_bits() {
    accepted(("/ws/7", "/ws/0"));
    accepted(("/ws/7", "/ws/9223372036854775807"));
    accepted(("/ws/7", "/ws/-9223372036854775808"));
}

#[test]
fn query_after_the_client_id_is_ignored() {
    accepted((" HTTP/1.1", "?token=1 HTTP/1.1"));
}

#[test]
fn content_length_0_is_accepted() {
    accepted(("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn largest_number_of_headers() {
    // `Host`, `Upgrade`, `Connection`, the key and the version make five.
    let more = "\r\nA: b".repeat(MAX_HEADERS - 5) + "\r\n\r\n";
    accepted(("\r\n\r\n", &more));
}

#[test]
fn methods_other_than_get() {
    for method in ["POST", "HEAD", "OPTIONS", "CONNECT_"] {
        let status = "405 Method Not Allowed\r\nallow: GET\r\n";
        let fault = "a WebSocket is opened with GET";
        refused(("GET", method), status, fault, ITEM_1, method);
    }
    let status = "405 Method Not Allowed\r\nallow: GET\r\n";
    let fault = "a WebSocket is opened with GET";
    refused(("GET /ws/7", "PUT /echo"), status, fault, ITEM_1, "PUT");
}

#[test]
fn methods_other_than_get_and_head_for_the_page() {
    let status = "405 Method Not Allowed\r\nallow: GET, HEAD\r\n";
    let fault = "this path is read-only";
    let rule = "RFC 9110 15.5.6: the methods allowed here are GET, HEAD";
    for request in ["POST /", "POST /inspector.js", "POST /inspector.css"] {
        refused(("GET /ws/7", request), status, fault, rule, "POST");
    }
}

#[test]
fn http_1_0() {
    let status = "505 HTTP Version Not Supported\r\n";
    let fault = "this version of HTTP has no upgrade";
    refused(("HTTP/1.1", "HTTP/1.0"), status, fault, ITEM_1, "HTTP/1.0");
}

#[test]
fn no_upgrade() {
    let fault = "this is a WebSocket address, and the request does not ask for an upgrade to websocket";
    let spoils = [
        ("Upgrade: websocket\r\n", "", "no upgrade"),
        ("websocket", "h2c", "upgrade: h2c"),
        ("websocket", "websockets", "upgrade: websockets"),
    ];
    for (good, bad, sent) in spoils {
        refused((good, bad), UPGRADE_REQUIRED, fault, ITEM_3, sent);
    }
}

#[test]
fn no_connection_upgrade() {
    let fault = "the Connection header field does not have the token Upgrade";
    let spoils = [
        ("Connection: Upgrade\r\n", "", "no connection"),
        ("tion: Upgrade", "tion: keep-alive", "connection: keep-alive"),
        ("tion: Upgrade", "tion: notupgrade", "connection: notupgrade"),
    ];
    for (good, bad, sent) in spoils {
        refused((good, bad), UPGRADE_REQUIRED, fault, ITEM_4, sent);
    }
}

#[test]
fn versions_other_than_13() {
    let status = "426 Upgrade Required\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    let fault = "this server speaks version 13 only";
    let name = "sec-websocket-version";
    let spoils = [
        ("Sec-WebSocket-Version: 13\r\n", "", format!("no {name}")),
        ("Version: 13", "Version: 8", format!("{name}: 8")),
        ("Version: 13", "Version: 13, 8", format!("{name}: 13, 8")),
        ("Version: 13", "Version: 013", format!("{name}: 013")),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", format!("{name}: 13 | {name}: 13")),
    ];
    for (good, bad, sent) in spoils {
        refused((good, bad), status, fault, ITEM_6, &sent);
    }
}

#[test]
fn no_key() {
    let spoil = (&*format!("Sec-WebSocket-Key: {KEY}\r\n"), "");
    let sent = "no sec-websocket-key";
    refused(spoil, BAD_REQUEST, "the key is missing", ITEM_5, sent);
}

#[test]
fn two_keys() {
    let twice = format!("{KEY}\r\nSec-WebSocket-Key: {KEY}");
    let sent = format!("sec-websocket-key: {KEY} | sec-websocket-key: {KEY}");
    let fault = "there is more than one key";
    refused((KEY, &twice), BAD_REQUEST, fault, ITEM_5, &sent);
}

#[test]
fn key_is_not_base64() {
    let fault = "the key is not base64";
    for key in ["!HNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "\u{e9}"] {
        let sent = format!("sec-websocket-key: {key}");
        refused((KEY, key), BAD_REQUEST, fault, ITEM_5, &sent);
    }
}

#[test]
fn key_of_wrong_length() {
    // Many web pages use the first one.
    for (key, length) in [("SGVsbG8sIHdvcmxkIQ==", 13), ("", 0)] {
        let fault = format!("the key decodes to {length} bytes, must be 16");
        let sent = format!("sec-websocket-key: {key}");
        refused((KEY, key), BAD_REQUEST, &fault, ITEM_5, &sent);
    }
}

#[test]
fn no_host() {
    beside_neighbours(Options::default(), |server| {
        for path in ["/ws/7", "/"] {
            let host = format!("Host: {}\r\n", server.address);
            let mut client = Client::tcp(server.address);
            client.send(opening(server.address, path).replacen(&host, "", 1));
            let head = client.read_head();
            assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
            client.end();
            let body = String::from_utf8(client.read_to_end()).unwrap();
            let fault = "400 Bad Request\n\nfault: the request has no Host\n";
            assert!(body.starts_with(fault), "{body}");
        }
    });
}

#[test]
fn client_id_is_no_64_bit_number() {
    let fault = "the client id is not a 64-bit integer";
    for path in ["/ws/abc", "/ws/", "/ws/9223372036854775808", "/ws/7/", "/ws/%37"] {
        refused(("/ws/7", path), BAD_REQUEST, fault, RULE_ID, path);
    }
}

#[test]
fn unknown_paths() {
    let status = "404 Not Found\r\n";
    let fault = "there is nothing at this path";
    let rule =
        "the paths are / (the page), /ws/{client_id} (the chat), /echo, /lifecycle, /members, /metrics, /healthz";
    for path in ["/favicon.ico", "/ws", "/echo/", "//", "/WS/7"] {
        refused(("/ws/7", path), status, fault, rule, path);
    }
}

/// The most natural mistake: a WebSocket at `/`.
#[test]
fn upgrade_at_a_path_without_a_websocket() {
    let status = "404 Not Found\r\n";
    let fault = "there is no WebSocket at this path";
    let rule = "RFC 6455 4.2.2, item 4: 404 if there is no such service; \
                WebSockets are at /ws/{client_id} (the chat), /echo\n";
    for path in ["/", "/lifecycle", "/healthz", "/inspector.js", "/inspector.css"] {
        refused(("/ws/7", path), status, fault, rule, path);
    }
    let tokens = "GET / HTTP/1.1\r\nUpgrade: h2c, WebSocket";
    refused(("GET /ws/7 HTTP/1.1", tokens), status, fault, rule, "/");
}

/// Other protocols are ignored, and HTTP/1.0 has no upgrade (RFC 9110 7.8).
#[test]
fn upgrade_that_is_ignored() {
    let server = Server::start(Options::default());
    for spoil in [("Upgrade: websocket", "Upgrade: h2c"), ("Upgrade: websocket\r\n", ""), ("HTTP/1.1", "HTTP/1.0")] {
        let request = spoiled(&server, spoil).replacen("/ws/7", "/healthz", 1);
        let mut client = Client::tcp(server.address);
        client.send(&request);
        let head = client.read_head();
        assert_eq!(head.split(' ').nth(1), Some("200"), "{request}{head}");
    }
}

#[test]
fn body() {
    let fault = "the request announces a body";
    let chunked = "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let bodies = [("\r\nContent-Length: 5\r\n\r\nhello", "content-length: 5"), (chunked, "transfer-encoding: chunked")];
    for (body, sent) in bodies {
        refused(("\r\n\r\n", body), BAD_REQUEST, fault, NO_BODY, sent);
    }
}

#[test]
fn refusal_reaches_a_client_that_is_still_sending() {
    const LENGTH: usize = 300_000;
    let fault = "the request announces a body";
    let body = format!("\r\nContent-Length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH));
    refused(("\r\n\r\n", &body), BAD_REQUEST, fault, NO_BODY, &format!("content-length: {LENGTH}"));
}

#[test]
fn quoted_values_have_no_control_characters() {
    let fault = "this is a WebSocket address, and the request does not ask for an upgrade to websocket";
    let spoil = ("websocket", "\"\t\u{85}\u{202e}");
    let sent = r#"upgrade: \"\t\u{85}\u{202e}"#;
    refused(spoil, UPGRADE_REQUIRED, fault, ITEM_3, sent);
}

#[test]
fn one_header_too_many() {
    turned_away(
        |server| {
            let more = "\r\nA: b".repeat(MAX_HEADERS - 4) + "\r\n\r\n";
            spoiled(server, ("\r\n\r\n", &more)).into()
        },
        "431 Request Header Fields Too Large",
    );
}

#[test]
fn head_over_16_kib() {
    // The server answers the last one before it has read it all. Closing without reading the rest would cause a reset.
    for (at, size) in [("/ws/7", MAX_HEAD_SIZE), ("websocket", MAX_HEAD_SIZE), ("websocket", 20 * MAX_HEAD_SIZE)] {
        turned_away(|server| spoiled(server, (at, &"x".repeat(size))).into(), "431 Request Header Fields Too Large");
    }
}

#[test]
fn garbage_and_a_tls_hello() {
    let hello: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    for garbage in [hello, b"\0\0\0\0", b"hello\r\n\r\n", b"GET /\x1b[2J HTTP/1.1\r\n\r\n"] {
        turned_away(|_| garbage.to_vec(), "400 Bad Request");
    }
}

/// As a browser does if the page's address begins with `https://`.
#[test]
fn tls_is_named_in_the_log() {
    let program = SWITCHBOARD.start(&[]);
    let mut client = Client::tcp(program.address);
    client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00");
    client.read_to_end();
    let (line, peer) = (program.log_line("TLS"), client.local_addr());
    let fault = "this looks like TLS, but this server speaks http:// and ws://, without TLS";
    assert_eq!(line, format!("WARN  connection 1, {peer}: {fault}"));
}

/// The command in a refusal works, although the host of the request does not.
#[test]
fn command_for_a_foreign_host_names_the_servers_address() {
    let server = Server::start(loopback_only(Limits::default()));
    let mut client = Client::tcp(server.address);
    client.send("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let command = format!("\nworks: websocat -E ws://{}/ws/1\n", server.address);
    assert!(answer.contains(&command), "{answer}");
    Client::open(server.address, "/ws/1");
}

#[test]
fn http_2() {
    beside_neighbours(Options::default(), |server| {
        let mut client = Client::tcp(server.address);
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.expect_end();
    });
}

#[test]
fn unfinished_request_is_closed_after_10_s() {
    let program = SWITCHBOARD.start(&[]);
    let start = Instant::now();
    let mut silent = Client::tcp(program.address);
    let mut half = Client::tcp(program.address);
    half.send("GET /ws/7 HTTP/1.1\r\nHost: a\r\n");
    // The deadline is for the whole head: another byte doesn't extend it.
    let mut slow = Client::tcp(program.address);
    slow.send("GET /ws/7 HTTP/1.1\r\n");
    let pace = Duration::from_secs(1);
    while !slow.poll_input(pace) {
        assert!(start.elapsed() < REQUEST_DEADLINE + pace * 2, "the request is still open");
        slow.send("A");
    }
    for client in [&mut half, &mut silent] {
        client.read_to_end();
        let lasted = start.elapsed();
        assert!(lasted > REQUEST_DEADLINE - pace, "closed after {lasted:?}");
        assert!(lasted < REQUEST_DEADLINE + pace * 2, "closed after {lasted:?}");
    }
    for client in [half, slow] {
        let peer = client.local_addr();
        let line = program.log_line(&peer.to_string());
        assert!(line.ends_with(": read header from client timeout"), "{line}");
    }
}

#[test]
fn frames_in_the_packet_of_the_handshake() {
    beside_neighbours(Options::default(), |server| {
        let mut bytes = opening(server.address, "/ws/7").into_bytes();
        (0..40).for_each(|n| bytes.extend(text(&n.to_string())));
        let last = text("a frame in two parts");
        let (begun, rest) = last.split_at(10);
        bytes.extend(begun);
        let mut client = Client::tcp(server.address);
        client.send(bytes);
        assert_eq!(client.read_head(), switching_protocols());
        for n in 0..40 {
            client.expect(&says(7, &n.to_string()));
        }
        client.send(rest);
        client.expect(&says(7, "a frame in two parts"));
    });
}

#[test]
fn clients_that_die_in_the_handshake() {
    beside_neighbours(Options::default(), |server| {
        for number in 0..100 {
            let mut client = Client::tcp(server.address);
            let opening = opening(server.address, "/ws/7");
            // The client dies inside the request, after it, or with a frame on its way.
            match number % 4 {
                0 => client.send(&opening[..opening.len() / 2]),
                1 => client.send(opening),
                _ => client.send([opening.as_bytes(), &text("last words")].concat()),
            }
            if number % 3 == 0 {
                client.end();
                client.read_to_end();
            } else {
                client.reset();
            }
        }
    });
}

/// A leaked place would keep every later message in memory.
#[cfg(target_os = "linux")]
#[test]
fn place_of_a_client_that_dies_in_the_handshake_is_released() {
    const MESSAGE: usize = 60_000;
    const MESSAGES: usize = 500;
    let program = SWITCHBOARD.start(&["--max-backlog", "1000000000"]);
    let mut talker = Client::open(program.address, "/ws/1");
    let message = "x".repeat(MESSAGE);
    let mut talk = |times| {
        for _ in 0..times {
            talker.send_text(&message);
            talker.expect(&says(1, &message));
        }
    };
    talk(20);
    let (memory, files) = (program.resident(), program.open_files());
    for _ in 0..50 {
        let mut client = Client::tcp(program.address);
        client.send(opening(program.address, "/ws/7"));
        client.reset();
    }
    talk(MESSAGES);
    let more = program.resident().saturating_sub(memory);
    assert!(more < MESSAGE * MESSAGES / 4, "{more} bytes more");
    assert_eq!(program.open_files(), files);
}

/// Clients join while another one sends without pause. They receive everything sent after they saw their 101.
fn newcomers_miss_nothing(options: Options) {
    const NEWCOMERS: usize = 100;
    let server = Server::start(options);
    let address = server.address;
    let sent = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let mut talker = server.join(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let number = sent.fetch_add(1, Ordering::SeqCst);
                talker.send_text(&number.to_string());
                talker.expect(&says(1, &number.to_string()));
            }
        });
        let joining: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..NEWCOMERS {
                        let mut newcomer = Client::open(address, "/ws/2");
                        let next = sent.load(Ordering::SeqCst);
                        let mut next_number = || -> u64 {
                            let text = newcomer.read_text();
                            text.strip_prefix("Client #1 says: ").unwrap().parse().unwrap()
                        };
                        let first = next_number();
                        assert!(first <= next, "received {first} first, after {next} was sent");
                        (first + 1..first + 10).for_each(|number| assert_eq!(next_number(), number));
                    }
                })
            })
            .collect();
        let results: Vec<_> = joining.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::SeqCst);
        results.into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn every_message_after_the_101_arrives() {
    newcomers_miss_nothing(Options::default());
}

#[test]
fn every_message_after_the_101_arrives_on_three_threads() {
    newcomers_miss_nothing(threads(3));
}
