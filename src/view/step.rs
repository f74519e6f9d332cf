//! A step of the lifecycle: what happened, in which phase, and its section of the RFC.
//!
//! The functions of [`Event`] make the kinds of step: name, phase, section, sentence and fields in one place.

use super::frame::FrameView;
use super::head::{status, visible_head};
use super::record::Life;
use crate::client::Client;
use crate::escape::{count, escape, hex};
use crate::handshake::{Check, Computation, KEY_RULE};
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The four phases of a connection, as counted by the tutorial that the README names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// 1: HTTP.
    Http,
    /// 2: the opening handshake.
    Upgrade,
    /// 3: messages.
    Loop,
    /// 4: the closing handshake, and the end of TCP.
    Termination,
}

impl Phase {
    /// The name of the phase's events in `GET /lifecycle`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Upgrade => "upgrade",
            Self::Loop => "loop",
            Self::Termination => "termination",
        }
    }

    /// The heading of the phase.
    pub fn title(self) -> &'static str {
        match self {
            Self::Http => "phase 1: HTTP",
            Self::Upgrade => "phase 2: upgrade, the opening handshake",
            Self::Loop => "phase 3: event loop",
            Self::Termination => "phase 4: termination",
        }
    }
}

/// Which side did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// This server.
    Server,
    /// Neither: a reset, or silence.
    Network,
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Network => "network",
        })
    }
}

/// One thing that happened to one connection.
#[derive(Debug)]
pub struct Step {
    /// The number of the step.
    pub id: u64,
    /// The connection.
    pub client: Arc<Client>,
    /// Whether the client had a name by then.
    pub named: bool,
    /// The time since TCP was accepted.
    pub elapsed: Duration,
    /// What happened.
    pub event: Event,
    /// The step as an event of `GET /lifecycle`, written for the first viewer and shared by all.
    pub text: OnceLock<bytes::Bytes>,
}

impl Step {
    /// The name of the client. None until it has one.
    pub fn name(&self) -> Option<&str> {
        self.client.name().filter(|_| self.named)
    }

