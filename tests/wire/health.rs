//! `switchboard health URL`: the exit status, and the line that says why.

use crate::SWITCHBOARD;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use test_client::blocking::Client;

/// What `health` says about the server at an address.
fn health(address: SocketAddr) -> (Option<i32>, String, String) {
    SWITCHBOARD.run(&["health", &format!("http://{address}/healthz")])
}

/// The server at the address is not healthy, for this reason.
#[track_caller]
fn unhealthy(address: SocketAddr, reason: &str) {
    let (status, stdout, stderr) = health(address);
    assert_eq!((status, &*stdout), (Some(1), ""), "{stderr}");
    assert_eq!(stderr, format!("switchboard: http://{address}/healthz: {reason}\n"));
}

#[test]
fn healthy() {
    let program = SWITCHBOARD.start(&[]);
    assert_eq!(health(program.address), (Some(0), "".into(), "".into()));
}

#[test]
fn full_server() {
    let program = SWITCHBOARD.start(&["--max-connections", "1"]);
    let _client = Client::open(program.address, "/ws/1");
    unhealthy(program.address, "answered \"HTTP/1.1 503 Service Unavailable\", not 200");
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, stdout, stderr) = health(address);
    assert_eq!((status, &*stdout, stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    assert!(stderr.starts_with(&format!("switchboard: http://{address}/healthz: ")), "{stderr}");
}

#[test]
fn server_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    unhealthy(silent.local_addr().unwrap(), "no answer within 3 s");
}

#[test]
fn answers_that_are_not_http() {
    for (answer, reason) in
        [("", "closed without an answer"), ("220 mail\u{1b}\r\n", r#"answered "220 mail\u{1b}", not 200"#)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        unhealthy(address, reason);
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        assert_eq!(server.join().unwrap(), request);
    }
}

#[test]
fn not_a_url() {
    let line = "switchboard: health: \"https://a\" is not a URL such as http://127.0.0.1:8000/healthz\n";
    assert_eq!(SWITCHBOARD.run(&["health", "https://a"]), (Some(1), "".into(), line.into()));
    let line = "switchboard: health: the URL is missing\n";
    assert_eq!(SWITCHBOARD.run(&["health"]), (Some(2), "".into(), line.into()));
    let line = "switchboard: unexpected argument \"b\"; --help lists what there is\n";
    assert_eq!(SWITCHBOARD.run(&["health", "http://a", "b"]), (Some(2), "".into(), line.into()));
}
