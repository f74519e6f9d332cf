//! A viewer of `GET /lifecycle`, who reads the events as they stand in the stream.

use crate::support::client::Client;
use std::net::SocketAddr;

pub struct Viewer {
    pub client: Client,
    address: SocketAddr,
    last_id: u64,
}

/// What a viewer gets before all events.
pub const GREETING: &str = ": what happens on this server, step by step\nretry: 2000\n\n";

impl Viewer {
    /// Watches from now on.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let mut viewer = Self::request(address);
        viewer.read_greeting();
        viewer
    }

    /// Asks to watch, and reads nothing yet. In HTTP/1.0 the stream comes as it is, without chunks.
    pub fn request(address: SocketAddr) -> Self {
        let mut client = Client::tcp(address);
        client.send(format!("GET /lifecycle HTTP/1.0\r\nHost: {address}\r\n\r\n"));
        Self { client, address, last_id: 0 }
    }

    #[track_caller]
    pub fn read_greeting(&mut self) {
        assert_eq!(
            self.client.read_head(),
            "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\n\
             connection: close\r\n\r\n"
        );
        assert_eq!(self.raw(), GREETING);
    }

    /// The next event with its empty line, as it stands in the stream.
    pub fn raw(&mut self) -> String {
        let mut event = Vec::new();
        while !event.ends_with(b"\n\n") {
            event.extend(self.client.read_exactly(1));
        }
        String::from_utf8(event).unwrap()
    }

    /// The next event in one line: its name, the line for reading, the step, and the fields that the line does not have.
    pub fn next(&mut self) -> String {
        let raw = self.raw();
        let mut lines = raw.trim_end().lines();
        let mut line =
            |name: &str| lines.next().unwrap().strip_prefix(name).unwrap_or_else(|| panic!("{name:?}: {raw}"));
        if raw.starts_with("event: missed") {
            return raw;
        }
        let id = line("id: ").parse().unwrap();
        assert!(id > self.last_id, "ids count up: {id} after {}", self.last_id);
        self.last_id = id;
        let (phase, told) = (line("event: "), line("data: "));
        let (whose, told) = told.split_once("  ").unwrap();
        let step = line("data: step: ");
        let connection = line("data: connection: ");
        let client = told_client(whose).map(|client| (client, line("data: client: ")));
        assert!(client.is_none_or(|(told, field)| told == field), "{raw}");
        assert!(whose.starts_with(&format!("#{connection} ")), "{raw}");
        assert!(whose.ends_with(&format!(" +{} ms", line("data: ms: "))), "{raw}");
        assert!(told.ends_with(&format!(" ({})", line("data: rfc: "))), "{raw}");
        let fields = lines.map(|line| line.strip_prefix("data: ").unwrap()).collect::<Vec<_>>().join("; ");
        let (whose, _time) = whose.split_once(" +").unwrap();
        self.masked(format!("{phase} {whose} {step}: {told} [{fields}]"))
    }

    /// Reads as many events as there are lines, and compares.
    #[track_caller]
    pub fn expect(&mut self, lines: &str) {
        let lines: Vec<_> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for line in lines {
            assert_eq!(self.next(), line);
        }
    }

    fn masked(&self, mut text: String) -> String {
        text = text.replace(&self.address.to_string(), "HOST");
        for (start, end) in [("date: ", r"\r\n"), (" after ", " ("), ("round-trip: ", "]"), ("seconds: ", "]")] {
            text = cut(text, start, end);
        }
        if let Some((before, after)) = text.split_once(" out, ") {
            let after = after.split_once(" s ").unwrap().1;
            text = format!("{before} out, ... s {after}");
        }
        text
    }
}

fn told_client(whose: &str) -> Option<&str> {
    whose.split_once(" client ").map(|(_, rest)| rest.split(' ').next().unwrap())
}

/// Puts `...` between these two.
fn cut(text: String, start: &str, end: &str) -> String {
    let Some((before, rest)) = text.split_once(start) else { return text };
    let Some((_, after)) = rest.split_once(end) else { return text };
    format!("{before}{start}...{end}{after}")
}
