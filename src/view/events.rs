//! `GET /lifecycle`: the steps as a text/event-stream, for `curl -N` and for `EventSource`.
//!
//! An event's name is a phase or `missed`; the id counts up. The first line of data is for reading; each further one is
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
    let name = step.name().map_or_else(String::new, |name| format!(" {name}"));
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
    use crate::view::audience::tests::{Hall, client};
    use crate::view::step::Event;
    use std::future::poll_fn;
    use std::sync::OnceLock;
    use std::task::Waker;
    use std::time::Duration;
    use tokio::runtime::{Builder, Runtime};

    const GREETING: &str = ": what happens on this server, step by step\nretry: 2000\n\n";

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
        let step = |id: Option<i64>, event| {
            let client = client(3);
            if let Some(id) = id {
                client.name_chat(id);
            }
            let elapsed = Duration::from_micros(1_234_567);
            text(&Step { id: 7, client, named: true, elapsed, event, text: OnceLock::new() })
        };
        assert_eq!(
            step(Some(-1), Event::joined(2)),
            "id: 7\nevent: loop\n\
             data: #3 Client #-1 +1234.567 ms  joined the list, 2 there now (RFC 6455 4.2.2: OPEN)\n\
             data: step: joined\ndata: connection: 3\ndata: client: -1\ndata: ms: 1234.567\n\
             data: rfc: RFC 6455 4.2.2: OPEN\ndata: members: 2\n\n"
        );
        // A line end inside a head is escaped: it would end the event's line.
        assert_eq!(
            step(None, Event::request(b"GET / HTTP/1.1\r\nHost: \"\r\n\r\n")),
            "id: 7\nevent: http\ndata: #3 +1234.567 ms  request, without secrets (RFC 6455 4.1)\n\
             data: step: request\ndata: connection: 3\ndata: ms: 1234.567\ndata: rfc: RFC 6455 4.1\n\
             data: bytes: GET / HTTP/1.1\\r\\nHost: \\\"\\r\\n\\r\\n\n\n"
        );
    }

    #[test]
    fn a_viewer_is_greeted_sees_the_others_steps_and_is_released() {
        let clock = clock();
        let _clock = clock.enter();
        let mut hall = Hall::new();
        let mut events = Events::new(hall.watch());
        assert_eq!(ready(&mut events), GREETING);
        assert_eq!(next(&mut events), Poll::Pending);
        hall.view.accepted(&client(9));
        hall.hear();
        assert_eq!(next(&mut events), Poll::Pending, "its own steps are not shown");
        hall.view.accepted(&client(6));
        hall.hear();
        assert!(ready(&mut events).contains("data: #6 +"));
        assert_eq!(hall.view.viewers(), 1);
        drop(events);
        assert_eq!(hall.view.viewers(), 0);
        let mut events = Events::new(hall.watch());
        hall.view.end();
        hall.hear();
        ready(&mut events);
        assert_eq!(next(&mut events), Poll::Ready(None));
    }

    #[test]
    fn missed_steps_are_told_with_the_next_second() {
        let clock = clock();
        let _clock = clock.enter();
        let mut hall = Hall::new();
        let mut events = Events::new(hall.watch());
        ready(&mut events);
        for _ in 0..STEPS_PER_SECOND {
            hall.view.broadcast(&client(6), 1, 1, || (1, 0));
        }
        hall.hear();
        for _ in 0..FRAME_STEPS_PER_SECOND {
            ready(&mut events);
        }
        assert_eq!(next(&mut events), Poll::Pending);
        hall.begin_second();
        let missed = STEPS_PER_SECOND - FRAME_STEPS_PER_SECOND;
        let told = format!("event: missed\ndata: at least {missed} steps left out\ndata: steps: {missed}\n\n");
        assert_eq!(ready(&mut events), told);
        assert_eq!(next(&mut events), Poll::Pending);
    }

    #[test]
    fn a_heartbeat_comes_only_into_silence() {
        clock().block_on(async {
            let mut hall = Hall::new();
            let mut events = Events::new(hall.watch());
            ready(&mut events);
            assert_eq!(next(&mut events), Poll::Pending);
            assert_eq!(events.heartbeat.period(), HEARTBEAT);
            events.heartbeat.reset_immediately();
            let frame = poll_fn(|context| Pin::new(&mut events).poll_frame(context)).await;
            let data = frame.map(|Ok(frame)| frame.into_data());
            assert_eq!(data.expect("a heartbeat").expect("data"), ": nothing happens\n\n");
            assert_eq!(next(&mut events), Poll::Pending);
            // A step that comes when a heartbeat is due puts it off.
            events.heartbeat.reset_immediately();
            hall.view.accepted(&client(6));
            hall.hear();
            assert!(ready(&mut events).contains("accepted"));
            // Let the clock notice the deadline that was put off.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(next(&mut events), Poll::Pending);
        });
    }
}
