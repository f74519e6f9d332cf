use super::*;
use crate::frame::encode;
use crate::frame::tests::{KEY, LIMIT, claim, cuts, masked, split, valid_frames};
use crate::limits::{UNFINISHED_MESSAGE_AGE, UNFINISHED_MESSAGE_RATE};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use std::io::Write;
use std::time::Duration;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::Data;

/// What was delivered, to keep.
fn message(data: Incoming<'_>) -> Message {
    match data {
        Incoming::Text(text) => Message::text(text),
        Incoming::Binary(bytes) => Message::binary(bytes.to_vec()),
    }
}

/// A connection that just opened, and sends no Pings.
fn protocol(max_message_size: usize) -> Protocol {
    Protocol::new(max_message_size, None, Instant::now())
}

/// A protocol, what it delivered, and what it has to write.
struct Run {
    protocol: Protocol,
    messages: Vec<Message>,
    output: Output,
}

impl Run {
    fn new() -> Self {
        Self { protocol: protocol(LIMIT), messages: Vec::new(), output: Output::new() }
    }

    fn of(pieces: &[&[u8]]) -> Self {
        let mut run = Self::new();
        for piece in pieces {
            run.receive(piece);
        }
        run
    }

    fn receive(&mut self, input: &[u8]) {
        self.receive_at(Instant::now(), input);
    }

    fn receive_at(&mut self, now: Instant, input: &[u8]) {
        let Self { protocol, messages, output } = self;
        protocol.receive(input, now, output, |data, _| {
            messages.push(message(data));
            Ok(())
        });
    }

    /// What was written since the last look.
    fn written(&mut self) -> Vec<u8> {
        self.output.take()
    }

    fn texts(&self) -> Vec<&str> {
        let text = |message: &'_ Message| matches!(message, Message::Text(_));
        assert!(self.messages.iter().all(text));
        self.messages.iter().map(|message| message.to_text().unwrap()).collect()
    }
}

/// The payload of a Close frame; it must fit into a control frame.
fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    assert!(reason.len() <= 123, "{reason}");
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A Close frame as a server sends it.
fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let payload = close_payload(code, reason);
    [&[0x88, u8::try_from(payload.len()).unwrap()], &payload[..]].concat()
}

fn away() -> Failure {
    Failure::new(CloseCode::Away, "away")
}

fn by_server(failure: Failure) -> Option<Closing> {
    Some(Closing::ByServer(failure))
}

// The frames of RFC 6455 5.7.

#[test]
fn the_frames_of_rfc_6455_5_7_are_understood() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let mut run = Run::of(&[hello, pong, &masked(0x01, b"Hel"), &masked(0x80, b"lo")]);
    assert_eq!(run.texts(), ["Hello", "Hello"]);
    assert_eq!(run.written(), b"");
    run.receive(&masked(0x89, b"Hello"));
    assert_eq!(run.written(), b"\x8a\x05Hello");

    let mut run = Run::new();
    run.protocol = protocol(65536);
    let binary = vec![0x5a; 65536];
    run.receive(&masked(0x82, &binary[..256]));
    run.receive(&masked(0x82, &binary));
    let expected = [&binary[..256], &binary].map(|bytes| Message::binary(bytes.to_vec()));
    assert_eq!(run.messages, expected);
    assert!(run.protocol.closing().is_none());
}

// What breaks a rule.

/// The longest payload length that a header may claim.
const LONGEST: u64 = u64::MAX >> 1;

const MASK: &str = "a client must mask every frame, RFC 6455 5.1";
const RSV: &str = "RSV1 to RSV3 must be 0 without an extension, RFC 6455 5.2";
const RESERVED: &str = "opcodes 3 to 7 and 11 to 15 are reserved, RFC 6455 5.2";
const LENGTH_FORM: &str = "a payload length must take as few bytes as it can, RFC 6455 5.2";
const TOP_BIT: &str = "the top bit of a payload length of 8 bytes must be 0, RFC 6455 5.2";
const FRAGMENTED_CONTROL: &str = "a control frame must not be fragmented, RFC 6455 5.5";
const LONG_CONTROL: &str = "a control frame has at most 125 bytes of payload, RFC 6455 5.5";
const NOTHING_TO_CONTINUE: &str = "there is no message to continue, RFC 6455 5.4";
const NOT_FINISHED: &str = "the message before is not finished, RFC 6455 5.4";
const UTF8: &str = "text and close reasons must be UTF-8, RFC 6455 8.1";
const SHORT_CLOSE: &str = "a Close frame has no payload or at least a 2-byte code, RFC 6455 5.5.1";

