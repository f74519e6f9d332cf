use super::*;
use crate::frame::tests::masked;
use crate::limits::{FRAME_STEPS_PER_SECOND, STEPS_PER_SECOND};
use crate::view::audience::tests::{Hall, client};
use crate::view::record::Life;
use std::time::Duration;

const HELLO: &[u8] = b"\x81\x05Hello";

#[test]
fn a_watch_begins_where_a_message_begins() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    let frame = masked(0x81, b"Hello");
    // The rest of a frame whose beginning was not seen.
    hall.view.read(&one, &frame[3..], Start::Anywhere);
    assert!(hall.names(&mut watch).is_empty());
    hall.view.read(&one, &frame, Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["frame-in"]);
    hall.view.read(&one, &frame[..3], Start::Aligned);
    assert!(hall.names(&mut watch).is_empty());
    hall.view.read(&one, &frame[3..], Start::Anywhere);
    assert_eq!(hall.names(&mut watch), ["frame-in"]);
    // Half a frame is not completed by a later watch.
    hall.view.read(&one, &frame[..3], Start::Aligned);
    hall.hear();
    drop(watch);
    let mut watch = hall.watch();
    hall.view.read(&one, &frame[3..], Start::Anywhere);
    hall.view.wrote(&one, &HELLO[3..], || Start::Anywhere);
    assert!(hall.names(&mut watch).is_empty());
    hall.view.wrote(&one, HELLO, || Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["frame-out"]);
}

#[test]
fn after_a_gap_nothing_is_shown_up_to_the_next_frame() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.read(&one, &masked(0x01, b"Hel")[..3], Start::Aligned);
    hall.view.wrote(&one, &HELLO[..3], || Start::Aligned);
    // What another connection has no room for may be a gap in this one.
    for _ in 0..FRAME_STEPS_PER_SECOND {
        hall.view.broadcast(&client(2), 1, 1, || (1, 0));
    }
    hall.begin_second();
    hall.shown(&mut watch);
    hall.view.read(&one, &masked(0x01, b"Hel")[3..], Start::Anywhere);
    hall.view.wrote(&one, &HELLO[3..], || Start::Anywhere);
    assert!(hall.names(&mut watch).is_empty());
    hall.view.read(&one, &masked(0x81, b"Hello"), Start::Aligned);
    hall.view.wrote(&one, HELLO, || Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["frame-in", "frame-out"]);
    // The gap counts once.
    hall.view.read(&one, &masked(0x81, b"Hello")[..3], Start::Aligned);
    hall.view.read(&one, &masked(0x81, b"Hello")[3..], Start::Anywhere);
    assert_eq!(hall.names(&mut watch), ["frame-in"]);
}

#[test]
fn gap_in_a_head_hides_the_exchange() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.accepted(&one);
    hall.view.head_read(&one, b"GET / HTTP/1.1\r\n", Start::Aligned);
    hall.view.miss(1);
    hall.view.head_read(&one, b"\r\n", Start::Anywhere);
    hall.view.head_written(&one, b"HTTP/1.1 200 OK\r\n\r\n", Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["accepted"]);
}

#[test]
fn gap_after_a_ping_hides_the_round_trip_time() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.wrote(&one, b"\x89\x00", || Start::Aligned);
    hall.view.miss(1);
    hall.view.read(&one, &masked(0x8a, b""), Start::Aligned);
    assert_eq!(hall.shown(&mut watch).0.last().unwrap().event.sentence, "Pong by the client");
}

/// Uses up the budget, except for this many steps.
fn spend(view: &View, is_frame: bool, left: u32) {
    view.renew_budget();
    let budget = if is_frame { FRAME_STEPS_PER_SECOND } else { STEPS_PER_SECOND };
    for _ in left..budget {
        assert!(view.take_budget(false));
    }
}

#[test]
fn each_step_of_a_record_needs_budget() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    spend(&hall.view, true, 1);
    hall.view.read(&one, &masked(0x01, b"Hel"), Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["frame-in"], "without its fragment");
    spend(&hall.view, false, 1);
    let life = Life { messages: 0, bytes_in: 0, bytes_out: 0, lasted: Duration::ZERO };
    hall.view.ended(&one, Some(life));
    assert_eq!(hall.names(&mut watch), ["tcp-closed"], "without its life");
}

#[test]
fn frames_without_budget_are_a_gap() {
    type Hook = fn(&View, &Arc<Client>, &[u8], Start);
    let hooks: [Hook; 2] = [View::read, |view, client, bytes, start| view.wrote(client, bytes, || start)];
    for hook in hooks {
        let (mut hall, one) = (Hall::new(), client(1));
        let mut watch = hall.watch();
        // The last frame's payload looks like a frame.
        let bytes = [HELLO, HELLO, b"\x81\x04\x81\x02hi"].concat();
        spend(&hall.view, true, 2);
        let (first, rest) = bytes.split_at(bytes.len() - 4);
        hook(&hall.view, &one, first, Start::Aligned);
        hook(&hall.view, &one, rest, Start::Anywhere);
        assert_eq!(hall.shown(&mut watch).0.len(), 1);
    }
}

