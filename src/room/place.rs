//! A member's place in the room's stream, and who writes to its socket.

use super::log::Log;
use crate::limits::MAX_PENDING;
use crate::protocol::Output;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker, ready};
use tokio::net::tcp::OwnedWriteHalf;

/// One member in the list.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it joined.
    pub(super) joined: u64,
    /// The next byte that this member gets.
    pub(super) place: u64,
    pub(super) writer: Writer,
    pub(super) socket: Option<OwnedWriteHalf>,
    /// Wakes the member's task.
    pub(super) waker: Option<Waker>,
}

/// Who writes to a member's socket.
#[derive(Debug)]
pub(super) enum Writer {
    /// Nobody yet: its 101 is on the way.
    Opening,
    /// The turn: the member is up to date.
    Turn,
    /// The member's own task: it is behind, or has frames of its own.
    Task,
    /// Nobody any more: it is too far behind.
    TooSlow {
        /// By how many bytes.
        behind: u64,
        /// Whether its place is inside a frame.
        begun: bool,
    },
    /// Nobody any more: writing failed.
    Lost(io::ErrorKind),
}

impl Entry {
    /// The turn's one write to this member, if the turn is who writes.
    pub(super) fn offer(&mut self, batch: &[u8], start: u64) {
        let (Writer::Turn, Some(socket)) = (&self.writer, &self.socket) else { return };
        // A member that joined while this batch was pending begins inside it.
        let skipped = usize::try_from(self.place.saturating_sub(start)).unwrap_or(usize::MAX);
        let due = &batch[skipped.min(batch.len())..];
        match socket.try_write(due) {
            Ok(written) => {
                self.place += written as u64;
                if written < due.len() {
                    self.hand_over(Writer::Task);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.hand_over(Writer::Task),
            Err(error) => self.hand_over(Writer::Lost(error.kind())),
        }
    }

    /// From now on another one writes; the member's task sees to it.
    pub(super) fn hand_over(&mut self, writer: Writer) {
        self.writer = writer;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whether it has yet to take what earlier turns brought.
    pub(super) fn is_behind(&self) -> bool {
        !matches!(self.writer, Writer::Turn)
    }

    /// Cuts off a member that is more than a backlog behind.
    pub(super) fn judge(&mut self, log: &Log, max_backlog: u64) {
        let behind = log.end.saturating_sub(self.place);
        if behind > max_backlog && matches!(self.writer, Writer::Opening | Writer::Task) {
            let begun = log.frame_end(self.place) > self.place;
            self.hand_over(Writer::TooSlow { behind, begun });
        }
    }

    /// The first place of the log that this member still needs.
    pub(super) fn needs(&self, end: u64) -> u64 {
        match self.writer {
            // A frame that was begun must be finished before the Close.
            Writer::Opening | Writer::Task | Writer::TooSlow { begun: true, .. } => self.place.min(end),
            Writer::TooSlow { begun: false, .. } | Writer::Turn | Writer::Lost(_) => end,
        }
    }

    /// Writes what the member's task has to write: its own frames before the room's, but never inside one.
    pub(super) fn poll_catch_up(
        &mut self,
        context: &mut Context<'_>,
        own: &mut Output,
        log: &Log,
    ) -> Poll<io::Result<()>> {
        let Some(socket) = &self.socket else { return Poll::Ready(Ok(())) };
        let pause = self.place + MAX_PENDING as u64;
        loop {
            if self.place >= pause {
                // Even the one who is behind by a lot lets the others have their turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let end = if own.is_empty() { log.end } else { log.frame_end(self.place) };
            let room = log.between(self.place, end);
            let bytes = if room.is_empty() { own.as_slices().0 } else { room };
            if bytes.is_empty() {
                self.writer = Writer::Turn;
                return Poll::Ready(Ok(()));
            }
            match socket.try_write(bytes) {
                Ok(written) if room.is_empty() => drop(own.drain(..written)),
                Ok(written) => self.place += written as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(socket.as_ref().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