/// What is sent, and the code and reason of the Close that it gets.
fn broken() -> Vec<(Vec<u8>, u16, String)> {
    let too_long = |bytes: u64| format!("a message of {bytes} bytes, the limit is 300, RFC 6455 10.4");
    let fragment = |payload: &[u8]| masked(0x01, payload);
    let mut cases = vec![
        (b"\x81\x05Hello".to_vec(), 1002, MASK.into()),
        (b"\x89\x00".to_vec(), 1002, MASK.into()),
        (masked(0xc1, b"rsv1"), 1002, RSV.into()),
        (masked(0xa1, b"rsv2"), 1002, RSV.into()),
        (masked(0x91, b"rsv3"), 1002, RSV.into()),
        (masked(0xc9, b"rsv1"), 1002, RSV.into()),
        (masked(0x09, b"ping"), 1002, FRAGMENTED_CONTROL.into()),
        (masked(0x0a, b"pong"), 1002, FRAGMENTED_CONTROL.into()),
        (masked(0x08, b""), 1002, FRAGMENTED_CONTROL.into()),
        (masked(0x89, &[0; 126]), 1002, LONG_CONTROL.into()),
        (masked(0x88, &[0; 126]), 1002, LONG_CONTROL.into()),
        // A control frame's claim is held against its own limit.
        (claim(0x89, LONGEST), 1002, LONG_CONTROL.into()),
        (claim(0x81, u64::MAX), 1002, TOP_BIT.into()),
        ([fragment(b"x"), claim(0x80, 1 << 63)].concat(), 1002, TOP_BIT.into()),
        ([b"\x81\xfe\x00\x7d", &KEY[..]].concat(), 1002, LENGTH_FORM.into()),
        ([b"\x89\xff\x00\x00\x00\x00\x00\x00\x00\x01", &KEY[..], b"x"].concat(), 1002, LENGTH_FORM.into()),
        (masked(0x80, b"end"), 1002, NOTHING_TO_CONTINUE.into()),
        (masked(0x00, b"more"), 1002, NOTHING_TO_CONTINUE.into()),
        ([masked(0x81, b""), masked(0x80, b"end")].concat(), 1002, NOTHING_TO_CONTINUE.into()),
        ([fragment(b"a"), masked(0x81, b"b")].concat(), 1002, NOT_FINISHED.into()),
        ([fragment(b""), masked(0x02, b"")].concat(), 1002, NOT_FINISHED.into()),
        (masked(0x81, b"caf\xe9"), 1007, UTF8.into()),
        (masked(0x81, b"caf\xc3"), 1007, UTF8.into()),
        // A surrogate, which UTF-8 has no place for.
        (masked(0x81, b"\xed\xa0\x80"), 1007, UTF8.into()),
        ([fragment(b"caf\xc3"), masked(0x80, b"e")].concat(), 1007, UTF8.into()),
        ([fragment(b"caf\xc3"), masked(0x80, b"")].concat(), 1007, UTF8.into()),
        (masked(0x88, b"\x03\xe8caf\xe9"), 1007, UTF8.into()),
        (masked(0x88, b"\x03"), 1002, SHORT_CLOSE.into()),
        (masked(0x81, &[b'x'; 301]), 1009, too_long(301)),
        (claim(0x82, 301), 1009, too_long(301)),
        (claim(0x81, LONGEST), 1009, too_long(LONGEST)),
        ([fragment(&[b'x'; 200]), claim(0x80, 101)].concat(), 1009, too_long(301)),
        ([fragment(b"x"), claim(0x80, LONGEST)].concat(), 1009, too_long(LONGEST + 1)),
        ([fragment(&[b'x'; 200]), masked(0x00, &[b'x'; 100]), masked(0x80, b"x")].concat(), 1009, too_long(301)),
    ];
    for opcode in (3..=7).chain(11..=15) {
        cases.push((masked(0x80 | opcode, b""), 1002, RESERVED.into()));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1999, 2000, 2999, 5000, 65535] {
        let reason = format!("close code {code} must not be sent, RFC 6455 7.4");
        cases.push((masked(0x88, &close_payload(code, "")), 1002, reason.clone()));
        cases.push((masked(0x88, &close_payload(code, "why")), 1002, reason));
    }
    cases
}