#[test]
fn fragments_are_counted_across_records() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.read(&one, &masked(0x01, b"Hel"), Start::Aligned);
    hall.view.read(&one, &[masked(0x00, b""), masked(0x89, b"p"), masked(0x80, b"lo")].concat(), Start::Anywhere);
    hall.view.read(&one, &masked(0x01, b"!"), Start::Aligned);
    let (steps, _) = hall.shown(&mut watch);
    let fragments = steps.iter().filter(|step| step.event.name == "fragment");
    let sentences: Vec<_> = fragments.map(|step| step.event.sentence.trim_start_matches("message so far: ")).collect();
    assert_eq!(
        sentences,
        ["1 fragment, 3 bytes", "2 fragments, 3 bytes", "3 fragments, 5 bytes", "1 fragment, 1 byte"]
    );
}

#[test]
fn aligned_record_begins_a_message() {
    let (hall, one) = (Hall::new(), client(1));
    let mut dissector = Dissector::new(hall.view.clone(), Admission::default());
    let mut names = |bytes: Vec<u8>| {
        let what = What::Read(bytes.into(), Start::Aligned);
        let record = Record { client: Arc::clone(&one), named: false, at: Instant::now(), missed: 0, what };
        let mut names = Vec::new();
        dissector.take(&record, &mut |event| names.push(event.name));
        names
    };
    assert_eq!(names(masked(0x01, b"Hel")), ["frame-in", "fragment"]);
    assert_eq!(names(masked(0x81, b"Hello")), ["frame-in"]);
}

#[test]
fn a_flood_in_one_record_leaves_room_for_the_end() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    let flood = HELLO.repeat(2 * FRAME_STEPS_PER_SECOND as usize);
    hall.view.batch(&flood).wrote(&one, 0..flood.len());
    hall.view.left(&one, || 0);
    let names = hall.names(&mut watch);
    assert!(names.len() <= FRAME_STEPS_PER_SECOND as usize + 1, "{}", names.len());
    assert_eq!((names[0], names.last()), ("frame-out", Some(&"left")));
}

#[test]
fn each_half_of_the_closing_handshake_is_shown_once() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.read(&one, &[masked(0x88, b""), masked(0x81, b"discarded")].concat(), Start::Aligned);
    hall.view.wrote(&one, b"\x88\x00", || Start::Aligned);
    hall.view.read(&one, &masked(0x81, b"discarded"), Start::Anywhere);
    hall.view.wrote(&one, b"\x88\x00", || Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["frame-in", "close", "frame-out", "close-answer", "frame-out"]);
    let two = client(2);
    hall.view.wrote(&two, b"\x88\x00", || Start::Aligned);
    hall.view.read(&two, &masked(0x88, b""), Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["close", "frame-out", "frame-in", "close-answer"]);
}

#[test]
fn the_side_that_ended_tcp_first_is_named() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    type End = fn(&Hall);
    let client_ends: End = |hall| hall.view.read(&client(1), b"", Start::Aligned);
    let client_ends_http: End = |hall| hall.view.head_read(&client(1), b"", Start::Anywhere);
    let server_ends: End = |hall| hall.view.shutdown(&client(1));
    let mut first = |ends: &[End]| {
        ends.iter().for_each(|end| end(&hall));
        hall.view.ended(&client(1), None);
        hall.shown(&mut watch).0[0].event.sentence.clone()
    };
    assert_eq!(first(&[client_ends, server_ends]), "TCP closed first by the client");
    assert_eq!(first(&[client_ends_http, server_ends]), "TCP closed first by the client");
    assert_eq!(first(&[server_ends, client_ends]), "TCP closed first by the server");
    assert_eq!(first(&[]), "TCP closed first by the network");
}

#[test]
fn a_pong_answers_the_servers_last_ping() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.wrote(&one, b"\x89\x00", || Start::Aligned);
    hall.view.read(&one, &masked(0x8a, b""), Start::Aligned);
    hall.view.read(&one, &masked(0x8a, b""), Start::Aligned);
    let pongs: Vec<_> = hall.shown(&mut watch).0.iter().filter(|step| step.event.name == "pong").cloned().collect();
    assert!(pongs[0].event.sentence.starts_with("Pong by the client after "), "{}", pongs[0].event.sentence);
    assert_eq!(pongs[1].event.sentence, "Pong by the client");
}

#[test]
fn a_head_is_shown_when_it_is_complete() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.accepted(&one);
    hall.view.head_read(&one, b"GET / HTTP/1.1\r\n", Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["accepted"]);
    hall.view.head_read(&one, b"Host: h\r\n\r\nearly", Start::Anywhere);
    hall.view.head_read(&one, b"frames\r\n\r\n", Start::Anywhere);
    assert_eq!(hall.names(&mut watch), ["request"]);
    hall.view.head_written(&one, b"HTTP/1.1 200 OK\r\n", Start::Aligned);
    assert!(hall.names(&mut watch).is_empty());
    hall.view.head_written(&one, b"\r\nbody", Start::Anywhere);
    hall.view.head_written(&one, b"HTTP/1.1 200 OK\r\n\r\nbody", Start::Anywhere);
    assert_eq!(hall.names(&mut watch), ["response"]);
}

