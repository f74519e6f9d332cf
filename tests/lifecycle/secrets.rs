//! Steps never contain cookies, credentials, queries, or client addresses.

use crate::viewer::Viewer;
use std::net::SocketAddr;
use test_client::blocking::Client;
use test_client::request::opening;
use test_client::server::{Server, lifecycle};

const SECRET: &str = "s3cret";

/// The opening handshake with one more line.
fn with(address: SocketAddr, line: &str) -> String {
    opening(address, "/ws/1").replace("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\n{line}\r\n"))
}

#[test]
fn no_step_contains_a_secret_or_an_address() {
    let server = Server::start(lifecycle());
    let address = server.address;
    let mut viewer = Viewer::open(address);
    let mut requests: Vec<_> = [
        "Cookie: a=s3cret",
        "COOKIE: a=s3cret",
        "cookie:a=s3cret",
        "Authorization: Basic s3cret",
        "aUTHORIZATION: Bearer s3cret",
        "Proxy-Authorization: Basic s3cret",
        "X-Forwarded-For: s3cret",
        "Forwarded: for=s3cret",
        "X-Real-IP: s3cret",
        "X-Api-Key: s3cret",
        "Referer: http://s3cret/",
        "User-Agent: s3cret",
        "Sec-WebSocket-Protocol: bearer.s3cret",
        // Lines that are invalid header fields.
        "Cookie : a=s3cret",
        "Cookie: a\r\n s3cret",
        "Upgrade: h2c\r\n\tHost: s3cret",
        " s3cret",
        ": s3cret",
        "s3cret",
        "Host s3cret",
    ]
    .map(|line| with(address, line))
    .into();
    for target in [
        "/ws/1?token=s3cret",
        "/ws/1?s3cret?s3cret",
        "/?s3cret",
        "/nowhere?s3cret",
        "http://u:s3cret@h/ws/1",
        "/#s3cret",
    ] {
        requests.push(opening(address, target));
        requests.push(opening(address, target).replace("Key: ", "Key: x"));
    }
    let own: Vec<_> = requests
        .iter()
        .map(|request| {
            let mut client = Client::tcp(address);
            client.send(request);
            client.end();
            client.read_to_end();
            client.local_addr().to_string()
        })
        .collect();
    let mut ends = 0;
    while ends < requests.len() {
        let event = viewer.raw();
        assert!(!event.contains(SECRET), "{event}");
        assert!(!own.iter().any(|address| event.contains(address)), "{event}");
        ends += usize::from(event.contains("\ndata: step: tcp-closed\n"));
    }
}
