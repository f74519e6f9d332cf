//! The messages: what the clients send, and the checks of what they receive.
//!
//! Rules:
//! - All receivers see one order: the bytes a client receives must equal those that the first receiver got at the same
//!   place. Comparing is cheaper than decoding, so only the first receiver's bytes are decoded.
//! - Among these, each sender's messages must be unchanged and in order, none missing, none duplicated.
//! - A message's latency counts once per receiver, from the time it was sent (just before the sender's write, or when
//!   it was scheduled) to the read that receives it.
//! - All frames that a client receives have one length: the senders' IDs have three digits, and their texts one length.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use test_client::{excerpt, frame};

/// The ID of the first client. The others' follow.
pub const FIRST_ID: usize = 100;

const ID_DIGITS: usize = 3;

/// The shortest text: five digits of the sender's ID, a colon, and ten of the message's number.
pub const SHORTEST_TEXT: usize = 16;

pub struct Transcript {
    /// What the first receivers got in this round.
    bytes: Vec<u8>,
    frame_bytes: usize,
    /// The place of the sender's ID in a frame.
    id_at: usize,
    /// When each of the frames decoded so far was sent.
    sent: Vec<Instant>,
    senders: Vec<Sender>,
    messages_per_write: usize,
    /// The bytes that each receiver has got in this round; that each must get; that all together still must get.
    received: Vec<usize>,
    pub expected: usize,
    pub missing: usize,
    /// When a receiver last got something, or began to wait for it.
    pub last_progress: Instant,
    pub latencies: Histogram<u64>,
}

/// A sender and all messages that it sends in a round.
struct Sender {
    /// What it writes, one write after the other.
    writes: Vec<Rc<[u8]>>,
    /// The frames that every client must receive.
    frames: Vec<u8>,
    /// The time of each write so far.
    times: Vec<Instant>,
    /// The number of messages received so far.
    received: usize,
}

impl Transcript {
    /// The first receivers are the senders. Each makes this number of writes in a round.
    pub fn new(receivers: usize, senders: usize, writes: usize, messages_per_write: usize, text_bytes: usize) -> Self {
        assert!(FIRST_ID + senders <= 10usize.pow(ID_DIGITS as u32), "the IDs of senders have {ID_DIGITS} digits");
        let frame_bytes = frame::says(FIRST_ID as i64, &".".repeat(text_bytes)).len();
        let sender = |number| Sender::new(FIRST_ID + number, writes, messages_per_write, text_bytes);
        Transcript {
            bytes: Vec::new(),
            frame_bytes,
            id_at: frame_bytes - text_bytes - " says: ".len() - ID_DIGITS,
            sent: Vec::new(),
            senders: (0..senders).map(sender).collect(),
            messages_per_write,
            received: vec![0; receivers],
            expected: 0,
            missing: 0,
            last_progress: Instant::now(),
            // In nanoseconds, up to a minute, exact to two digits.
            latencies: Histogram::new_with_max(60_000_000_000, 2).expect("a range of more than two digits"),
        }
    }

    /// For latencies alone.
    pub fn of_nobody() -> Self {
        Self::new(0, 0, 0, 0, SHORTEST_TEXT)
    }

    pub fn record(&mut self, latency: Duration) {
        self.latencies.saturating_record(latency.as_nanos() as u64);
    }

    /// Begins a new round with the same messages. Everything must have been received.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent.clear();
        self.received.fill(0);
        self.expected = 0;
        for sender in &mut self.senders {
            sender.times.clear();
            sender.received = 0;
        }
    }

    /// Begins a sender's next write. Returns what to write.
    pub fn begin_write(&mut self, sender: usize, when: Instant) -> Rc<[u8]> {
        let bytes = self.messages_per_write * self.frame_bytes;
        if self.missing == 0 {
            self.last_progress = Instant::now();
        }
        self.expected += bytes;
        self.missing += bytes * self.received.len();
        let sender = &mut self.senders[sender];
        sender.times.push(when);
        Rc::clone(&sender.writes[sender.times.len() - 1])
    }

    /// Checks the chunk that a client read at the time `now`.
    pub fn receive(&mut self, client: usize, chunk: &[u8], now: Instant) -> Result<()> {
        let before = self.received[client];
        let after = before + chunk.len();
        let known = &self.bytes[before..];
        let (same, new) = chunk.split_at(known.len().min(chunk.len()));
        check_same("received something else than the first receiver", &known[..same.len()], same)?;
        ensure!(after <= self.expected, "expected no more messages, got {} bytes", after - self.expected);
        self.bytes.extend_from_slice(new);
        self.decode()?;
        self.received[client] = after;
        self.missing -= chunk.len();
        self.last_progress = now;
        // The messages of one write share a latency.
        let frames = before / self.frame_bytes..after / self.frame_bytes;
        for write in self.sent[frames].chunk_by(|sent, next| sent == next) {
            let latency = now.saturating_duration_since(write[0]);
            self.latencies.saturating_record_n(latency.as_nanos() as u64, write.len() as u64);
        }
        Ok(())
    }

    /// Decodes the frames that are complete.
    fn decode(&mut self) -> Result<()> {
        for frame in self.bytes[self.sent.len() * self.frame_bytes..].chunks_exact(self.frame_bytes) {
            let id = str::from_utf8(&frame[self.id_at..][..ID_DIGITS]).ok().and_then(|id| id.parse::<usize>().ok());
            let sender = id.and_then(|id| self.senders.get_mut(id.checked_sub(FIRST_ID)?));
            let sender = sender.with_context(|| format!("expected a sender's message, got \"{}\"", excerpt(frame)))?;
            let expected = sender.frames.chunks_exact(frame.len()).nth(sender.received).unwrap_or_default();
            check_same("a message is changed, lost, duplicated or out of order", expected, frame)?;
            let sent = sender.times.get(sender.received / self.messages_per_write);
            self.sent.push(*sent.with_context(|| format!("got \"{}\" before it was sent", excerpt(frame)))?);
            sender.received += 1;
        }
        Ok(())
    }

    /// Whether a client that came later has received all messages since then: a part of the transcript, up to its end.
    pub fn ends_with(&self, frames: &[u8]) -> bool {
        !frames.is_empty() && frames.len().is_multiple_of(self.frame_bytes) && self.bytes.ends_with(frames)
    }

    /// What is missing, as a fault.
    pub fn loss(&self) -> String {
        let Transcript { received, expected, .. } = self;
        let (clients, least) = (received.iter().filter(|bytes| *bytes < expected).count(), received.iter().min());
        let least = least.unwrap_or(&0);
        format!("messages lost: {clients} clients have fewer than {expected} bytes, one of them {least}")
    }
}

impl Sender {
    fn new(id: usize, writes: usize, messages_per_write: usize, text_bytes: usize) -> Sender {
        let text = |number| format!("{:.<text_bytes$}", format!("{id:05}:{number:010}"));
        let write = |first| (first..first + messages_per_write).flat_map(|number| frame::text(&text(number))).collect();
        let count = writes * messages_per_write;
        Sender {
            writes: (0..count).step_by(messages_per_write).map(write).collect(),
            frames: (0..count).flat_map(|number| frame::says(id as i64, &text(number))).collect(),
            times: Vec::new(),
            received: 0,
        }
    }
}

fn check_same(fault: &str, expected: &[u8], got: &[u8]) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let same = expected.iter().zip(got).take_while(|(e, g)| e == g).count();
    // The start of the frame is more useful than the byte that differs.
    let from = same.saturating_sub(36);
    bail!("{fault}: expected \"{}\", got \"{}\"", excerpt(&expected[from..]), excerpt(&got[from..]))
}
