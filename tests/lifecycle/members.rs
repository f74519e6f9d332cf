//! `GET /members`: the list of the room's members.

use crate::viewer::{HEAD, read_event};
use std::net::SocketAddr;
use std::time::Instant;
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::server::limits::{LISTED_MEMBERS, MOST_MEMBER_LISTS};
use test_client::server::{Options, Server, lifecycle, threads};

/// Asks for the list. An HTTP/1.0 stream has no chunks.
fn request(address: SocketAddr) -> Client {
    let mut client = Client::tcp(address);
    client.send(format!("GET /members HTTP/1.0\r\nHost: {address}\r\n\r\n"));
    client
}

/// Watches the list.
#[track_caller]
fn watch(address: SocketAddr) -> Client {
    let mut list = request(address);
    assert_eq!(list.read_head(), HEAD);
    list
}

#[test]
fn list_with_each_change() {
    let server = Server::start(lifecycle());
    let mut list = watch(server.address);
    assert_eq!(read_event(&mut list), "data: members: 0\n\n");
    let mut first = server.join(-7);
    assert_eq!(read_event(&mut list), "data: members: 1\ndata: member: 2 -7\n\n");
    first.send_text("a message changes nothing");
    assert_eq!(first.read_text(), "Client #-7 says: a message changes nothing");
    let second = server.join(-7);
    assert_eq!(read_event(&mut list), "data: members: 2\ndata: member: 2 -7\ndata: member: 3 -7\n\n");
    drop(first);
    assert_eq!(read_event(&mut list), "data: members: 1\ndata: member: 3 -7\n\n");
    drop(second);
    assert_eq!(read_event(&mut list), "data: members: 0\n\n");
}

#[test]
fn large_room_is_counted_and_its_first_members_are_listed() {
    let server = Server::start(Options { lifecycle: true, ..threads(2) });
    let members = LISTED_MEMBERS + 5;
    let _clients: Vec<_> = (0..members).map(|_| server.join(1)).collect();
    let list = read_event(&mut watch(server.address));
    let numbers = (1..=LISTED_MEMBERS).map(|number| format!("data: member: {number} 1\n"));
    assert_eq!(list, format!("data: members: {members}\n{}\n", numbers.collect::<String>()));
}

#[test]
fn stream_ends_with_the_server() {
    let mut server = Server::start(lifecycle());
    let mut list = watch(server.address);
    read_event(&mut list);
    server.tell_to_stop();
    assert!(list.read_to_end().is_empty());
}

#[test]
fn nothing_when_the_lifecycle_is_off() {
    let server = Server::start(Options::default());
    let mut client = request(server.address);
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.0 204 No Content\r\n"), "{head}");
    assert!(client.read_to_end().is_empty());
}

#[test]
fn limit_on_viewers() {
    let server = Server::start(lifecycle());
    let mut lists: Vec<_> = (0..MOST_MEMBER_LISTS).map(|_| watch(server.address)).collect();
    let head = request(server.address).read_head();
    assert!(head.starts_with("HTTP/1.0 503 Service Unavailable\r\n"), "{head}");
    lists.pop();
    let start = Instant::now();
    while !request(server.address).read_head().starts_with("HTTP/1.0 200 OK\r\n") {
        server.join(1); // A change is written to all viewers, and fails for one that has left.
        assert!(start.elapsed() < DEADLINE, "a viewer that has left still counts");
    }
}
