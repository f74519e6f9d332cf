//! Phase 4: how connections end, and how the server stops.

use crate::SWITCHBOARD;
#[cfg(target_os = "linux")]
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
use test_client::frame::{CLOSE, FIN, PING, PONG, close_payload, from_client, from_server, says, text};
use test_client::request::{opening, switching_protocols};
use test_client::server::limits::stop::STOP_DEADLINE;
use test_client::server::limits::{CLOSE_DEADLINE, Limits};
use test_client::server::{Options, Server, beside_neighbours};

/// Sends a Close with this payload. The server answers with that one, and ends the stream.
#[track_caller]
fn closes(sent: &[u8], answer: &[u8]) {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send_frame(FIN | CLOSE, sent);
        client.expect(&from_server(FIN | CLOSE, answer));
        client.expect_end();
    });
}

#[test]
fn valid_code_is_echoed() {
    for code in [1000, 1001, 1003, 1007, 1011, 1013, 3000, 4999] {
        let payload = close_payload(code, "");
        closes(&payload, &payload);
    }
    let payload = close_payload(1000, "until tomorrow");
    closes(&payload, &payload);
}

#[test]
fn empty_close_is_echoed() {
    closes(b"", b"");
}

#[test]
fn close_of_one_byte() {
    let rule = "a Close frame has no payload or at least a 2-byte code, RFC 6455 5.5.1";
    closes(b"\x03", &close_payload(1002, rule));
}

#[test]
fn forbidden_codes() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let rule = format!("close code {code} must not be sent, RFC 6455 7.4");
        closes(&close_payload(code, "why"), &close_payload(1002, &rule));
    }
}

#[test]
fn data_after_a_close_is_discarded() {
    beside_neighbours(Options::default(), |server| {
        let mut witness = server.join(8);
        let mut client = server.join(7);
        let close = from_client(FIN | CLOSE, &close_payload(1000, ""));
        client.send([text("before"), close, text("after")].concat());
        client.expect(&says(7, "before"));
        client.expect_close(1000, "");
        client.send([text("later"), vec![0xff; 1000]].concat());
        client.expect_end();
        witness.expect(&says(7, "before"));
        witness.send_text("next");
        witness.expect(&says(8, "next"));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn close_and_the_end_of_tcp_are_one_packet() {
    let server = Server::start(Options::default());
    for _ in 0..50 {
        let mut client = server.join(7);
        client.send_frame(FIN | CLOSE, &close_payload(1000, ""));
        let (mut socket, mut answer) = (client.into_socket(), [0; 4]);
        socket.set_nonblocking(false).unwrap();
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer, from_server(FIN | CLOSE, &close_payload(1000, ""))[..]);
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.read(&mut answer).expect("the end has come, too"), 0);
    }
}

/// A client may send control frames after its Close (RFC 6455 5.5.1). They may arrive at any time up to the end of TCP.
#[test]
fn a_pong_after_the_close_does_not_cost_the_client_the_answer() {
    let server = Server::start(Options::default());
    let _members: Vec<_> = (100..300).map(|id| server.join(id)).collect();
    let (close, pong) = (from_client(FIN | CLOSE, &close_payload(1000, "")), from_client(FIN | PONG, b""));
    for number in 0..300 {
        let mut client = server.join(7);
        client.send([text("bye"), close.clone()].concat());
        let (start, delay) = (Instant::now(), Duration::from_micros(number));
        while start.elapsed() < delay {}
        // The server may have closed TCP.
        let _ = client.try_send(&pong, CLOSE_DEADLINE);
        client.expect(&says(7, "bye"));
        client.expect(&from_server(FIN | CLOSE, &close_payload(1000, "")));
    }
}

#[test]
fn clean_close_frees_the_place_of_a_client_that_keeps_tcp_open() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut client = server.join(7);
    client.send_frame(FIN | CLOSE, &close_payload(1000, ""));
    client.expect_close(1000, "");
    let closed = Instant::now();
    loop {
        let mut next = Client::tcp(server.address);
        next.send(opening(server.address, "/ws/8"));
        if next.read_head() == switching_protocols() {
            break;
        }
        assert!(closed.elapsed() < CLOSE_DEADLINE, "the server waits for the client");
    }
}

