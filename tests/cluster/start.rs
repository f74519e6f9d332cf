//! A Redis that isn't fit for a room. The program says so in one line, and ends.

use crate::SWITCHBOARD;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::redis::{IN_MEMORY, Redis, free_address};
use crate::resp::{Reply, command};
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use test_client::frame::says;

/// The program exits with this status, and prints one line that has all these parts.
#[track_caller]
fn refuses(url: &str, status: i32, parts: &[&str]) {
    let (code, stdout, stderr) = SWITCHBOARD.run(&["--port", "0", "--redis", url]);
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(status), "", 1), "{url}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{url}: {part:?} is not in {stderr:?}");
    }
}

#[test]
fn malformed_url() {
    for url in ["room", "127.0.0.1:6379", "http://127.0.0.1/room", "redis://127.0.0.1:x/room"] {
        refuses(url, 2, &["switchboard: --redis ", url, "redis://127.0.0.1:6379/room"]);
    }
    for url in ["redis://127.0.0.1", "redis://127.0.0.1/", "redis://127.0.0.1/a/b", "redis://127.0.0.1/a%20b"] {
        refuses(url, 2, &["switchboard: --redis ", url, "name of a room"]);
    }
}

#[test]
fn patience_out_of_range() {
    for seconds in ["0", "-1", "361", "x"] {
        let (code, _, stderr) = SWITCHBOARD.run(&["--redis-patience", seconds]);
        assert_eq!(code, Some(2));
        assert_eq!(stderr, format!("switchboard: --redis-patience {seconds}: must be a number from 1 to 360\n"));
    }
}

#[test]
fn nobody_listens() {
    let address = free_address();
    let url = format!("redis://{address}/room");
    refuses(&url, 1, &[&url, "refused"]);
}

#[test]
fn password() {
    let redis = Redis::start(&["--requirepass", "right"]);
    let shown = format!("redis://{}/room", redis.address);
    let way_out = "redis://USER:PASSWORD@HOST/ROOM";
    refuses(&shown, 1, &[&shown, "NOAUTH", way_out]);
    refuses(&shown.replace("//", "//:wrong@"), 1, &[&shown, "Password authentication failed", way_out]);
    let node = Node::start(&redis.url("room"));
    let mut member = node.join(1);
    member.send_text("hello");
    member.expect(&says(1, "hello"));
}

#[test]
fn replica() {
    let master = Redis::start(IN_MEMORY);
    let port = master.address.port().to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    refuses(&replica.url("room"), 1, &["replica", "master"]);
}

#[test]
fn evicting_policy() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let redis = Redis::start(&["--maxmemory-policy", policy]);
        refuses(&redis.url("room"), 1, &[policy, "CONFIG SET maxmemory-policy noeviction"]);
        redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        Node::start(&redis.url("room"));
    }
}

#[test]
fn older_than_6_2() {
    for (version, is_old) in [("5.0.14", true), ("6.0.16", true), ("6.2.0", false)] {
        let url = format!("redis://{}/room", pretend(version));
        match is_old {
            true => refuses(&url, 1, &[version, "6.2"]),
            false => drop(Node::start(&url)),
        }
    }
}

#[test]
fn server_that_never_answers() {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    proxy.hold();
    refuses(&proxy.url("room"), 1, &["no answer within 3 s"]);
}

#[test]
fn server_that_is_no_redis() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            // The program may be gone.
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    refuses(&format!("redis://{address}/room"), 1, &[&address.to_string()]);
}

/// A server that says it is this version of Redis, and is empty.
fn pretend(version: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            thread::spawn(move || answer(&socket, version));
        }
    });
    address
}

fn answer(mut socket: &TcpStream, version: &str) -> std::io::Result<()> {
    let mut commands = BufReader::new(socket);
    loop {
        let asked = Reply::read(&mut commands)?;
        let reply = match asked.array()[0].text() {
            "CLIENT" => b"+OK\r\n".to_vec(),
            "ROLE" => b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_vec(),
            "EVAL" => b"*2\r\n$-1\r\n$-1\r\n".to_vec(),
            "INFO" => {
                let info = format!("# Server\r\nredis_version:{version}\r\nmaxmemory_policy:noeviction\r\n");
                // The form of a bulk string is that of an argument.
                command(&[info]).split_off("*1\r\n".len())
            }
            other => format!("-ERR unknown command '{other}'\r\n").into_bytes(),
        };
        socket.write_all(&reply)?;
    }
}
