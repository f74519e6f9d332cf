//! The faults that a client can cause. The example `chaos` and the tests share this list.
//!
//! A fault has a name, an act, and the answer that this server gives to it. Answers are put in words that fit any server.

pub mod answer;
mod frames;
mod requests;
mod scripts;

use crate::client::Client;
use crate::request::Request;
use crate::target::Target;
use answer::{Answer, Listener, probe};
pub use scripts::{FLOOD_MESSAGE, KERNEL_BUFFERS};
use std::io;
use std::pin::Pin;
use std::time::Duration;

/// One thing that clients get wrong, or rarely do.
#[derive(Clone)]
pub struct Fault {
    pub name: &'static str,
    act: Act,
    /// The whole answer of this server; `…` stands for a number, `*` for any text.
    pub expected: &'static str,
    /// When the answer comes.
    pub takes: Takes,
    /// Whether it floods the room, so that two such faults can't run at the same time.
    pub floods: bool,
}

/// When an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// At once.
    NoTime,
    /// After this time.
    Time(Duration),
    /// After this number of ping intervals.
    PingIntervals(u32),
}

type Script = Pin<Box<dyn Future<Output = io::Result<Answer>> + Send>>;

#[derive(Clone)]
enum Act {
    /// Changes a valid opening handshake and sends it; after a 101, sends a probe.
    Request(fn(Request) -> Request),
    /// Sends these bytes instead of a request.
    Bytes(fn() -> Vec<u8>),
    /// Sends these frames and a probe.
    Frames(fn() -> Vec<u8>),
    /// Sends these frames, which include a Close.
    LastFrames(fn() -> Vec<u8>),
    /// Runs a script.
    Script(fn(Target, i64, Duration) -> Script),
}

/// All faults.
pub fn all() -> Vec<Fault> {
    [requests::faults(), frames::faults(), scripts::faults()].concat()
}

/// The fault with this name.
///
/// # Panics
/// There is none.
pub fn named(name: &str) -> Fault {
    all().into_iter().find(|fault| fault.name == name).unwrap_or_else(|| panic!("no fault is called {name:?}"))
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

    /// The time this server takes to answer.
    pub fn time(&self, target: &Target) -> Duration {
        match self.takes {
            Takes::NoTime => Duration::ZERO,
            Takes::Time(time) => time,
            Takes::PingIntervals(count) => target.ping_interval * count,
        }
    }

    /// True if an answer is the one this server gives.
    pub fn expects(&self, answer: &Answer, target: &Target) -> bool {
        answer.took >= self.time(target) && matches(self.expected, &answer.to_string())
    }

    /// Causes the fault, and returns the answer.
    ///
    /// # Errors
    /// The client can't connect, or gets no 101 to a valid handshake.
    pub async fn act(&self, target: &Target) -> io::Result<Answer> {
        let id = target.id();
        let patience = target.patience + self.time(target);
        if let Act::Script(run) = self.act {
            return run(target.clone(), id, patience).await;
        }
        let bytes = self.bytes(target.request(&id.to_string()));
        let mut client = match self.act {
            Act::Request(_) | Act::Bytes(_) => Client::connect(target.address).await?,
            _ => target.join(id).await?,
        };
        client.send(&bytes);
        let listener = Listener::new(id, patience);
        Ok(match self.act {
            Act::Request(_) | Act::Bytes(_) => listener.hear_response(&mut client).await,
            Act::LastFrames(_) => listener.closing().hear_frames(&mut client).await,
            _ => {
                client.send(&probe());
                listener.hear_frames(&mut client).await
            }
        })
    }

    /// The bytes that cause the fault: a request made from this valid one, or what is sent after a valid handshake. None for
    /// a fault that takes more than bytes.
    pub fn bytes(&self, opening: Request) -> Vec<u8> {
        match self.act {
            Act::Request(spoil) => spoil(opening).bytes(),
            Act::Bytes(bytes) | Act::Frames(bytes) | Act::LastFrames(bytes) => bytes(),
            Act::Script(_) => Vec::new(),
        }
    }
}

/// True if `text` is the expected one, in which each `…` stands for a number and each `*` for any text.
fn matches(expected: &str, text: &str) -> bool {
    let mut rest = expected.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('…') => {
            let after = text.trim_start_matches(|c: char| c.is_ascii_digit());
            after.len() < text.len() && matches(rest.as_str(), after)
        }
        Some('*') => text.char_indices().any(|(index, _)| matches(rest.as_str(), &text[index..])),
        Some(first) => text.strip_prefix(first).is_some_and(|after| matches(rest.as_str(), after)),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_match_numbers_and_text() {
        for (expected, text, matched) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("… bytes", "12 bytes", true),
            ("… bytes", " bytes", false),
            ("… bytes", "x bytes", false),
            ("Close \"*mask*\", end", "Close \"must mask every frame\", end", true),
            ("Close \"*mask*\", end", "Close \"must not\", end", false),
            ("*after … s\"", "\"ends after 30 s\"", true),
        ] {
            assert_eq!(matches(expected, text), matched, "{expected} {text}");
        }
    }
}
