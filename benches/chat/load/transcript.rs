//! What the receivers hear, and whether that is right.
//!
//! Rules:
//! - All receivers have one order: what one hears must be, byte for byte, what the first to hear it heard. Comparing is
//!   cheaper than decoding, so only the first one's bytes are decoded.
//! - In these, each sender's messages must be its own, none missing, none twice, in the order they were sent.
//! - A message's latency counts once for each receiver, from when it was sent (just before its sender's write; or the
//!   time it was scheduled for) to the read that brings it.

use std::time::Instant;

use super::fault::Fault;
use super::frame::{self, Expected, ServerFrame};
use super::latency::Latencies;

pub struct Transcript {
    /// What was heard in this round.
    bytes: Vec<u8>,
    /// How many of these are decoded: whole frames only.
    decoded: usize,
    runs: Vec<Run>,
    senders: Vec<Sender>,
    pub latencies: Latencies,
}

/// Messages in a row that one write sent, and that came to the first receiver in one read: they have one latency.
struct Run {
    /// Where the run ends in the transcript.
    end: usize,
    messages: u64,
    sent: Instant,
}

struct Sender {
    expected: Expected,
    /// The number its next message must have.
    next: u64,
    messages_per_write: u64,
    /// When each of its writes was.
    sent: Vec<Instant>,
}

/// How far a receiver has come in the transcript.
#[derive(Clone, Copy, Default)]
pub struct Place {
    byte: usize,
    run: usize,
}

impl Place {
    pub fn bytes(&self) -> usize {
        self.byte
    }
}

impl Transcript {
    pub fn new(senders: usize, messages_per_write: u64, text_bytes: usize) -> Transcript {
        let sender = |number| Sender {
            expected: Expected::from(number, text_bytes),
            next: 0,
            messages_per_write,
            sent: Vec::new(),
        };
        Transcript {
            bytes: Vec::new(),
            decoded: 0,
            runs: Vec::new(),
            senders: (0..senders).map(sender).collect(),
            latencies: Latencies::new(),
        }
    }

    /// A new round: nothing was sent or heard, and each sender counts from 0 again.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.decoded = 0;
        self.runs.clear();
        for sender in &mut self.senders {
            sender.next = 0;
            sender.sent.clear();
        }
    }

    pub fn frame_bytes(&self, sender: usize) -> usize {
        self.senders[sender].expected.frame_bytes()
    }

    /// Must be said before the sender's write.
    pub fn sent(&mut self, sender: usize, when: Instant) {
        self.senders[sender].sent.push(when);
    }

    /// Takes what `client`, until now at `place`, read at the time `now`.
    pub fn hear(&mut self, client: usize, place: &mut Place, chunk: &[u8], now: Instant) -> Result<(), Fault> {
        let heard_before = &self.bytes[place.byte..];
        let known = heard_before.len().min(chunk.len());
        if chunk[..known] != heard_before[..known] {
            return Err(two_orders(client, heard_before, chunk));
        }
        if known < chunk.len() {
            self.bytes.extend_from_slice(&chunk[known..]);
            self.decode()?;
        }
        place.byte += chunk.len();
        while let Some(run) = self.runs.get(place.run)
            && run.end <= place.byte
        {
            self.latencies.record(now.saturating_duration_since(run.sent), run.messages);
            place.run += 1;
        }
        Ok(())
    }

    /// Decodes the whole frames that have come in.
    fn decode(&mut self) -> Result<(), Fault> {
        let runs_before = self.runs.len();
        while let Some(frame) = ServerFrame::first_of(&self.bytes[self.decoded..]) {
            let end = self.decoded + frame.frame_bytes;
            let Some(bytes) = self.bytes.get(self.decoded..end) else {
                break;
            };
            let sent = check(&mut self.senders, bytes, &bytes[frame.header_bytes..])?;
            self.decoded = end;
            match self.runs[runs_before..].last_mut() {
                Some(run) if run.sent == sent => {
                    run.end = end;
                    run.messages += 1;
                }
                _ => self.runs.push(Run { end, messages: 1, sent }),
            }
        }
        Ok(())
    }
}

/// Checks that a frame is its sender's next message; when that was sent.
fn check(senders: &mut [Sender], frame: &[u8], payload: &[u8]) -> Result<Instant, Fault> {
    let garbled = |expected: &str| Fault::Garbled { expected: expected.to_owned(), seen: excerpt(frame) };
    let Some(number) = frame::sender_in(payload) else {
        return Err(garbled("a text frame `Client #SENDER says: TEXT`"));
    };
    let Some(sender) = senders.get_mut(number) else {
        return Err(garbled("a message of a client that sends"));
    };
    let Some(seen) = sender.expected.sequence_in(frame) else {
        return Err(garbled("a message as it was sent, in one text frame"));
    };
    if seen != sender.next {
        return Err(Fault::Sequence { sender: number, expected: sender.next, seen });
    }
    sender.next += 1;
    let write = (seen / sender.messages_per_write) as usize;
    sender.sent.get(write).copied().ok_or_else(|| garbled("no message before it was sent"))
}

fn two_orders(client: usize, expected: &[u8], seen: &[u8]) -> Fault {
    let same = expected.iter().zip(seen).take_while(|(e, s)| e == s).count();
    // The beginning of the frame tells more than the byte in which it differs.
    let from = same.saturating_sub(24);
    Fault::TwoOrders { client, expected: excerpt(&expected[from..]), seen: excerpt(&seen[from..]) }
}

fn excerpt(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(64)].escape_ascii().to_string()
}
