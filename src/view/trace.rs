//! One WebSocket's side of the [`lifecycle`](crate::view::lifecycle) view: its frames, as they go by.

use crate::connection::End;
use crate::frame::{FrameView, Spectator};
use crate::http::refusal::quote;
use crate::protocol::{Closing, Output};
use crate::view::lifecycle::{Event, Lifecycle, Side};
use std::sync::Arc;
use std::time::Instant;
use tungstenite::protocol::CloseFrame;

/// Tells the lifecycle of one connection's steps. While nobody watches it holds nothing but this.
#[derive(Debug)]
pub struct Trace {
    lifecycle: Arc<Lifecycle>,
    connection: u64,
    sight: Option<Box<Sight>>,
    closing: Told,
}

/// How much of the closing handshake has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Begun,
    Done,
}

/// What has to be kept to make sense of frames that go by.
#[derive(Debug, Default)]
struct Sight {
    incoming: Spectator,
    pinged: Option<Instant>,
    fragments: u64,
    fragment_bytes: u64,
}

impl Trace {
    /// The trace of the connection with this number.
    pub fn new(lifecycle: Arc<Lifecycle>, connection: u64) -> Self {
        Self { lifecycle, connection, sight: None, closing: Told::Nothing }
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.lifecycle.is_watched()
    }

    /// The connection has its place in the list, of so many.
    pub fn joined(&self, members: usize) {
        self.lifecycle.joined(self.connection, members);
    }

    /// The connection gave its place back; so many remain.
    pub fn left(&self, members: usize) {
        self.lifecycle.left(self.connection, members);
    }

    /// Something happened.
    pub fn step(&self, event: impl FnOnce() -> Event) {
        self.lifecycle.step(self.connection, event);
    }

    /// Bytes came. `fresh` says that the first of them begins a message: only there can a watch begin.
    pub fn came(&mut self, bytes: &[u8], fresh: bool) {
        if !self.is_watched() || !self.lifecycle.takes_frames() {
            self.sight = None;
            return;
        }
        if fresh && self.sight.is_none() {
            self.sight = Some(Box::default());
        }
        let Some(sight) = &mut self.sight else { return };
        let Sight { incoming, pinged, fragments, fragment_bytes } = &mut **sight;
        incoming.see(bytes, |frame| {
            let after = match frame.opcode() {
                9 => Some(Event::Ping(Side::Client)),
                10 => Some(Event::Pong(Side::Client, pinged.take().map(|pinged| pinged.elapsed()))),
                0..=2 if *fragments > 0 || !frame.is_final() => {
                    *fragments += 1;
                    *fragment_bytes += frame.length();
                    let so_far = Event::Fragment { fragments: *fragments, bytes: *fragment_bytes };
                    if frame.is_final() {
                        (*fragments, *fragment_bytes) = (0, 0);
                    }
                    Some(so_far)
                }
                _ => None,
            };
            self.lifecycle.frame_step(self.connection, || Event::FrameIn(frame));
            if let Some(after) = after {
                self.lifecycle.frame_step(self.connection, || after);
            }
        });
    }

    /// Frames for this client alone were added to the output, behind the first `before` bytes.
    pub fn goes(&mut self, output: &Output, before: usize) {
        if !self.is_watched() || output.len() <= before {
            return;
        }
        let bytes: Vec<u8> = output.range(before..).copied().collect();
        Spectator::default().see(&bytes, |frame| {
            let after = match frame.opcode() {
                9 => {
                    self.sight.get_or_insert_default().pinged = Some(Instant::now());
                    Some(Event::Ping(Side::Server))
                }
                10 => Some(Event::Pong(Side::Server, None)),
                _ => None,
            };
            self.lifecycle.frame_step(self.connection, || Event::FrameOut(frame));
            if let Some(after) = after {
                self.lifecycle.frame_step(self.connection, || after);
            }
        });
    }

