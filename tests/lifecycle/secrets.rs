//! What never gets into a step: cookies, credentials, queries, addresses of clients.

use crate::steps::watched;
use crate::support::client::{Client, opening};
use crate::viewer::Viewer;
use std::net::SocketAddr;

const SECRET: &str = "s3cret";

/// The opening handshake with one more line, or with another target.
fn with(address: SocketAddr, line: &str) -> String {
    opening(address, "/ws/1").replace("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\n{line}\r\n"))
}

#[test]
fn secrets_and_addresses_are_in_no_step() {
    let server = watched();
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
        // Lines that are no header field, or not quite.
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
            client.socket().local_addr().unwrap().to_string()
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
