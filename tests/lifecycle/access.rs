//! Access to `GET /lifecycle`, and the number of viewers.

use crate::viewer::{GREETING, Viewer};
use std::net::SocketAddr;
use std::time::Instant;
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::server::limits::MOST_VIEWERS;
use test_client::server::{Options, Server, lifecycle};

/// The head and the body of the response to a request.
fn answer(address: SocketAddr, request: &str) -> (String, String) {
    let mut client = Client::tcp(address);
    client.send(request);
    client.end();
    let head = client.read_head();
    (head, String::from_utf8(client.read_to_end()).unwrap())
}

#[test]
fn off_by_default() {
    let server = Server::start(Options::default());
    let (head, text) = answer(server.address, &format!("GET /lifecycle HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    let start = "404 Not Found\n\n\
         fault: the lifecycle is not shown here\n\
         rule:  it is on by default on loopback alone, or with `--lifecycle on`\n\
         sent:  /lifecycle\n";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn methods_other_than_get() {
    let server = Server::start(lifecycle());
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
fn chunked_in_http_1_1() {
    let server = Server::start(lifecycle());
    let mut client = Client::tcp(server.address);
    client.send(format!("GET /lifecycle HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\n\
         connection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(client.read_head(), head);
    let chunk = format!("{:X}\r\n{GREETING}\r\n", GREETING.len());
    assert_eq!(String::from_utf8(client.read_exactly(chunk.len())).unwrap(), chunk);
}

#[test]
fn viewer_limit() {
    let server = Server::start(lifecycle());
    let mut viewers: Vec<_> = (0..MOST_VIEWERS).map(|_| Viewer::open(server.address)).collect();
    let request = format!("GET /lifecycle HTTP/1.0\r\nHost: {}\r\n\r\n", server.address);
    let (head, text) = answer(server.address, &request);
    assert!(head.starts_with("HTTP/1.0 503 Service Unavailable\r\n"), "{head}");
    assert!(text.contains("fault: the maximum number of viewers is reached\n"), "{text}");
    viewers.pop();
    let start = Instant::now();
    loop {
        let mut client = Client::tcp(server.address);
        client.send(&request);
        if client.read_head().starts_with("HTTP/1.0 200 OK\r\n") {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "a viewer that has left still counts");
    }
}
