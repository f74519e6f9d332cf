//! A member's place in the room's stream of bytes, and which side writes to its socket: the turn, or the member's task.

use super::log::Log;
use crate::client::Client;
use crate::frame::Failure;
use crate::limits::{MAX_PENDING, PATIENCE};
use crate::protocol::output::Output;
use crate::view::hooks::View;
use crate::view::record::Start;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;

/// One member in the list.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) client: Arc<Client>,
    /// The next byte that this member gets. Beyond the end of the log for a member that joined since the last turn.
    pub(super) next: u64,
    /// Where the stream ends for it: nowhere, until it leaves.
    end: u64,
    pub(super) writer: Writer,
    socket: Option<OwnedWriteHalf>,
    /// Since when the socket has been full. None if it took everything at the last write.
    full: Option<Instant>,
    /// When the socket last took bytes after it was full. The client must have read some.
    progress: Option<Instant>,
    /// Wakes the member's task.
    pub(super) waker: Option<Waker>,
}

/// What writes to a member's socket.
#[derive(Debug)]
pub(super) enum Writer {
    /// Nothing yet: the 101 is being written.
    Opening,
    /// The turn: the member is up to date.
    Turn,
    /// The member's own task: it is behind, or has frames of its own.
    Task,
    /// Nothing any more: the member is too far behind.
    TooSlow(Box<TooSlow>),
    /// Nothing until it leaves: its connection is to be closed.
    Dismissed(Box<Failure>),
    /// Nothing any more: writing failed.
    Lost(io::ErrorKind),
}

/// What is left of a member that is too far behind.
#[derive(Debug)]
pub(super) struct TooSlow {
    /// It is behind by this many bytes.
    pub(super) behind: u64,
    /// The rest of the frame that its place is in, which must be written before a Close.
    rest: Vec<u8>,
}

impl Place {
    /// The place of a member that joins now, at the end of the stream.
    pub(super) fn new(client: Arc<Client>, end: u64) -> Self {
        Self {
            client,
            next: end,
            end: u64::MAX,
            writer: Writer::Opening,
            socket: None,
            full: None,
            progress: None,
            waker: None,
        }
    }

    /// Takes the socket. The member's task now writes what has been said since it joined.
    pub(super) fn open(&mut self, socket: OwnedWriteHalf) {
        self.socket = Some(socket);
        if matches!(self.writer, Writer::Opening) {
            self.writer = Writer::Task;
        }
    }

    /// Whether it has its socket.
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Ends the stream for this member: at the end of the log, or, for a member that is too slow, at its place. For a
    /// member that is too slow, returns the rest of the frame that is already partly written, because the log may no
    /// longer have it.
    pub(super) fn leave(&mut self, log: &Log) -> Output {
        match &mut self.writer {
            Writer::TooSlow(too_slow) => {
                let rest = Output::rest(std::mem::take(&mut too_slow.rest));
                (self.end, self.writer) = (self.next, Writer::Task);
                rest
            }
            writer => {
                if matches!(writer, Writer::Dismissed(_)) {
                    *writer = Writer::Task;
                }
                self.end = self.end.min(log.end);
                Output::new()
            }
        }
    }

