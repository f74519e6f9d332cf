//! The dissector turns the records of a connection into steps.
//!
//! It keeps the state of each connection that it needs to parse the next bytes. After a gap, or if the watch began in the
//! middle, it ignores a direction until a record is [`Start::Aligned`].

use super::frame::{FrameCollector, FrameView};
use super::head::{head_length, parse_request, status};
use super::hooks::View;
use super::record::{Record, Start, What};
use super::step::{Event, Side};
use crate::client::Client;
use crate::handshake::{CHECKS, accept, decode_key};
use crate::http::admission::Admission;
use crate::http::refusal::Head;
use crate::service::{Route, route};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The state of all observed connections.
#[derive(Debug)]
pub struct Dissector {
    view: View,
    admission: Admission,
    connections: BTreeMap<u64, Connection>,
}

/// The state of one observed connection.
#[derive(Debug, Default)]
struct Connection {
    /// Detects that the connection is over, in case the record of its end was dropped.
    client: Weak<Client>,
    /// The current HTTP exchange, if observed from the start.
    exchange: Option<Exchange>,
    incoming: Direction,
    outgoing: Direction,
    /// Fragments and payload bytes of the unfinished message.
    fragments: (u64, u64),
    /// When the server's last Ping was written.
    pinged: Option<Instant>,
    /// Close frames observed.
    closes: u32,
    /// The side that closed TCP first.
    first_end: Option<Side>,
    /// [`Record::missed`] of the last record.
    missed: u64,
}

/// The heads of a request and its response.
#[derive(Debug, Default)]
struct Exchange {
    /// Bytes not yet in `request`: part of a request, or several requests.
    unread: Vec<u8>,
    /// Empty until it is complete and shown.
    request: Vec<u8>,
    /// So far.
    response: Vec<u8>,
    response_shown: bool,
}

impl Exchange {
    /// Goes on to the next exchange if this one is over, and shows its request once that is complete.
    fn advance(&mut self, steps: &mut Steps<'_>) {
        if self.response_shown {
            *self = Self { unread: std::mem::take(&mut self.unread), ..Self::default() };
        }
        if !self.request.is_empty() {
            return;
        }
        // Like hyper, this skips empty lines before a request (RFC 9112 2.2).
        let empty = self.unread.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.unread.drain(..empty);
        if let Some(length) = head_length(&self.unread) {
            self.request = self.unread.drain(..length).collect();
            steps.show(|| Event::request(&self.request));
        }
    }
}

/// The frames of one direction.
#[derive(Debug, Default)]
struct Direction {
    collector: FrameCollector,
    /// Whether the collector is at a known position in the frame stream.
    in_step: bool,
}

impl Direction {
    /// A record begins here.
    fn begin(&mut self, start: Start) {
        if start == Start::Aligned {
            *self = Self { in_step: true, ..Self::default() };
        }
    }

    fn lose(&mut self) {
        *self = Self::default();
    }
}

impl Dissector {
    /// A dissector without connections. `admission` is the server's.
    pub fn new(view: View, admission: Admission) -> Self {
        Self { view, admission, connections: BTreeMap::new() }
    }

    /// Forgets all connections. Call this when watching resumes.
    pub fn forget_all(&mut self) {
        self.connections.clear();
    }

    /// Forgets the connections that are over.
    pub fn forget_ended(&mut self) {
        self.connections.retain(|_, connection| connection.client.strong_count() > 0);
    }

