//! The bound on all unfinished messages together: beyond it, the oldest is given up.

use crate::SWITCHBOARD;
use std::time::Instant;
use test_client::blocking::Client;
use test_client::frame::{
    BINARY, CONTINUATION, FIN, PING, PONG, TEXT, client_header, close, from_client, from_server, ping, says,
};
use test_client::program::Program;
use test_client::server::limits::CLOSE_DEADLINE;
use test_client::server::{Options, Server, max_message_size};

const POLICY: u16 = 1008;

/// The reason of its Close.
const OLDEST: &str = "the server holds too many unfinished messages, this is the oldest, RFC 6455 10.4";

/// With this limit on messages, eight of them are the bound.
const LARGEST: usize = 8 << 20;

/// The length of a client's empty Ping, in bytes.
const PING_LENGTH: usize = 6;

fn options(threads: usize) -> Options {
    Options { threads, spread_after: 0, ..max_message_size(LARGEST) }
}

/// The payload of a fragment that has this length on the wire, with a header for a long payload.
fn payload(length: usize) -> Vec<u8> {
    vec![b'x'; length - client_header(BINARY, length as u64).len()]
}

/// A first fragment of this length, and an empty Ping.
fn begun(first: u8, length: usize) -> Vec<u8> {
    [from_client(first, &payload(length - PING_LENGTH)), ping("")].concat()
}

/// Sends these bytes, which end with an empty Ping, and waits until all have been read.
#[track_caller]
fn send_and_wait(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    client.expect(&from_server(FIN | PONG, b""));
}

/// Eight clients, whose unfinished messages together are just the bound. The first is the oldest and is at `path`.
fn at_the_bound(server: &Server, path: &str) -> (Client, Vec<Client>) {
    let mut oldest = Client::open(server.address, path);
    send_and_wait(&mut oldest, &begun(TEXT, LARGEST - PING_LENGTH));
    let message = begun(BINARY, LARGEST);
    let mut younger: Vec<_> = (0..7).map(|_| Client::open(server.address, "/echo")).collect();
    younger.iter_mut().for_each(|client| send_and_wait(client, &message));
    // It is still there.
    send_and_wait(&mut oldest, &ping(""));
    (oldest, younger)
}

/// The younger can finish their messages.
#[track_caller]
fn finish(younger: Vec<Client>) {
    let expected = from_server(FIN | BINARY, &[&payload(LARGEST - PING_LENGTH)[..], b"!"].concat());
    for mut client in younger {
        client.send_frame(FIN | CONTINUATION, b"!");
        client.expect(&expected);
    }
}

#[test]
fn oldest_message_gets_1008_and_the_younger_are_finished() {
    for (threads, path) in [(1, "/ws/7"), (2, "/echo")] {
        let server = Server::start(options(threads));
        let (mut oldest, younger) = at_the_bound(&server, path);
        let mut last = Client::open(server.address, "/ws/8");
        let message = from_client(FIN | TEXT, b"hello");
        last.send(&message[..1]);
        oldest.expect_close(POLICY, OLDEST);
        oldest.end();
        oldest.expect_end();
        finish(younger);
        last.send(&message[1..]);
        last.expect(&says(8, "hello"));
    }
}

#[test]
fn whole_messages_are_not_counted() {
    let server = Server::start(options(1));
    let (mut oldest, younger) = at_the_bound(&server, "/ws/7");
    let mut last = server.join(8);
    for _ in 0..100 {
        last.send_text("hello");
        last.expect(&says(8, "hello"));
        oldest.expect(&says(8, "hello"));
    }
    finish(younger);
}

/// The server closes, and the client begins a message instead of answering.
#[test]
fn message_after_the_servers_close_counts() {
    let server = Server::start(options(1));
    let mut closing = server.join(8);
    let (mut oldest, younger) = at_the_bound(&server, "/echo");
    closing.send_frame(FIN | BINARY, b"x");
    closing.expect_close_about(1003, "text");
    closing.send([TEXT]);
    oldest.expect_close(POLICY, OLDEST);
    oldest.reset();
    closing.reset();
    finish(younger);
}

#[test]
fn message_after_the_servers_close_is_given_up_too() {
    let server = Server::start(options(1));
    let mut closing = server.join(7);
    let mut younger: Vec<_> = (0..8).map(|_| Client::open(server.address, "/echo")).collect();
    let message = begun(BINARY, LARGEST);
    closing.send_frame(FIN | BINARY, b"x");
    closing.expect_close_about(1003, "text");
    let start = Instant::now();
    closing.send([TEXT]);
    younger.iter_mut().for_each(|client| send_and_wait(client, &message));
    closing.expect_end();
    // Its time is not up yet.
    assert!(start.elapsed() < CLOSE_DEADLINE, "{:?}", start.elapsed());
    closing.reset();
    finish(younger);
}

/// Clients that end in different ways, after their unfinished messages were counted, make room for others.
#[test]
fn ended_connections_are_not_counted() {
    let size = LARGEST.to_string();
    let program = SWITCHBOARD.start(&["--max-message-size", &size, "--max-backlog", &(4 * LARGEST).to_string()]);
    let open = |program: &Program| Client::open(program.address, "/echo");
    let message = begun(BINARY, LARGEST);
    let mut oldest = open(&program);
    send_and_wait(&mut oldest, &begun(BINARY, LARGEST - 4 * PING_LENGTH));
    let mut younger: Vec<_> = (0..7).map(|_| open(&program)).collect();
    younger.iter_mut().for_each(|client| send_and_wait(client, &message));
    let ends: [fn(Client); 4] = [
        |mut client| {
            client.send(close(1000, ""));
            client.read_any_frame();
            client.expect_end();
        },
        Client::reset,
        |mut client| client.end(),
        |mut client| client.send(from_server(FIN | PING, b"")),
    ];
    for end in ends {
        end(younger.remove(0));
        program.log_line("disconnected");
        let mut next = open(&program);
        send_and_wait(&mut next, &message);
        younger.push(next);
        send_and_wait(&mut oldest, &ping(""));
    }
}
