//! Tests of the checks: a fault they miss would make the figures wrong. Bench targets without a test harness have no
//! unit tests, so these run before each benchmark; they take no noticeable time.

use std::time::Instant;

use test_client::frame::Frame;

use crate::transcript::{SHORTEST_TEXT, Transcript};

pub fn run() {
    let [a0, a1, a2, b0] = [(0, 0), (0, 1), (0, 2), (1, 0)].map(|(sender, number)| message(sender, number));
    let [all_a, all_b] = [0, 1].map(|sender| (0..10).flat_map(|number| message(sender, number)).collect::<Vec<_>>());

    let correct = [&a0[..], &a1, &b0].concat();
    for first_read in 0..=correct.len() {
        let (start, rest) = correct.split_at(first_read);
        // The second receiver overtakes the first between its two reads.
        let transcript = received(&[(0, start), (1, &correct), (0, rest)]).expect("correct messages");
        assert_eq!(transcript.latencies.len(), 6, "three messages for each of two receivers");
    }

    // Two receivers, one after the other, receive these frames.
    for (fault, first, second) in [
        ("received something else than the first receiver", [&a0[..], &b0], [&b0[..], &a0]),
        ("received something else than the first receiver", [&a0, &a1], [&a1, &[]]),
        ("changed, lost, duplicated or out of order", [&a0, &a2], [&[], &[]]),
        ("changed, lost, duplicated or out of order", [&a0, &a0], [&[], &[]]),
        ("changed, lost, duplicated or out of order", [&a1, &a0], [&[], &[]]),
        ("changed, lost, duplicated or out of order", [&with_bits(&a0, 0, 0x03), &[]], [&[], &[]]),
        ("changed, lost, duplicated or out of order", [&with_bits(&a0, 30, 0x01), &[]], [&[], &[]]),
        ("expected a sender's message", [&with_bits(&a0, 11, 0x40), &[]], [&[], &[]]),
        ("expected a sender's message", [&message(2, 0), &[]], [&[], &[]]),
        ("before it was sent", [&all_a, &message(0, 10)], [&[], &[]]),
        ("expected no more messages", [&[&all_a[..], &all_b].concat(), &a0], [&[], &[]]),
    ] {
        let found = received(&[(0, &first.concat()), (1, &second.concat())]).err().map(|error| error.to_string());
        assert!(found.is_some_and(|found| found.contains(fault)), "{fault}");
    }

    // What a newcomer receives, and whether it is the end.
    let mut transcript = received(&[(0, &[&a0[..], &a1].concat())]).expect("correct messages");
    let ends = [[&a0[..], &a1], [&[], &a1]].map(|frames| (frames, true));
    let others = [[&a0[..], &[]], [&a1, &a1], [&a1, &a0], [&a1[1..], &[]], [&[], &[]]].map(|frames| (frames, false));
    for (frames, is_end) in ends.into_iter().chain(others) {
        assert_eq!(transcript.ends_with(&frames.concat()), is_end);
    }

    let (frame, _) = Frame::parse(&transcript.begin_write(1, Instant::now())).expect("a frame");
    assert_eq!(frame, Frame { first: 0x81, masked: true, payload: b"00101:0000000010".into() });
    assert_eq!(transcript.expected, 30 * a0.len(), "the third write of 10 messages");
}

/// Two senders have made the first of two writes, of 10 messages each. Then two receivers read these chunks.
fn received(reads: &[(usize, &[u8])]) -> anyhow::Result<Transcript> {
    let mut transcript = Transcript::new(2, 2, 2, 10, SHORTEST_TEXT);
    (0..2).for_each(|sender| drop(transcript.begin_write(sender, Instant::now())));
    reads.iter().try_for_each(|(client, chunk)| transcript.receive(*client, chunk, Instant::now()))?;
    Ok(transcript)
}

/// A message as a server must deliver it, encoded independently of `transcript.rs`.
fn message(sender: usize, number: u64) -> Vec<u8> {
    let id = 100 + sender;
    let payload = format!("Client #{id} says: {id:05}:{number:010}");
    [&[0x81, payload.len() as u8], payload.as_bytes()].concat()
}

/// A message with some bits of one byte inverted.
fn with_bits(message: &[u8], index: usize, bits: u8) -> Vec<u8> {
    let mut changed = message.to_vec();
    changed[index] ^= bits;
    changed
}
