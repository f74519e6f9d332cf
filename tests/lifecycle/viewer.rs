//! A viewer of `GET /lifecycle`, which reads the events exactly as sent.

use std::net::SocketAddr;
use test_client::blocking::Client;

pub struct Viewer {
    pub client: Client,
    address: SocketAddr,
    last_id: u64,
}

/// The start of the stream, before all events.
pub const GREETING: &str = ": what happens on this server, step by step\nretry: 2000\n\n";

/// The head of the response to an HTTP/1.0 request.
pub const HEAD: &str = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\n\
    connection: close\r\n\r\n";

/// Reads an event, exactly as sent, with its empty line.
pub fn read_event(client: &mut Client) -> String {
    let mut event = Vec::new();
    while !event.ends_with(b"\n\n") {
        event.extend(client.read_exactly(1));
    }
    String::from_utf8(event).unwrap()
}

impl Viewer {
    /// Starts watching.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let mut viewer = Self::request(address);
        viewer.read_greeting();
        viewer
    }

    /// Asks to watch, and reads nothing yet. An HTTP/1.0 stream has no chunks.
    pub fn request(address: SocketAddr) -> Self {
        let mut client = Client::tcp(address);
        client.send(format!("GET /lifecycle HTTP/1.0\r\nHost: {address}\r\n\r\n"));
        Self { client, address, last_id: 0 }
    }

    #[track_caller]
    pub fn read_greeting(&mut self) {
        assert_eq!(self.client.read_head(), HEAD);
        assert_eq!(self.raw(), GREETING);
    }

    /// Reads the next event, exactly as sent, with its empty line.
    pub fn raw(&mut self) -> String {
        read_event(&mut self.client)
    }

    /// Reads the next event, in one line: phase, connection, step, headline, and the remaining fields.
    pub fn next(&mut self) -> String {
        let raw = self.raw();
        let mut lines = raw.trim_end().lines();
        let mut line =
            |name: &str| lines.next().unwrap().strip_prefix(name).unwrap_or_else(|| panic!("{name:?}: {raw}"));
        if raw.starts_with("event: missed") {
            return raw;
        }
        let id = line("id: ").parse().unwrap();
        assert!(id > self.last_id, "ids must increase: {id} after {}", self.last_id);
        self.last_id = id;
        let (phase, headline) = (line("event: "), line("data: "));
        let (whose, headline) = headline.split_once("  ").unwrap();
        let step = line("data: step: ");
        let connection = line("data: connection: ");
        let client = client_id(whose).map(|client| (client, line("data: client: ")));
        assert!(client.is_none_or(|(shown, field)| shown == field), "{raw}");
        assert!(whose.starts_with(&format!("#{connection} ")), "{raw}");
        assert!(whose.ends_with(&format!(" +{} ms", line("data: ms: "))), "{raw}");
        assert!(headline.ends_with(&format!(" ({})", line("data: rfc: "))), "{raw}");
        let fields = lines.map(|line| line.strip_prefix("data: ").unwrap()).collect::<Vec<_>>().join("; ");
        let (whose, _time) = whose.split_once(" +").unwrap();
        self.masked(format!("{phase} {whose} {step}: {headline} [{fields}]"))
    }

    /// Reads as many events as `lines` has lines, and compares them.
    #[track_caller]
    pub fn expect(&mut self, lines: &str) {
        let lines: Vec<_> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        for line in lines {
            assert_eq!(self.next(), line);
        }
    }

    fn masked(&self, mut text: String) -> String {
        text = text.replace(&self.address.to_string(), "HOST");
        for (start, end) in [
            ("content-length: ", r"\r\n"),
            ("date: ", r"\r\n"),
            (" after ", " ("),
            ("round-trip: ", "]"),
            ("seconds: ", "]"),
        ] {
            text = cut(text, start, end);
        }
        if let Some((before, after)) = text.split_once(" out, ") {
            let after = after.split_once(" s ").unwrap().1;
            text = format!("{before} out, ... s {after}");
        }
        text
    }
}

fn client_id(whose: &str) -> Option<&str> {
    whose.split_once(" Client #").map(|(_, rest)| rest.split(' ').next().unwrap())
}

/// Replaces the text between two markers with `...`.
fn cut(text: String, start: &str, end: &str) -> String {
    let Some((before, rest)) = text.split_once(start) else { return text };
    let Some((_, after)) = rest.split_once(end) else { return text };
    format!("{before}{start}...{end}{after}")
}
