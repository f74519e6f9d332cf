//! The faults that a client can cause, as a list: the one list of the example `chaos` and of its test.
//!
//! A fault is a name, an act, and what this server answers to it,
//! in the words that any server's answer is told in.

pub mod answer;
pub mod client;
pub mod frame;
mod frames;
pub mod neighbours;
mod plays;
mod requests;
pub mod stage;

use answer::{Answer, Listener, probe};
use client::Client;
use stage::{Request, Stage};
use std::io;
use std::pin::Pin;
use std::time::Duration;

/// One thing that a client does wrong, or rarely.
#[derive(Clone)]
pub struct Fault {
    pub name: &'static str,
    act: Act,
    /// The whole answer of this server; `…` stands for a number.
    pub expected: &'static str,
    /// How long the answer takes.
    pub takes: Takes,
    /// Whether it floods the room, so that other faults have to wait.
    pub floods: bool,
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It comes at once.
    NoTime,
    /// It comes when this has passed.
    Time(Duration),
    /// It comes when so many ping intervals have passed.
    PingIntervals(u32),
}

type Play = Pin<Box<dyn Future<Output = io::Result<Answer>> + Send>>;

#[derive(Clone)]
enum Act {
    /// Sends a request that is not quite an opening handshake, and behind it a question whether the connection lives.
    Request(fn(Request) -> Request),
    /// Sends these bytes instead of a request.
    Bytes(fn() -> Vec<u8>),
    /// Sends these frames, and behind them a question whether the connection lives.
    Frames(fn() -> Vec<u8>),
    /// Sends these frames, with a Close among them.
    LastFrames(fn() -> Vec<u8>),
    /// Does as it likes.
    Play(fn(Stage, i64, Duration) -> Play),
}

/// All faults.
pub fn all() -> Vec<Fault> {
    [requests::faults(), frames::faults(), plays::faults()].concat()
}

impl Fault {
    fn new(name: &'static str, act: Act, expected: &'static str) -> Self {
        Self { name, act, expected, takes: Takes::NoTime, floods: false }
    }

    fn floods(self) -> Self {
        Self { floods: true, ..self }
    }

    fn takes(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }

    /// How long this server takes to answer.
    pub fn time(&self, stage: &Stage) -> Duration {
        match self.takes {
            Takes::NoTime => Duration::ZERO,
            Takes::Time(time) => time,
            Takes::PingIntervals(count) => stage.ping_interval * count,
        }
    }

    /// Whether an answer is this server's.
    pub fn expects(&self, answer: &Answer, stage: &Stage) -> bool {
        answer.took >= self.time(stage) && matches(self.expected, &answer.to_string())
    }

    /// Acts it out.
    ///
    /// # Errors
    /// The server does not take part: no connection, or no 101 to a good handshake.
    pub async fn act(&self, stage: &Stage) -> io::Result<Answer> {
        let id = stage.id();
        let patience = stage.patience + self.time(stage);
        match self.act {
            Act::Request(spoil) => {
                let request = spoil(stage.request(&id.to_string()));
                let mut client = Client::connect(stage.address).await?;
                client.send(&request.bytes());
                Ok(Listener::new(id, patience).hear_response(&mut client).await)
            }
            Act::Bytes(bytes) => {
                let mut client = Client::connect(stage.address).await?;
                client.send(&bytes());
                Ok(Listener::new(id, patience).hear_response(&mut client).await)
            }
            Act::Frames(frames) => {
                let mut client = stage.join(id).await?;
                client.send(&[frames(), probe()].concat());
                Ok(Listener::new(id, patience).hear_frames(&mut client).await)
            }
            Act::LastFrames(frames) => {
                let mut client = stage.join(id).await?;
                client.send(&frames());
                Ok(Listener::new(id, patience).closing().hear_frames(&mut client).await)
            }
            Act::Play(play) => play(stage.clone(), id, patience).await,
        }
    }
}

/// Whether a text is the expected one, in which each `…` stands for a number.
fn matches(expected: &str, text: &str) -> bool {
    let mut rest = text;
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(behind) = rest.strip_prefix(first) else {
        return false;
    };
    rest = behind;
    for part in parts {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        match number.strip_prefix(part) {
            Some(behind) if number.len() < rest.len() => rest = behind,
            _ => return false,
        }
    }
    rest.is_empty()
}