#[test]
fn what_breaks_a_rule_gets_a_close_that_names_the_rule_and_is_the_end() {
    for (input, code, reason) in broken() {
        let stream = [&masked(0x81, b"before")[..], &input, &masked(0x88, b"")].concat();
        let bytes: Vec<_> = stream.chunks(1).collect();
        for pieces in [&[&stream[..]][..], &bytes] {
            let mut run = Run::of(pieces);
            assert_eq!(run.texts().first(), Some(&"before"), "{reason}");
            assert_eq!(run.written(), close_frame(code, &reason), "{reason}");
            let failure = Failure::new(CloseCode::from(code), reason.clone());
            assert_eq!(run.protocol.closing().cloned(), by_server(failure));
            assert!(run.protocol.is_closed(), "{reason}");
            run.receive(&masked(0x89, b"late"));
            assert_eq!(run.written(), b"", "{reason}");
        }
    }
}

#[test]
fn a_message_of_just_the_limit_is_taken_whole_and_in_fragments() {
    let text = "x".repeat(LIMIT);
    let (front, back) = text.as_bytes().split_at(200);
    let mut run = Run::of(&[
        &masked(0x81, text.as_bytes()),
        &masked(0x01, front),
        &masked(0x80, back),
        &masked(0x81, text.as_bytes()),
    ]);
    assert_eq!(run.texts(), [&text, &text, &text]);
    assert_eq!(run.written(), b"");
}

#[test]
fn control_frames_may_be_longer_than_the_limit_of_messages() {
    let mut run = Run::new();
    run.protocol = protocol(10);
    run.receive(&masked(0x89, &[b'p'; 125]));
    assert_eq!(run.written(), [b"\x8a\x7d", &[b'p'; 125][..]].concat());
    assert!(run.protocol.closing().is_none());
}

#[test]
fn utf8_may_be_cut_anywhere_by_fragments() {
    let run = Run::of(&[&masked(0x01, b"\xf0\x9f"), &masked(0x00, b"\x98"), &masked(0x80, b"\x80")]);
    assert_eq!(run.texts(), ["\u{1f600}"]);
}

#[test]
fn a_long_message_is_joined_across_its_parts() {
    // Its characters have 3 bytes, so the parts end inside of some.
    let text = "\u{20ac}".repeat(20_000);
    for (opcode, cut) in [(1, 1000), (1, 4097), (2, 10_000)] {
        let mut run = Run::new();
        run.protocol = protocol(text.len());
        let (front, back) = text.as_bytes().split_at(31_001);
        let stream = [masked(opcode, front), masked(0x89, b"p"), masked(0x80, back), masked(0x81, b"next")].concat();
        stream.chunks(cut).for_each(|piece| run.receive(piece));
        assert!(run.messages.iter().map(Message::len).eq([text.len(), 4]), "{cut}");
        assert_eq!(run.messages[0].to_text().unwrap(), text);
        assert_eq!(run.written(), b"\x8a\x01p");
    }
}

#[test]
fn text_that_is_not_utf8_fails_before_its_message_is_whole() {
    let fragment = masked(0x01, b"caf\xe9!");
    for half in [&fragment[..], &[masked(0x01, b"caf\xe9"), masked(0x00, b"!")].concat(), &masked(0x81, b"\xff..")[..7]]
    {
        let mut run = Run::of(&[half]);
        assert_eq!(run.written(), close_frame(1007, UTF8));
        assert!(run.protocol.is_closed());
        assert_eq!(run.protocol.unfinished(), None);
    }
    // A character that may still be finished is not a fault.
    let mut run = Run::of(&[&masked(0x01, b"caf\xc3")]);
    assert!(run.protocol.closing().is_none());
    assert_eq!(run.protocol.unfinished().unwrap().1, 10);
    run.receive(&masked(0x80, b"\xa9"));
    assert_eq!(run.texts(), ["caf\u{e9}"]);
    assert_eq!(run.protocol.unfinished(), None);
}

#[test]
fn an_empty_text_is_a_message() {
    let run = Run::of(&[&masked(0x81, b""), &masked(0x01, b""), &masked(0x80, b"")]);
    assert_eq!(run.texts(), ["", ""]);
}

/// `count` fragments of an unfinished message: the first is 8 bytes on the wire, the others 6.
fn empty_fragments(count: usize) -> Vec<u8> {
    let more = masked(0x00, b"").repeat(count - 1);
    [masked(0x01, b"ab"), more].concat()
}