/// Tells the view of bytes of HTTP: `>` for read, `<` for written, the rest of a part with `+`.
fn exchange(view: &View, one: &Arc<Client>, parts: &[&str]) {
    for part in parts {
        let start = Start::aligned(part.as_bytes()[1] != b'+');
        let bytes = part[1..].trim_start_matches('+').as_bytes();
        if part.starts_with('>') { view.head_read(one, bytes, start) } else { view.head_written(one, bytes, start) }
    }
}

#[test]
fn each_exchange_of_a_connection_is_shown() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    let opening = ">GET /echo HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nearly";
    hall.view.accepted(&one);
    exchange(
        &hall.view,
        &one,
        &[">GET / HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n", "<+HTTP/1.1 2\r\n\r\n", "<+body"],
    );
    exchange(&hall.view, &one, &[">\r\n\r\nHEAD / HTTP/1.1\r\n", ">+\r\n", "<HTTP/1.1 304 Not", "<+ Modified\r\n\r\n"]);
    exchange(&hall.view, &one, &[opening, "<HTTP/1.1 101 Switching Protocols\r\n\r\n"]);
    let passed = "check ".repeat(9) + "key joined-key digest accept switching";
    assert_eq!(
        hall.names(&mut watch).join(" "),
        format!("accepted request response request response request {passed}")
    );
}

#[test]
fn requests_that_were_read_together_are_shown_with_their_responses() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.accepted(&one);
    let requests = ">GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HT";
    exchange(&hall.view, &one, &[requests, "<HTTP/1.1 201 A\r\n\r\n", "<+body", "<HTTP/1.1 202 B\r\n\r\n", "<+body"]);
    exchange(&hall.view, &one, &[">+TP/1.1\r\n\r\n", "<HTTP/1.1 203 C\r\n\r\n"]);
    let steps = hall.shown(&mut watch).0;
    let fields: Vec<_> = steps[1..].iter().map(|step| step.event.fields[0].1.clone()).collect();
    let shown = |path| format!("GET {path} HTTP/1.1\\r\\n\\r\\n");
    assert_eq!(fields, [shown("/a"), "201".into(), shown("/b"), "202".into(), shown("/c"), "203".into()]);
}

#[test]
fn refusal_by_hyper_has_no_request() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    hall.view.accepted(&one);
    exchange(&hall.view, &one, &[">GET / HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n", "<+body"]);
    exchange(&hall.view, &one, &[">half", "<HTTP/1.1 400 Bad Request\r\n\r\n"]);
    assert_eq!(hall.names(&mut watch), ["accepted", "request", "response", "response"]);
}

#[test]
fn after_a_gap_the_next_request_is_shown() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    exchange(&hall.view, &one, &[">GET / HTTP/1.1\r\n"]);
    hall.view.miss(1);
    exchange(&hall.view, &one, &[">+Cookie: a\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n", "<+body"]);
    assert!(hall.names(&mut watch).is_empty());
    exchange(&hall.view, &one, &[">GET / HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n"]);
    assert_eq!(hall.names(&mut watch), ["request", "response"]);
}

#[test]
fn checks_are_shown_as_the_server_answered() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    let mut answered = |request: &str, status: u16| {
        let one = client(1);
        hall.view.accepted(&one);
        hall.view.head_read(&one, request.as_bytes(), Start::Aligned);
        hall.view.head_written(&one, format!("HTTP/1.1 {status} Word\r\n\r\n").as_bytes(), Start::Aligned);
        hall.names(&mut watch)[1..].join(" ")
    };
    let opening = |target: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let passed = "request ".to_owned() + &"check ".repeat(9) + "key joined-key digest accept switching";
    assert_eq!(answered(&opening("/ws/1"), 101), passed);
    assert_eq!(answered(&opening("/echo"), 101), passed);
    assert_eq!(answered(&(opening("/echo") + "early frames"), 101), passed);
    // Refused for another reason, before the checks.
    assert_eq!(answered(&opening("/ws/1"), 503), "request response");
    assert_eq!(answered(&opening("/"), 404), "request response");
    // The status is that of a check, but there was no opening handshake.
    assert_eq!(answered(&opening("/").replace("GET", "POST"), 405), "request response");
    let request = opening("/echo");
    let (unfinished, _) = request.split_once("Sec-WebSocket-Key").unwrap();
    assert_eq!(answered(unfinished, 400), "response");
}

#[test]
fn a_connection_that_is_over_is_forgotten_even_without_its_record() {
    let (mut hall, one) = (Hall::new(), client(1));
    let _watch = hall.watch();
    let mut dissector = Dissector::new(hall.view.clone(), Admission::default());
    let record = Record { client: one, named: false, at: Instant::now(), missed: 0, what: What::Accepted };
    dissector.take(&record, &mut |_| {});
    dissector.forget_ended();
    assert_eq!(dissector.connections.len(), 1);
    drop(record);
    dissector.forget_ended();
    assert!(dissector.connections.is_empty());
}
