//! `--explain`: the exact text that the program writes to a pipe.
#![cfg(unix)]

use crate::SWITCHBOARD;
use std::net::SocketAddr;
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::frame::{CLOSE, FIN, close_payload, says};

/// The program's output after its first line, while `script` runs. Times, dates and the port are masked.
fn explained(script: impl FnOnce(SocketAddr)) -> String {
    let mut program = SWITCHBOARD.start(&["--explain"]);
    script(program.address);
    program.terminate();
    let text = program.rest_of_output();
    assert!(program.wait(DEADLINE).0.success());
    text.lines().map(|line| masked(line, program.address) + "\n").collect()
}

fn masked(line: &str, address: SocketAddr) -> String {
    // The first line of a step has a time in these columns.
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
fn whole_connection() {
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
fn hostile_text_is_escaped() {
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
        // Control characters in messages.
        let mut client = Client::open(address, "/echo");
        client.send_frame(0x82, &[0x0a, 0x0d, 0x1b, 0x07, 0x08, 0xc2, 0x9b, 0x7f]);
        client.read_frame();
        client.send_frame(FIN | CLOSE, &close_payload(1000, "\r\x1b[2J\u{2028}\u{202e}"));
        client.read_to_end();
    });
    let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
    assert!(text.chars().all(harmless), "{text:?}");
    assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("──")), "{text}");
    assert!(text.contains("31m"), "not shown at all: {text}");
}

#[test]
fn closed_output_does_not_delay_the_end() {
    let mut program = SWITCHBOARD.start(&["--explain"]);
    program.close_output();
    let mut client = Client::open(program.address, "/ws/1");
    client.send_text("hi");
    client.expect(&says(1, "hi"));
    drop(client);
    program.terminate();
    assert!(program.wait(DEADLINE).0.success());
}