#[test]
fn empty_fragments_without_end_get_1008() {
    // 4 limits and the longest header are 1214 bytes.
    let mut run = Run::of(&[&empty_fragments(201), &masked(0x80, b"")]);
    assert_eq!(run.texts(), ["ab"]);
    // The next message begins to count anew.
    run.receive(&empty_fragments(202));
    assert_eq!(run.written(), b"");
    run.receive(&masked(0x80, b""));
    let reason = "1220 bytes and the message is not finished, RFC 6455 10.4";
    assert_eq!(run.written(), close_frame(1008, reason));
    assert!(run.protocol.is_closed());
}

#[test]
fn control_frames_inside_an_unfinished_message_count_too() {
    let mut run = Run::of(&[&masked(0x01, b"")]);
    for _ in 0..202 {
        run.receive(&masked(0x8a, b""));
    }
    let reason = "1218 bytes and the message is not finished, RFC 6455 10.4";
    assert_eq!(run.written(), close_frame(1008, reason));
}

#[test]
fn control_frames_between_messages_are_not_bounded() {
    let pongs = masked(0x8a, b"pong").repeat(1000);
    let mut run = Run::of(&[&pongs, &pongs]);
    assert_eq!(run.written(), b"");
    assert!(run.protocol.closing().is_none());
}

// Ping and Pong.

#[test]
fn a_text_that_deliver_refuses_closes_and_nothing_more_is_delivered() {
    let unsupported = || Failure::new(CloseCode::Unsupported, "no text");
    let (mut protocol, mut output, mut delivered) = (protocol(LIMIT), Output::new(), 0);
    let frames = [masked(0x81, b"1"), masked(0x81, b"2")];
    protocol.receive(&frames.concat(), Instant::now(), &mut output, |_, _| {
        delivered += 1;
        Err(unsupported())
    });
    assert_eq!(delivered, 1);
    assert_eq!(output.bytes(), close_frame(1003, "no text"));
    assert_eq!(protocol.closing().cloned(), by_server(unsupported()));
}

#[test]
fn a_ping_is_answered_within_the_call_that_brings_it() {
    let mut run = Run::of(&[&masked(0x89, b"1")]);
    assert_eq!(run.written(), b"\x8a\x011");
    run.receive(&[masked(0x89, b"2"), masked(0x81, b"text"), masked(0x89, b"")].concat());
    assert_eq!(run.written(), b"\x8a\x012\x8a\x00");
    assert_eq!(run.texts(), ["text"]);
}

#[test]
fn a_ping_between_fragments_is_answered_before_the_message_is_whole() {
    let mut run = Run::of(&[&masked(0x01, b"a"), &masked(0x89, b"now")]);
    assert_eq!(run.written(), b"\x8a\x03now");
    run.receive(&masked(0x80, b"b"));
    assert_eq!(run.texts(), ["ab"]);
}

#[test]
fn a_ping_in_the_packet_of_the_close_is_answered_before_it() {
    let mut run = Run::of(&[&[masked(0x89, b"p"), masked(0x88, b"")].concat()]);
    assert_eq!(run.written(), b"\x8a\x01p\x88\x00");
}

// The closing handshake, begun by the client.

#[test]
fn an_allowed_close_code_comes_back_at_once() {
    let codes = [1000, 1001, 1002, 1003, 3000, 3999, 4000, 4999];
    for code in codes.into_iter().chain(1007..=1013) {
        for reason in ["", "bye", &"x".repeat(123)] {
            let close = masked(0x88, &close_payload(code, reason));
            for pieces in [&[&close[..]][..], &close.chunks(1).collect::<Vec<_>>()] {
                let mut run = Run::of(pieces);
                assert_eq!(run.written(), close_frame(code, reason));
                assert!(run.protocol.is_closed(), "{code}");
                let frame = CloseFrame { code: code.into(), reason: reason.into() };
                let closing = Some(Closing::ByClient(Some(frame)));
                assert_eq!(run.protocol.closing().cloned(), closing);
            }
        }
    }
}

#[test]
fn a_close_without_a_code_gets_an_empty_close_back_at_once() {
    let mut run = Run::of(&[&masked(0x88, b"")]);
    assert_eq!(run.written(), b"\x88\x00");
    assert!(run.protocol.is_closed() && run.protocol.is_clean());
    assert_eq!(run.protocol.closing(), Some(&Closing::ByClient(None)));
}

