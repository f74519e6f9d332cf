//! The messages: what the clients send, and the checks of what they receive.
//!
//! Rules:
//! - All receivers see one order: the bytes a client receives must equal those that the first receiver got at the same
//!   place. Comparing is cheaper than decoding, so only the first receiver's bytes are decoded.
//! - Among these, each sender's messages must be unchanged and in order, none missing, none duplicated.
//! - A message's latency counts once per receiver, from the time it was sent (just before the sender's write, or when it
//!   was scheduled) to the read that receives it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use test_client::frame;

/// The shortest text: the sender's digits, a colon, and the digits of the message's number.
pub const SHORTEST_TEXT: usize = 16;

/// How much of a frame a fault quotes.
const QUOTED_BYTES: usize = 64;

pub struct Transcript {
    /// What the first receivers got in this round.
    bytes: Vec<u8>,
    /// The length of its decoded part: whole frames only.
    decoded: usize,
    runs: Vec<Run>,
    senders: Vec<Sender>,
    /// One per receiver.
    places: Vec<Place>,
    /// Bytes that each receiver must get in this round, and those that all receivers together have not got yet.
    expected: usize,
    pub missing: usize,
    pub last_received: Instant,
    pub latencies: Histogram<u64>,
}

/// Consecutive messages sent by one write and first received by one read: they share a latency.
struct Run {
    /// Its end in the transcript.
    end: usize,
    messages: u64,
    sent: Instant,
}

/// A sender and all messages that it sends in a round.
struct Sender {
    /// What it writes, one write after the other.
    writes: Vec<Arc<[u8]>>,
    /// The frames that every client must receive, all of one length.
    expected: Vec<u8>,
    frame_bytes: usize,
    messages_per_write: usize,
    /// The time of each write so far.
    times: Vec<Instant>,
    /// The number of messages received so far.
    received: usize,
}

/// A receiver's place in the transcript: the bytes and the runs that it has received.
#[derive(Clone, Copy, Default)]
struct Place {
    byte: usize,
    run: usize,
}

impl Transcript {
    /// The first receivers are the senders. Each makes this number of writes in a round.
    pub fn new(
        receivers: usize,
        senders: usize,
        writes: usize,
        messages_per_write: usize,
        text_bytes: usize,
    ) -> Transcript {
        let sender = |id| Sender::new(id, writes, messages_per_write, text_bytes);
        Transcript {
            bytes: Vec::new(),
            decoded: 0,
            runs: Vec::new(),
            senders: (0..senders).map(sender).collect(),
            places: vec![Place::default(); receivers],
            expected: 0,
            missing: 0,
            last_received: Instant::now(),
            latencies: histogram(),
        }
    }

    /// Begins a new round with the same messages. Everything must have been received.
    pub fn clear(&mut self) {
        self.bytes.clear();
        (self.decoded, self.expected) = (0, 0);
        self.runs.clear();
        self.places.fill(Place::default());
        for sender in &mut self.senders {
            sender.times.clear();
            sender.received = 0;
        }
    }

    /// Begins a sender's next write. Returns what to write, and the number of bytes that each client must receive for it.
    pub fn begin_write(&mut self, sender: usize, when: Instant) -> (Arc<[u8]>, usize) {
        let sender = &mut self.senders[sender];
        let write = Arc::clone(&sender.writes[sender.times.len()]);
        sender.times.push(when);
        let bytes = sender.messages_per_write * sender.frame_bytes;
        self.expected += bytes;
        self.missing += bytes * self.places.len();
        (write, bytes)
    }

    /// Checks the chunk that a client read at the time `now`.
    pub fn receive(&mut self, client: usize, chunk: &[u8], now: Instant) -> Result<()> {
        let place = &mut self.places[client];
        let received_before = &self.bytes[place.byte..];
        let known = received_before.len().min(chunk.len());
        ensure!(chunk[..known] == received_before[..known], different_order(received_before, chunk));
        place.byte += chunk.len();
        ensure!(place.byte <= self.expected, "expected no more messages, got {} bytes", place.byte - self.expected);
        self.missing -= chunk.len();
        self.last_received = now;
        if known < chunk.len() {
            self.bytes.extend_from_slice(&chunk[known..]);
            self.decode()?;
        }
        let place = &mut self.places[client];
        while let Some(run) = self.runs.get(place.run)
            && run.end <= place.byte
        {
            let latency = now.saturating_duration_since(run.sent);
            self.latencies.saturating_record_n(latency.as_nanos() as u64, run.messages);
            place.run += 1;
        }
        Ok(())
    }

