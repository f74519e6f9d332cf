//! What all connections received during a fault, and who was told.

use crate::checker::{End, Message, Record, check, summary};
use std::time::{Duration, Instant};

/// The records of all connections, in the order in which they were opened.
#[derive(Debug)]
pub struct Outcome {
    pub records: Vec<Record>,
}

impl Outcome {
    /// Checks all rules, with these logs or without.
    #[track_caller]
    pub fn obeys_all_rules(&self, logs: &[Vec<Message>]) {
        if let Err(fault) = check(&self.records, logs) {
            panic!("{fault}{}", summary(&self.records));
        }
    }

    /// Nobody was told anything: each member kept its first connection.
    #[track_caller]
    pub fn nobody_was_told(&self) {
        assert!(!self.is_anybody_told(), "somebody was told: {}", summary(&self.records));
    }

    pub fn is_anybody_told(&self) -> bool {
        self.records.iter().any(|record| record.end != End::Open)
    }

    /// The members of these nodes were told, once, by a Close with this code and a reason that contains a phrase; the others were not. Returns how long that
    /// took since the fault.
    #[track_caller]
    pub fn told(&self, nodes: &[usize], expected: u16, phrase: &str, fault: Instant) -> Duration {
        let mut last = fault;
        for record in &self.records {
            let is_last =
                !self.records.iter().any(|later| later.member == record.member && later.client > record.client);
            let earlier = self.records.iter().filter(|one| one.member == record.member && one.client < record.client);
            let is_told = match &record.end {
                End::Closed { code, reason, at } => {
                    last = last.max(*at);
                    *code == expected && reason.contains(phrase) && !is_last
                }
                _ => record.end == End::Open && is_last,
            };
            let due = usize::from(nodes.contains(&record.node));
            assert!(
                is_told && (!is_last || earlier.count() == due),
                "expected one {expected} {phrase:?} on nodes {nodes:?} only: {}",
                summary(&self.records)
            );
        }
        last.saturating_duration_since(fault)
    }
}
