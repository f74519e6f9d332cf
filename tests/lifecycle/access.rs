//! Who may watch, and how many.

use crate::steps::watched;
use crate::support::DEADLINE;
use crate::support::client::Client;
use crate::support::server::Server;
use crate::viewer::{GREETING, Viewer};
use std::net::SocketAddr;
use std::time::Instant;
use switchboard::limits::MOST_VIEWERS;
use switchboard::server::Options;

/// The head and the text that a request gets.
fn answer(address: SocketAddr, request: &str) -> (String, String) {
    let mut client = Client::tcp(address);
    client.send(request);
    let head = client.read_head();
    (head, String::from_utf8(client.read_to_end()).unwrap())
}

#[test]
fn it_is_off_unless_it_is_turned_on() {
    let server = Server::start(Options::default());
    let (head, text) = answer(server.address, &format!("GET /lifecycle HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    let told = "404 Not Found\n\n\
         fault: the lifecycle is not shown here\n\
         rule:  it is where all addresses listened on are loopback, or with `--lifecycle on`\n\
         sent:  /lifecycle\n";
    assert!(text.starts_with(told), "{text}");
}

#[test]
fn it_is_only_got() {
    let server = watched();
    for (method, body) in [("HEAD", false), ("POST", true), ("DELETE", true)] {
        let request = format!("{method} /lifecycle HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        let (head, text) = answer(server.address, &request);
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
        assert!(head.contains("\r\nallow: GET\r\n"), "{head}");
        assert_eq!(text.contains(&format!("sent:  {method}\n")), body, "{text}");
    }
    let (head, _) = answer(server.address, "GET /lifecycle HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
}

#[test]
fn in_http_1_1_it_comes_in_chunks() {
    let server = watched();
    let mut client = Client::tcp(server.address);
    client.send(format!("GET /lifecycle HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(client.read_head(), head);
    let chunk = format!("{:X}\r\n{GREETING}\r\n", GREETING.len());
    assert_eq!(String::from_utf8(client.read_exactly(chunk.len())).unwrap(), chunk);
}

#[test]
fn so_many_may_watch_and_who_goes_makes_room() {
    let server = watched();
    let mut viewers: Vec<_> = (0..MOST_VIEWERS).map(|_| Viewer::open(server.address)).collect();
    let request = format!("GET /lifecycle HTTP/1.0\r\nHost: {}\r\n\r\n", server.address);
    let (head, text) = answer(server.address, &request);
    assert!(head.starts_with("HTTP/1.0 503 Service Unavailable\r\n"), "{head}");
    assert!(text.contains("fault: enough are watching\n"), "{text}");
    viewers.pop();
    let start = Instant::now();
    loop {
        let mut client = Client::tcp(server.address);
        client.send(&request);
        if client.read_head().starts_with("HTTP/1.0 200 OK\r\n") {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "the viewer that is gone still counts");
    }
}
