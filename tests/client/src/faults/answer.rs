//! A server's answer, in words: status, messages, Close, and how TCP ended.

use crate::client::Client;
use crate::frame::{CLOSE, FIN, Frame, PING, PONG, TEXT, close, from_client, ping, says_prefix};
use crate::request::{ACCEPT, Response};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The payload of the Ping that tests whether the connection is still open.
const PROBE: &str = "are you there?";

/// The wait between the Pong and the client's Close: the client's own messages may arrive after the Pong.
const LINGER: Duration = Duration::from_millis(50);

/// The header fields that are part of a refusal.
const REFUSAL_FIELDS: [(&str, &str); 4] = [
    ("allow", "Allow"),
    ("upgrade", "Upgrade"),
    ("sec-websocket-version", "Sec-WebSocket-Version"),
    ("retry-after", "Retry-After"),
];

/// The longest payload that is quoted in full, in bytes.
const QUOTED: usize = 64;

/// Everything that was received, in order; equal neighbours are counted.
#[derive(Clone, Debug)]
pub struct Answer {
    items: Vec<(String, usize)>,
    pub took: Duration,
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (item, times)) in self.items.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
            if *times > 1 {
                write!(f, " x {times}")?;
            }
        }
        Ok(())
    }
}

/// Collects the answer to one client.
pub struct Listener {
    /// The client's id. Other clients' messages are left out of the answer.
    pub id: i64,
    pub begun: Instant,
    pub patience: Duration,
    /// Whether the client has sent its Close.
    closed: bool,
    /// When it sends its Close; set by the Pong.
    closes: Option<Instant>,
    items: Vec<(String, usize)>,
}

impl Listener {
    pub fn new(id: i64, patience: Duration) -> Self {
        Self { id, begun: Instant::now(), patience, closed: false, closes: None, items: Vec::new() }
    }

    /// For a client that has sent its Close already, or never sends one.
    pub fn closing(self) -> Self {
        Self { closed: true, ..self }
    }

    /// Adds an item to the answer.
    pub fn note(&mut self, item: impl Into<String>) {
        let item = item.into();
        match self.items.last_mut() {
            Some((last, times)) if *last == item => *times += 1,
            _ => self.items.push((item, 1)),
        }
    }

    pub fn answer(self) -> Answer {
        Answer { items: self.items, took: self.begun.elapsed() }
    }

    /// Listens from the response to the end of the stream. After a 101, sends a probe. After a response that keeps the
    /// connection open, ends the client's side.
    pub async fn hear_response(mut self, client: &mut Client) -> Answer {
        match timeout_at(self.begun + self.patience, client.response()).await {
            Err(_) => return self.silence(),
            Ok(Err(ended)) => self.note(ended.to_string()),
            Ok(Ok(None)) => self.note("no HTTP"),
            Ok(Ok(Some(response))) if response.status == 101 => {
                self.note(match response.header("sec-websocket-accept") {
                    Some(ACCEPT) => "101",
                    _ => "101 with a wrong accept value",
                });
                client.send(&probe());
                return self.hear_frames(client).await;
            }
            Ok(Ok(Some(response))) => {
                self.note(refusal(&response));
                if !response.header("connection").is_some_and(|value| value.contains("close")) {
                    // The server waits for the next request.
                    client.finish().await;
                }
                self.hear_end(client).await;
            }
        }
        self.answer()
    }

    /// Listens to frames, to the end of the stream. Answers a Ping with a Pong, a Close with a Close, and the Pong of the
    /// probe with a Close.
    pub async fn hear_frames(mut self, client: &mut Client) -> Answer {
        let end = self.begun + self.patience;
        loop {
            match timeout_at(self.closes.unwrap_or(end), client.frame()).await {
                Err(_) if self.closes.take().is_some() => {
                    self.closed = true;
                    client.send(&close(1000, b""));
                }
                Err(_) => return self.silence(),
                Ok(Err(ended)) => {
                    self.note(ended.to_string());
                    return self.answer();
                }
                Ok(Ok(frame)) => self.take(client, &frame),
            }
        }
    }

    /// Adds a frame to the answer, and replies to it.
    fn take(&mut self, client: &mut Client, got: &Frame) {
        if got.is(PONG) && got.payload == PROBE.as_bytes() {
            self.closes = Some(Instant::now() + LINGER);
        } else if got.is(PING) {
            client.send(&from_client(FIN | PONG, &got.payload));
        } else if got.is(CLOSE) {
            if !self.closed {
                client.send(&from_client(FIN | CLOSE, &got.payload[..got.payload.len().min(2)]));
            }
            self.closed = true;
            self.note(in_words(got, self.id));
        } else if !is_from_another(got, self.id) {
            self.note(in_words(got, self.id));
        }
    }

    /// Waits for the end of the stream, after a response.
    async fn hear_end(&mut self, client: &mut Client) {
        let ended = timeout_at(self.begun + self.patience, client.end()).await;
        self.note(ended.map_or("kept open".into(), |ended| ended.to_string()));
    }

    fn silence(mut self) -> Answer {
        self.note("kept open");
        self.answer()
    }
}

/// A Ping that tests whether the connection is still open. [`Listener`] answers its Pong with a Close.
pub fn probe() -> Vec<u8> {
    ping(PROBE)
}

fn refusal(response: &Response) -> String {
    let fields =
        REFUSAL_FIELDS.iter().filter_map(|(key, name)| response.header(key).map(|value| format!("{name}: {value}")));
    let fields: Vec<_> = fields.collect();
    match fields.is_empty() {
        true => response.status.to_string(),
        false => format!("{} ({})", response.status, fields.join(", ")),
    }
}

/// True for another client's message.
fn is_from_another(frame: &Frame, id: i64) -> bool {
    frame.is(TEXT) && !frame.payload.starts_with(says_prefix(id).as_bytes())
}

fn in_words(frame: &Frame, id: i64) -> String {
    let quoted = |bytes: &[u8]| match bytes.len() {
        ..=QUOTED => format!("{:?}", String::from_utf8_lossy(bytes)),
        length => format!("of {length} bytes"),
    };
    let prefix = says_prefix(id);
    if frame.masked {
        return "a masked frame".into();
    }
    match frame.first ^ FIN {
        TEXT => format!("message {}", quoted(&frame.payload[prefix.len()..])),
        PONG => format!("Pong {}", quoted(&frame.payload)),
        CLOSE => match (frame.close_code(), frame.payload.get(2..)) {
            (Some(code), None | Some([])) => format!("Close {code}"),
            (Some(code), Some(reason)) => {
                format!("Close {code} {:?}", String::from_utf8_lossy(reason))
            }
            (None, _) => "Close".into(),
        },
        other => format!("a frame that begins with {:#04x}", other ^ FIN),
    }
}
