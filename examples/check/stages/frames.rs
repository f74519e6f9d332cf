//! Stages with one client: text frames in all their forms, fragments, Ping and Pong.

use super::super::checker::{Checker, Explain, Failure, is_101};
use super::super::connection::Connection;
use super::super::transcript::Kind;
use test_client::faults;
use test_client::frame::{CONTINUATION, FIN, TEXT, encode, ping as ping_frame, says_prefix, text as text_frame};

const NO_TEXT: &str =
    "Does the handler read from the socket after the 101, and write what it has read to its own client too?";
const UTF8: &str = "Not every character takes one byte. Where does the server count?";
const ANY_KEY: &str =
    "The masking key differs in every frame, and its bytes may be 0. Where does the server take it from?";
const SIXTEEN: &str = "The 7 bits say 126 here. Where is the length then, and in which order do its bytes come?";
const SIXTY_FOUR: &str = "The 7 bits say 127 here. How many bytes have the length then, and may one read return less than the \
                          whole payload?";
const REQUEST_PIECES: &str =
    "One read may return any part of a request. How does the server know that the head is complete?";
const EARLY: &str =
    "The frame came in the same read as the end of the request. Where are the bytes behind the empty line?";
const CHARACTER: &str = "A fragment may end inside a character. Which bytes have to be valid UTF-8 together?";
const NOT_FINAL: &str = "The first frame has FIN 0: the message goes on.";
const INTERLEAVED: &str = "A control frame may come between two fragments, and doesn't end the message.";
const ANY_PAYLOAD: &str = "The payload of a Ping is 0 to 125 bytes, and its Pong carries the same.";
const LONE_PONG: &str = "A Pong that nobody asked for is allowed. What should the server do with it?";

/// Masking keys, besides that of all other frames.
const KEYS: [[u8; 4]; 2] = [[0, 0xff, 0x80, 1], [0x5a, 0, 0, 0xa5]];

/// Lengths at the edges of the three forms.
const EDGES: [usize; 4] = [125, 126, 65_535, 65_536];

pub fn text(checker: &mut Checker) -> Result<(), Failure> {
    let mut client = checker.join()?;
    client.say("hello");
    client.expect_text(client.id, "hello").or_hint(NO_TEXT)?;
    client.say("Grüße, 世界");
    client.expect_text(client.id, "Grüße, 世界").or_hint(UTF8)?;
    for key in KEYS {
        let message = "another key";
        client.send(&encode(FIN | TEXT, Some(key), message.len() as u64, message.as_bytes()));
        client.expect_text(client.id, message).or_hint(ANY_KEY)?;
    }
    Ok(())
}

pub fn lengths(checker: &mut Checker) -> Result<(), Failure> {
    let mut client = checker.join()?;
    // At each edge, once for the client's frame and once for the server's.
    let prefix = says_prefix(client.id).len();
    for length in EDGES.into_iter().flat_map(|edge| [edge - prefix, edge]) {
        let message: String = ('a'..='z').cycle().take(length).collect();
        client.say(&message);
        let hint = match length {
            ..126 => "",
            126..=65_535 => SIXTEEN,
            _ => SIXTY_FOUR,
        };
        client.expect_text(client.id, &message).to(&format!("a text of {length} bytes")).or_hint(hint)?;
    }
    Ok(())
}

pub fn one_by_one(checker: &mut Checker) -> Result<(), Failure> {
    let mut client = checker.join()?;
    for message in ["These bytes arrive one by one.", "They are still one message.", "So are these."] {
        client.trickle(Kind::Frames, &text_frame(message));
        client.expect_text(client.id, message)?;
    }
    checker.next_case();
    let (id, request) = checker.opening();
    let mut late = checker.connect(id)?;
    late.trickle(Kind::Http, &request.bytes());
    let response = late.head().map_err(|failure| failure.hint(REQUEST_PIECES))?;
    is_101(&response).map_err(|failure| failure.hint(REQUEST_PIECES))
}

pub fn one_packet(checker: &mut Checker) -> Result<(), Failure> {
    let mut client = checker.join()?;
    client.send(&[text_frame("one"), text_frame("two")].concat());
    client.expect_text(client.id, "one")?;
    client.expect_text(client.id, "two")?;
    let (id, opening) = checker.opening();
    checker.next_case();
    let (early, response) = checker
        .ask(id, &faults::named("a frame in the request's packet").bytes(opening))
        .map_err(|failure| failure.hint(EARLY))?;
    is_101(&response)?;
    let mut early = early.joined();
    early.expect_text(id, "early").or_hint(EARLY)
}

/// Sends the frames of a fault.
fn cause(client: &mut Connection, checker: &Checker, fault: &str) {
    client.send(&faults::named(fault).bytes(checker.target.request("")));
}

pub fn fragments(checker: &mut Checker) -> Result<(), Failure> {
    let mut client = checker.join()?;
    let fragment = |first, byte: &[u8]| encode(first, Some(KEYS[0]), 1, byte);
    client.send(&[fragment(TEXT, b"a"), fragment(FIN | CONTINUATION, b"b")].concat());
    client.expect_text(client.id, "ab").or_hint(NOT_FINAL)?;
    checker.next_case();
    cause(&mut client, checker, "a Ping between fragments");
    // The Pong is the next stage's.
    client.expect_text(client.id, "xy").or_hint(INTERLEAVED)?;
    cause(&mut client, checker, "a character split across fragments");
    client.expect_text(client.id, "é").or_hint(CHARACTER)
}

pub fn ping(checker: &mut Checker) -> Result<(), Failure> {
    let mut client = checker.join()?;
    for payload in ["p", "", &"p".repeat(125)] {
        client.send(&ping_frame(payload));
        client.expect_pong(payload.as_bytes()).or_hint(ANY_PAYLOAD)?;
    }
    cause(&mut client, checker, "an unsolicited Pong");
    client.say("after a Pong");
    client.expect_text(client.id, "after a Pong").or_hint(LONE_PONG)
}