#[test]
fn handshake_text_and_close_in_one_segment() {
    beside_neighbours(Options::default(), |server| {
        let close = from_client(FIN | CLOSE, &close_payload(1000, "bye"));
        let mut client = Client::tcp(server.address);
        client.send([opening(server.address, "/ws/7").as_bytes(), &text("hello"), &close].concat());
        assert_eq!(client.read_head(), switching_protocols());
        client.expect(&says(7, "hello"));
        client.expect_close(1000, "bye");
        client.expect_end();
    });
}

#[test]
fn handshake_text_and_fault_in_one_segment() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    let unmasked = from_server(0x81, b"unmasked");
    client.send([opening(server.address, "/ws/7").as_bytes(), &text("hello"), &unmasked].concat());
    assert_eq!(client.read_head(), switching_protocols());
    client.expect(&says(7, "hello"));
    client.expect_close_about(1002, "mask");
    client.expect_end();
}

/// The client's sockets hold a part of this. The rest waits in the server when the client's Close arrives.
#[test]
fn a_slow_client_that_closes_gets_everything_said_before() {
    const MESSAGES: usize = 100;
    let server = Server::start(Options::default());
    let (mut slow, mut fast) = (server.join(1), server.join(2));
    let payload = "x".repeat(60_000);
    for _ in 0..MESSAGES {
        fast.send_text(&payload);
        fast.expect(&says(2, &payload));
    }
    slow.send_frame(FIN | CLOSE, &close_payload(1000, ""));
    for _ in 0..MESSAGES {
        slow.expect(&says(2, &payload));
    }
    slow.expect_close(1000, "");
    slow.expect_end();
}

#[test]
fn end_of_stream_without_a_close() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        client.send_text("last words");
        client.end();
        client.expect(&says(7, "last words"));
        client.expect_close(1002, "end of stream without a Close frame, RFC 6455 7.1.4");
        client.expect_end();
    });
}

#[test]
fn end_of_stream_inside_a_frame() {
    beside_neighbours(Options::default(), |server| {
        let mut client = server.join(7);
        let frame = text("never finished");
        client.send(&frame[..frame.len() / 2]);
        client.end();
        client.expect_close(1002, "end of stream without a Close frame, RFC 6455 7.1.4");
        client.expect_end();
    });
}

#[test]
fn reset() {
    beside_neighbours(Options::default(), |server| {
        for _ in 0..20 {
            let mut client = server.join(7);
            client.send_text("last words");
            client.expect(&says(7, "last words"));
            client.reset();
        }
    });
}