    /// Derives the steps of a record, and shows those that the budget allows.
    pub fn take(&mut self, record: &Record, show: &mut dyn FnMut(Event)) {
        let number = record.client.number;
        let connection = self.connections.entry(number).or_insert_with(|| Connection {
            client: Arc::downgrade(&record.client),
            missed: record.missed,
            ..Connection::default()
        });
        if connection.missed != record.missed {
            connection.missed = record.missed;
            connection.lose();
        }
        let mut steps = Steps { view: &self.view, admission: &self.admission, paid: true, show };
        match &record.what {
            What::Accepted => {
                connection.exchange = Some(Exchange::default());
                steps.show(Event::accepted);
            }
            What::HeadRead(bytes, _) if bytes.is_empty() => connection.end(Side::Client),
            What::HeadRead(bytes, start) => connection.take_request(bytes, *start, &mut steps),
            What::HeadWritten(bytes, start) => connection.take_response(bytes, *start, &mut steps),
            What::Read(bytes, _) if bytes.is_empty() => connection.end(Side::Client),
            What::Read(bytes, start) => connection.take_input(bytes, *start, record.at, &mut steps),
            What::Written(bytes, start) => connection.take_output(bytes, *start, record.at, &mut steps),
            What::Shutdown => connection.end(Side::Server),
            What::Joined { members } => steps.show(|| Event::joined(*members)),
            What::Broadcast { bytes, members, behind, after } => {
                steps.show_frame(|| Event::broadcast(*members, *bytes, *behind, *after));
            }
            What::Appended { bytes, after } => steps.show_frame(|| Event::appended(*bytes, *after)),
            What::Waited(time) => steps.show(|| Event::waited(*time)),
            What::Left { members } => steps.show(|| Event::left(*members)),
            What::Ended(life) => {
                let side = connection.first_end.unwrap_or(Side::Network);
                steps.show(|| Event::tcp_closed(side));
                if let Some(life) = life {
                    steps.show(|| Event::life(*life));
                }
                self.connections.remove(&number);
            }
        }
    }
}

/// Where the steps of a record go.
struct Steps<'a> {
    view: &'a View,
    admission: &'a Admission,
    /// Whether the record's first step, which the hook has paid for, is still unused.
    paid: bool,
    show: &'a mut dyn FnMut(Event),
}

impl Steps<'_> {
    /// Charges a step to the budget. Returns false if there is none left.
    fn take_budget(&mut self, is_frame: bool) -> bool {
        std::mem::take(&mut self.paid) || self.view.take_budget(is_frame)
    }

    /// Shows a step if the budget allows.
    fn show(&mut self, event: impl FnOnce() -> Event) {
        if self.take_budget(false) {
            (self.show)(event());
        }
    }

    /// Shows a step that comes with a frame, if the budget allows.
    fn show_frame(&mut self, event: impl FnOnce() -> Event) {
        if self.take_budget(true) {
            (self.show)(event());
        }
    }
}

impl Connection {
    /// Discards partial state, because bytes are missing.
    fn lose(&mut self) {
        self.exchange = None;
        self.incoming.lose();
        self.outgoing.lose();
        self.pinged = None;
    }

    fn end(&mut self, side: Side) {
        self.first_end.get_or_insert(side);
    }

    fn take_request(&mut self, bytes: &[u8], start: Start, steps: &mut Steps<'_>) {
        if start == Start::Aligned {
            self.exchange.get_or_insert_default().unread.clear();
        }
        let Some(exchange) = &mut self.exchange else { return };
        exchange.unread.extend_from_slice(bytes);
        exchange.advance(steps);
    }

    fn take_response(&mut self, bytes: &[u8], start: Start, steps: &mut Steps<'_>) {
        let Some(exchange) = &mut self.exchange else { return };
        if start == Start::Aligned {
            exchange.advance(steps);
        }
        if exchange.response_shown {
            return;
        }
        exchange.response.extend_from_slice(bytes);
        exchange.response_shown = head_length(&exchange.response).is_some();
        if !exchange.response_shown {
            return;
        }
        let status = status(&exchange.response);
        if let Some(head) = parse_request(&exchange.request) {
            show_handshake(&head, status, steps);
        }
        match status {
            101 => steps.show(|| Event::switching(&exchange.response)),
            _ => steps.show(|| Event::response(&exchange.response)),
        }
    }

    fn take_input(&mut self, mut bytes: &[u8], start: Start, at: Instant, steps: &mut Steps<'_>) {
        self.incoming.begin(start);
        if start == Start::Aligned {
            self.fragments = (0, 0);
        }
        while self.incoming.in_step {
            let Some((frame, rest)) = self.incoming.collector.next(bytes) else { return };
            bytes = rest;
            if !steps.take_budget(true) {
                self.incoming.lose();
                return;
            }
            self.show_input(&frame, at, steps);
        }
    }

