//! Several requests on one connection, the bounds of that, and an upgrade as a later request.

use crate::SWITCHBOARD;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
use test_client::frame::{says, text};
use test_client::request::{opening, switching_protocols};
use test_client::server::limits::{CLOSE_DEADLINE, FULL_ANSWERS, MAX_REQUESTS, REQUEST_DEADLINE};
use test_client::server::{Limits, Options, PAGE, Server, beside_neighbours};

/// A request for this path.
fn get(server: &Server, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address)
}

/// Reads a whole response, and returns its status and whether it is the last of its connection.
#[track_caller]
fn read_response(client: &mut Client, with_body: bool) -> (u16, bool) {
    let head = client.read_head();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    if with_body {
        client.read_exactly(length.unwrap().parse().unwrap());
    }
    (status, head.contains("\r\nconnection: close\r\n") || head.contains(", close\r\n"))
}

#[test]
fn requests_one_after_another() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/healthz", 200),
        ("POST", "/", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/ws/abc", 400),
        ("GET", "/lifecycle", 404),
        ("GET", "/healthz", 200),
    ] {
        client.send(get(&server, path).replacen("GET", method, 1));
        assert_eq!(read_response(&mut client, method != "HEAD"), (status, false), "{method} {path}");
    }
}

#[test]
fn last_request_is_the_clients_choice() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    client.send(get(&server, "/healthz").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert_eq!(read_response(&mut client, true), (200, true));
    client.expect_end();
}

#[test]
fn connection_ends_with_its_last_request() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    for number in 1..=MAX_REQUESTS {
        client.send(get(&server, "/healthz"));
        assert_eq!(read_response(&mut client, true), (200, number == MAX_REQUESTS), "{number}");
    }
    client.expect_end();
}

#[test]
fn requests_in_one_packet_are_answered_in_order_before_the_upgrade() {
    beside_neighbours(Options::default(), |server| {
        let requests = [get(server, "/"), get(server, "/nowhere"), get(server, "/healthz")].concat();
        let mut client = Client::tcp(server.address);
        client.send([requests.as_bytes(), opening(server.address, "/ws/7").as_bytes(), &text("early")].concat());
        assert!(client.read_head().contains(&format!("content-length: {}\r\n", PAGE.len())));
        assert_eq!(client.read_exactly(PAGE.len()), PAGE.as_bytes());
        assert_eq!(read_response(&mut client, true), (404, false));
        assert_eq!(read_response(&mut client, true), (200, false));
        assert_eq!(client.read_head(), switching_protocols());
        client.expect(&says(7, "early"));
    });
}

#[test]
fn upgrade_after_other_requests() {
    let server = Server::start(Options::default());
    for path in ["/echo", "/ws/7"] {
        let mut client = Client::tcp(server.address);
        client.send(get(&server, "/healthz"));
        assert_eq!(read_response(&mut client, true), (200, false));
        let opening = opening(server.address, path);
        let (begun, rest) = opening.split_at(20);
        client.send([get(&server, "/healthz").as_str(), begun].concat());
        assert_eq!(read_response(&mut client, true), (200, false));
        client.send([rest.as_bytes(), &text("early")].concat());
        assert_eq!(client.read_head(), switching_protocols());
        let expected = if path == "/echo" { test_client::frame::from_server(0x81, b"early") } else { says(7, "early") };
        client.expect(&expected);
    }
}

#[test]
fn upgrade_may_be_the_last_request() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    for _ in 1..MAX_REQUESTS {
        client.send(get(&server, "/healthz"));
        assert_eq!(read_response(&mut client, true), (200, false));
    }
    client.shake_hands("/ws/7");
    client.send_text("in");
    client.expect(&says(7, "in"));
}

/// A connection has one name, so that its messages can't get that of an earlier request.
#[test]
fn refused_handshake_ends_the_connection() {
    let server = Server::start(Options::default());
    for path in ["/ws/7", "/echo"] {
        let mut client = Client::tcp(server.address);
        client.send([get(&server, path), opening(server.address, "/ws/8")].concat());
        assert_eq!(read_response(&mut client, true), (426, true));
        client.expect_end();
    }
}

