//! What one client has received.

use std::collections::HashSet;

/// From FNV-1a, 64 bits.
const PRIME: u64 = 0x0000_0100_0000_01b3;

#[derive(Default)]
pub struct Tally {
    /// By sender: the sequence number after the highest one received.
    pub next: Vec<u64>,
    /// Lower ones that have not been received.
    missing: HashSet<(usize, u64)>,
    pub repeated: u64,
    /// Messages that came after a later one of the same sender.
    pub out_of_order: u64,
    /// A hash: equal for two clients with the same messages in the same order.
    pub order: u64,
}

impl Tally {
    pub fn new(senders: usize) -> Self {
        Self { next: vec![0; senders], ..Self::default() }
    }

    pub fn receive(&mut self, sender: usize, sequence: u64) {
        let next = self.next[sender];
        if sequence >= next {
            self.missing.extend((next..sequence).map(|skipped| (sender, skipped)));
            self.next[sender] = sequence + 1;
        } else if self.missing.remove(&(sender, sequence)) {
            self.out_of_order += 1;
        } else {
            self.repeated += 1;
        }
        self.order = (self.order ^ (sender as u64 + 1) << 48 ^ sequence).wrapping_mul(PRIME);
    }

    pub fn has(&self, sender: usize, sequence: u64) -> bool {
        sequence < self.next[sender] && !self.missing.contains(&(sender, sequence))
    }

    /// What is wrong if `sent` are the numbers of messages that the senders have sent.
    pub fn fault(&self, sent: &[u64]) -> Option<String> {
        let last: u64 = sent.iter().zip(&self.next).map(|(sent, next)| sent - next).sum();
        let (missing, repeated, late) = (self.missing.len() as u64 + last, self.repeated, self.out_of_order);
        (missing + repeated + late > 0)
            .then(|| format!("a client misses {missing} messages; {repeated} were repeated, {late} out of order"))
    }
}

pub fn self_check() {
    let tally = |sequences: &[u64]| {
        let mut tally = Tally::new(2);
        sequences.iter().for_each(|&sequence| tally.receive(1, sequence));
        tally
    };
    let fault = |sequences: &[u64]| tally(sequences).fault(&[0, 3]);
    assert_eq!(fault(&[0, 1, 2]), None);
    for (sequences, counts) in [([0, 1, 1], (1, 1, 0)), ([0, 2, 1], (0, 0, 1)), ([1, 2, 2], (1, 1, 0))] {
        let (missing, repeated, late) = counts;
        let expected = format!("a client misses {missing} messages; {repeated} were repeated, {late} out of order");
        assert_eq!(fault(&sequences), Some(expected), "{sequences:?}");
    }
    assert!(!tally(&[0, 2]).has(1, 1) && tally(&[0, 2]).has(1, 2));
    assert_ne!(tally(&[0, 1]).order, tally(&[1, 0]).order);
}