    /// Shows a client's frame and the steps that it implies.
    fn show_input(&mut self, frame: &FrameView, at: Instant, steps: &mut Steps<'_>) {
        let header = frame.parsed();
        (steps.show)(Event::frame_in(frame.clone()));
        match header.opcode {
            0..=2 if self.fragments.0 > 0 || !header.fin => {
                let (fragments, bytes) = (self.fragments.0 + 1, self.fragments.1 + header.payload_length);
                steps.show_frame(|| Event::fragment(fragments, bytes));
                self.fragments = if header.fin { (0, 0) } else { (fragments, bytes) };
            }
            8 => {
                self.show_close(Side::Client, frame, steps);
                // The bytes after a Close are discarded (RFC 6455 1.4).
                self.incoming.lose();
            }
            9 => steps.show_frame(|| Event::ping(Side::Client)),
            10 => {
                let round_trip = self.pinged.take().map(|pinged| at.saturating_duration_since(pinged));
                steps.show_frame(|| Event::pong(Side::Client, round_trip));
            }
            _ => {}
        }
    }

    fn take_output(&mut self, mut bytes: &[u8], start: Start, at: Instant, steps: &mut Steps<'_>) {
        self.outgoing.begin(start);
        while self.outgoing.in_step {
            let Some((frame, rest)) = self.outgoing.collector.next(bytes) else { return };
            bytes = rest;
            if !steps.take_budget(true) {
                self.outgoing.lose();
                return;
            }
            self.show_output(&frame, at, steps);
        }
    }

    /// Shows a server's frame and the steps that it implies.
    fn show_output(&mut self, frame: &FrameView, at: Instant, steps: &mut Steps<'_>) {
        let show = |steps: &mut Steps<'_>| (steps.show)(Event::frame_out(frame.clone()));
        match frame.parsed().opcode {
            // If the server closes first, show its decision before the frame. If it answers, show the frame first.
            8 if self.closes == 0 => {
                self.show_close(Side::Server, frame, steps);
                show(steps);
            }
            8 => {
                show(steps);
                self.show_close(Side::Server, frame, steps);
            }
            9 => {
                show(steps);
                self.pinged = Some(at);
                steps.show_frame(|| Event::ping(Side::Server));
            }
            10 => {
                show(steps);
                steps.show_frame(|| Event::pong(Side::Server, None));
            }
            _ => show(steps),
        }
    }

    /// The first Close frame begins the closing handshake, the second ends it.
    fn show_close(&mut self, by: Side, frame: &FrameView, steps: &mut Steps<'_>) {
        self.closes += 1;
        match self.closes {
            1 => steps.show(|| Event::close(by, frame.close())),
            2 => steps.show(|| Event::close_answer(by)),
            _ => {}
        }
    }
}

/// Repeats the checks of an opening handshake and the computation of its accept value, and shows them if they lead to the
/// status that the server answered with. If not, it refused the request for another reason, before any check.
fn show_handshake(head: &Head, answered: u16, steps: &mut Steps<'_>) {
    if !matches!(route(head.uri.path()), Ok(Route::Chat(_) | Route::Echo)) {
        return;
    }
    let outcome = accept(head, steps.admission);
    let status = outcome.as_ref().err().map_or(101, |refusal| refusal.status.as_u16());
    if status != answered {
        return;
    }
    for check in &CHECKS {
        let passed = check.apply(head, steps.admission).is_ok();
        steps.show(|| Event::check(check, check.sent.show(head), passed));
        if !passed {
            return;
        }
    }
    if let Ok(accept) = outcome {
        let computation = accept.computation().clone();
        let nonce = decode_key(computation.key.as_bytes()).unwrap_or_default();
        for event in Event::computation(computation, &nonce) {
            steps.show(|| event);
        }
    }
}

#[cfg(test)]
impl Dissector {
    /// Returns the number of observed connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
