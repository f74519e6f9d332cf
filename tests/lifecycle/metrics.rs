//! `GET /metrics`: known things happen, and the numbers are exact. Each answer is read by a strict parser.

use crate::SWITCHBOARD;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::frame::{BINARY, CLOSE, FIN, PONG, close_payload, from_client, from_server, ping, says, text};
use test_client::metrics::{Labels, Metrics};
use test_client::program::Program;
use test_client::server::exposition::{Exposition, Type, seconds};
use test_client::server::limits::{FRAME_STEPS_PER_SECOND, Limits};
use test_client::server::{Options, Server, metrics, threads};

/// Asks until a sample has this value. Most counts are there before a client can see what they count, but not those of ends.
#[track_caller]
fn wait_for(address: SocketAddr, name: &str, labels: &str, value: f64) -> Metrics {
    wait_until(address, name, labels, |now| now == value)
}

#[track_caller]
fn wait_until(address: SocketAddr, name: &str, labels: &str, holds: impl Fn(f64) -> bool) -> Metrics {
    let start = Instant::now();
    loop {
        let metrics = Metrics::get(address);
        let now = metrics.value(name, labels);
        if now.is_some_and(&holds) {
            return metrics;
        }
        assert!(start.elapsed() < DEADLINE, "{name} {labels} is {now:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a request, and reads the answer to its end.
fn request(address: SocketAddr, request: &str) -> (String, Vec<u8>) {
    let mut client = Client::tcp(address);
    client.send(format!("{request}\r\nHost: {address}\r\n\r\n"));
    client.end();
    (client.read_head(), client.read_to_end())
}

/// The lengths of a Ping and of its Pong, without a payload.
const PING_LENGTH: usize = 6;
const PONG_LENGTH: usize = 2;

/// A member that counts for deliveries: the Pong comes once its connection is open.
fn join_and_ping(server: &Server, id: i64) -> Client {
    let mut member = server.join(id);
    member.send(ping(""));
    member.expect(&from_server(FIN | PONG, b""));
    member
}

#[track_caller]
fn expect_lines(metrics: &Metrics, name: &str, lines: &[&str]) {
    assert_eq!(metrics.lines(name), lines, "{name}");
}

/// All families have their samples from the start, except for those whose labels depend on what happens.
#[test]
fn server_that_has_done_nothing() {
    let server = Server::start(metrics());
    let metrics = Metrics::get(server.address);
    let lines = metrics.0.keys().flat_map(|family| {
        let name = family.strip_prefix("switchboard_").unwrap();
        let lines = metrics.lines(name);
        if lines.is_empty() {
            vec![name.to_owned()]
        } else {
            lines.iter().map(|line| format!("{name} {line}")).collect()
        }
    });
    let expected = "
        backlog_bytes  0
        clients_too_slow_total  0
        closes_total
        connections  1
        connections_accepted_total  1
        deliveries_total  0
        ends_without_close_total reason=end_of_stream 0
        ends_without_close_total reason=silence 0
        ends_without_close_total reason=socket_failed 0
        handshakes_total
        log_lines_left_out_total reason=rate 0
        log_lines_left_out_total reason=unread 0
        members  0
        messages_received_total  0
        received_bytes_total  0
        sent_bytes_total  0
        speakers_waited_seconds_total reason=pace 0
        speakers_waiting reason=pace 0
        steps_left_out_total reason=rate 0
        steps_left_out_total reason=unread 0";
    assert_eq!(lines.collect::<Vec<_>>(), expected.trim().lines().map(str::trim).collect::<Vec<_>>());
}

#[test]
fn conversation() {
    let server = Server::start(metrics());
    let mut members = [1, 2, 3].map(|id| join_and_ping(&server, id));
    // Two messages in one packet, with a Ping between them, and one in two fragments.
    let fragments = [from_client(0x1, b"thr"), from_client(FIN, b"ee")].concat();
    let packets = [[text("one"), ping("?"), text("two")].concat(), fragments, text("four"), text("")];
    let speakers = [0, 0, 1, 2];
    let received = PING_LENGTH * members.len() + packets.iter().map(Vec::len).sum::<usize>();
    for (packet, speaker) in packets.iter().zip(speakers) {
        members[speaker].send(packet);
    }
    // The order depends on which socket is read first.
    let sent: Vec<usize> = members.iter_mut().map(|member| hear(member, 5)).collect();
    let messages = [(1, "one"), (1, "two"), (1, "three"), (2, "four"), (3, "")];
    let each: usize = messages.iter().map(|(id, message)| says(*id, message).len()).sum();
    assert_eq!(sent, [each + 3, each, each]);
    let metrics = Metrics::get(server.address);
    for (name, value) in [
        ("members", 3),
        ("connections", 4),
        ("connections_accepted_total", 4),
        ("messages_received_total", 5),
        ("deliveries_total", 15),
        ("received_bytes_total", received),
        ("sent_bytes_total", PONG_LENGTH * 3 + sent.iter().sum::<usize>()),
        ("backlog_bytes", 0),
    ] {
        assert_eq!(metrics.value(name, ""), Some(value as f64), "{name}");
    }
    expect_lines(&metrics, "handshakes_total", &["status=101 3"]);
    // A member that joins later gets none of it, and one that has left gets nothing more.
    let [first, ..] = members;
    drop(first);
    wait_for(server.address, "members", "", 2.0);
    let mut late = server.join(4);
    late.send_text("late");
    late.expect(&says(4, "late"));
    assert_eq!(Metrics::get(server.address).value("deliveries_total", ""), Some(18.0));
}

/// Reads this number of messages. Returns the bytes of all frames up to the last one.
fn hear(member: &mut Client, messages: usize) -> usize {
    let (mut heard, mut bytes) = (0, 0);
    while heard < messages {
        let frame = member.read_any_frame();
        bytes += from_server(frame.first, &frame.payload).len();
        heard += usize::from(!frame.is(PONG));
    }
    bytes
}

#[test]
fn echoes_are_messages_and_no_deliveries() {
    let server = Server::start(metrics());
    let mut echo = Client::open(server.address, "/echo");
    let mut bytes = 0;
    for (first, payload) in [(FIN | 0x1, "text".as_bytes()), (FIN | BINARY, &[0xff; 300])] {
        echo.send_frame(first, payload);
        echo.expect(&from_server(first, payload));
        bytes += from_server(first, payload).len();
    }
    let metrics = Metrics::get(server.address);
    for (name, value) in [
        ("members", 0),
        ("messages_received_total", 2),
        ("deliveries_total", 0),
        // A masking key has 4 bytes.
        ("received_bytes_total", bytes + 8),
        ("sent_bytes_total", bytes),
    ] {
        assert_eq!(metrics.value(name, ""), Some(value as f64), "{name}");
    }
}

#[test]
fn members_of_two_threads() {
    const MESSAGES: usize = 200;
    let server = Server::start(Options { metrics: true, ..threads(2) });
    let mut members: Vec<_> = (0..7).map(|id| join_and_ping(&server, id)).collect();
    let flood: Vec<u8> = (0..MESSAGES).flat_map(|number| text(&number.to_string())).collect();
    members.iter_mut().for_each(|member| member.send(&flood));
    let sent: usize = members.iter_mut().map(|member| hear(member, 7 * MESSAGES)).sum();
    let metrics = wait_for(server.address, "deliveries_total", "", (7 * 7 * MESSAGES) as f64);
    assert_eq!(metrics.value("messages_received_total", ""), Some((7 * MESSAGES) as f64));
    assert_eq!(metrics.value("received_bytes_total", ""), Some((7 * (PING_LENGTH + flood.len())) as f64));
    wait_for(server.address, "sent_bytes_total", "", (7 * PONG_LENGTH + sent) as f64);
}

#[test]
fn handshakes_by_status() {
    let server = Server::start(Options { limits: Limits { max_connections: 4, ..Limits::default() }, ..metrics() });
    let mut open = vec![server.join(1), server.join(2)];
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
    for (head, status) in [
        ("GET /ws/1 HTTP/1.1".into(), "426"),
        ("GET /echo HTTP/1.1".into(), "426"),
        ("POST /ws/1 HTTP/1.1".into(), "405"),
        ("GET /ws/one HTTP/1.1".into(), "400"),
        (format!("GET /ws/1 HTTP/1.1\r\n{upgrade}"), "400"),
        (format!("GET / HTTP/1.1\r\n{upgrade}"), "404"),
        (format!("GET /nothing HTTP/1.1\r\n{upgrade}"), "404"),
        // These ask for no WebSocket.
        ("GET /nothing HTTP/1.1".into(), "404"),
        ("GET /wstwo HTTP/1.1".into(), "404"),
        ("GET / HTTP/1.1".into(), "200"),
    ] {
        let (answer, _) = request(server.address, &head);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
    }
    open.extend([server.join(3), server.join(4)]);
    let (answer, _) = request(server.address, "GET /ws/5 HTTP/1.1");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    open.pop();
    let is_free = || request(server.address, "GET / HTTP/1.1").0.starts_with("HTTP/1.1 200 ");
    let start = Instant::now();
    while !is_free() {
        assert!(start.elapsed() < DEADLINE);
    }
    let metrics = Metrics::get(server.address);
    let lines = ["status=101 4", "status=400 2", "status=404 2", "status=405 1", "status=426 2", "status=503 1"];
    expect_lines(&metrics, "handshakes_total", &lines);
}

/// A connection that is only told that the server is full counts, as long as it is open.
#[test]
fn connections_of_a_full_server() {
    let server = Server::start(Options { limits: Limits { max_connections: 2, ..Limits::default() }, ..metrics() });
    let mut watch = Client::tcp(server.address);
    let mut count = || {
        watch.send(format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
        let head = watch.read_head();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let body = watch.read_exactly(length.lines().next().unwrap().parse().unwrap());
        let metrics = Metrics::parse(str::from_utf8(&body).unwrap()).unwrap();
        [metrics.value("connections", ""), metrics.value("connections_accepted_total", "")]
    };
    assert_eq!(count(), [Some(1.0), Some(1.0)]);
    let _member = server.join(1);
    assert_eq!(count(), [Some(2.0), Some(2.0)]);
    let mut refused = Client::tcp(server.address);
    // The answer to the second one comes after the first one was accepted.
    let (answer, _) = request(server.address, "GET / HTTP/1.1");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let start = Instant::now();
    while count() != [Some(3.0), Some(4.0)] {
        assert!(start.elapsed() < DEADLINE, "{:?}", count());
    }
    refused.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    refused.end();
    refused.read_to_end();
    while count() != [Some(2.0), Some(4.0)] {
        assert!(start.elapsed() < DEADLINE, "{:?}", count());
    }
}

#[test]
fn closes_by_code_and_by_side() {
    let server = Server::start(metrics());
    let close = |payload: &[u8]| {
        let mut client = server.join(1);
        client.send_frame(FIN | CLOSE, payload);
        client.read_to_end();
    };
    [1000, 1000, 1001, 3000, 3999, 4999].into_iter().for_each(|code| close(&close_payload(code, "")));
    close(b"");
    // The server fails these two with 1002.
    close(&close_payload(1006, ""));
    close(b"x");
    let mut client = server.join(1);
    client.send_frame(FIN | BINARY, b"");
    client.expect_close_about(1003, "text only");
    // The answer counts as none of its own.
    client.send_frame(FIN | CLOSE, &close_payload(1000, ""));
    client.expect_end();
    let metrics = wait_for(server.address, "closes_total", r#"by="server",code="1003""#, 1.0);
    let lines = [
        "by=client code=1000 2",
        "by=client code=1001 1",
        "by=client code=1005 1",
        "by=client code=3000-4999 3",
        "by=server code=1002 2",
        "by=server code=1003 1",
    ];
    expect_lines(&metrics, "closes_total", &lines);
    // The message that it refuses does not count.
    assert_eq!(metrics.value("messages_received_total", ""), Some(0.0));
    assert_eq!(metrics.value("deliveries_total", ""), Some(0.0));
    let none = ["reason=end_of_stream 0", "reason=silence 0", "reason=socket_failed 0"];
    expect_lines(&metrics, "ends_without_close_total", &none);
}

#[test]
fn ends_without_a_close() {
    let limits = Limits { ping_interval: Some(Duration::from_millis(100)), ..Limits::default() };
    let server = Server::start(Options { limits, ..metrics() });
    server.join(1).end();
    wait_for(server.address, "ends_without_close_total", r#"reason="end_of_stream""#, 1.0);
    for _ in 0..2 {
        server.join(2).reset();
    }
    wait_for(server.address, "ends_without_close_total", r#"reason="socket_failed""#, 2.0);
    let _silent = server.join(3);
    let metrics = wait_for(server.address, "ends_without_close_total", r#"reason="silence""#, 1.0);
    let lines = ["reason=end_of_stream 1", "reason=silence 1", "reason=socket_failed 2"];
    expect_lines(&metrics, "ends_without_close_total", &lines);
    expect_lines(&metrics, "closes_total", &[]);
}

/// A client that reads nothing, and one that says this many bytes and reads all of it.
fn slow_and_fast(limits: Limits, bytes: usize) -> (Server, Client, Client) {
    const MESSAGE: usize = 60_000;
    let server = Server::start(Options { limits, ..metrics() });
    let (slow, mut fast) = (server.join(1), server.join(2));
    let message = "x".repeat(MESSAGE);
    for _ in 0..bytes / MESSAGE {
        fast.send_text(&message);
        fast.expect(&says(2, &message));
    }
    (server, slow, fast)
}

#[test]
fn backlog_of_a_client_that_does_not_read() {
    let limits = Limits { ping_interval: None, ..Limits::default() };
    let (server, slow, _fast) = slow_and_fast(limits, limits.max_backlog / 2);
    let backlog = Metrics::get(server.address).value("backlog_bytes", "").unwrap();
    assert!(backlog > 0.0 && backlog < limits.max_backlog as f64, "{backlog}");
    drop(slow);
    let metrics = wait_for(server.address, "backlog_bytes", "", 0.0);
    assert_eq!(metrics.value("clients_too_slow_total", ""), Some(0.0));
}

#[test]
fn client_that_is_too_slow() {
    let limits = Limits { ping_interval: None, max_backlog: 1 << 20, pace: 0, ..Limits::default() };
    // The sockets hold the rest.
    let (server, _slow, _fast) = slow_and_fast(limits, limits.max_backlog + (16 << 20));
    let metrics = wait_for(server.address, "clients_too_slow_total", "", 1.0);
    assert_eq!(metrics.value("backlog_bytes", ""), Some(0.0));
    let metrics = wait_for(server.address, "closes_total", r#"by="server",code="1013""#, 1.0);
    assert_eq!(metrics.value("clients_too_slow_total", ""), Some(1.0));
}

/// The room waits for a client that reads nothing, until it is known to be stuck.
#[test]
fn speaker_that_waits() {
    let limits = Limits { pace: 100_000, ping_interval: None, ..Limits::default() };
    let server = Server::start(Options { limits, ..metrics() });
    let _slow = server.join(1);
    let mut speaker = server.join(2);
    let (mut writer, mut reader) = (speaker.second(), speaker.second());
    // These end with the connection.
    thread::spawn(move || while writer.try_send(text(&"x".repeat(60_000)), DEADLINE).is_ok() {});
    thread::spawn(move || reader.read_to_end());
    let pace = r#"reason="pace""#;
    let metrics = wait_for(server.address, "speakers_waiting", pace, 1.0);
    let before = metrics.value("speakers_waited_seconds_total", pace).unwrap();
    wait_until(server.address, "speakers_waited_seconds_total", pace, |now| now > before);
    let metrics = wait_for(server.address, "speakers_waiting", pace, 0.0);
    assert!(metrics.value("speakers_waited_seconds_total", pace) > Some(before));
    speaker.try_finish().unwrap();
}

#[test]
fn steps_left_out() {
    const FLOOD: usize = 2 * FRAME_STEPS_PER_SECOND as usize;
    let server = Server::start(Options { lifecycle: true, ..metrics() });
    let mut viewer = Client::tcp(server.address);
    viewer.send(format!("GET /lifecycle HTTP/1.0\r\nHost: {}\r\n\r\n", server.address));
    viewer.read_head();
    let mut member = server.join(1);
    for number in 0..FLOOD {
        member.send_text(&number.to_string());
        member.expect(&says(1, &number.to_string()));
    }
    let metrics = Metrics::get(server.address);
    assert!(metrics.value("steps_left_out_total", r#"reason="rate""#) > Some(0.0));
    assert_eq!(metrics.value("steps_left_out_total", r#"reason="unread""#), Some(0.0));
}

/// The log tells the same number.
#[test]
fn log_lines_left_out() {
    const REQUESTS: usize = 100;
    let program = SWITCHBOARD.start(&[]);
    for _ in 0..REQUESTS {
        request(program.address, "GET /nothing HTTP/1.1");
    }
    let rate = Metrics::get(program.address).value("log_lines_left_out_total", r#"reason="rate""#).unwrap();
    let mut reported = 0.0;
    while reported < rate {
        let line = program.log_line("left out ");
        reported += line.split(' ').find_map(|word| word.parse::<f64>().ok()).unwrap();
    }
    assert!(reported == rate && rate > 0.0, "{reported} {rate}");
}

#[test]
fn off_unless_it_is_turned_on() {
    let server = Server::start(Options::default());
    let (head, body) = request(server.address, "GET /metrics HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    let body = String::from_utf8(body).unwrap();
    let fault = "fault: the metrics are not shown here\n\
        rule:  they are on by default on loopback alone, or with `--metrics on`\nsent:  /metrics\n";
    assert!(body.contains(fault), "{body}");
    for (arguments, status) in [
        (&[][..], "200"),
        (&["--lifecycle", "off"], "200"),
        (&["--metrics", "off"], "404"),
        (&["--host", "0.0.0.0"], "404"),
        (&["--host", "0.0.0.0", "--metrics", "on"], "200"),
    ] {
        let arguments = [&["--port", "0"], arguments].concat();
        let program = Program::spawn(&mut SWITCHBOARD.command(&arguments)).unwrap();
        let (head, _) = request(program.address, "GET /metrics HTTP/1.1");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{arguments:?}: {head}");
    }
}

#[test]
fn methods() {
    let server = Server::start(metrics());
    let (head, body) = request(server.address, "HEAD /metrics HTTP/1.1");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(body.is_empty());
    let (head, _) = request(server.address, "POST /metrics HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
}

proptest! {
    #[test]
    fn any_text_is_read_back(help in "\\PC*[a-z]\\PC*|[\\\\n\n\"]+x", value in ".*|[\\\\n\n\"]*", number: u64, nanoseconds: u64) {
        let mut text = Exposition::default();
        let time = seconds(Duration::from_nanos(nanoseconds));
        text.family("a_total", Type::Counter, &help).add(&[("b", &value)], number).add(&[("b", &value), ("c", "")], &time);
        text.family("d", Type::Summary, &help).add_summary(Duration::from_nanos(nanoseconds), number);
        let metrics = Metrics::parse(&text.into_text()).unwrap();
        let family = &metrics.0["switchboard_a_total"];
        prop_assert_eq!(&family.help, &help);
        let one = Labels::from([("b".into(), value.clone())]);
        let two = Labels::from([("b".into(), value), ("c".into(), String::new())]);
        let name = String::from("switchboard_a_total");
        prop_assert_eq!(family.samples[&(name.clone(), one)], number as f64);
        prop_assert_eq!(family.samples[&(name, two)], time.parse::<f64>().unwrap());
        prop_assert_eq!(metrics.value("d_count", ""), Some(number as f64));
    }
}

/// One spoiled thing per case.
#[test]
fn parser_is_strict() {
    const HELP: &str = "# HELP switchboard_a_total Text.\n";
    const TYPE: &str = "# TYPE switchboard_a_total counter\n";
    let whole = format!("{HELP}{TYPE}switchboard_a_total{{b=\"c\"}} 1.5\n");
    assert_eq!(Metrics::parse(&whole).unwrap().value("a_total", r#"b="c""#), Some(1.5));
    for spoiled in [
        whole.trim_end().to_owned(),
        format!("{HELP}switchboard_a_total 1\n"),
        format!("{TYPE}switchboard_a_total 1\n"),
        format!("{TYPE}{HELP}"),
        format!("{HELP}{HELP}{TYPE}"),
        format!("{HELP}{TYPE}{TYPE}"),
        format!("{whole}{HELP}{TYPE}"),
        HELP.to_owned(),
        format!("{whole}{}", whole.lines().last().unwrap()),
        format!("{whole}switchboard_a_total{{b=\"c\"}} 2\n"),
        format!("{whole}switchboard_other 1\n"),
        format!("{whole}\n"),
        whole.replace("Text.", ""),
        whole.replace("Text.", r"\t"),
        whole.replace("counter", "gauge"),
        whole.replace("counter", "untyped"),
        whole.replace("a_total", "a"),
        whole.replace("a_total", "a-total"),
        whole.replace("1.5", ""),
        whole.replace("1.5", "1e3"),
        whole.replace("1.5", "-1"),
        whole.replace("1.5", "NaN"),
        whole.replace("1.5", "1. "),
        whole.replace("b=", "0="),
        whole.replace("\"c\"", "c"),
        whole.replace("\"c\"", "\"c\\\""),
        whole.replace("\"c\"", "\"\\t\""),
        whole.replace("\"c\"", "\"c\",b=\"c\""),
        whole.replace("\"c\"", "\"c\","),
        whole.replace("\"c\"} ", "\"c\"}"),
    ] {
        if spoiled == whole || Metrics::parse(&spoiled).is_ok() {
            panic!("accepted: {spoiled}");
        }
    }
}