    /// Whether a client that came later has received all messages since then: a part of the transcript, up to its end.
    pub fn ends_with(&self, frames: &[u8]) -> bool {
        frames.first() == Some(&(frame::FIN | frame::TEXT)) && self.bytes.ends_with(frames)
    }

    /// What is missing, as a fault.
    pub fn loss(&self) -> String {
        let fewer = self.places.iter().map(|place| place.byte).filter(|&bytes| bytes < self.expected);
        let (clients, least) = (fewer.clone().count(), fewer.min().unwrap_or_default());
        format!(
            "messages lost: expected {} bytes per client; {clients} clients have fewer, one of them {least}",
            self.expected
        )
    }

    /// Decodes the frames that are complete.
    fn decode(&mut self) -> Result<()> {
        let runs_before = self.runs.len();
        while let Some((length, payload)) = frame::unmasked(&self.bytes[self.decoded..]) {
            let frame = &self.bytes[self.decoded..self.decoded + length];
            let sender = sender_of(payload).and_then(|id| self.senders.get_mut(id));
            let sender =
                sender.with_context(|| format!("expected a message of a sender, got \"{}\"", excerpt(frame)))?;
            let sent = sender.check_next(frame)?;
            self.decoded += length;
            match self.runs[runs_before..].last_mut() {
                Some(run) if run.sent == sent => {
                    run.end = self.decoded;
                    run.messages += 1;
                }
                _ => self.runs.push(Run { end: self.decoded, messages: 1, sent }),
            }
        }
        Ok(())
    }
}

impl Sender {
    fn new(id: usize, writes: usize, messages_per_write: usize, text_bytes: usize) -> Sender {
        let text = |number| format!("{:.<text_bytes$}", format!("{id:05}:{number:010}"));
        let write = |first| (first..first + messages_per_write).flat_map(|number| frame::text(&text(number))).collect();
        let count = writes * messages_per_write;
        Sender {
            writes: (0..count).step_by(messages_per_write).map(write).collect(),
            expected: (0..count).flat_map(|number| frame::says(id as i64, &text(number))).collect(),
            frame_bytes: frame::says(id as i64, &text(0)).len(),
            messages_per_write,
            times: Vec::new(),
            received: 0,
        }
    }

    /// Checks that a frame is the next message, and returns the time it was sent.
    fn check_next(&mut self, frame: &[u8]) -> Result<Instant> {
        let rest = &self.expected[self.received * self.frame_bytes..];
        let expected = &rest[..rest.len().min(self.frame_bytes)];
        ensure!(
            frame == expected,
            "a message is changed, lost, duplicated or out of order: expected \"{}\", got \"{}\"",
            excerpt(expected),
            excerpt(frame)
        );
        let sent = self.times.get(self.received / self.messages_per_write);
        self.received += 1;
        sent.copied().with_context(|| format!("got \"{}\" before it was sent", excerpt(frame)))
    }
}

/// The sender that a payload names, `Client #SENDER says: TEXT`.
fn sender_of(payload: &[u8]) -> Option<usize> {
    let id = payload.strip_prefix(b"Client #")?.split(|&byte| byte == b' ').next()?;
    str::from_utf8(id).ok()?.parse().ok()
}

fn different_order(expected: &[u8], seen: &[u8]) -> String {
    let same = expected.iter().zip(seen).take_while(|(e, s)| e == s).count();
    // The start of the frame is more useful than the byte that differs.
    let from = same.saturating_sub(24);
    format!(
        "received something else than the first receiver: expected \"{}\", got \"{}\"",
        excerpt(&expected[from..]),
        excerpt(&seen[from..])
    )
}

fn excerpt(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(QUOTED_BYTES)].escape_ascii().to_string()
}

/// For latencies in nanoseconds, up to a minute, exact to two digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 2).expect("a range of more than two digits")
}
