//! The server's log, with a bound for each kind of line: no client can flood it, and a flood of one kind hides no other.

use crate::limits::per_second::PerSecond;
use crate::limits::{FAILED_ACCEPTS_PER_SECOND, LOG_LINES_PER_SECOND};
use hyper::StatusCode;
use log::{Level, log};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::mem::replace;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A kind of line. The server chooses all statuses and codes here, so there are few kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A connection can't be accepted.
    FailedAccept,
    /// A connection ended before a request.
    NoRequest,
    /// A request could not be read, or its response not be written.
    FailedRequest,
    /// A request was answered with this status.
    Answer(StatusCode),
    /// The client began the closing handshake.
    ClosedByClient,
    /// The server did, with this code.
    ClosedByServer(u16),
    /// The stream ended without a Close frame.
    EndOfStream,
    /// The socket failed.
    Lost,
    /// A client was silent.
    Silence,
}

impl Kind {
    fn most_per_second(self) -> u32 {
        if self == Self::FailedAccept { FAILED_ACCEPTS_PER_SECOND } else { LOG_LINES_PER_SECOND }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailedAccept => write!(f, "failed accepts"),
            Self::NoRequest => write!(f, "connections that ended before a request"),
            Self::FailedRequest => write!(f, "failed requests"),
            Self::Answer(StatusCode::SWITCHING_PROTOCOLS) => write!(f, "WebSockets accepted"),
            Self::Answer(status) => write!(f, "requests answered with {status}"),
            Self::ClosedByClient => write!(f, "WebSockets closed by the client"),
            Self::ClosedByServer(code) => write!(f, "WebSockets closed by the server with {code}"),
            Self::EndOfStream => write!(f, "ends of stream without a Close frame"),
            Self::Lost => write!(f, "WebSockets whose socket failed"),
            Self::Silence => write!(f, "silent clients"),
        }
    }
}

/// Logs a bounded number of lines of each kind per second, and counts the rest.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<BTreeMap<Kind, Lines>>);

#[derive(Debug, Default)]
struct Lines {
    passed: PerSecond,
    /// Lines that were left out, and those of them that were reported.
    left_out: u64,
    reported: u64,
    /// The level of those left out.
    level: Option<Level>,
}

impl Throttle {
    /// Logs a line, unless this second has enough of its kind. All lines of a kind have the same level.
    pub fn log(&self, level: Level, kind: Kind, line: impl FnOnce() -> String) {
        if level <= log::max_level() && self.pass(level, kind, Instant::now()) {
            log!(level, "{}", line());
        }
    }

    /// Logs how many lines were left out since the last report.
    pub fn report(&self) {
        for (level, kind, left_out) in self.take_left_out() {
            log!(level, "left out {left_out} lines: {kind}");
        }
    }

    fn pass(&self, level: Level, kind: Kind, now: Instant) -> bool {
        let mut kinds = self.kinds();
        let lines = kinds.entry(kind).or_default();
        let passes = lines.passed.take(kind.most_per_second(), now);
        lines.left_out += u64::from(!passes);
        lines.level = Some(level);
        passes
    }

    /// Returns the number of lines that were left out so far.
    pub fn left_out(&self) -> u64 {
        self.kinds().values().map(|lines| lines.left_out).sum()
    }

    fn take_left_out(&self) -> Vec<(Level, Kind, u64)> {
        let mut kinds = self.kinds();
        let counts = kinds.iter_mut().filter(|(_, lines)| lines.left_out > lines.reported);
        let take = |lines: &mut Lines| lines.left_out - replace(&mut lines.reported, lines.left_out);
        counts.filter_map(|(kind, lines)| Some((lines.level?, *kind, take(lines)))).collect()
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<Kind, Lines>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_kind_has_its_own_bound_and_its_own_count() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let passed = |kind, times: u32, seconds| {
            let now = now + Duration::from_secs(seconds);
            (0..times).filter(|_| throttle.pass(Level::Info, kind, now)).count()
        };
        let (refused, found) = (Kind::Answer(StatusCode::NOT_FOUND), Kind::Answer(StatusCode::OK));
        let most = LOG_LINES_PER_SECOND as usize;
        assert_eq!(passed(refused, LOG_LINES_PER_SECOND + 3, 0), most);
        assert_eq!(passed(found, LOG_LINES_PER_SECOND, 0), most);
        assert_eq!(passed(Kind::FailedAccept, 5, 0), 1);
        let counts = [(Level::Info, Kind::FailedAccept, 4), (Level::Info, refused, 3)];
        assert_eq!(throttle.take_left_out(), counts);
        assert_eq!(throttle.take_left_out(), []);
        assert_eq!(passed(refused, 1, 0), 0);
        assert_eq!(passed(refused, 1, 1), 1);
        assert_eq!(throttle.take_left_out(), [(Level::Info, refused, 1)]);
        assert_eq!(throttle.left_out(), 8);
    }

    #[test]
    fn kinds_are_named_in_the_plural() {
        let names = |kind: Kind| kind.to_string();
        assert_eq!(names(Kind::Answer(StatusCode::FORBIDDEN)), "requests answered with 403 Forbidden");
        assert_eq!(names(Kind::Answer(StatusCode::SWITCHING_PROTOCOLS)), "WebSockets accepted");
        assert_eq!(names(Kind::ClosedByServer(1009)), "WebSockets closed by the server with 1009");
    }
}