    /// Ends the server's side of TCP.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.as_mut().map_or(Poll::Ready(Ok(())), |socket| Pin::new(socket).poll_shutdown(context))
    }

    /// Leaves it to the end of the connection to close TCP. Dropped by itself, the socket would first end its side of TCP.
    pub(super) fn close(self) {
        self.socket.into_iter().for_each(OwnedWriteHalf::forget);
    }

    /// Returns when the client last showed that it reads: when its socket last took bytes after being full.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.progress
    }

    /// The turn's one write to this member, if it is the turn that writes. Returns the part of the batch that the
    /// socket took.
    pub(super) fn offer(&mut self, batch: &[u8], start: u64) -> Option<Range<usize>> {
        let (Writer::Turn, Some(socket)) = (&self.writer, &self.socket) else { return None };
        // A member that joined while this batch was pending begins inside it.
        let skipped = usize::try_from(self.next.saturating_sub(start)).unwrap_or(usize::MAX).min(batch.len());
        let due = &batch[skipped..];
        match socket.try_write(due) {
            Ok(written) => {
                self.next += written as u64;
                if written < due.len() {
                    self.full = Some(Instant::now());
                    self.hand_over(Writer::Task);
                }
                return Some(skipped..skipped + written);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.full = Some(Instant::now());
                self.hand_over(Writer::Task);
            }
            Err(error) => self.hand_over(Writer::Lost(error.kind())),
        }
        None
    }

    /// Changes the writer, and wakes the member's task.
    pub(super) fn hand_over(&mut self, writer: Writer) {
        self.writer = writer;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Returns the number of bytes that the member is behind the end of the log.
    pub(super) fn behind(&self, log: &Log) -> u64 {
        log.end.saturating_sub(self.next)
    }

    /// Cuts off a member that is more than `max_backlog` bytes behind.
    pub(super) fn judge(&mut self, log: &Log, max_backlog: u64, view: &View) {
        let behind = self.behind(log);
        if behind > max_backlog && self.needs(log.end) < log.end {
            let rest = log.rest_of_frame(self.next);
            self.hand_over(Writer::TooSlow(Box::new(TooSlow { behind, rest })));
            view.counters().too_slow.add(1);
        }
    }

    /// Whether the room has ended the connection, or lost it.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.writer, Writer::TooSlow(_) | Writer::Dismissed(_) | Writer::Lost(_))
    }

    /// Has the connection closed.
    pub(super) fn dismiss(&mut self, failure: &Failure) {
        self.hand_over(Writer::Dismissed(Box::new(failure.clone())));
    }

    /// Returns the first byte of the stream that the log must keep for this member.
    pub(super) fn needs(&self, end: u64) -> u64 {
        match self.writer {
            Writer::Opening | Writer::Task | Writer::Dismissed(_) if self.next < self.end => self.next.min(end),
            _ => end,
        }
    }

    /// Returns the number of bytes that the log keeps for this member.
    pub(super) fn lag(&self, end: u64) -> u64 {
        end - self.needs(end)
    }

    /// Whether the member has taken nothing for so long that the room should not wait for it. One that has read before while
    /// it was behind gets [`PATIENCE`] times as long.
    pub(super) fn is_stuck(&self, stuck_after: Duration, now: Instant) -> bool {
        let patience = if self.progress.is_some() { stuck_after * PATIENCE } else { stuck_after };
        self.full.is_some_and(|since| now.saturating_duration_since(since) > patience)
    }

    /// Writes what the member's task has to write: its own frames first, but never inside a frame of the room. For a
    /// member that has left, the room's frames go first, unless one of its own is partly written.
    pub(super) fn poll_catch_up(
        &mut self,
        context: &mut Context<'_>,
        own: &mut Output,
        log: &Log,
        view: &View,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Ok(())) };
        if self.full.is_some() {
            // Finding the end of a frame takes time in a batch of many, so look for it only if something can be written.
            ready!(socket.as_ref().poll_write_ready(context))?;
        }
        let pause = self.next + MAX_PENDING as u64;
        loop {
            if self.next >= pause {
                // Yield, so that a member that is far behind does not keep the others waiting.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let end = match self.end {
                // It has left, and has received all that it gets. The log may go further.
                end if self.next >= end => end,
                u64::MAX if own.is_empty() => log.end,
                // The Close of a member that has left is among its own frames, so the room's go first.
                end if end < u64::MAX && !own.is_begun() => end,
                _ => log.frame_end(self.next),
            };
            let room = log.between(self.next, end);
            let bytes = if room.is_empty() { own.next() } else { room };
            if bytes.is_empty() {
                self.writer = Writer::Turn;
                return Poll::Ready(Ok(()));
            }
            let taken = socket.try_write(bytes);
            if taken.is_ok() && self.full.take().is_some() {
                self.progress = Some(Instant::now());
            }
            match taken {
                Ok(written) if room.is_empty() => {
                    view.wrote(&self.client, &bytes[..written], || Start::aligned(!own.is_begun()));
                    own.advance(written);
                }
                Ok(written) => {
                    let start = || Start::aligned(log.frame_end(self.next) == self.next);
                    view.wrote(&self.client, &bytes[..written], start);
                    self.next += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.full.get_or_insert_with(Instant::now);
                    ready!(socket.as_ref().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_is_stuck_when_its_full_socket_takes_nothing_for_long() {
        const STUCK_AFTER: Duration = Duration::from_secs(1);
        let mut place = Place::new(Arc::new(Client::new(1, 0)), 0);
        let start = Instant::now();
        let after = |place: &Place, time| place.is_stuck(STUCK_AFTER, start + time);
        assert!(!after(&place, PATIENCE * STUCK_AFTER * 2));
        place.full = Some(start);
        assert!(!after(&place, STUCK_AFTER));
        assert!(after(&place, STUCK_AFTER + Duration::from_nanos(1)));
        // It has taken something after it was full, and is full again.
        place.progress = Some(start);
        assert!(!after(&place, STUCK_AFTER * PATIENCE));
        assert!(after(&place, STUCK_AFTER * PATIENCE + Duration::from_nanos(1)));
    }
}
