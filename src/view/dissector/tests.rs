use super::*;
use crate::frame::tests::masked;
use crate::limits::FRAME_STEPS_PER_SECOND;
use crate::view::audience::tests::{Hall, client};

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
        hall.view.broadcast(&client(2), 1, || (1, 0));
    }
    hall.begin_second();
    hall.shown(&mut watch);
    hall.view.read(&one, &masked(0x01, b"Hel")[3..], Start::Anywhere);
    hall.view.wrote(&one, &HELLO[3..], || Start::Anywhere);
    assert!(hall.names(&mut watch).is_empty());
    hall.view.read(&one, &masked(0x81, b"Hello"), Start::Aligned);
    hall.view.wrote(&one, HELLO, || Start::Aligned);
    assert_eq!(hall.names(&mut watch), ["frame-in", "frame-out"]);
}

#[test]
fn a_flood_in_one_record_leaves_room_for_the_end() {
    let (mut hall, one) = (Hall::new(), client(1));
    let mut watch = hall.watch();
    let flood = HELLO.repeat(2 * FRAME_STEPS_PER_SECOND as usize);
    let batch = hall.view.batch(&flood).unwrap();
    hall.view.wrote_batch(&one, batch);
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
    let client_ends_http: End = |hall| hall.view.head_read(&client(1), b"");
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
    hall.view.head_read(&one, b"GET / HTTP/1.1\r\n");
    assert_eq!(hall.names(&mut watch), ["accepted"]);
    hall.view.head_read(&one, b"Host: h\r\n\r\nearly");
    assert_eq!(hall.names(&mut watch), ["request"]);
    hall.view.head_written(&one, b"HTTP/1.1 200 OK\r\n\r\nbody");
    hall.view.head_written(&one, b"HTTP/1.1 200 OK\r\n\r\nbody");
    assert_eq!(hall.names(&mut watch), ["response"]);
}

#[test]
fn checks_are_shown_as_the_server_answered() {
    let mut hall = Hall::new();
    let mut watch = hall.watch();
    let mut names = |target: &str, status: u16| {
        let one = client(1);
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        hall.view.accepted(&one);
        hall.view.head_read(&one, request.as_bytes());
        hall.view.head_written(&one, format!("HTTP/1.1 {status} Word\r\n\r\n").as_bytes());
        hall.names(&mut watch)[2..].join(" ")
    };
    let passed = "check ".repeat(9) + "key joined-key digest accept switching";
    assert_eq!(names("/ws/1", 101), passed);
    assert_eq!(names("/echo", 101), passed);
    // Refused for another reason, before the checks.
    assert_eq!(names("/ws/1", 503), "response");
    assert_eq!(names("/", 200), "response");
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
