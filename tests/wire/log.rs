//! The log: what is bounded, and what is told of the rest. A terminal that nobody reads holds nobody up.

use crate::SWITCHBOARD;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
#[cfg(target_os = "linux")]
use test_client::metrics::Metrics;
use test_client::program::Program;
use test_client::request::Request;
#[cfg(target_os = "linux")]
use test_client::request::opening;
use test_client::server::limits::stop::STOP_DEADLINE;
use test_client::server::limits::{LOG_LINES_PER_SECOND, TICK};

/// Sends a request, and reads the response to its end.
fn request(program: &Program, request: &str) {
    let mut client = Client::tcp(program.address);
    client.send(format!("{request}Host: {}\r\nConnection: close\r\n\r\n", program.address));
    client.read_to_end();
}

#[test]
fn each_kind_of_line_has_its_own_bound() {
    let program = SWITCHBOARD.start(&[]);
    for _ in 0..200 {
        request(&program, "GET /nothing HTTP/1.1\r\n");
    }
    request(&program, "POST / HTTP/1.1\r\nContent-Length: 0\r\n");
    program.log_line(": POST / 405 ");
}

/// How many lines of each kind are shown and left out, until there are `all` of both.
#[track_caller]
fn lines(program: &Program, shown: &str, left_out: &str, all: u32) -> u32 {
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < all {
        let line = program.log_line("");
        if line.contains(shown) {
            seen += 1;
        } else if let Some((_, rest)) = line.split_once("left out ") {
            let (count, kind) = rest.split_once(" lines: ").unwrap();
            missed += if kind == left_out { count.parse::<u32>().unwrap() } else { 0 };
        }
    }
    assert_eq!(seen + missed, all);
    seen
}

/// No line comes after them, so the count of what was left out comes by itself.
#[test]
fn lines_left_out_are_counted_within_a_second() {
    const REQUESTS: u32 = 200;
    for (head, shown, left_out) in [
        ("GET / HTTP/1.1\r\n", ": GET / 200 OK", "requests answered with 200 OK"),
        ("GET /nothing HTTP/1.1\r\n", ": GET /nothing 404", "requests answered with 404 Not Found"),
        ("GET /echo HTTP/1.1\r\n", ": GET /echo 426", "requests answered with 426 Upgrade Required"),
    ] {
        let program = SWITCHBOARD.start(&[]);
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            request(&program, head);
        }
        let seconds = u32::try_from(begun.elapsed().as_secs()).unwrap() + 2;
        let ended = Instant::now();
        let seen = lines(&program, shown, left_out, REQUESTS);
        assert!(seen <= seconds * LOG_LINES_PER_SECOND, "{seen} lines in {seconds} seconds");
        assert!(ended.elapsed() < TICK + Duration::from_secs(1), "{:?}", ended.elapsed());
    }
}

