//! Silence of a client (RFC 6455 5.5.2).

use std::time::{Duration, Instant};

/// Watches for a client that has fallen silent: after one interval without a sign of life it gets a Ping, after one more it
/// is given up.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    interval: Duration,
    /// The last sign of life or, after that, the Ping.
    since: Instant,
    pinged: bool,
    /// Whether a Pong may be on its way.
    unanswered: bool,
}

/// What a silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// A Ping.
    Ping,
    /// The end: the Ping had no answer.
    End,
}

impl Silence {
    /// A watch that begins now.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, since: now, pinged: false, unanswered: false }
    }

    /// The client showed a sign of life: it sent a byte, or its full socket took one.
    pub fn end(&mut self, at: Instant) {
        if at > self.since {
            (self.since, self.pinged) = (at, false);
        }
    }

    /// The client sent something. Returns whether it had sent nothing since the last Ping.
    pub fn hear(&mut self, now: Instant) -> bool {
        self.end(now);
        std::mem::take(&mut self.unanswered)
    }

    /// When the next thing is due.
    pub fn deadline(&self) -> Instant {
        self.since + self.interval
    }

    /// What is due. A Ping counts as sent, and the client has a whole interval from now to answer it.
    pub fn expire(&mut self, now: Instant) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        if self.pinged {
            return Due::End;
        }
        (self.since, self.pinged, self.unanswered) = (now, true, true);
        Due::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_of_life_before_the_ping_does_not_answer_it() {
        let (interval, start) = (Duration::from_secs(10), Instant::now());
        let mut silence = Silence::new(interval, start);
        assert_eq!(silence.expire(start + interval), Due::Ping);
        silence.end(start);
        assert_eq!(silence.expire(start + 2 * interval), Due::End);
    }
}