#[test]
fn body_ends_the_connection() {
    let server = Server::start(Options::default());
    let length = "Content-Length: 5\r\n\r\nhello";
    for body in [length, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let mut client = Client::tcp(server.address);
        let request = get(&server, "/healthz");
        client.send([request.replacen("\r\n\r\n", &format!("\r\n{body}"), 1), request].concat());
        assert_eq!(read_response(&mut client, true), (200, true));
        client.expect_end();
    }
    let mut client = Client::tcp(server.address);
    client.send(get(&server, "/healthz").replacen("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n", 1));
    assert_eq!(read_response(&mut client, true), (200, false));
}

#[test]
fn full_server_closes() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let mut idle = Client::tcp(server.address);
    idle.send(get(&server, "/healthz"));
    assert_eq!(read_response(&mut idle, true), (200, false));
    // The idle connection has the only place.
    let mut late = Client::tcp(server.address);
    late.send(get(&server, "/healthz").repeat(2));
    assert_eq!(read_response(&mut late, true), (503, true));
    late.expect_end();
}

#[test]
fn full_server_answers_only_some_at_a_time() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let _member = server.join(1);
    // They send nothing, so they keep their places.
    let mut silent: Vec<_> = (0..FULL_ANSWERS).map(|_| Client::tcp(server.address)).collect();
    // The server accepts in order, so this one comes after them.
    Client::tcp(server.address).expect_end();
    let last = silent.last_mut().unwrap();
    last.send(get(&server, "/healthz"));
    assert_eq!(read_response(last, true), (503, true));
}

#[test]
fn malformed_request_after_another() {
    let server = Server::start(Options::default());
    let mut client = Client::tcp(server.address);
    client.send(get(&server, "/healthz") + "garbage\r\n\r\n");
    assert_eq!(read_response(&mut client, true), (200, false));
    assert_eq!(client.read_head(), "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    client.expect_end();
}

#[test]
fn idle_connection_is_closed_after_10_s() {
    let program = SWITCHBOARD.start(&[]);
    let get = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", program.address);
    let pace = Duration::from_secs(1);
    let [mut idle, mut half] = [0, 1].map(|_| Client::tcp(program.address));
    // The time begins anew after each response.
    for client in [&mut idle, &mut half] {
        client.send(&get);
        read_response(client, true);
    }
    assert!(!idle.poll_input(pace * 2), "closed too early");
    for client in [&mut idle, &mut half] {
        client.send(&get);
        read_response(client, true);
    }
    half.send("GET /healthz HTTP/1.1\r\n");
    let start = Instant::now();
    for client in [&mut idle, &mut half] {
        assert!(client.try_end(REQUEST_DEADLINE + pace * 2).is_some(), "still open");
        assert!(start.elapsed() > REQUEST_DEADLINE - pace, "closed after {:?}", start.elapsed());
    }
    // An idle client is no fault; half a request is one.
    let line = program.log_line("timeout");
    assert!(line.contains(&half.local_addr().to_string()), "{line}");
}

#[test]
fn stop_waits_for_responses_alone() {
    let mut server = Server::start(Options::default());
    let get = get(&server, "/healthz");
    let mut half = Client::tcp(server.address);
    half.send(&get[..20]);
    let [mut idle, mut half_later] = [0, 1].map(|_| Client::tcp(server.address));
    for client in [&mut idle, &mut half_later] {
        client.send(&get);
        assert_eq!(read_response(client, true), (200, false));
    }
    half_later.send(&get[..20]);
    server.tell_to_stop();
    let lasted = server.wait_for_end();
    assert!(lasted < CLOSE_DEADLINE / 2, "{lasted:?}");
    for client in [&mut half, &mut idle, &mut half_later] {
        client.try_end(CLOSE_DEADLINE).unwrap();
    }
}
