//! Stages in which a connection ends: the closing handshake, and protocol errors.

use super::super::checker::{Cause, Checker, Explain, Failure};
use super::super::mistakes::CLOSE_PAYLOAD;
use test_client::faults;
use test_client::frame::close as close_frame;

const NO_ECHO: &str = "What must an endpoint send when it receives a Close and hasn't sent one?";
const WHO_CLOSES: &str = "Both Closes have been sent. Which side closes TCP first, and why not the other?";
const AFTER_CLOSE: &str = "May an endpoint send anything after its Close?";
const NO_REASON: &str = "The client is cut off and doesn't know why. What does the server send before it closes TCP?";
const HEADER: &str = "Each bit of the first two bytes has a rule. Which bits are wrong here, and what should the server do with \
                      such a frame?";
const CONTROL: &str = "Which two rules hold for every control frame?";
const ORDER: &str = "Which frames may begin a message, and which may follow a frame without FIN?";
const UTF8: &str = "A text message has to be valid UTF-8. Who checks that, and which code says it?";
const CODES: &str = "Some codes exist only in programs, never in a frame.";

fn close_one(checker: &mut Checker, fault: &str, codes: &[Option<u16>]) -> Result<(), Failure> {
    checker.next_case();
    let mut client = checker.join()?;
    client.send(&faults::named(fault).bytes(checker.target.request("")));
    client.expect_close(codes).to(fault).or_hint(NO_ECHO)?;
    client.expect_end().to(fault).map_err(|failure| match failure.cause {
        Cause::Wrong => failure.hint(AFTER_CLOSE),
        _ => failure.hint(WHO_CLOSES),
    })
}

/// A Close with a code and one without. RFC 6455 5.5.1: the answer typically has the same code.
pub fn close(checker: &mut Checker) -> Result<(), Failure> {
    close_one(checker, "Close 1000", &[Some(1000), None])?;
    close_one(checker, "Close 4999", &[Some(4999), Some(1000), None])?;
    close_one(checker, "Close without a code", &[None, Some(1000)])
}

/// Frames that break a rule, with the code of RFC 6455 7.4.1 for each.
const ERRORS: [(&str, u16, &str); 11] = [
    ("an unmasked frame", 1002, HEADER),
    ("RSV1", 1002, HEADER),
    ("opcode 3", 1002, HEADER),
    ("a fragmented Ping", 1002, CONTROL),
    ("a Ping of 126 bytes", 1002, CONTROL),
    ("a stray continuation", 1002, ORDER),
    ("a new message inside a message", 1002, ORDER),
    ("invalid UTF-8", 1007, UTF8),
    ("invalid UTF-8 across fragments", 1007, UTF8),
    ("Close of 1 byte", 1002, CLOSE_PAYLOAD),
    ("Close 1005", 1002, CODES),
];

pub fn errors(checker: &mut Checker) -> Result<(), Failure> {
    for (fault, code, hint) in ERRORS {
        checker.next_case();
        let mut client = checker.join()?;
        client.send(&faults::named(fault).bytes(checker.target.request("")));
        client
            .expect_close(&[Some(code)])
            .to(fault)
            .map_err(|failure| match failure.cause {
                Cause::Ended => failure.hint(NO_REASON),
                _ => failure,
            })
            .or_hint(hint)?;
        client.send(&close_frame(code, ""));
        client.expect_end().to(fault).or_hint(WHO_CLOSES)?;
    }
    Ok(())
}
