//! What a server answered, in words: status, messages, Close, and how TCP ended.

use super::client::{ACCEPT, Client, Ended, Response};
use super::frame::{CLOSE, FIN, Frame, PING, PONG, TEXT, close, frame, ping};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The payload of the Ping that asks whether the connection still lives.
const PROBE: &str = "are you there?";

/// How long a client goes on listening before it closes: what it said may come back behind the Pong.
const LISTENS_ON: Duration = Duration::from_millis(50);

/// The header fields that belong to a refusal.
const TELLING: [(&str, &str); 4] = [
    ("allow", "Allow"),
    ("upgrade", "Upgrade"),
    ("sec-websocket-version", "Sec-WebSocket-Version"),
    ("retry-after", "Retry-After"),
];

/// The longest payload that is told in full, in bytes.
const SHORT: usize = 64;

/// What came, in its order.
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

/// Listens to a server, for one client.
pub struct Listener {
    /// The client's id: only its own messages are told.
    pub id: i64,
    pub begun: Instant,
    pub patience: Duration,
    /// Whether the client has sent its Close.
    closed: bool,
    /// When it will, if it has got its Pong.
    closes: Option<Instant>,
    items: Vec<(String, usize)>,
}

impl Listener {
    pub fn new(id: i64, patience: Duration) -> Self {
        Self { id, begun: Instant::now(), patience, closed: false, closes: None, items: Vec::new() }
    }

    /// The client has sent its Close.
    pub fn closing(self) -> Self {
        Self { closed: true, ..self }
    }

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

    /// Listens from the response on, to the end. After a 101 the client asks whether the connection lives.
    pub async fn hear_response(mut self, client: &mut Client) -> Answer {
        match timeout_at(self.begun + self.patience, client.response()).await {
            Err(_) => return self.silence(),
            Ok(Err(ended)) => self.note(words(ended)),
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
                self.hear_end(client).await;
            }
        }
        self.answer()
    }

    /// Listens to frames, to the end. Answers what a client has to answer: a Ping, a Close, and its own Ping's Pong with
    /// a Close.
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
                    self.note(words(ended));
                    return self.answer();
                }
                Ok(Ok(frame)) => self.take(client, &frame),
            }
        }
    }

    fn take(&mut self, client: &mut Client, got: &Frame) {
        if got.is(PONG) && got.payload == PROBE.as_bytes() {
            self.closes = Some(Instant::now() + LISTENS_ON);
        } else if got.is(PING) {
            client.send(&frame(FIN | PONG, &got.payload));
        } else if got.is(CLOSE) {
            if !self.closed {
                client.send(&frame(FIN | CLOSE, &got.payload[..got.payload.len().min(2)]));
            }
            self.closed = true;
            self.note(told(got, self.id));
        } else if !others(got, self.id) {
            self.note(told(got, self.id));
        }
    }

    /// Waits for the end of the stream.
    async fn hear_end(&mut self, client: &mut Client) {
        let ended = timeout_at(self.begun + self.patience, client.end()).await;
        self.note(ended.map_or("kept open", words));
    }

    fn silence(mut self) -> Answer {
        self.note("kept open");
        self.answer()
    }
}

/// The Ping that asks whether the connection still lives. Its Pong is answered with a Close.
pub fn probe() -> Vec<u8> {
    ping(PROBE)
}

pub fn words(ended: Ended) -> &'static str {
    match ended {
        Ended::InOrder => "end of stream",
        Ended::Reset => "reset",
    }
}

fn refusal(response: &Response) -> String {
    let telling = TELLING.iter().filter_map(|(key, name)| response.header(key).map(|value| format!("{name}: {value}")));
    let telling: Vec<_> = telling.collect();
    match telling.is_empty() {
        true => response.status.to_string(),
        false => format!("{} ({})", response.status, telling.join(", ")),
    }
}

/// Whether a frame is a text that somebody else said.
fn others(frame: &Frame, id: i64) -> bool {
    frame.is(TEXT) && !frame.payload.starts_with(format!("Client #{id} says: ").as_bytes())
}

fn told(frame: &Frame, id: i64) -> String {
    let quoted = |bytes: &[u8]| match bytes.len() {
        ..=SHORT => format!("{:?}", String::from_utf8_lossy(bytes)),
        length => format!("of {length} bytes"),
    };
    let prefix = format!("Client #{id} says: ");
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