#[test]
fn what_follows_a_close_is_discarded_in_the_same_read_and_later() {
    let late = [masked(0x81, b"late"), masked(0x89, b"late"), b"\xff\x00".to_vec()].concat();
    let mut run = Run::of(&[&[masked(0x88, b""), late.clone()].concat(), &late]);
    assert_eq!(run.written(), b"\x88\x00");
    assert!(run.messages.is_empty() && !run.protocol.is_clean());
    assert_eq!(run.protocol.closing(), Some(&Closing::ByClient(None)));
}

#[test]
fn a_pong_may_follow_a_close_that_crosses_a_ping() {
    let start = Instant::now();
    let interval = Duration::from_secs(20);
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(interval), start);
    assert!(!run.protocol.expire(start + interval, &mut run.output));
    run.receive(&masked(0x88, b""));
    assert!(run.protocol.is_closed() && !run.protocol.is_clean());
}

#[test]
fn a_ping_that_waited_in_a_full_socket_may_still_cross_a_close() {
    let start = Instant::now();
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(Duration::from_secs(20)), start);
    run.protocol.expire(start + Duration::from_secs(20), &mut run.output);
    run.protocol.note_progress(Some(start + Duration::from_secs(21)));
    run.receive_at(start + Duration::from_secs(22), &masked(0x88, b""));
    assert!(run.protocol.is_closed() && !run.protocol.is_clean());
}

#[test]
fn what_follows_a_close_in_a_later_read_is_not_clean() {
    let mut run = Run::of(&[&masked(0x88, b"")]);
    run.receive(b"");
    assert!(run.protocol.is_clean());
    run.receive(b"late");
    assert!(!run.protocol.is_clean());
}

#[test]
fn a_close_is_answered_while_half_a_message_is_in() {
    let mut run = Run::of(&[&masked(0x01, b"half"), &masked(0x88, b"\x03\xe8")]);
    assert_eq!(run.written(), close_frame(1000, ""));
    assert!(run.protocol.is_closed());
    assert!(run.messages.is_empty());
    assert_eq!(run.protocol.deadline(), None);
}

// The closing handshake, begun by the server.

#[test]
fn after_the_servers_close_only_the_clients_close_counts() {
    let mut run = Run::new();
    run.protocol.close(away(), &mut run.output);
    assert_eq!(run.written(), close_frame(1001, "away"));
    assert_eq!(run.protocol.closing().cloned(), by_server(away()));
    run.receive(&[masked(0x81, b"late"), masked(0x89, b"late")].concat());
    run.receive(&masked(0x82, b"late"));
    assert!(!run.protocol.is_closed());
    run.receive(&masked(0x88, b"\x03\xe8"));
    assert!(run.protocol.is_closed() && run.protocol.is_clean());
    assert_eq!(run.protocol.closing().cloned(), by_server(away()));
    assert_eq!(run.written(), b"");
    assert!(run.messages.is_empty());
}

#[test]
fn the_servers_close_may_come_in_the_middle_of_a_message() {
    let text = masked(0x81, b"never finished");
    let mut run = Run::of(&[&text[..9]]);
    run.protocol.close(away(), &mut run.output);
    run.receive(&text[9..]);
    run.receive(&masked(0x88, b""));
    assert_eq!(run.written(), close_frame(1001, "away"));
    assert!(run.protocol.is_closed());
    assert!(run.messages.is_empty());
}

#[test]
fn the_server_sends_one_close_however_often_it_has_reason_to() {
    let mut run = Run::new();
    run.protocol.close(away(), &mut run.output);
    run.protocol.close(away(), &mut run.output);
    assert!(!run.protocol.is_closed());
    let policy = Failure::new(CloseCode::Policy, "again");
    run.protocol.fail(policy, &mut run.output);
    assert!(!run.protocol.is_clean());
    assert_eq!(run.written(), close_frame(1001, "away"));
    assert_eq!(run.protocol.closing().cloned(), by_server(away()));
    assert!(run.protocol.is_closed());
    assert!(run.protocol.context.is_none() && run.protocol.unfinished.is_none());
}

