//! Checks what the clients receive.
//!
//! Rules:
//! - All receivers see one order: the bytes a client receives must equal those that the first receiver got at the same
//!   place. Comparing is cheaper than decoding, so only the first receiver's bytes are decoded.
//! - Among these, each sender's messages must be unchanged and in order, none missing, none duplicated.
//! - A message's latency counts once per receiver, from the time it was sent (just before the sender's write, or when it
//!   was scheduled) to the read that receives it.

use std::time::Instant;

use super::fault::Fault;
use super::frame::{self, Expected, ServerFrame};
use super::latency::Latencies;

pub struct Transcript {
    /// What the first receivers got in this round.
    bytes: Vec<u8>,
    /// The length of its decoded part: whole frames only.
    decoded: usize,
    runs: Vec<Run>,
    senders: Vec<Sender>,
    pub latencies: Latencies,
}

/// Consecutive messages sent by one write and first received by one read: they share a latency.
struct Run {
    /// Its end in the transcript.
    end: usize,
    messages: u64,
    sent: Instant,
}

struct Sender {
    expected: Expected,
    /// The sequence number of its next message.
    next: u64,
    messages_per_write: u64,
    /// The time of each of its writes.
    sent: Vec<Instant>,
}

/// A receiver's place in the transcript.
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

    /// Begins a new round, in which each sender counts from 0 again.
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

    /// Must be called before the sender's write.
    pub fn sent(&mut self, sender: usize, when: Instant) {
        self.senders[sender].sent.push(when);
    }

    /// Checks the chunk that `client`, at `place`, read at the time `now`.
    pub fn receive(&mut self, client: usize, place: &mut Place, chunk: &[u8], now: Instant) -> Result<(), Fault> {
        let received_before = &self.bytes[place.byte..];
        let known = received_before.len().min(chunk.len());
        if chunk[..known] != received_before[..known] {
            return Err(different_order(client, received_before, chunk));
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

    /// Decodes the frames that are complete.
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

/// Checks that a frame is its sender's next message, and returns the time it was sent.
fn check(senders: &mut [Sender], frame: &[u8], payload: &[u8]) -> Result<Instant, Fault> {
    let unexpected = |expected: &str| Fault::UnexpectedFrame { expected: expected.to_owned(), seen: excerpt(frame) };
    let Some(number) = frame::sender_in(payload) else {
        return Err(unexpected("a text frame `Client #SENDER says: TEXT`"));
    };
    let Some(sender) = senders.get_mut(number) else {
        return Err(unexpected("a message of one of the senders"));
    };
    let Some(seen) = sender.expected.sequence_in(frame) else {
        return Err(unexpected("an unchanged message in one text frame"));
    };
    if seen != sender.next {
        return Err(Fault::Sequence { sender: number, expected: sender.next, seen });
    }
    sender.next += 1;
    let write = (seen / sender.messages_per_write) as usize;
    sender.sent.get(write).copied().ok_or_else(|| unexpected("no message that was not sent yet"))
}

fn different_order(client: usize, expected: &[u8], seen: &[u8]) -> Fault {
    let same = expected.iter().zip(seen).take_while(|(e, s)| e == s).count();
    // The start of the frame is more useful than the byte that differs.
    let from = same.saturating_sub(24);
    Fault::DifferentOrder { client, expected: excerpt(&expected[from..]), seen: excerpt(&seen[from..]) }
}

fn excerpt(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(64)].escape_ascii().to_string()
}
