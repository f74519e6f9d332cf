//! `switchboard frame`: frames from the command line, field by field, and what this server would do.
//!
//! The frames are drawn as `--explain` draws them, and the server's own [`Protocol`] receives them.

use super::explain::Terminal;
use super::frame::{FrameCollector, FrameView};
use super::step::meaning;
use crate::escape::{count, escape};
use crate::frame::Failure;
use crate::limits::Limits;
use crate::protocol::output::Output;
use crate::protocol::{Closing, Incoming, Protocol};
use std::fmt::Write;
use std::time::Instant;

/// Decodes the bytes that follow a client's opening handshake. Returns lines for people, and whether the server accepts the bytes:
/// they end with a whole message, and break no rule.
pub fn decode(bytes: &[u8]) -> (String, bool) {
    let mut text = String::new();
    let mut server = Server::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut collector = FrameCollector::default();
        let (frame, after, cut) = match collector.next(rest) {
            Some((frame, after)) => (Some(frame), after, None),
            None => (collector.begun(), &[][..], Some("the bytes end inside this frame")),
        };
        match frame {
            Some(frame) => describe(&frame, &mut text),
            None => text.push_str("a header that is not complete\n"),
        }
        let done = server.take(&rest[..rest.len() - after.len()]);
        for (name, words) in cut.map(|cut| ("cut", cut)).into_iter().chain(done.iter().map(|done| ("server", &**done)))
        {
            let _ = writeln!(text, "  {name:<7} {words}");
        }
        if !after.is_empty() {
            text.push('\n');
        }
        rest = after;
    }
    (text, server.accepts())
}

/// The fields of a frame (RFC 6455 5.2), as bits and in words.
fn describe(frame: &FrameView, text: &mut String) {
    let header = frame.parsed();
    let _ = writeln!(text, "{frame}");
    for line in Terminal::new(false).frame(frame) {
        let _ = writeln!(text, "  {line}");
    }
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "  {name:<7} {words}");
    };
    line(
        "FIN",
        if header.fin {
            "1: the last or only frame of its message (RFC 6455 5.4)"
        } else {
            "0: the message continues in another frame (RFC 6455 5.4)"
        }
        .into(),
    );
    if header.rsv != 0 {
        line("RSV", format!("{:03b}: needs an extension (RFC 6455 5.2)", header.rsv >> 4));
    }
    line("opcode", format!("{}: {} (RFC 6455 {})", header.opcode, frame.name(), section(header.opcode)));
    line(
        "MASK",
        if header.masked {
            "1: the payload is masked, as from a client (RFC 6455 5.3)"
        } else {
            "0: the payload is not masked, as from a server (RFC 6455 5.1)"
        }
        .into(),
    );
    line(
        "length",
        format!("{} of payload, in {} bits (RFC 6455 5.2)", count(header.payload_length, "byte"), frame.length_form()),
    );
    if let (8, Some((code, reason))) = (header.opcode, frame.close()) {
        line("code", format!("{code}: {} (RFC 6455 7.4)", meaning(code)));
        line("reason", format!("\"{reason}\""));
    }
}

fn section(opcode: u8) -> &'static str {
    match opcode {
        0 => "5.4",
        1 | 2 => "5.6",
        8 => "5.5.1",
        9 => "5.5.2",
        10 => "5.5.3",
        _ => "5.2",
    }
}

/// A server that has one client.
struct Server {
    protocol: Protocol,
}

impl Server {
    fn new() -> Self {
        Self { protocol: Protocol::new(Limits::default().max_message_size, None, Instant::now()) }
    }

    /// Gives the server bytes from the client. Returns what it does.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        if self.protocol.closing().is_some() {
            return vec!["discards this: it comes after the end (RFC 6455 1.4, 7.1.7)".into()];
        }
        let (mut output, mut done) = (Output::new(), Vec::new());
        self.protocol.receive(bytes, Instant::now(), &mut output, |message, _| match message {
            Incoming::Text(text) => {
                done.push(format!("broadcasts {}: \"{}\"", count(text.len() as u64, "byte"), escape(text.as_bytes())));
                Ok(())
            }
            Incoming::Binary(_) => Err(Failure::text_only()),
        });
        let mut answers = Vec::new();
        while !output.is_empty() {
            answers.extend_from_slice(output.next());
            output.advance(output.next().len());
        }
        let mut rest = &*answers;
        while let Some((frame, after)) = FrameCollector::default().next(rest) {
            if !matches!(self.protocol.closing(), Some(Closing::ByServer(_))) {
                done.push(format!("answers with {frame}"));
            }
            rest = after;
        }
        match self.protocol.closing() {
            Some(Closing::ByServer(failure)) => done.push(format!("closes with {}: {}", failure.code, failure.reason)),
            Some(Closing::ByClient(_)) => done.push("closes TCP".into()),
            None if !done.is_empty() => {}
            None if self.protocol.is_between_messages() => done.push("does nothing".into()),
            None => done.push("waits for the rest of the message".into()),
        }
        done
    }

    fn accepts(&self) -> bool {
        !matches!(self.protocol.closing(), Some(Closing::ByServer(_))) && self.protocol.is_between_messages()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq};
    use proptest::{collection::vec, proptest};

    /// A masked frame with this first byte.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
    }

    /// What the server does with each frame, and whether it accepts all.
    fn server(frames: &[Vec<u8>]) -> (Vec<String>, bool) {
        let (text, accepted) = decode(&frames.concat());
        let lines = text.lines().filter_map(|line| line.strip_prefix("  server  "));
        (lines.map(str::to_owned).collect(), accepted)
    }

    #[test]
    fn what_the_server_does() {
        let does = |frames: &[Vec<u8>], accepted: bool, lines: &[&str]| {
            assert_eq!(server(frames), (lines.iter().map(|line| (*line).to_owned()).collect(), accepted));
        };
        let waits = "waits for the rest of the message";
        does(&[frame(0x81, b"a"), frame(0x81, b"")], true, &["broadcasts 1 byte: \"a\"", "broadcasts 0 bytes: \"\""]);
        let fragments = [frame(0x01, b"a"), frame(0x89, b"p"), frame(0x80, b"b")];
        does(&fragments, true, &[waits, "answers with pong of 1 byte: \"p\"", "broadcasts 2 bytes: \"ab\""]);
        does(&fragments[..2], false, &[waits, "answers with pong of 1 byte: \"p\""]);
        does(&[frame(0x8a, b"")], true, &["does nothing"]);
        let close = [frame(0x88, b"\x03\xe8bye"), frame(0x81, b"a")];
        let discards = "discards this: it comes after the end (RFC 6455 1.4, 7.1.7)";
        does(&close, true, &["answers with close of 5 bytes: \"1000 bye\"", "closes TCP", discards]);
        does(&[frame(0x82, b"a")], false, &["closes with 1003: this chat takes text only, RFC 6455 7.4.1"]);
        let fault = "closes with 1002: RSV1 to RSV3 must be 0 without an extension, RFC 6455 5.2";
        does(&[frame(0xc1, b"a"), frame(0x81, b"b")], false, &[fault, discards]);
        does(&[frame(0x81, b"abc")[..8].to_vec()], false, &[waits]);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 1..40)) {
            let (text, accepted) = decode(&bytes);
            prop_assert!(text.contains("  server  "), "{}", text);
            prop_assert!(!accepted || bytes[0] & 0x70 == 0);
            prop_assert_eq!(decode(&bytes), (text, accepted));
        }
    }
}