#[test]
fn the_server_does_not_close_what_the_client_has_closed() {
    let mut run = Run::of(&[&masked(0x88, b"")]);
    run.protocol.close(away(), &mut run.output);
    run.protocol.fail(away(), &mut run.output);
    assert_eq!(run.written(), b"\x88\x00");
    assert_eq!(run.protocol.closing(), Some(&Closing::ByClient(None)));
}

#[test]
fn a_broken_rule_after_the_servers_close_is_the_end_without_a_second_close() {
    for (input, ..) in broken() {
        let mut run = Run::new();
        run.protocol.close(away(), &mut run.output);
        run.receive(&input);
        assert_eq!(run.written(), close_frame(1001, "away"));
        assert!(run.protocol.is_closed());
        assert_eq!(run.protocol.closing().cloned(), by_server(away()));
    }
}

#[test]
fn what_deliver_refuses_closes_with_its_code_and_nothing_more_is_delivered() {
    let unsupported = || Failure::new(CloseCode::Unsupported, "text only");
    let (mut protocol, mut output, mut delivered) = (protocol(LIMIT), Output::new(), 0);
    let frames = [masked(0x89, b""), masked(0x82, b"1"), masked(0x82, b"2"), masked(0x89, b"")];
    protocol.receive(&frames.concat(), Instant::now(), &mut output, |_, output| {
        delivered += 1;
        output.write_all(b"so far").unwrap();
        Err(unsupported())
    });
    assert_eq!(delivered, 1);
    let expected = [b"\x8a\x00so far", &close_frame(1003, "text only")[..]].concat();
    assert_eq!(output.bytes(), expected);
    assert!(!protocol.is_closed());
    assert_eq!(protocol.closing().cloned(), by_server(unsupported()));
}

// The age of an unfinished message.

#[test]
fn an_unfinished_message_is_due_30_seconds_after_its_first_byte() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut run = Run::new();
    assert_eq!(run.protocol.deadline(), None);

    run.receive_at(after(0), &masked(0x81, b"whole"));
    assert_eq!(run.protocol.deadline(), None);
    // The first byte sets it.
    let fragment = masked(0x01, b"a");
    run.receive_at(after(1), &fragment[..1]);
    assert_eq!(run.protocol.deadline(), Some(after(31)));
    // The rest, more fragments, a Ping and nothing at all do not renew it.
    run.receive_at(after(2), &fragment[1..]);
    run.receive_at(after(3), &masked(0x00, b"b"));
    run.receive_at(after(4), &masked(0x89, b""));
    run.receive_at(after(5), b"");
    assert_eq!(run.protocol.deadline(), Some(after(31)));
    // The next message, begun in the read that ends this one, does.
    run.receive_at(after(6), &[masked(0x80, b"c"), masked(0x01, b"d")].concat());
    assert_eq!(run.protocol.deadline(), Some(after(36)));
    // The last byte clears it.
    run.receive_at(after(7), &masked(0x80, b"e"));
    assert_eq!(run.protocol.deadline(), None);
    assert_eq!(run.texts(), ["whole", "abc", "de"]);
}

#[test]
fn the_bytes_of_an_unfinished_message_put_its_deadline_off() {
    let start = Instant::now();
    let mut run = Run::new();
    run.protocol = protocol(1 << 20);
    let rate = UNFINISHED_MESSAGE_RATE;
    // With the header, it is a whole number of seconds.
    let frame = claim(0x02, 4 * rate);
    run.receive_at(start, &frame);
    let after = |seconds| start + UNFINISHED_MESSAGE_AGE + Duration::from_secs(seconds);
    let payload = vec![0; usize::try_from(rate).unwrap()];
    run.receive_at(start, &payload[frame.len()..]);
    assert_eq!(run.protocol.deadline(), Some(after(1)));
    run.receive_at(start, &payload);
    assert_eq!(run.protocol.deadline(), Some(after(2)));
    run.protocol.expire(after(2) - Duration::from_nanos(1), &mut run.output);
    assert!(!run.protocol.is_closed());
    run.protocol.expire(after(2), &mut run.output);
    assert_eq!(run.written(), close_frame(1008, "a message was not finished within 32 s, RFC 6455 10.4"));
}