    /// Tells that the closing handshake has begun, if it has and that is news.
    pub fn begun(&mut self, closing: Option<&Closing>) {
        let Some(closing) = closing.filter(|_| self.closing == Told::Nothing) else { return };
        self.closing = Told::Begun;
        self.step(|| match closing {
            Closing::ByClient(close) => Event::Close(Side::Client, close.as_ref().map(words)),
            Closing::ByServer { failure, .. } => {
                Event::Close(Side::Server, Some((failure.code.into(), quote(failure.reason.as_bytes()))))
            }
        });
    }

    /// Tells that both Close frames are there, if they are and that is news.
    pub fn done(&mut self, closing: Option<&Closing>) {
        let by = match closing {
            Some(Closing::ByClient(_)) => Side::Server,
            Some(Closing::ByServer { answered: true, .. }) => Side::Client,
            _ => return,
        };
        if self.closing != Told::Done {
            self.closing = Told::Done;
            self.step(|| Event::CloseAnswer(by));
        }
    }

    /// TCP ended, and how.
    pub fn closed(&self, end: &End) {
        self.step(|| {
            Event::TcpClosed(match end {
                End::Closed(_) => Side::Server,
                End::EndOfStream => Side::Client,
                End::Lost(_) | End::Silence => Side::Network,
            })
        });
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.lifecycle.forget(self.connection);
    }
}

fn words(close: &CloseFrame) -> (u16, String) {
    (close.code.into(), quote(close.reason.as_bytes()))
}

/// The frames in these bytes, which are whole frames.
pub fn frames_in(bytes: &[u8]) -> Vec<FrameView> {
    let mut frames = Vec::new();
    Spectator::default().see(bytes, |frame| frames.push(frame));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::masked;
    use crate::view::lifecycle::Seen;
    use tokio::sync::mpsc::Receiver;

    fn names(seen: &mut Receiver<Seen>) -> Vec<&'static str> {
        let step = |seen| match seen {
            Seen::Step(step) => step.event.name(),
            Seen::Missed(_) => "missed",
        };
        std::iter::from_fn(|| seen.try_recv().ok().map(step)).collect()
    }

    #[test]
    fn a_watch_begins_where_a_message_begins() {
        let lifecycle = Arc::new(Lifecycle::default());
        let mut trace = Trace::new(Arc::clone(&lifecycle), 1);
        let frame = masked(0x81, b"Hello");
        trace.came(&frame[..3], true);
        let mut seen = lifecycle.watch(9);
        // The rest of a frame whose beginning nobody saw.
        trace.came(&frame[3..], false);
        assert!(names(&mut seen).is_empty());
        trace.came(&frame, true);
        assert_eq!(names(&mut seen), ["frame-in"]);
        trace.came(&frame[..3], true);
        assert!(names(&mut seen).is_empty());
        trace.came(&frame[3..], false);
        assert_eq!(names(&mut seen), ["frame-in"]);
        // What was half seen when the last one went is not made sense of later.
        trace.came(&frame[..3], true);
        lifecycle.end();
        trace.came(&frame[3..], false);
        let mut seen = lifecycle.watch(9);
        trace.came(&frame, true);
        assert_eq!(names(&mut seen), ["frame-in"]);
    }

    #[test]
    fn each_half_of_the_closing_handshake_is_told_once() {
        let lifecycle = Arc::new(Lifecycle::default());
        let mut seen = lifecycle.watch(9);
        let mut trace = Trace::new(Arc::clone(&lifecycle), 1);
        let closing = Closing::ByClient(None);
        trace.begun(None);
        trace.done(None);
        for _ in 0..2 {
            trace.begun(Some(&closing));
            trace.done(Some(&closing));
        }
        assert_eq!(names(&mut seen), ["close", "close-answer"]);
        trace.closed(&End::Silence);
        drop(trace);
        lifecycle.step(1, || Event::Accepted);
        let Ok(Seen::Step(_)) = seen.try_recv() else { panic!("tcp-closed") };
        let Ok(Seen::Step(step)) = seen.try_recv() else { panic!("accepted") };
        assert_eq!(step.elapsed, None, "it is forgotten");
    }
}
