//! Phase 2: opening handshakes, one thing spoiled in each, and the whole answer.

use crate::support::client::{Client, KEY, opening, switching_protocols};
use crate::support::frame::{says, text};
use crate::support::neighbours::beside_neighbours;
use crate::support::program::Program;
use crate::support::server::{Server, threads};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use switchboard::limits::{MAX_HEAD_SIZE, MAX_HEADERS, REQUEST_DEADLINE};
use switchboard::server::Options;

const RULE_1: &str = "RFC 6455 4.2.1, item 1: an HTTP/1.1 or higher GET request";
const RULE_3: &str = "RFC 6455 4.2.1, item 3: an Upgrade header field with the value websocket";
const RULE_4: &str = "RFC 6455 4.2.1, item 4: a Connection header field with the token Upgrade";
const RULE_5: &str = "RFC 6455 4.2.1, item 5: one Sec-WebSocket-Key, base64 of 16 bytes";
const RULE_6: &str = "RFC 6455 4.2.1, item 6: a Sec-WebSocket-Version header field with the value 13";
const RULE_ID: &str = "the path is /ws/{client_id}, with a client_id from -9223372036854775808 to 9223372036854775807";
const RULE_BODY: &str = "RFC 6455 4.1: frames follow the handshake at once, there is no room for a body";

const BAD_REQUEST: &str = "400 Bad Request\r\n";
const UPGRADE_REQUIRED: &str = "426 Upgrade Required\r\nupgrade: websocket\r\n";

/// The good opening handshake, with `spoil` done to it.
fn spoiled(server: &Server, spoil: (&str, &str)) -> String {
    let good = opening(server.address, "/ws/7");
    assert!(good.contains(spoil.0), "{:?} is not in {good:?}", spoil.0);
    good.replacen(spoil.0, spoil.1, 1)
}

/// Sends a spoiled handshake beside the neighbours, and expects this refusal, whole. `status` has with it the header fields
/// that it asks for.
#[track_caller]
fn refused(spoil: (&str, &str), status: &str, fault: &str, rule: &str, sent: &str) {
    beside_neighbours(Options::default(), |server| {
        let request = spoiled(server, spoil);
        let host = match request.find("Host: ") {
            Some(_) => server.address.to_string(),
            None => "127.0.0.1:8000".into(),
        };
        let status_line = status.lines().next().unwrap();
        let body = format!(
            "{status_line}\n\nfault: {fault}\nrule:  {rule}\nsent:  {sent}\n\
             works: websocat ws://{host}/ws/1\n\
             or:    curl -iN -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
             -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: {KEY}' http://{host}/ws/1\n"
        );
        let status = status.replacen(
            "\r\n",
            "\r\ncontent-type: text/plain; charset=utf-8\r\n\
             x-content-type-options: nosniff\r\ncache-control: no-store\r\n",
            1,
        );
        let connection = match status.split_once("upgrade: websocket\r\n") {
            Some((status, fields)) => {
                format!("{status}upgrade: websocket\r\nconnection: Upgrade, close\r\n{fields}")
            }
            None => format!("{status}connection: close\r\n"),
        };
        let version = if request.contains("HTTP/1.0") { "1.0" } else { "1.1" };
        let length = body.len();
        let head = format!("HTTP/{version} {connection}content-length: {length}\r\n\r\n");

        let mut client = Client::tcp(server.address);
        client.send(&request);
        assert_eq!(client.read_head(), head);
        let expected = if request.starts_with("HEAD") { "" } else { &body };
        assert_eq!(String::from_utf8_lossy(&client.read_to_end()), expected);
    });
}

/// Sends bytes that hyper refuses by itself, and expects this status and the end.
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

/// Sends a handshake that is unusual, and expects to be in the chat.
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
fn the_handshake_of_the_rfc_gets_its_answer() {
    accepted(("", ""));
}

#[test]
fn connection_may_list_more_than_upgrade() {
    accepted(("Connection: Upgrade", "Connection: keep-alive, Upgrade"));
    accepted(("Connection: Upgrade", "Connection: Upgrade , keep-alive"));
}

#[test]
fn connection_may_stand_in_several_lines() {
    accepted(("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"));
}

#[test]
fn the_case_of_names_and_tokens_does_not_matter() {
    accepted(("Connection: Upgrade", "cONNECTION: uPGRADE"));
    accepted(("Upgrade: websocket", "UPGRADE: WebSocket"));
}

