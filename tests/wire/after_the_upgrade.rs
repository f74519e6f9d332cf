//! Phase 3: what a client may send, and the answer to what it may not.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
use test_client::frame::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, client_header, close_payload, from_client,
    from_server, says, text,
};
use test_client::request::{opening, switching_protocols};
use test_client::server::limits::{CLOSE_DEADLINE, UNFINISHED_MESSAGE_AGE};
use test_client::server::{Limits, Options, Server, beside_neighbours, limits_with, max_message_size};

const PROTOCOL: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const NOT_UTF8: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;

const UTF8_RULE: &str = "text and close reasons must be UTF-8, RFC 6455 8.1";

/// Sends these frames. The server answers with this Close, ignores everything after it, and ends the stream.
#[track_caller]
fn fails(frames: &[Vec<u8>], code: u16, reason: &str) {
    fails_with(Options::default(), frames, code, reason);
}

#[track_caller]
fn fails_with(options: Options, frames: &[Vec<u8>], code: u16, reason: &str) {
    beside_neighbours(options, |server| {
        let mut witness = server.join(8);
        let mut client = server.join(7);
        client.send(frames.concat());
        client.send_text("after the fault");
        client.expect_close(code, reason);
        client.send_text("after the Close");
        client.send_frame(FIN | CLOSE, &close_payload(code, ""));
        client.expect_end();
        // None of it reached the room.
        witness.send_text("the next");
        witness.expect(&says(8, "the next"));
    });
}

#[test]
fn unmasked_frame_fails() {
    let frame = from_server(FIN | TEXT, b"hello");
    let rule = "a client must mask every frame, RFC 6455 5.1";
    fails(&[frame], PROTOCOL, rule);
}

#[test]
fn reserved_bits_fail() {
    let rule = "RSV1 to RSV3 must be 0 without an extension, RFC 6455 5.2";
    for bit in [RSV1, RSV2, RSV3] {
        fails(&[from_client(FIN | bit | TEXT, b"hello")], PROTOCOL, rule);
    }
}

#[test]
fn reserved_opcodes_fail() {
    let rule = "opcodes 3 to 7 and 11 to 15 are reserved, RFC 6455 5.2";
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        fails(&[from_client(FIN | opcode, b"hello")], PROTOCOL, rule);
    }
}

#[test]
fn fragmented_control_frames_fail() {
    let rule = "a control frame must not be fragmented, RFC 6455 5.5";
    for opcode in [CLOSE, PING, PONG] {
        fails(&[from_client(opcode, b"")], PROTOCOL, rule);
    }
}

#[test]
fn oversized_control_frames_fail() {
    let rule = "a control frame has at most 125 bytes of payload, RFC 6455 5.5";
    for opcode in [CLOSE, PING, PONG] {
        fails(&[from_client(FIN | opcode, &[b'x'; 126])], PROTOCOL, rule);
    }
}

#[test]
fn stray_continuation_fails() {
    let rule = "there is no message to continue, RFC 6455 5.4";
    for fin in [0, FIN] {
        fails(&[from_client(fin | CONTINUATION, b"x")], PROTOCOL, rule);
    }
}

#[test]
fn new_message_inside_a_message_fails() {
    let rule = "the message before is not finished, RFC 6455 5.4";
    for opcode in [TEXT, BINARY] {
        let begun = from_client(TEXT, b"begun");
        fails(&[begun, from_client(FIN | opcode, b"x")], PROTOCOL, rule);
    }
}

#[test]
fn invalid_utf8_fails() {
    for wrong in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"cut \xc3"] {
        fails(&[from_client(FIN | TEXT, wrong)], NOT_UTF8, UTF8_RULE);
    }
}

#[test]
fn invalid_utf8_across_fragments_fails() {
    let begun = from_client(TEXT, b"h\xc3");
    let ended = from_client(FIN | CONTINUATION, b"(");
    fails(&[begun, ended], NOT_UTF8, UTF8_RULE);
}

#[test]
fn invalid_utf8_in_a_close_reason_fails() {
    let payload = b"\x03\xe8\xff\xfe";
    fails(&[from_client(FIN | CLOSE, payload)], NOT_UTF8, UTF8_RULE);
}