#[test]
fn a_message_that_is_due_gets_1008_not_earlier() {
    let start = Instant::now();
    let mut run = Run::new();
    run.receive_at(start, &masked(0x01, b"half"));
    let due = start + UNFINISHED_MESSAGE_AGE;
    run.protocol.expire(due - Duration::from_nanos(1), &mut run.output);
    assert_eq!(run.written(), b"");
    assert!(!run.protocol.is_closed());
    run.protocol.expire(due, &mut run.output);
    let reason = "a message was not finished within 30 s, RFC 6455 10.4";
    assert_eq!(run.written(), close_frame(1008, reason));
    assert!(run.protocol.is_closed());
    assert_eq!(run.protocol.deadline(), None);
}

#[test]
fn a_client_that_was_not_read_has_all_its_time_again() {
    let (start, later) = (Instant::now(), Instant::now() + Duration::from_secs(10));
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(UNFINISHED_MESSAGE_AGE * 2), start);
    run.receive_at(start, &masked(0x01, b"half"));
    run.protocol.excuse(later);
    assert_eq!(run.protocol.deadline(), Some(later + UNFINISHED_MESSAGE_AGE));
    run.receive_at(start, &masked(0x80, b""));
    assert_eq!(run.protocol.deadline(), Some(later + UNFINISHED_MESSAGE_AGE * 2));
}

#[test]
fn nothing_is_due_between_messages_or_once_the_server_has_closed() {
    let start = Instant::now();
    let mut run = Run::new();
    run.protocol.expire(start + UNFINISHED_MESSAGE_AGE, &mut run.output);
    assert!(run.protocol.closing().is_none());

    run.receive_at(start, &masked(0x01, b"half"));
    run.protocol.close(away(), &mut run.output);
    assert_eq!(run.protocol.deadline(), None);
    run.protocol.expire(start + UNFINISHED_MESSAGE_AGE, &mut run.output);
    assert_eq!(run.written(), close_frame(1001, "away"));
    assert!(!run.protocol.is_closed());
}

// A silent client.

#[test]
fn a_silent_client_gets_a_ping_after_the_interval_and_is_given_up_after_one_more() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(Duration::from_secs(20)), start);
    let early = Duration::from_nanos(1);
    assert_eq!(run.protocol.deadline(), Some(after(20)));
    assert!(!run.protocol.expire(after(20) - early, &mut run.output));
    assert_eq!(run.written(), b"");
    assert!(!run.protocol.expire(after(20), &mut run.output));
    assert_eq!(run.written(), b"\x89\x00");
    assert_eq!(run.protocol.deadline(), Some(after(40)));
    assert!(!run.protocol.expire(after(40) - early, &mut run.output));
    assert!(run.protocol.expire(after(40), &mut run.output));
    assert_eq!(run.written(), b"");
}

#[test]
fn a_byte_from_the_client_ends_its_silence() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(Duration::from_secs(20)), start);
    run.protocol.expire(after(20), &mut run.output);
    run.receive_at(after(39), &masked(0x8a, b""));
    assert_eq!(run.protocol.deadline(), Some(after(59)));
    assert!(!run.protocol.expire(after(59), &mut run.output));
    assert_eq!(run.written(), b"\x89\x00\x89\x00");
}

#[test]
fn a_client_has_the_whole_interval_for_its_pong_though_the_ping_was_late() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(Duration::from_secs(20)), start);
    assert!(!run.protocol.expire(after(100), &mut run.output));
    assert_eq!(run.protocol.deadline(), Some(after(120)));
    assert!(!run.protocol.expire(after(119), &mut run.output));
    assert!(run.protocol.expire(after(120), &mut run.output));
}

#[test]
fn of_silence_and_an_unfinished_message_the_first_that_is_due_counts() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(Duration::from_secs(20)), start);
    run.receive_at(start, &masked(0x01, b"half"));
    assert_eq!(run.protocol.deadline(), Some(after(20)));
    run.protocol.expire(after(20), &mut run.output);
    assert_eq!(run.written(), b"\x89\x00");
    assert_eq!(run.protocol.deadline(), Some(after(30)));
    // Both are due by now, and the message goes first: its Close says more than silence.
    assert!(!run.protocol.expire(after(50), &mut run.output));
    assert!(run.protocol.is_closed());
}

#[test]
fn a_connection_that_closes_is_not_asked_whether_it_is_there() {
    let start = Instant::now();
    let mut run = Run::new();
    run.protocol = Protocol::new(LIMIT, Some(Duration::from_secs(20)), start);
    run.protocol.close(away(), &mut run.output);
    assert_eq!(run.protocol.deadline(), None);
    let later = start + Duration::from_secs(100);
    assert!(!run.protocol.expire(later, &mut run.output));
    assert!(!run.protocol.expire(later, &mut run.output));
    assert_eq!(run.written(), close_frame(1001, "away"));
}

