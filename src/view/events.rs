//! `GET /lifecycle`: the steps as a text/event-stream, for `curl -N` and for `EventSource`.
//!
//! The event's name is the phase, the id counts up. The first line of data is for reading; each further one is
//! `name: value`, escaped. A page parses that as easily as JSON, it reads better on a terminal, and neither side needs a
//! library for it.

use super::hooks::{Shown, Watch};
use super::step::{Step, milliseconds};
use crate::escape::count;
use crate::limits::HEARTBEAT;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Interval, interval_at};

/// The body of the response: it ends when the watch does.
#[derive(Debug)]
pub struct Events {
    watch: Watch,
    greeted: bool,
    /// Due after a silence: only a write shows that a viewer is gone.
    heartbeat: Interval,
}

impl Events {
    /// The events of this watch.
    pub fn new(watch: Watch) -> Self {
        Self { watch, greeted: false, heartbeat: interval_at(Instant::now() + HEARTBEAT, HEARTBEAT) }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.greeted {
            self.greeted = true;
            return Poll::Ready(Some(": what happens on this server, step by step\nretry: 2000\n\n".into()));
        }
        let text = match self.watch.shown.poll_recv(context) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Shown::Step(step))) => step.text.get_or_init(|| text(&step).into()).clone(),
            Poll::Ready(Some(Shown::Missed(steps))) => missed(steps).into(),
            Poll::Pending => {
                ready!(self.heartbeat.poll_tick(context));
                return Poll::Ready(Some(": nothing happens\n\n".into()));
            }
        };
        self.heartbeat.reset();
        Poll::Ready(Some(text))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_next(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

fn missed(steps: u64) -> String {
    format!("event: missed\ndata: at least {} left out\ndata: steps: {steps}\n\n", count(steps, "step"))
}

/// One step as an event.
fn text(step: &Step) -> String {
    let Step { id, client, elapsed, event, .. } = step;
    let name = match step.name() {
        "" => String::new(),
        name => format!(" {name}"),
    };
    let mut text = format!("id: {id}\nevent: {}\n", event.phase.name());
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "data: {name}{value}");
    };
    let time = milliseconds(*elapsed);
    line("", &format!("#{}{name} +{time}  {} ({})", client.number, event.sentence, event.rfc));
    line("step: ", event.name);
    line("connection: ", &client.number.to_string());
    if let Some(id) = step.id_of_client() {
        line("client: ", &id.to_string());
    }
    line("ms: ", time.trim_end_matches(" ms"));
    line("rfc: ", event.rfc);
    for (name, value) in &event.fields {
        line(name, &format!(": {value}"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{FRAME_STEPS_PER_SECOND, STEPS_PER_SECOND};
    use crate::view::lifecycle::Event;
    use std::future::poll_fn;
    use std::task::Waker;
    use tokio::runtime::{Builder, Runtime};

    /// The heartbeat needs a clock.
    fn clock() -> Runtime {
        Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    /// The next data, if there is some.
    fn next(events: &mut Events) -> Poll<Option<String>> {
        let frame = Pin::new(events).poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map(|frame| frame.map(|Ok(frame)| String::from_utf8_lossy(frame.data_ref().expect("data")).into_owned()))
    }

    fn ready(events: &mut Events) -> String {
        match next(events) {
            Poll::Ready(Some(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_step_is_an_event_with_a_line_to_read_and_lines_to_parse() {
        let elapsed = Some(std::time::Duration::from_micros(1_234_567));
        let step = |client_id, elapsed, event| Step { id: 7, connection: 3, client_id, elapsed, event };
        assert_eq!(
            event(&step(Some(-1), elapsed, Event::Joined { members: 2 })),
            "id: 7\nevent: loop\ndata: #3 client -1 +1234.567 ms  joined the list, 2 there now (RFC 6455 4.2.2: OPEN)\n\
             data: step: joined\ndata: connection: 3\ndata: client: -1\ndata: ms: 1234.567\n\
             data: rfc: RFC 6455 4.2.2: OPEN\ndata: members: 2\n\n"
        );
        // A head's line ends would end the event's.
        assert_eq!(
            event(&step(None, None, Event::Request(b"GET / HTTP/1.1\r\n\r\n\n\"".to_vec()))),
            "id: 7\nevent: http\ndata: #3  request, as it stood on the wire (RFC 6455 4.1)\n\
             data: step: request\ndata: connection: 3\ndata: rfc: RFC 6455 4.1\n\
             data: bytes: GET / HTTP/1.1\\r\\n\\r\\n\\n\\\"\n\n"
        );
    }

    #[test]
    fn a_viewer_is_greeted_sees_the_others_steps_and_is_forgotten() {
        let clock = clock();
        let _clock = clock.enter();
        let lifecycle = Arc::new(Lifecycle::default());
        let mut events = Events::watch(&lifecycle, 5);
        assert_eq!(ready(&mut events), ": what happens on this server, step by step\nretry: 2000\n\n");
        assert_eq!(next(&mut events), Poll::Pending);
        lifecycle.step(5, || Event::Accepted);
        assert_eq!(next(&mut events), Poll::Pending, "its own are not shown");
        lifecycle.step(6, || Event::Accepted);
        assert!(ready(&mut events).contains("data: #6  TCP accepted"));
        assert_eq!(lifecycle.viewers(), 1);
        drop(events);
        assert_eq!(lifecycle.viewers(), 0);
        let mut events = Events::watch(&lifecycle, 5);
        lifecycle.end();
        ready(&mut events);
        assert_eq!(next(&mut events), Poll::Ready(None));
    }

    #[test]
    fn who_has_caught_up_is_told_what_he_missed_without_waiting_for_the_next_step() {
        let clock = clock();
        let _clock = clock.enter();
        let lifecycle = Arc::new(Lifecycle::default());
        let mut events = Events::watch(&lifecycle, 5);
        ready(&mut events);
        for _ in 0..STEPS_PER_SECOND {
            lifecycle.frame_step(6, || Event::Accepted);
        }
        for _ in 0..FRAME_STEPS_PER_SECOND {
            ready(&mut events);
        }
        let missed = STEPS_PER_SECOND - FRAME_STEPS_PER_SECOND;
        let told = format!("event: missed\ndata: at least {missed} steps left out\ndata: steps: {missed}\n\n");
        assert_eq!(ready(&mut events), told);
        assert_eq!(next(&mut events), Poll::Pending);
    }

    #[test]
    fn where_nothing_happens_it_says_so_now_and_then() {
        clock().block_on(async {
            let mut events = Events::watch(&Arc::new(Lifecycle::default()), 5);
            ready(&mut events);
            assert_eq!(next(&mut events), Poll::Pending);
            assert_eq!(events.heartbeat.period(), HEARTBEAT);
            events.heartbeat.reset_immediately();
            let frame = poll_fn(|context| Pin::new(&mut events).poll_frame(context)).await;
            let data = frame.map(|Ok(frame)| frame.into_data());
            assert_eq!(data.expect("a heartbeat").expect("data"), ": nothing happens\n\n");
            assert_eq!(next(&mut events), Poll::Pending);
        });
    }
}