/// The request and the reset are there before the server reads.
#[cfg(target_os = "linux")]
#[test]
fn response_101_that_cannot_be_written_is_told() {
    let program = SWITCHBOARD.start(&[]);
    program.pause();
    let mut client = Client::tcp(program.address);
    client.send(opening(program.address, "/ws/7"));
    client.reset();
    program.resume();
    program.log_line(": WebSocket /ws/7 accepted");
    let line = program.log_line(": the 101 could not be written: ");
    assert!(line.starts_with("INFO  connection 1, 127.0.0.1:"), "{line}");
    let metrics = Metrics::get(program.address);
    assert_eq!(metrics.value("members", ""), Some(0.0));
    assert_eq!(metrics.value("ends_without_close_total", r#"reason="socket_failed""#), Some(1.0));
}

#[test]
fn endings_are_bounded_too() {
    const CONNECTIONS: u32 = 200;
    let program = SWITCHBOARD.start(&[]);
    let begun = Instant::now();
    for _ in 0..CONNECTIONS {
        Client::open(program.address, "/ws/1").end();
    }
    let seen = lines(&program, ": end of stream without", "ends of stream without a Close frame", CONNECTIONS);
    let seconds = u32::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    assert!(seen <= seconds * LOG_LINES_PER_SECOND, "{seen} lines in {seconds} seconds");
}

#[cfg(unix)]
mod unread {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::Stdio;
    use std::thread;
    use test_client::DEADLINE;
    use test_client::frame::{CLOSE, FIN, PONG, close_payload, from_server, ping, says};
    use test_client::metrics::Metrics;

    /// Three seconds, plus a margin for a busy machine.
    const IN_TIME: Duration = Duration::from_millis(3500);

    /// An output that takes nothing, and the end that would have to be read.
    fn full() -> (UnixStream, UnixStream) {
        let (mut full, unread) = UnixStream::pair().unwrap();
        full.set_nonblocking(true).unwrap();
        for filler in [[b'.'; 1000].as_slice(), b"."] {
            while full.write(filler).is_ok() {}
        }
        full.set_nonblocking(false).unwrap();
        (full, unread)
    }

    /// The program, with a standard error that takes nothing, and the end that would have to be read.
    fn with_full_stderr(arguments: &[&str]) -> (Program, UnixStream) {
        let (full, unread) = full();
        let arguments = [&["--host", "127.0.0.1", "--port", "0"], arguments].concat();
        let mut command = SWITCHBOARD.command(&arguments);
        let program = Program::spawn(command.stderr(Stdio::from(OwnedFd::from(full)))).unwrap();
        (program, unread)
    }

    /// The program, with more steps to show than a pipe takes, and nobody who reads them. Its client is still connected.
    fn with_full_stdout() -> (Program, Client) {
        let program = SWITCHBOARD.start(&["--explain"]);
        let mut client = Client::open(program.address, "/ws/1");
        for _ in 0..500 {
            client.send_text("hi");
            client.expect(&says(1, "hi"));
        }
        (program, client)
    }

    #[test]
    fn log_does_not_stop_the_chat_nor_the_end() {
        let (mut program, _unread) = with_full_stderr(&[]);
        let mut clients = [1, 2].map(|id| Client::open(program.address, &format!("/ws/{id}")));
        clients[0].send_text("hi");
        for client in &mut clients {
            client.expect(&says(1, "hi"));
        }
        program.terminate();
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
    }

    #[test]
    fn log_is_complete_when_it_is_read_late() {
        let (mut program, mut unread) = with_full_stderr(&[]);
        for id in 0..10 {
            drop(Client::open(program.address, &format!("/ws/{id}")));
        }
        unread.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut log = BufReader::new(&mut unread).lines().map(Result::unwrap);
        for id in 0..10 {
            let accepted = log.find(|line| line.contains(" accepted")).unwrap();
            assert!(accepted.ends_with(&format!(": WebSocket /ws/{id} accepted")), "{accepted}");
        }
        program.terminate();
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
    }

    /// What libraries log at this level has no other bound.
    #[test]
    fn lines_that_nobody_reads_are_counted() {
        let mut command = SWITCHBOARD.command(&["--host", "127.0.0.1", "--port", "0"]);
        let (stderr, _unread) = full();
        command.env("RUST_LOG", "trace").stderr(Stdio::from(OwnedFd::from(stderr)));
        let program = Program::spawn(&mut command).unwrap();
        let mut client = Client::open(program.address, "/echo");
        let left_out =
            || Metrics::get(program.address).value("log_lines_left_out_total", r#"reason="unread""#).unwrap();
        assert_eq!(left_out(), 0.0);
        let begun = Instant::now();
        while left_out() == 0.0 {
            client.send(ping("?").repeat(100));
            (0..100).for_each(|_| client.expect(&from_server(FIN | PONG, b"?")));
            assert!(begun.elapsed() < DEADLINE);
        }
    }

    /// A client that stays would delay the end.
    fn second_signal_ends_at_once(mut program: Program) {
        let _stays = Client::open(program.address, "/ws/2");
        program.terminate();
        // The same signal could arrive as one.
        program.interrupt();
        assert_eq!(program.wait(Duration::from_millis(1500)).0.code(), Some(1));
    }

    #[test]
    fn second_signal_with_a_log() {
        let (program, _unread) = with_full_stderr(&[]);
        second_signal_ends_at_once(program);
    }

    #[test]
    fn second_signal_with_explain() {
        second_signal_ends_at_once(with_full_stdout().0);
    }

    /// All connections have ended then, and the last steps are waited for.
    #[test]
    fn second_signal_with_explain_alone() {
        let (mut program, mut client) = with_full_stdout();
        program.terminate();
        client.expect_close_about(1001, "going away");
        client.send_frame(FIN | CLOSE, &close_payload(1001, ""));
        client.expect_end();
        drop(client);
        program.log_line("Client #1 disconnected");
        program.interrupt();
        assert_eq!(program.wait(Duration::from_millis(1500)).0.code(), Some(1));
    }

    #[test]
    fn explain_does_not_stop_the_end() {
        let (mut program, client) = with_full_stdout();
        drop(client);
        program.terminate();
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
    }

    #[test]
    fn both_do_not_stop_the_end() {
        let (mut program, _unread) = with_full_stderr(&["--explain"]);
        let _stays = Client::open(program.address, "/ws/2");
        program.terminate();
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
    }

    /// The log of a program that ends at once is written before it ends.
    #[test]
    fn last_lines_are_written() {
        let mut program = SWITCHBOARD.start(&[]);
        drop(Client::open(program.address, "/ws/2"));
        let stays = Client::open(program.address, "/ws/3");
        program.terminate();
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
        let log = program.rest_of_log();
        for id in [2, 3] {
            assert!(log.iter().any(|line| line.contains(&format!("Client #{id} disconnected"))), "{log:#?}");
        }
        drop(stays);
    }

    /// The time for the last lines begins after the drain.
    #[test]
    fn last_lines_are_written_after_a_drain_that_is_longer_than_a_stop() {
        let drain = STOP_DEADLINE + Duration::from_secs(1);
        let (mut program, mut unread) = with_full_stderr(&["--drain", &drain.as_secs().to_string()]);
        let clients = [1, 2, 3, 4, 5].map(|id| Client::open(program.address, &format!("/ws/{id}")));
        let start = Instant::now();
        program.terminate();
        // The last is closed after four fifths of the drain.
        clients.into_iter().for_each(|mut client| client.expect_close(1012, "the server is restarting"));
        // Without the drain's time, it would be too late now, and the program would end meanwhile.
        assert!(start.elapsed() > STOP_DEADLINE);
        thread::sleep(STOP_DEADLINE / 6);
        unread.set_read_timeout(Some(DEADLINE)).unwrap();
        let log = BufReader::new(&mut unread).lines().map(Result::unwrap);
        assert_eq!(log.filter(|line| line.contains(" disconnected: ")).count(), 5);
        assert_eq!(program.wait(IN_TIME).0.code(), Some(0));
    }

    #[test]
    fn closed_log_does_not_stop_the_chat() {
        let (program, unread) = with_full_stderr(&[]);
        drop(unread);
        let mut client = Client::open(program.address, "/ws/2");
        client.send_text("hi");
        client.expect(&says(2, "hi"));
    }
}

#[test]
fn client_behind_a_trusted_proxy_is_named() {
    let program = SWITCHBOARD.start(&["--trust-proxy", "127.0.0.1"]);
    let request = |path: &str| Request::opening("localhost", path).with("X-Forwarded-For", "6.6.6.6, 203.0.113.9");
    for (path, says) in [("/ws/1", "WebSocket /ws/1 accepted"), ("/ws/x", "GET /ws/x 400 Bad Request: ")] {
        let mut client = Client::tcp(program.address);
        client.send(request(path).bytes());
        let line = program.log_line(says);
        let peer = client.local_addr();
        assert!(line.contains(&format!(", 203.0.113.9 through {peer}: {says}")), "{line}");
    }
    let unbelieving = SWITCHBOARD.start(&[]);
    let mut client = Client::tcp(unbelieving.address);
    client.send(request("/ws/1").bytes());
    let line = unbelieving.log_line(": ");
    assert_eq!(line, format!("INFO  connection 1, {}: WebSocket /ws/1 accepted", client.local_addr()));
}