/// The log has one line for each connection, which tells how it ended.
#[test]
fn log_tells_how_each_connection_ended() {
    let mut program = SWITCHBOARD.start(&[]);
    let open = |client_id: i64| Client::open(program.address, &format!("/ws/{client_id}"));
    open(41).send_frame(FIN | CLOSE, b"");
    let gone = |client_id: i64, why: &str| {
        let line = program.log_line(&format!("Client #{client_id} disconnected"));
        assert!(line.contains(&format!(" disconnected: {why}, after 0.")), "{line}");
        assert!(line.starts_with(if why.starts_with("the server") { "WARN " } else { "INFO " }), "{line}");
        line
    };
    gone(41, "the client closed without a code");

    open(42).send_frame(FIN | CLOSE, &close_payload(1000, "\x1b[2J\u{9b}31m\r\n\u{202e}"));
    gone(42, r#"the client closed with 1000 "\u{1b}[2J\u{9b}31m\r\n\u{202e}""#);

    open(43).end();
    gone(43, "end of stream without a Close frame");

    open(44).reset();
    gone(44, "connection reset");

    let mut client = open(45);
    client.send_text("one");
    client.send_frame(FIN | 0x3, b"");
    client.read_to_end();
    drop(client);
    let rule = "opcodes 3 to 7 and 11 to 15 are reserved, RFC 6455 5.2";
    let line = gone(45, &format!("the server closed with 1002 \"{rule}\""));
    assert!(line.ends_with(" and 1 message"), "{line}");

    // The server waits for an answer to this Close, and to the same one in vain.
    let text_only = "the server closed with 1003 \"this chat takes text only, RFC 6455 7.4.1\"";
    let mut client = open(46);
    client.send_frame(FIN | 0x2, b"");
    client.send_frame(FIN | CLOSE, &close_payload(1003, ""));
    client.read_to_end();
    drop(client);
    gone(46, text_only);
    let mut client = open(47);
    client.send_frame(FIN | 0x2, b"");
    client.end();
    client.read_to_end();
    gone(47, &format!("{text_only}, without an answer"));

    program.kill();
    let rest = program.rest_of_log();
    assert!(!rest.iter().any(|line| line.contains("disconnected")), "{rest:#?}");
}

/// The socket belongs to a process of its own, which is killed: the kernel closes the socket.
#[cfg(unix)]
#[test]
fn client_process_is_killed() {
    beside_neighbours(Options::default(), |server| {
        for number in 0..4 {
            let mut client = server.join(7);
            client.send_text("last words");
            // If the socket has unread input, the kernel resets the connection; otherwise it sends a FIN.
            if number % 2 == 0 {
                client.expect(&says(7, "last words"));
            }
            let mut process = SWITCHBOARD
                .command(&["--port", "0"])
                .stdin(Stdio::from(std::os::fd::OwnedFd::from(client.into_socket())))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // SIGKILL.
            process.kill().unwrap();
            process.wait().unwrap();
        }
    });
}

#[test]
fn stop_closes_every_connection_with_1001() {
    let mut server = Server::start(Options::default());
    let mut clients = [server.join(7), server.join(8), Client::open(server.address, "/echo")];
    server.tell_to_stop();
    for client in &mut clients {
        client.expect_close(1001, "the server is going away");
        client.send_frame(FIN | CLOSE, &close_payload(1001, ""));
        client.expect_end();
        client.end();
    }
    let lasted = server.wait_for_end();
    assert!(lasted < CLOSE_DEADLINE, "{lasted:?}");
}

/// The client reads nothing until the server stops, so the stop interrupts a Pong.
#[test]
fn stop_sends_begun_pongs_then_messages_then_the_close() {
    let mut server = Server::start(Options::default());
    let (mut slow, mut fast) = (server.join(1), server.join(2));
    let pings = from_client(FIN | PING, &[0; 125]).repeat(100);
    while slow.try_send(&pings, Duration::from_secs(1)).is_ok() {}
    fast.send_text("last");
    fast.expect(&says(2, "last"));
    server.tell_to_stop();
    fast.expect_close(1001, "the server is going away");
    let received = slow.read_to_end();
    let close = from_server(FIN | CLOSE, &close_payload(1001, "the server is going away"));
    let (pong, tail) = (from_server(FIN | PONG, &[0; 125]), [says(2, "last"), close].concat());
    let pongs = received.strip_suffix(&*tail).expect("the message, then the Close");
    assert!(pongs == pong.repeat(pongs.len() / pong.len()), "only whole Pongs before the message");
}

#[test]
fn stop_has_a_deadline_for_silent_clients() {
    let mut server = Server::start(Options::default());
    let mut silent = server.join(7);
    let mut half = Client::tcp(server.address);
    half.send("GET / HTTP/1.1\r\n");
    server.tell_to_stop();
    let lasted = server.wait_for_end();
    assert!(lasted < STOP_DEADLINE + Duration::from_secs(1), "{lasted:?}");
    silent.expect_close(1001, "the server is going away");
    silent.expect_end();
}

#[test]
fn stopping_server_accepts_no_connection() {
    let mut server = Server::start(Options::default());
    let mut client = server.join(7);
    server.tell_to_stop();
    client.expect_close(1001, "the server is going away");
    // It now waits for the client's Close.
    assert!(std::net::TcpStream::connect(server.address).is_err());
    client.send_frame(FIN | CLOSE, &close_payload(1001, ""));
    server.wait_for_end();
}