#[test]
fn message_over_the_limit_fails() {
    let reason = "a message of 101 bytes, the limit is 100, RFC 6455 10.4";
    let frame = from_client(FIN | TEXT, &[b'x'; 101]);
    fails_with(max_message_size(100), &[frame], TOO_LARGE, reason);
}

#[test]
fn fragments_over_the_limit_fail() {
    let reason = "a message of 101 bytes, the limit is 100, RFC 6455 10.4";
    let begun = from_client(TEXT, &[b'x'; 60]);
    let ended = from_client(FIN | CONTINUATION, &[b'x'; 41]);
    fails_with(max_message_size(100), &[begun, ended], TOO_LARGE, reason);
}

#[test]
fn announced_length_over_the_limit_fails_at_once() {
    for (length, limit) in [(1 << 62, 65_536), (u64::from(u32::MAX), 65_536)] {
        let reason = format!("a message of {length} bytes, the limit is {limit}, RFC 6455 10.4");
        fails(&[client_header(FIN | TEXT, length)], TOO_LARGE, &reason);
    }
}

#[test]
fn message_at_the_limit_is_relayed() {
    let limit = Limits::default().max_message_size;
    let server = Server::start(Options::default());
    let mut client = server.join(7);
    let message = "x".repeat(limit);
    client.send_text(&message);
    client.expect(&says(7, &message));
}

#[test]
fn endless_empty_fragments_fail() {
    // Six bytes each; the limit on an unfinished message is four times that on a message, plus a header.
    let mut frames = vec![from_client(TEXT, b"")];
    frames.extend(vec![from_client(CONTINUATION, b""); 100]);
    let reason = "420 bytes and the message is not finished, RFC 6455 10.4";
    fails_with(max_message_size(100), &frames, POLICY, reason);
}

#[test]
#[ignore = "takes 30 s"]
fn unfinished_message_fails_after_30_s() {
    beside_neighbours(Options::default(), |server| {
        let start = Instant::now();
        let mut client = server.join(7);
        client.send_frame(TEXT, b"begun");
        let pace = Duration::from_secs(1);
        while start.elapsed() < UNFINISHED_MESSAGE_AGE - 2 * pace {
            // An endless drip of fragments. Meanwhile the client reads the chat.
            client.send_frame(CONTINUATION, b"");
            let next = Instant::now() + pace;
            while Instant::now() < next {
                client.read_any_frame();
            }
        }
        let reason = "a message was not finished within 30 s, RFC 6455 10.4";
        client.expect_close(POLICY, reason);
        client.end();
        client.expect_end();
        assert!(start.elapsed() >= UNFINISHED_MESSAGE_AGE);
    });
}

#[test]
fn binary_message_to_the_chat_fails() {
    let reason = "this chat takes text only, RFC 6455 7.4.1";
    fails(&[from_client(FIN | BINARY, b"x")], UNSUPPORTED, reason);
}

#[test]
fn messages_before_a_fault_are_delivered() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send([text("good"), from_server(FIN | TEXT, b"bad")].concat());
        client.expect(&says(7, "good"));
        client.expect_close_about(PROTOCOL, "mask");
    });
}

#[test]
fn empty_text_is_relayed() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send_text("");
        client.expect(&says(7, ""));
        client.send([from_client(TEXT, b""), from_client(FIN, b"")].concat());
        client.expect(&says(7, ""));
    });
}

#[test]
fn fragments_are_joined() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send_frame(TEXT, b"h\xc3");
        client.send_frame(CONTINUATION, b"");
        client.send_frame(CONTINUATION, b"\xa9ll");
        client.send_frame(FIN | CONTINUATION, b"o");
        client.expect(&says(7, "h\u{e9}llo"));
    });
}

#[test]
fn ping_payload_is_echoed() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        for payload in [&b""[..], b"hello", &[0xff; 125]] {
            client.send_frame(FIN | PING, payload);
            client.expect(&from_server(FIN | PONG, payload));
        }
    });
}

#[test]
fn ping_between_fragments_is_answered_first() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send_frame(TEXT, b"one ");
        client.send_frame(FIN | PING, b"still there?");
        client.expect(&from_server(FIN | PONG, b"still there?"));
        client.send_frame(FIN | CONTINUATION, b"message");
        client.expect(&says(7, "one message"));
    });
}

