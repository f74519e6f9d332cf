//! Tests of the checks: a fault they miss would make the figures wrong. Bench targets without a test harness have no unit
//! tests, so these run before each benchmark; they take no noticeable time.

use std::time::{Duration, Instant};

use super::SHORTEST_TEXT;
use super::fault::Fault;
use super::frame;
use super::latency::Latencies;
use super::transcript::{Place, Transcript};

const SENDERS: usize = 2;

pub fn run() {
    correct_deliveries_pass();
    every_fault_is_detected();
    percentiles_are_exact_to_one_64th();
    client_frames_are_masked_text();
}

fn correct_deliveries_pass() {
    let frames = [message(0, 0), message(1, 0), message(0, 1)].concat();
    for first_read in 0..=frames.len() {
        let mut transcript = transcript();
        let mut places = [Place::default(); 2];
        let (start, rest) = frames.split_at(first_read);
        // The second receiver overtakes the first between its two reads.
        for (client, chunk) in [(0, start), (1, &frames[..]), (0, rest)] {
            let received = transcript.receive(client, &mut places[client], chunk, Instant::now());
            assert!(received.is_ok(), "split at {first_read}");
        }
        assert_eq!(transcript.latencies.count(), 6, "three messages for each of two receivers");
    }
}

fn every_fault_is_detected() {
    let (a0, a1, a2, b0) = (message(0, 0), message(0, 1), message(0, 2), message(1, 0));
    let mut binary = a0.clone();
    binary[0] = 0x82;
    let mut changed = a0.clone();
    changed[8] ^= 1;

    assert!(matches!(received(&[&a0, &b0], &[&b0, &a0]), Err(Fault::DifferentOrder { client: 1, .. })));
    assert!(matches!(received(&[&a0, &a1], &[&a1]), Err(Fault::DifferentOrder { client: 1, .. })));
    let lost = Fault::Sequence { sender: 0, expected: 1, seen: 2 };
    assert!(received(&[&a0, &a2], &[]).is_err_and(|fault| fault.to_string() == lost.to_string()));
    assert!(matches!(received(&[&a0, &a0], &[]), Err(Fault::Sequence { seen: 0, .. })));
    assert!(matches!(received(&[&a1, &a0], &[]), Err(Fault::Sequence { expected: 0, .. })));
    assert!(matches!(received(&[&binary], &[]), Err(Fault::UnexpectedFrame { .. })));
    assert!(matches!(received(&[&changed], &[]), Err(Fault::UnexpectedFrame { .. })));
    assert!(matches!(received(&[&message(SENDERS, 0)], &[]), Err(Fault::UnexpectedFrame { .. })));
}

/// Two receivers, one after the other, receive these frames.
fn received(first: &[&Vec<u8>], second: &[&Vec<u8>]) -> Result<(), Fault> {
    let mut transcript = transcript();
    for (client, frames) in [first, second].into_iter().enumerate() {
        let mut place = Place::default();
        for frame in frames {
            transcript.receive(client, &mut place, frame, Instant::now())?;
        }
    }
    Ok(())
}

/// Every sender has sent 10 messages in one write, more than any test receives.
fn transcript() -> Transcript {
    let mut transcript = Transcript::new(SENDERS, 10, SHORTEST_TEXT);
    for sender in 0..SENDERS {
        transcript.sent(sender, Instant::now());
    }
    transcript
}

/// A message as a server must deliver it, encoded independently of `frame.rs`.
fn message(sender: usize, sequence: u64) -> Vec<u8> {
    let payload = format!("Client #{sender} says: {sender:05}:{sequence:010}");
    let mut frame = vec![0x81, payload.len() as u8];
    frame.extend(payload.bytes());
    frame
}

fn percentiles_are_exact_to_one_64th() {
    for nanoseconds in [1, 63, 64, 127, 128, 1_000, 999_999, 123_456_789, u64::MAX / 3] {
        let latency = Duration::from_nanos(nanoseconds);
        let mut latencies = Latencies::new();
        latencies.record(latency, 3);
        let median = latencies.percentile(0.5);
        assert!(median <= latency && latency - median <= latency / 64, "{latency:?} is recorded as {median:?}");
    }
}

fn client_frames_are_masked_text() {
    let mut frame = Vec::new();
    frame::append_message(&mut frame, 7, 42, SHORTEST_TEXT);
    let (header, masked) = frame.split_at(6);
    assert_eq!(header[..2], [0x81, 0x80 | 16]);
    let text: Vec<u8> = masked.iter().zip(header[2..].iter().cycle()).map(|(b, k)| b ^ k).collect();
    assert_eq!(text, b"00007:0000000042");
}
