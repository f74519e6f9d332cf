//! Tests of the checks: a fault they miss would make the figures wrong. Bench targets without a test harness have no
//! unit tests, so these run before each benchmark; they take no noticeable time.

use std::time::Instant;

use test_client::frame::Frame;

use crate::transcript::{SHORTEST_TEXT, Transcript};

const RECEIVERS: usize = 2;
const SENDERS: usize = 2;

pub fn run() {
    correct_deliveries_pass();
    every_fault_is_detected();
    newcomers_receive_the_end();
    client_frames_are_masked_text();
}

fn correct_deliveries_pass() {
    let frames = [message(0, 0), message(0, 1), message(1, 0)].concat();
    for first_read in 0..=frames.len() {
        let (start, rest) = frames.split_at(first_read);
        // The second receiver overtakes the first between its two reads.
        let transcript = received(&[(0, start), (1, &frames), (0, rest)]).expect("correct messages");
        assert_eq!(transcript.latencies.len(), 6, "three messages for each of two receivers");
    }
}

fn every_fault_is_detected() {
    let [a0, a1, a2, b0] = [(0, 0), (0, 1), (0, 2), (1, 0)].map(|(sender, number)| message(sender, number));
    let [mut binary, mut changed, mut nameless] = [a0.clone(), a0.clone(), a0.clone()];
    binary[0] = 0x82;
    changed[30] ^= 1;
    nameless[11] ^= 0x40;
    let of_nobody = message(SENDERS, 0);
    let [all_a, all_b] = [0, 1].map(|sender| (0..10).flat_map(|number| message(sender, number)).collect::<Vec<_>>());

    expect("received something else than the first receiver", &[&a0, &b0], &[&b0, &a0]);
    expect("received something else than the first receiver", &[&a0, &a1], &[&a1]);
    for wrong in [[&a0, &a2], [&a0, &a0], [&a1, &a0], [&a0, &binary], [&a0, &changed]] {
        expect("changed, lost, duplicated or out of order", &wrong, &[]);
    }
    expect("expected a message of a sender", &[&nameless], &[]);
    expect("expected a message of a sender", &[&of_nobody], &[]);
    expect("before it was sent", &[&all_a, &message(0, 10)], &[]);
    expect("expected no more messages", &[&all_a, &all_b, &a0], &[]);
}

/// Two receivers, one after the other, receive these frames.
fn expect(fault: &str, first: &[&Vec<u8>], second: &[&Vec<u8>]) {
    let reads = first.iter().map(|frames| (0, &frames[..])).chain(second.iter().map(|frames| (1, &frames[..])));
    let found = received(&reads.collect::<Vec<_>>()).err().map(|error| error.to_string());
    assert!(found.is_some_and(|found| found.contains(fault)), "{fault}");
}

fn newcomers_receive_the_end() {
    let (a0, a1) = (message(0, 0), message(0, 1));
    let all = [&a0[..], &a1].concat();
    let transcript = received(&[(0, &all)]).expect("correct messages");
    assert!(transcript.ends_with(&all) && transcript.ends_with(&a1));
    let wrong = [&a0, &[&a1[..], &a1].concat(), &[&a1[..], &a0].concat(), &a1[1..].to_vec(), &Vec::new()];
    assert!(!wrong.into_iter().any(|frames| transcript.ends_with(frames)));
}

fn client_frames_are_masked_text() {
    let mut transcript = received(&[]).expect("no messages");
    let (frame, _) = Frame::parse(&transcript.begin_write(1, Instant::now())).expect("a frame");
    assert_eq!(frame, Frame { first: 0x81, masked: true, payload: b"00101:0000000010".into() });
    assert_eq!(transcript.expected, 30 * message(1, 10).len(), "the third write of 10 messages");
}

/// Every sender has made the first of two writes, of 10 messages each. Then receivers read these chunks.
fn received(reads: &[(usize, &[u8])]) -> anyhow::Result<Transcript> {
    let mut transcript = Transcript::new(RECEIVERS, SENDERS, 2, 10, SHORTEST_TEXT);
    (0..SENDERS).for_each(|sender| drop(transcript.begin_write(sender, Instant::now())));
    reads.iter().try_for_each(|(client, chunk)| transcript.receive(*client, chunk, Instant::now()))?;
    Ok(transcript)
}

/// A message as a server must deliver it, encoded independently of `transcript.rs`.
fn message(sender: usize, number: u64) -> Vec<u8> {
    let id = 100 + sender;
    let payload = format!("Client #{id} says: {id:05}:{number:010}");
    [&[0x81, payload.len() as u8], payload.as_bytes()].concat()
}