#[test]
fn a_client_id_may_be_anything_that_fits_64_bits() {
    accepted(("/ws/7", "/ws/0"));
    accepted(("/ws/7", "/ws/9223372036854775807"));
    accepted(("/ws/7", "/ws/-9223372036854775808"));
}

#[test]
fn a_query_behind_the_client_id_changes_nothing() {
    accepted((" HTTP/1.1", "?token=1 HTTP/1.1"));
}

#[test]
fn an_empty_body_may_be_announced() {
    accepted(("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn as_many_headers_as_allowed_are_accepted() {
    // `Host`, `Upgrade`, `Connection`, key and version are five.
    let more = "\r\nA: b".repeat(MAX_HEADERS - 5) + "\r\n\r\n";
    accepted(("\r\n\r\n", &more));
}

#[test]
fn methods_other_than_get_are_refused() {
    for method in ["POST", "HEAD", "OPTIONS", "CONNECT_"] {
        let status = "405 Method Not Allowed\r\nallow: GET\r\n";
        let fault = "a WebSocket is opened with GET";
        refused(("GET", method), status, fault, RULE_1, method);
    }
    let status = "405 Method Not Allowed\r\nallow: GET\r\n";
    let fault = "a WebSocket is opened with GET";
    refused(("GET /ws/7", "PUT /echo"), status, fault, RULE_1, "PUT");
}

#[test]
fn the_page_is_only_to_be_read() {
    let status = "405 Method Not Allowed\r\nallow: GET, HEAD\r\n";
    let fault = "this is only to be read";
    let rule = "RFC 9110 15.5.6: the methods here are GET and HEAD";
    for request in ["POST /", "POST /inspector.js", "POST /inspector.css"] {
        refused(("GET /ws/7", request), status, fault, rule, "POST");
    }
}

#[test]
fn http_1_0_is_refused() {
    let status = "505 HTTP Version Not Supported\r\n";
    let fault = "this version of HTTP has no upgrade";
    refused(("HTTP/1.1", "HTTP/1.0"), status, fault, RULE_1, "HTTP/1.0");
}

#[test]
fn a_handshake_without_upgrade_is_told_to_upgrade() {
    let fault = "this is a WebSocket address, and the request does not ask for one";
    let spoils = [
        ("Upgrade: websocket\r\n", "", "no upgrade"),
        ("websocket", "h2c", "upgrade: h2c"),
        ("websocket", "websockets", "upgrade: websockets"),
    ];
    for (good, bad, sent) in spoils {
        refused((good, bad), UPGRADE_REQUIRED, fault, RULE_3, sent);
    }
}

#[test]
fn a_handshake_without_connection_upgrade_is_told_to_upgrade() {
    let fault = "Connection does not name Upgrade, so Upgrade is not meant for this server";
    let spoils = [
        ("Connection: Upgrade\r\n", "", "no connection"),
        ("tion: Upgrade", "tion: keep-alive", "connection: keep-alive"),
        ("tion: Upgrade", "tion: notupgrade", "connection: notupgrade"),
    ];
    for (good, bad, sent) in spoils {
        refused((good, bad), UPGRADE_REQUIRED, fault, RULE_4, sent);
    }
}

#[test]
fn a_version_other_than_13_is_told_which_one() {
    let status = "426 Upgrade Required\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";
    let fault = "the only version spoken here is 13";
    let name = "sec-websocket-version";
    let spoils = [
        ("Sec-WebSocket-Version: 13\r\n", "", format!("no {name}")),
        ("Version: 13", "Version: 8", format!("{name}: 8")),
        ("Version: 13", "Version: 13, 8", format!("{name}: 13, 8")),
        ("Version: 13", "Version: 013", format!("{name}: 013")),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", format!("{name}: 13 | {name}: 13")),
    ];
    for (good, bad, sent) in spoils {
        refused((good, bad), status, fault, RULE_6, &sent);
    }
}

#[test]
fn a_handshake_without_key_is_refused() {
    let spoil = (&*format!("Sec-WebSocket-Key: {KEY}\r\n"), "");
    let sent = "no sec-websocket-key";
    refused(spoil, BAD_REQUEST, "the key is missing", RULE_5, sent);
}

#[test]
fn two_keys_are_refused() {
    let twice = format!("{KEY}\r\nSec-WebSocket-Key: {KEY}");
    let sent = format!("sec-websocket-key: {KEY} | sec-websocket-key: {KEY}");
    let fault = "there is more than one key";
    refused((KEY, &twice), BAD_REQUEST, fault, RULE_5, &sent);
}

#[test]
fn a_key_that_is_not_base64_is_refused() {
    let fault = "the key is not base64";
    for key in ["!HNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "\u{e9}"] {
        let sent = format!("Sec-WebSocket-Key: {key}");
        refused((KEY, key), BAD_REQUEST, fault, RULE_5, &sent);
    }
}

#[test]
fn a_key_of_another_length_is_refused_with_its_length() {
    // The first is on many web pages.
    for (key, length) in [("SGVsbG8sIHdvcmxkIQ==", 13), ("", 0)] {
        let fault = format!("the key decodes to {length} bytes, must be 16");
        let sent = format!("Sec-WebSocket-Key: {key}");
        refused((KEY, key), BAD_REQUEST, &fault, RULE_5, &sent);
    }
}

#[test]
fn a_handshake_without_host_is_refused() {
    beside_neighbours(Options::default(), |server| {
        for path in ["/ws/7", "/"] {
            let host = format!("Host: {}\r\n", server.address);
            let mut client = Client::tcp(server.address);
            client.send(opening(server.address, path).replacen(&host, "", 1));
            let head = client.read_head();
            assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
            let body = String::from_utf8(client.read_to_end()).unwrap();
            let fault = "400 Bad Request\n\nfault: the request has no Host\n";
            assert!(body.starts_with(fault), "{body}");
        }
    });
}

#[test]
fn a_client_id_that_is_no_number_of_64_bits_is_refused() {
    let fault = "the client id is not a whole number of 64 bits";
    for path in ["/ws/abc", "/ws/", "/ws/9223372036854775808", "/ws/7/", "/ws/%37"] {
        refused(("/ws/7", path), BAD_REQUEST, fault, RULE_ID, path);
    }
}

#[test]
fn there_is_nothing_at_other_paths() {
    let status = "404 Not Found\r\n";
    let fault = "there is nothing at this path";
    let rule = "the paths are / (the page), /ws/{client_id} (the chat), /echo, /lifecycle and /healthz";
    for path in ["/favicon.ico", "/ws", "/echo/", "//", "/WS/7"] {
        refused(("/ws/7", path), status, fault, rule, path);
    }
}

#[test]
fn a_body_with_the_handshake_is_refused() {
    let fault = "the request announces a body";
    let sent = "content-length or transfer-encoding";
    for body in ["\r\nContent-Length: 5\r\n\r\nhello", "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        refused(("\r\n\r\n", body), BAD_REQUEST, fault, RULE_BODY, sent);
    }
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    const LENGTH: usize = 300_000;
    let fault = "the request announces a body";
    let body = format!("\r\nContent-Length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH));
    refused(("\r\n\r\n", &body), BAD_REQUEST, fault, RULE_BODY, "content-length or transfer-encoding");
}

#[test]
fn what_was_sent_is_quoted_without_control_characters() {
    let fault = "this is a WebSocket address, and the request does not ask for one";
    let spoil = ("websocket", "\"\t\u{85}\u{202e}");
    let sent = r#"upgrade: \"\t\u{85}\u{202e}"#;
    refused(spoil, UPGRADE_REQUIRED, fault, RULE_3, sent);
}

#[test]
fn one_header_too_many_is_refused() {
    turned_away(
        |server| {
            let more = "\r\nA: b".repeat(MAX_HEADERS - 4) + "\r\n\r\n";
            spoiled(server, ("\r\n\r\n", &more)).into()
        },
        "431 Request Header Fields Too Large",
    );
}

#[test]
fn a_head_of_more_than_16_kib_is_refused() {
    // The last is still being read when the answer is out: a close without reading on would be a reset.
    for (at, size) in [("/ws/7", MAX_HEAD_SIZE), ("websocket", MAX_HEAD_SIZE), ("websocket", 20 * MAX_HEAD_SIZE)] {
        turned_away(|server| spoiled(server, (at, &"x".repeat(size))).into(), "431 Request Header Fields Too Large");
    }
}

#[test]
fn garbage_and_a_tls_hello_are_refused() {
    let hello: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";
    for garbage in [hello, b"\0\0\0\0", b"hello\r\n\r\n", b"GET /\x1b[2J HTTP/1.1\r\n\r\n"] {
        turned_away(|_| garbage.to_vec(), "400 Bad Request");
    }
}

#[test]
fn http_2_is_not_spoken_and_gets_the_end() {
    beside_neighbours(Options::default(), |server| {
        let mut client = Client::tcp(server.address);
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.expect_end();
    });
}

#[test]
fn a_request_that_is_not_finished_is_closed_after_10_s() {
    let program = Program::start(&[]);
    let start = Instant::now();
    let mut silent = Client::tcp(program.address);
    let mut half = Client::tcp(program.address);
    half.send("GET /ws/7 HTTP/1.1\r\nHost: a\r\n");
    // The deadline is for the whole head: a byte now and then does not move it.
    let mut slow = Client::tcp(program.address);
    slow.send("GET /ws/7 HTTP/1.1\r\n");
    let pace = Duration::from_secs(1);
    slow.socket().set_read_timeout(Some(pace)).unwrap();
    while let Err(error) = slow.try_read() {
        assert!(start.elapsed() < REQUEST_DEADLINE + pace * 2, "{error}");
        slow.send("A");
    }
    for client in [&mut half, &mut silent] {
        client.read_to_end();
        let lasted = start.elapsed();
        assert!(lasted > REQUEST_DEADLINE - pace, "closed after {lasted:?}");
        assert!(lasted < REQUEST_DEADLINE + pace * 2, "closed after {lasted:?}");
    }
    for client in [half, slow] {
        let peer = client.socket().local_addr().unwrap();
        let line = program.log_line(&peer.to_string());
        assert!(line.ends_with(": read header from client timeout"), "{line}");
    }
}

#[test]
fn frames_in_the_packet_of_the_handshake_are_kept() {
    beside_neighbours(Options::default(), |server| {
        let mut bytes = opening(server.address, "/ws/7").into_bytes();
        (0..40).for_each(|n| bytes.extend(text(&n.to_string())));
        let last = text("a frame that comes in two");
        let (begun, rest) = last.split_at(10);
        bytes.extend(begun);
        let mut client = Client::tcp(server.address);
        client.send(bytes);
        assert_eq!(client.read_head(), switching_protocols());
        for n in 0..40 {
            client.expect(&says(7, &n.to_string()));
        }
        client.send(rest);
        client.expect(&says(7, "a frame that comes in two"));
    });
}

#[test]
fn clients_that_die_in_the_handshake_bother_nobody() {
    beside_neighbours(Options::default(), |server| {
        for number in 0..100 {
            let mut client = Client::tcp(server.address);
            let opening = opening(server.address, "/ws/7");
            // Dies before the end of the request, behind it, or with a frame on the way.
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

/// A place that is not given back would keep all that is said from then on in memory.
#[cfg(target_os = "linux")]
#[test]
fn the_place_of_a_client_that_dies_in_the_handshake_is_given_back() {
    const MESSAGE: usize = 60_000;
    const MESSAGES: usize = 500;
    let program = Program::start(&["--max-backlog", "1000000000"]);
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

/// Clients come while another one talks without pause. What it says once they can have seen their 101 is theirs.
fn newcomers_miss_nothing(options: Options) {
    const NEWCOMERS: usize = 100;
    let server = Server::start(options);
    let address = server.address;
    let said = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let mut talker = server.join(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let number = said.fetch_add(1, Ordering::SeqCst);
                talker.send_text(&number.to_string());
                talker.expect(&says(1, &number.to_string()));
            }
        });
        let comers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..NEWCOMERS {
                        let mut newcomer = Client::open(address, "/ws/2");
                        let next = said.load(Ordering::SeqCst);
                        let mut heard = || -> u64 {
                            let text = newcomer.read_text();
                            text.strip_prefix("Client #1 says: ").unwrap().parse().unwrap()
                        };
                        let first = heard();
                        assert!(first <= next, "{first} came first, {next} was said");
                        (first + 1..first + 10).for_each(|number| assert_eq!(heard(), number));
                    }
                })
            })
            .collect();
        let results: Vec<_> = comers.into_iter().map(|comer| comer.join()).collect();
        over.store(true, Ordering::SeqCst);
        results.into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn whoever_can_have_seen_the_101_gets_every_message_from_then_on() {
    newcomers_miss_nothing(Options::default());
}

#[test]
fn whoever_can_have_seen_the_101_gets_every_message_on_three_threads() {
    newcomers_miss_nothing(threads(3));
}