#[test]
fn flood_of_pings_is_answered_in_order() {
    const PINGS: u32 = 20_000;
    beside_neighbours(Options::default(), |server| {
        let mut client = Client::open(server.address, "/echo");
        let mut writer = client.second();
        let payload = |number: u32| [number.to_be_bytes(); 31].concat();
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..PINGS {
                    writer.send_frame(FIN | PING, &payload(number));
                }
            });
            for number in 0..PINGS {
                client.expect(&from_server(FIN | PONG, &payload(number)));
            }
        });
    });
}

/// The server stops reading from a client that doesn't read its Pongs, so only the buffers of two sockets fill up.
#[test]
fn unread_pongs_stop_the_server_reading() {
    const MORE_THAN_SOCKETS_HOLD: usize = 64 << 20;
    beside_neighbours(Options::default(), |server| {
        let mut client = Client::open(server.address, "/echo");
        let pings = from_client(FIN | PING, &[0; 125]).repeat(1000);
        let mut sent = 0;
        let full = loop {
            match client.try_send(&pings, Duration::from_millis(200)) {
                Ok(()) => sent += pings.len(),
                Err(error) => break error,
            }
            assert!(sent < MORE_THAN_SOCKETS_HOLD, "the server reads them all");
        };
        assert_eq!(full.kind(), ErrorKind::TimedOut, "{full}");
        client.reset();
    });
}

/// Options with this ping interval, for members that fall far behind.
fn patient(ping_interval: Duration) -> Options {
    Options { limits: limits_with(ping_interval, 64 << 20), ..Options::default() }
}

/// Says a message to the members `times` times, and reads it. `meanwhile` is called again and again.
fn flood(speaker: &mut Client, payload: &str, times: usize, mut meanwhile: impl FnMut()) {
    for number in 0..times {
        speaker.send_text(payload);
        while speaker.read_any_frame().is(PING) {
            speaker.send_frame(FIN | PONG, b"");
        }
        if number % 20 == 0 {
            meanwhile();
        }
    }
}

/// It answers no Ping, but its full socket takes bytes again and again.
#[test]
fn slow_reader_is_not_silent() {
    const MESSAGES: usize = 400;
    const INTERVAL: Duration = Duration::from_secs(2);
    let server = Server::start(patient(INTERVAL));
    let (mut slow, mut speaker) = (server.join(1), server.join(2));
    let payload = "x".repeat(60_000);
    flood(&mut speaker, &payload, MESSAGES, || slow.send_frame(FIN | PONG, b""));
    // From now on it sends nothing, and takes three intervals to read.
    let mut messages = 0;
    while messages < MESSAGES {
        let frame = slow.read_any_frame();
        assert!(!frame.is(CLOSE), "closed after {messages} messages");
        messages += usize::from(frame.is(TEXT));
        thread::sleep(3 * INTERVAL / MESSAGES as u32);
    }
    drop(speaker);
}

/// Options with this ping interval, for an echo that no socket holds.
fn large_echo(ping_interval: Duration) -> Options {
    let limits =
        Limits { max_message_size: LARGE_ECHO, max_connections: 1, ..limits_with(ping_interval, 4 * LARGE_ECHO) };
    Options { limits, ..Options::default() }
}

const LARGE_ECHO: usize = 32 << 20;

/// As in the chat: it answers no Ping, but its full socket takes bytes again and again.
#[test]
fn slow_reader_of_an_echo_is_not_silent() {
    const INTERVAL: Duration = Duration::from_secs(1);
    const PIECES: usize = 200;
    let server = Server::start(large_echo(INTERVAL));
    let mut client = Client::open(server.address, "/echo");
    client.send_frame(FIN | BINARY, &vec![0; LARGE_ECHO]);
    for _ in 0..PIECES {
        client.read_exactly(LARGE_ECHO / PIECES);
        thread::sleep(4 * INTERVAL / PIECES as u32);
    }
}

fn is_upgraded(address: SocketAddr) -> bool {
    let mut client = Client::tcp(address);
    client.send(opening(address, "/echo"));
    client.read_head() == switching_protocols()
}