    /// The id of the client, if it was known at that time.
    pub fn id_of_client(&self) -> Option<i64> {
        self.client.id().filter(|_| self.named)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name of the kind of step.
    pub name: &'static str,
    /// The phase that it belongs to.
    pub phase: Phase,
    /// The section of the RFC.
    pub rfc: &'static str,
    /// What happened, in a few words, escaped.
    pub sentence: String,
    /// Names and values, escaped.
    pub fields: Vec<(&'static str, String)>,
    /// How the terminal draws it: by the sentence, or in another way.
    pub drawing: Drawing,
}

/// What the terminal draws.
#[derive(Clone, Debug, PartialEq)]
pub enum Drawing {
    /// The sentence.
    Sentence,
    /// The sentence, and the lines of an HTTP head.
    Head(Vec<u8>),
    /// A check. If it passed, the terminal draws only the value it looked at; if it failed, all of `sent`.
    Check {
        /// What it checks.
        label: &'static str,
        /// What was sent, escaped.
        sent: String,
        /// Whether the request passed.
        passed: bool,
    },
    /// A shorter sentence, and a line with a long value.
    Value(String, String),
    /// A frame that came in.
    In(FrameView),
    /// A frame that went out.
    Out(FrameView),
}

impl Event {
    fn new(
        name: &'static str,
        phase: Phase,
        rfc: &'static str,
        sentence: impl Into<String>,
        fields: Vec<(&'static str, String)>,
    ) -> Self {
        Self { name, phase, rfc, sentence: sentence.into(), fields, drawing: Drawing::Sentence }
    }

    fn drawn(self, drawing: Drawing) -> Self {
        Self { drawing, ..self }
    }

    /// TCP was accepted.
    pub fn accepted() -> Self {
        Self::new("accepted", Phase::Http, "RFC 9293 3.5", "TCP accepted", Vec::new())
    }

    /// The head of a request was read.
    pub fn request(head: &[u8]) -> Self {
        let head = visible_head(head);
        let fields = vec![("bytes", escape(&head))];
        Self::new("request", Phase::Http, "RFC 6455 4.1", "request, without secrets", fields).drawn(Drawing::Head(head))
    }

    /// The head of a response other than a 101 was written.
    pub fn response(head: &[u8]) -> Self {
        let head = visible_head(head);
        let fields = vec![("status", status(&head).to_string()), ("bytes", escape(&head))];
        Self::new("response", Phase::Http, "RFC 9110 15", "response, without secrets", fields)
            .drawn(Drawing::Head(head))
    }

    /// A check of the opening handshake was made. `sent` is what it looked at, escaped.
    pub fn check(check: &Check, sent: String, passed: bool) -> Self {
        let Check { label, rfc, .. } = *check;
        let sentence = format!("{label}: {} ({sent})", if passed { "passed" } else { "REFUSED" });
        let result = if passed { "passed" } else { "refused" };
        let fields = vec![("rule", label.into()), ("sent", sent.clone()), ("result", result.into())];
        Self::new("check", Phase::Upgrade, rfc, sentence, fields).drawn(Drawing::Check { label, sent, passed })
    }

    /// The accept value was computed for a key (RFC 6455 4.2.2, item 5.4): a step for each part of it.
    pub fn computation(computation: Computation, nonce: &[u8]) -> [Self; 4] {
        const SECTION: &str = "RFC 6455 4.2.2, item 5.4";
        let Computation { key, joined, digest, value } = computation;
        let (nonce, digest) = (hex(nonce), hex(&digest).replace(' ', ""));
        let step = |name, rfc, sentence: String, fields| Self::new(name, Phase::Upgrade, rfc, sentence, fields);
        [
            step(
                "key",
                KEY_RULE.0,
                format!("key {key}: 16 bytes {nonce}"),
                vec![("key", key.clone()), ("bytes", nonce.clone())],
            )
            .drawn(Drawing::Value(format!("key: {key}"), format!("16 bytes: {nonce}"))),
            step("joined-key", SECTION, format!("key and GUID joined: {joined}"), vec![("text", joined.clone())])
                .drawn(Drawing::Value("key and GUID joined:".into(), joined)),
            step("digest", SECTION, format!("SHA-1 of that: {digest}"), vec![("sha1", digest)]),
            step("accept", SECTION, format!("base64 of the digest: {value}"), vec![("value", value)]),
        ]
    }

    /// The head of the 101 was written.
    pub fn switching(head: &[u8]) -> Self {
        let head = visible_head(head);
        let fields = vec![("status", status(&head).to_string()), ("bytes", escape(&head))];
        let sentence = "101 Switching Protocols, as it was written";
        Self::new("switching", Phase::Upgrade, "RFC 6455 4.2.2, item 5", sentence, fields).drawn(Drawing::Head(head))
    }

    /// The connection has its place in the room.
    pub fn joined(members: usize) -> Self {
        let sentence = format!("joined the list, {members} there now");
        let fields = vec![("members", members.to_string())];
        Self::new("joined", Phase::Loop, "RFC 6455 4.2.2: OPEN", sentence, fields)
    }

    /// The connection had its place in the room before the viewer came.
    pub fn present(members: usize) -> Self {
        let sentence = format!("in the list already, {members} there now");
        let fields = vec![("members", members.to_string())];
        Self::new("present", Phase::Loop, "RFC 6455 4.2.2: OPEN", sentence, fields)
    }

    /// A frame was read.
    pub fn frame_in(frame: FrameView) -> Self {
        Self::new("frame-in", Phase::Loop, "RFC 6455 5.2, 5.3", format!("frame in: {frame}"), frame.fields())
            .drawn(Drawing::In(frame))
    }

    /// A frame was written.
    pub fn frame_out(frame: FrameView) -> Self {
        Self::new("frame-out", Phase::Loop, "RFC 6455 5.2, 5.1", format!("frame out: {frame}"), frame.fields())
            .drawn(Drawing::Out(frame))
    }

    /// A fragment of a message was read: the fragments so far, and their payload.
    pub fn fragment(fragments: u64, bytes: u64) -> Self {
        let sentence = format!("message so far: {}, {}", count(fragments, "fragment"), count(bytes, "byte"));
        let fields = vec![("fragments", fragments.to_string()), ("bytes", bytes.to_string())];
        Self::new("fragment", Phase::Loop, "RFC 6455 5.4", sentence, fields)
    }

    /// What the client said is broadcast. `after` is the time since then, in a room on several servers.
    pub fn broadcast(members: usize, bytes: usize, behind: usize, after: Option<Duration>) -> Self {
        let (to_each, of) = (count(bytes as u64, "byte"), count(members as u64, "member"));
        let back = after.map_or_else(String::new, |after| format!("back after {}, ", milliseconds(after)));
        let sentence = format!("{back}broadcast: {to_each} to each of {of}, {behind} behind");
        let mut fields =
            vec![("members", members.to_string()), ("bytes", bytes.to_string()), ("behind", behind.to_string())];
        fields.extend(after.map(|after| ("milliseconds", format!("{:.3}", after.as_secs_f64() * 1e3))));
        Self::new("broadcast", Phase::Loop, "RFC 6455 6.1", sentence, fields)
    }

    /// What the client said was appended to the log of a room on several servers.
    pub fn appended(bytes: usize, after: Duration) -> Self {
        let sentence =
            format!("appended to the room's log: {} after {}", count(bytes as u64, "byte"), milliseconds(after));
        let fields = vec![("bytes", bytes.to_string()), ("milliseconds", format!("{:.3}", after.as_secs_f64() * 1e3))];
        Self::new("appended", Phase::Loop, "no RFC: several servers", sentence, fields)
    }

    /// The room is paced, and the client was not read for this long.
    pub fn waited(time: Duration) -> Self {
        let sentence = format!("speaks faster than the room can take: not read for {} ms", time.as_millis());
        let fields = vec![("milliseconds", time.as_millis().to_string())];
        Self::new("waited", Phase::Loop, "RFC 9293 3.8.6", sentence, fields)
    }

    /// A Ping was sent or received.
    pub fn ping(by: Side) -> Self {
        let fields = vec![("by", by.to_string())];
        Self::new("ping", Phase::Loop, "RFC 6455 5.5.2", format!("Ping by the {by}"), fields)
    }

    /// A Pong was sent or received. `round_trip` is the time since the Ping that it answers, if that is known.
    pub fn pong(by: Side, round_trip: Option<Duration>) -> Self {
        let mut fields = vec![("by", by.to_string())];
        fields.extend(round_trip.map(|time| ("round-trip", format!("{:.3}", time.as_secs_f64() * 1e3))));
        let after = round_trip.map_or_else(String::new, |time| format!(" after {}", milliseconds(time)));
        Self::new("pong", Phase::Loop, "RFC 6455 5.5.3", format!("Pong by the {by}{after}"), fields)
    }

    /// The first Close frame was sent or received, with its code and escaped reason.
    pub fn close(by: Side, close: Option<(u16, String)>) -> Self {
        let words = match &close {
            None => "without a code".into(),
            Some((code, reason)) if reason.is_empty() => format!("{code} {}", meaning(*code)),
            Some((code, reason)) => format!("{code} {}, \"{reason}\"", meaning(*code)),
        };
        let mut fields = vec![("by", by.to_string())];
        if let Some((code, reason)) = close {
            fields.extend([("code", code.to_string()), ("meaning", meaning(code).into()), ("reason", reason)]);
        }
        Self::new("close", Phase::Termination, "RFC 6455 7.1.3: CLOSING", format!("the {by} closes: {words}"), fields)
    }

    /// The second Close frame was sent or received.
    pub fn close_answer(by: Side) -> Self {
        let sentence = format!("closing handshake done by the {by}'s Close");
        Self::new("close-answer", Phase::Termination, "RFC 6455 5.5.1", sentence, vec![("by", by.to_string())])
    }

    /// TCP was closed. `by` is the side that closed first.
    pub fn tcp_closed(by: Side) -> Self {
        let sentence = format!("TCP closed first by the {by}");
        Self::new("tcp-closed", Phase::Termination, "RFC 6455 7.1.1", sentence, vec![("by", by.to_string())])
    }

    /// The connection gave up its place in the room.
    pub fn left(members: usize) -> Self {
        let sentence = format!("left the list, {members} remain");
        Self::new("left", Phase::Termination, "RFC 6455 7.1", sentence, vec![("members", members.to_string())])
    }

    /// The connection is over.
    pub fn life(life: Life) -> Self {
        let Life { messages, bytes_in, bytes_out, lasted } = life;
        let seconds = lasted.as_secs_f64();
        let (said, read) = (count(messages, "message"), count(bytes_in, "byte"));
        let sentence = format!("its life: {said}, {read} in, {bytes_out} out, {seconds:.1} s");
        let fields = vec![
            ("messages", messages.to_string()),
            ("bytes-in", bytes_in.to_string()),
            ("bytes-out", bytes_out.to_string()),
            ("seconds", format!("{seconds:.3}")),
        ];
        Self::new("life", Phase::Termination, "RFC 6455 7.1.4: CLOSED", sentence, fields)
    }
}

/// Formats a duration in milliseconds.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// What a close code means (RFC 6455 7.4; 1012 and 1013 were registered later).
pub fn meaning(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid payload data",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "extension missing",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        3000..=3999 => "registered by a library",
        4000..=4999 => "private use",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_a_room_on_several_servers_have_times() {
        let after = Duration::from_micros(1500);
        assert_eq!(Event::appended(21, after).sentence, "appended to the room's log: 21 bytes after 1.500 ms");
        let back = Event::broadcast(2, 21, 0, Some(after));
        assert_eq!(back.sentence, "back after 1.500 ms, broadcast: 21 bytes to each of 2 members, 0 behind");
        assert_eq!(back.fields.last(), Some(&("milliseconds", "1.500".to_owned())));
        assert_eq!(Event::broadcast(2, 21, 0, None).sentence, "broadcast: 21 bytes to each of 2 members, 0 behind");
    }

    #[test]
    fn every_sendable_close_code_has_a_meaning() {
        for code in (1000..=1003).chain(1007..=1013).chain([3000, 3999, 4000, 4999]) {
            assert_ne!(meaning(code), "unknown", "{code}");
        }
        assert_eq!([999, 1004, 1005, 1006, 2999, 5000].map(meaning), ["unknown"; 6]);
        let words = |close| Event::close(Side::Client, close).sentence;
        assert_eq!(words(None), "the client closes: without a code");
        assert_eq!(words(Some((1000, "".into()))), "the client closes: 1000 normal closure");
        assert_eq!(words(Some((1001, "a".into()))), "the client closes: 1001 going away, \"a\"");
    }
}
