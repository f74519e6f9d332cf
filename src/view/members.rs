//! `GET /members`: who is in the room, as a text/event-stream. The page shows it above the messages.
//!
//! Each event is the whole list. A viewer compares it with the list before to tell who has come or gone, so nothing has to be
//! kept for a viewer that is slow.

use crate::limits::{HEARTBEAT, LISTED_MEMBERS, MEMBERS_PAUSE};
use crate::server::shared::Shared;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, interval};

/// The body of the response: it ends when the server stops.
#[derive(Debug)]
pub struct Members {
    server: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
    interval: Interval,
    /// When the last event was sent, and the [changes](crate::view::hooks::View::changes) up to then.
    sent: Option<(Instant, u64)>,
}

impl Members {
    /// The list of this server's members. Returns `None` if too many watch it already.
    pub fn watch(server: &Arc<Shared>) -> Option<Self> {
        let permit = Arc::clone(&server.member_lists).try_acquire_owned().ok()?;
        Some(Self { server: Arc::clone(server), _permit: permit, interval: interval(MEMBERS_PAUSE), sent: None })
    }

    /// The next list: after a change, and after a silence, because only a write shows that a viewer is gone.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            ready!(self.interval.poll_tick(context));
            if self.server.stop.is_told() {
                return Poll::Ready(None);
            }
            let (now, changes) = (Instant::now(), self.server.view.changes());
            if self.sent.is_none_or(|(at, seen)| seen != changes || now - at >= HEARTBEAT) {
                self.sent = Some((now, changes));
                return Poll::Ready(Some(self.list().into()));
            }
        }
    }

    fn list(&self) -> String {
        let room = &self.server.room;
        let mut text = format!("data: members: {}\n", room.members());
        for client in room.clients(LISTED_MEMBERS) {
            let _ = writeln!(text, "data: member: {} {}", client.number, client.id().unwrap_or_default());
        }
        text.push('\n');
        text
    }
}

impl Body for Members {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_next(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::admission::Admission;
    use crate::server::shared::Options;
    use crate::view::hooks::View;
    use std::task::Waker;
    use std::time::Duration;
    use tokio::runtime::Builder;

    #[test]
    fn the_list_comes_again_after_a_silence_and_not_before() {
        let clock = Builder::new_current_thread().enable_time().build().unwrap();
        clock.block_on(async {
            let view = View::new(|_, _, _| (), Admission::default());
            let server = Arc::new(Shared::new(&Options::default(), view));
            let mut members = Members::watch(&server).unwrap();
            for (silence, list) in [(HEARTBEAT / 2, None), (HEARTBEAT, Some("data: members: 0\n\n"))] {
                members.interval.reset_immediately();
                members.sent = Some((Instant::now() - silence, 0));
                // Let the clock notice the tick.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let next = members.poll_next(&mut Context::from_waker(Waker::noop()));
                assert_eq!(next, list.map_or(Poll::Pending, |list| Poll::Ready(Some(list.into()))));
            }
        });
    }
}