/// Whether or not there is an echo that it doesn't read.
#[test]
fn silent_client_of_the_echo_is_dropped() {
    const INTERVAL: Duration = Duration::from_secs(1);
    for echo in [0, LARGE_ECHO] {
        let server = Server::start(large_echo(INTERVAL));
        let mut client = Client::open(server.address, "/echo");
        client.send_frame(FIN | BINARY, &vec![0; echo]);
        let start = Instant::now();
        // The server is full until then.
        while !is_upgraded(server.address) {
            assert!(start.elapsed() < 10 * INTERVAL, "it is still there");
            thread::sleep(INTERVAL / 10);
        }
        assert!(start.elapsed() > INTERVAL, "it had no time for its Pong");
    }
}

/// Its socket is full, so a Pong waits; but it speaks, and is heard.
#[test]
fn speaker_that_reads_nothing_is_heard() {
    const INTERVAL: Duration = Duration::from_secs(1);
    let server = Server::start(patient(INTERVAL));
    let (mut deaf, mut witness) = (server.join(1), server.join(2));
    flood(&mut witness, &"x".repeat(60_000), 300, || deaf.send_frame(FIN | PONG, b""));
    deaf.send_frame(FIN | PING, b"");
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < 4 * INTERVAL {
        deaf.send_text(&number.to_string());
        let frame = loop {
            let frame = witness.read_any_frame();
            if !frame.is(PING) {
                break frame;
            }
            witness.send_frame(FIN | PONG, b"");
        };
        assert_eq!(String::from_utf8_lossy(&frame.payload), format!("Client #1 says: {number}"));
        number += 1;
        thread::sleep(INTERVAL / 10);
    }
}

#[test]
fn unsolicited_pong_is_ignored() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send_frame(FIN | PONG, b"unasked");
        client.send_text("next");
        client.expect(&says(7, "next"));
    });
}

#[test]
fn forty_messages_in_one_packet() {
    beside_neighbours(Options::default(), |server| {
        let mut listener = server.join(8);
        let mut client = server.join(7);
        let packet: Vec<_> = (0..40).flat_map(|n| text(&n.to_string())).collect();
        client.send(packet);
        for n in 0..40 {
            client.expect(&says(7, &n.to_string()));
            listener.expect(&says(7, &n.to_string()));
        }
    });
}

#[test]
fn message_byte_by_byte() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        for byte in text("h\u{e9}llo") {
            client.send([byte]);
        }
        client.expect(&says(7, "h\u{e9}llo"));
    });
}

#[test]
fn echo_returns_text_and_binary() {
    beside_neighbours(Options::default(), |server| {
        let mut client = Client::open(server.address, "/echo");
        for (opcode, payload) in [(TEXT, &b"text"[..]), (BINARY, b"\0\xff"), (BINARY, b"")] {
            client.send_frame(FIN | opcode, payload);
            client.expect(&from_server(FIN | opcode, payload));
        }
    });
}

#[test]
fn echo_reaches_no_other_client() {
    let server = Server::start(Options::default());
    let mut chatting = server.join(8);
    let mut client = Client::open(server.address, "/echo");
    client.send_text("alone");
    client.expect(&from_server(FIN | TEXT, b"alone"));
    chatting.send_text("together");
    chatting.expect(&says(8, "together"));
    client.send_text("still alone");
    client.expect(&from_server(FIN | TEXT, b"still alone"));
}

#[test]
fn echo_of_a_mebibyte() {
    const MEBIBYTE: usize = 1 << 20;
    beside_neighbours(max_message_size(MEBIBYTE), |server| {
        let mut client = Client::open(server.address, "/echo");
        let message = [b'x'; MEBIBYTE];
        for opcode in [TEXT, BINARY] {
            client.send_frame(FIN | opcode, &message);
            client.expect(&from_server(FIN | opcode, &message));
        }
    });
}

#[test]
fn client_that_does_not_answer_the_close_is_dropped_after_2_s() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        let start = Instant::now();
        client.send_frame(FIN | BINARY, b"x");
        client.expect_close_about(UNSUPPORTED, "text");
        client.expect_end();
        let lasted = start.elapsed();
        assert!(lasted >= CLOSE_DEADLINE, "dropped after {lasted:?}");
        assert!(lasted < CLOSE_DEADLINE * 2, "dropped after {lasted:?}");
    });
}