// What tungstenite keeps.

#[test]
fn an_open_connection_keeps_something_only_while_half_read() {
    let text = masked(0x81, b"text");
    let mut run = Run::new();
    let keeps = |run: &Run| (run.protocol.unfinished.is_some(), run.protocol.context.is_some());
    assert_eq!(keeps(&run), (false, false));
    run.receive(&text[..3]);
    assert_eq!(keeps(&run), (true, false));
    run.receive(&text[3..]);
    assert_eq!(keeps(&run), (false, false));
}

#[test]
fn an_error_that_no_rule_foresees_is_a_protocol_error() {
    let error = Error::Protocol(ProtocolError::ReceivedAfterClosing);
    let failure = failure_of(&error);
    assert_eq!(failure.code, CloseCode::Protocol);
    assert_eq!(failure.reason, "the frames make no sense, RFC 6455 7.1.7");
}

/// Messages, output, how it closed: what must not depend on the split. The output has an echo of each message, so
/// it shows their order among the Pongs; a binary message that begins with 0 is refused.
fn outcome(pieces: &[&[u8]]) -> (Vec<Message>, Vec<u8>, Option<Closing>, bool) {
    let (mut protocol, mut output, mut messages) = (protocol(LIMIT), Output::new(), Vec::new());
    for piece in pieces {
        protocol.receive(piece, Instant::now(), &mut output, |data, output| {
            let message = message(data);
            messages.push(message.clone());
            match message {
                Message::Binary(bytes) if bytes.first() == Some(&0) => Err(Failure::new(CloseCode::Unsupported, "no")),
                message => {
                    encode(Data::Text, &[&message.into_data()], output);
                    Ok(())
                }
            }
        });
    }
    let closing = protocol.closing().cloned();
    (messages, output.take(), closing, protocol.is_closed())
}

/// A client's Close, of any kind, with text behind it.
fn ending() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 1..5),
        (999_u16..1017).prop_map(|code| close_payload(code, "bye")),
    ];
    payload.prop_map(|payload| [masked(0x88, &payload), masked(0x81, b"late")].concat())
}

/// Valid frames, perhaps a Close, and perhaps one byte of one frame changed, mostly in its header.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let spoil = (any::<Index>(), 0..12_usize, any::<u8>());
    (valid_frames(), option::of(ending()), option::of(spoil)).prop_map(|(mut frames, ending, spoil)| {
        frames.extend(ending);
        if let Some((frame, byte, change)) = spoil.filter(|_| !frames.is_empty()) {
            let frame = frame.index(frames.len());
            let byte = byte.saturating_sub(4) % frames[frame].len();
            frames[frame][byte] ^= change;
        }
        frames.concat()
    })
}

/// What tungstenite by itself makes of a stream, all of it in one context.
fn plain_tungstenite(stream: &[u8]) -> (Vec<Message>, Vec<u8>) {
    let (mut output, mut messages) = (Output::new(), Vec::new());
    let mut context = WebSocketContext::new(Role::Server, None);
    let mut memory = Memory { input: stream, output: &mut output };
    while let Ok(message) = context.read(&mut memory) {
        messages.push(message);
    }
    messages.retain(|message| message.is_text() || message.is_binary());
    (messages, output.take())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_of_the_input_gives_the_same_messages_and_the_same_bytes(
        stream in stream(),
        cuts in cuts(),
    ) {
        let whole = outcome(&[&stream]);
        prop_assert_eq!(&outcome(&split(&stream, &cuts)), &whole);
        prop_assert_eq!(&outcome(&stream.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same(
        bytes in vec(any::<u8>(), 0..60),
        cuts in cuts(),
    ) {
        prop_assert_eq!(outcome(&split(&bytes, &cuts)), outcome(&[&bytes]));
    }

    #[test]
    fn contexts_dropped_between_messages_are_as_good_as_one(
        frames in valid_frames(),
        close in any::<bool>(),
        cuts in cuts(),
    ) {
        let close = if close { masked(0x88, b"\x03\xe8bye") } else { Vec::new() };
        let stream = [frames.concat(), close].concat();
        let Run { messages, output, .. } = Run::of(&split(&stream, &cuts));
        prop_assert_eq!((messages, output.bytes()), plain_tungstenite(&stream));
    }
}
