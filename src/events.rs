//! `GET /lifecycle`: the steps as a text/event-stream, for `curl -N` and for `EventSource`.
//!
//! The event's name is the phase, the id counts up. The first line of data is for reading; each further one is
//! `name: value`, escaped. That is as easy to parse as JSON for a page, and easier to read on a terminal; it needs no
//! library on either side.

use crate::frame::count;
use crate::lifecycle::{Lifecycle, Seen, Step, milliseconds};
use crate::limits::HEARTBEAT;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};

/// The body of the response: it ends when the watch does.
#[derive(Debug)]
pub struct Events {
    lifecycle: Arc<Lifecycle>,
    id: u64,
    seen: mpsc::Receiver<Seen>,
    greeted: bool,
    /// Says something when nothing happens, for only a write shows that a viewer is gone.
    heartbeat: Interval,
}

impl Events {
    /// Watches from now on. `id` is the number of the viewer's own connection; that one's steps are not shown.
    pub fn watch(lifecycle: &Arc<Lifecycle>, id: u64) -> Self {
        let seen = lifecycle.watch(id);
        let heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        Self { lifecycle: Arc::clone(lifecycle), id, seen, greeted: false, heartbeat }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.lifecycle.unwatch(self.id);
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.greeted {
            self.greeted = true;
            let greeting = ": what happens on this server, step by step\nretry: 2000\n\n";
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(greeting.as_bytes())))));
        }
        loop {
            let event = match self.seen.poll_recv(context) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Seen::Step(step))) if step.connection == self.id => continue,
                Poll::Ready(Some(Seen::Step(step))) => event(&step),
                Poll::Ready(Some(Seen::Missed(steps))) => missed(steps),
                // He has caught up. The next step may be long in coming.
                Poll::Pending => match self.lifecycle.take_missed(self.id) {
                    0 => {
                        ready!(self.heartbeat.poll_tick(context));
                        ": nothing happens\n\n".into()
                    }
                    steps => missed(steps),
                },
            };
            return Poll::Ready(Some(Ok(Frame::data(event.into()))));
        }
    }
}

fn missed(steps: u64) -> String {
    format!("event: missed\ndata: at least {} left out\ndata: steps: {steps}\n\n", count(steps, "step"))
}

/// One step as an event.
fn event(step: &Step) -> String {
    let Step { id, connection, client_id, elapsed, event } = step;
    let client = client_id.map_or_else(String::new, |client_id| format!(" client {client_id}"));
    let time = elapsed.map_or_else(String::new, |elapsed| format!(" +{}", milliseconds(elapsed)));
    let mut text = format!("id: {id}\nevent: {}\n", event.phase().name());
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "data: {name}{value}");
    };
    line("", &format!("#{connection}{client}{time}  {} ({})", event.headline(), event.rfc()));
    line("step: ", event.name());
    line("connection: ", &connection.to_string());
    if let Some(client_id) = client_id {
        line("client: ", &client_id.to_string());
    }
    if let Some(elapsed) = elapsed {
        line("ms: ", &format!("{:.3}", elapsed.as_secs_f64() * 1e3));
    }
    line("rfc: ", event.rfc());
    for (name, value) in event.fields() {
        line(name, &format!(": {value}"));
    }
    text.push('\n');
    text
}
