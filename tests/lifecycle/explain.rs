//! `--explain`, from the program, through a pipe: the exact text.
#![cfg(unix)]

use crate::support::DEADLINE;
use crate::support::client::Client;
use crate::support::frame::{CLOSE, FIN, close_payload, says};
use crate::support::program::switchboard;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

/// What the program prints, behind its first line, while this happens to it. Times, dates and the port are masked.
fn explained(happens: impl FnOnce(SocketAddr)) -> String {
    let mut command = switchboard(&["--host", "127.0.0.1", "--port", "0", "--explain"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let port = line.split_once("127.0.0.1:").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    happens(address);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    text.lines().map(|line| masked(line, address) + "\n").collect()
}

fn masked(line: &str, address: SocketAddr) -> String {
    // Where a step begins, a time stands in these columns.
    let time = line.starts_with('#') && line.get(13..15) == Some("ms");
    let line = if time { format!("{}  0.000 ms{}", &line[..5], &line[15..]) } else { line.to_owned() };
    let line = match line.split_once("│ date: ") {
        Some((before, _)) => format!("{before}│ date: ..."),
        None => line,
    };
    let line = match line.split_once(" out, ") {
        Some((before, after)) => format!("{before} out, 0.0{}", &after[3..]),
        None => line,
    };
    match line.split_once(&format!("{:<15}", address.to_string())) {
        Some((before, after)) if time => {
            format!("{before}{:<15}{}", "HOST", &after[..].trim_start_matches(' ')).replace("HOST           ", "HOST ")
        }
        Some((before, after)) => format!("{before}HOST{after}"),
        None => line,
    }
}

#[test]
fn one_connection_reads_from_top_to_bottom() {
    let text = explained(|address| {
        let mut client = Client::open(address, "/ws/42?secret");
        client.send_text("hi, it's \x1b[31m\n\u{202e}");
        client.expect(&says(42, "hi, it's \x1b[31m\n\u{202e}"));
        client.send_frame(FIN | CLOSE, &close_payload(4000, "\x1b]0;"));
        client.expect_close(4000, "\x1b]0;");
        client.expect_end();
    });
    assert_eq!(text, include_str!("one_connection.txt"), "{text}");
}

#[test]
fn hostile_text_never_reaches_the_terminal_as_it_is() {
    let text = explained(|address| {
        let refused = |request: &[u8]| {
            let mut client = Client::tcp(address);
            client.send(request);
            client.end();
            client.read_to_end();
        };
        refused(b"GET /\x1b[31m HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        refused("GET /ws/\u{202e}\u{9b}31m HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".as_bytes());
        refused(b"GET /ws/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: \xc2\x9b31m\r\n\r\n");
        refused(b"GET /ws/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: \xe2\x80\xae\ttab\r\n\r\n");
        refused(b"\x1b[31m / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        refused(b"GET /ws/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: \xe2\x80\xa8\r\n\x1b[2J: x\r\n\r\n");
        // As many lines in one message as it can hold.
        let mut client = Client::open(address, "/echo");
        client.send_frame(0x82, &[0x0a, 0x0d, 0x1b, 0x07, 0x08, 0xc2, 0x9b, 0x7f]);
        client.read_frame();
        client.send_frame(FIN | CLOSE, &close_payload(1000, "\r\x1b[2J\u{2028}\u{202e}"));
        client.read_to_end();
    });
    let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
    assert!(text.chars().all(harmless), "{text:?}");
    assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("──")), "{text}");
    assert!(text.contains("31m"), "it is shown, escaped: {text}");
}

#[test]
fn it_ends_in_time_when_nobody_reads() {
    let mut command = switchboard(&["--host", "127.0.0.1", "--port", "0", "--explain"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let port: u16 = line.split_once("127.0.0.1:").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    // Whoever reads no more holds up nobody.
    let mut client = Client::open((Ipv4Addr::LOCALHOST, port).into(), "/ws/1");
    client.send_text("hi");
    client.expect(&says(1, "hi"));
    drop(client);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let start = std::time::Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(start.elapsed() < DEADLINE);
}
