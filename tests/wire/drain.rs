//! `--drain`: the stop that closes the clients one after the other.

#![cfg(unix)]

use crate::SWITCHBOARD;
use std::time::{Duration, Instant};
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::frame::{CLOSE, FIN, close_payload, says};
use test_client::program::Program;
use test_client::request::Request;

/// Clients in the room.
const CLIENTS: i64 = 10;

fn join(program: &Program) -> Vec<Client> {
    (1..=CLIENTS).map(|id| Client::open(program.address, &format!("/ws/{id}"))).collect()
}

/// The status line of the response to a request for this path.
fn status(program: &Program, path: &str) -> String {
    let mut client = Client::tcp(program.address);
    client.send(Request::opening("localhost", path).without("Upgrade").without("Connection").bytes());
    let head = client.read_head();
    head.lines().next().expect("a status line").to_owned()
}

#[test]
fn clients_are_closed_one_after_the_other() {
    let mut program = SWITCHBOARD.start(&["--drain", "1"]);
    let clients = join(&program);
    let start = Instant::now();
    program.terminate();
    assert_eq!(program.log_line("draining"), "INFO  draining: closing 10 connections over 1 s");
    let closings = clients.into_iter().map(|mut client| {
        std::thread::spawn(move || {
            client.expect_close(1012, "the server is restarting");
            let after = start.elapsed();
            client.send_frame(FIN | CLOSE, &close_payload(1012, ""));
            client.expect_end();
            after
        })
    });
    let closings: Vec<_> = closings.collect();
    let mut after: Vec<_> = closings.into_iter().map(|closing| closing.join().expect("it is closed")).collect();
    after.sort();
    // The last tenth of them is closed in the last tenth of the time.
    assert!(after.last() > Some(&Duration::from_millis(900)), "{after:?}");
    assert_eq!(program.wait(DEADLINE).0.code(), Some(0));
    let log = program.rest_of_log();
    assert!(log.iter().all(|line| line.starts_with("INFO ")), "{log:#?}");
    assert_eq!(log.iter().filter(|line| line.contains("disconnected: ")).count(), 10, "{log:#?}");
}

#[test]
fn requests_get_503_and_members_chat_during_a_drain() {
    let mut program = SWITCHBOARD.start(&["--drain", "60"]);
    let mut clients = join(&program);
    program.terminate();
    program.log_line("draining");
    for path in ["/healthz", "/", "/ws/9"] {
        assert_eq!(status(&program, path), "HTTP/1.1 503 Service Unavailable", "{path}");
    }
    // The last one is closed last.
    let last = clients.last_mut().expect("ten clients");
    last.send_text("still here");
    last.expect(&says(CLIENTS, "still here"));
    // A second signal ends the drain.
    program.terminate();
    assert_eq!(program.wait(DEADLINE).0.code(), Some(1));
}

#[test]
fn drain_of_an_empty_room_ends_at_once() {
    let mut program = SWITCHBOARD.start(&["--drain", "3600"]);
    program.terminate();
    assert_eq!(program.wait(DEADLINE).0.code(), Some(0));
}
