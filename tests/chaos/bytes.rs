//! Hostile bytes for the running program: spoiled requests, spoiled frames, and noise.
//!
//! The answer is always well-formed and ends, nothing panics, and memory doesn't grow. Inputs that failed before are kept in
//! `tests/proptest-regressions/` and tried first. `HOSTILE_INPUTS` sets the number of inputs per test.

use crate::SWITCHBOARD;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use std::io;
use std::net::SocketAddr;
use test_client::FLOOD_DEADLINE;
use test_client::blocking::Client;
use test_client::frame::{CLOSE, FIN, Frame, PONG, TEXT, encode};
use test_client::request::Request;

/// Default number of inputs per test.
const INPUTS: u32 = 500;

/// The largest allowed growth of memory over all inputs of a test, in bytes: buffers that are allocated once.
const GROWTH: usize = 3 << 20;

/// Small, so that many inputs exceed it.
const MAX_MESSAGE_SIZE: usize = 1_000;

/// Sends inputs from a strategy to the program, then checks its memory, open files and log.
fn bombard<S: Strategy>(inputs: S, attack: impl Fn(SocketAddr, S::Value) -> Result<(), TestCaseError>) {
    let cases = std::env::var("HOSTILE_INPUTS").ok().and_then(|count| count.parse().ok()).unwrap_or(INPUTS);
    let size = MAX_MESSAGE_SIZE.to_string();
    let mut program = SWITCHBOARD.start(&["--ping-interval", "0", "--max-message-size", &size]);
    // The first input allocates what is allocated once.
    attack(program.address, inputs.new_tree(&mut TestRunner::deterministic()).unwrap().current()).unwrap();
    let (resident, files) = (program.resident(), program.open_files());
    let config = Config { cases, max_shrink_iters: 2_000, source_file: Some(file!()), ..Config::default() };
    TestRunner::new(config).run(&inputs, |input| attack(program.address, input)).unwrap();
    let grown = program.resident().saturating_sub(resident);
    assert!(grown < GROWTH, "{grown} bytes more after {cases} inputs");
    assert!(program.open_files() <= files + 1, "{} files are open", program.open_files());
    program.kill();
    let panics: Vec<_> = program.rest_of_log().into_iter().filter(|line| line.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:?}");
}

/// Bytes, and the places where they are cut into packets.
#[derive(Clone, Debug)]
struct Packets {
    bytes: Vec<u8>,
    cuts: Vec<prop::sample::Index>,
}

impl Packets {
    /// Sends the packets and the end of the stream.
    fn send(&self, client: &mut Client) -> io::Result<()> {
        let mut cuts: Vec<_> = self.cuts.iter().map(|cut| cut.index(self.bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for end in cuts.into_iter().chain([self.bytes.len()]) {
            client.try_send(&self.bytes[start..end], FLOOD_DEADLINE)?;
            start = end;
        }
        client.try_finish()
    }
}

/// Sends packets and the end of the stream, and reads until the server ends it in order.
fn exchange(client: &mut Client, packets: &Packets) -> Vec<u8> {
    // An error means that the server has answered and stopped reading.
    let _ = packets.send(client);
    client.read_to_end()
}

fn opening_handshake() -> Vec<u8> {
    Request::opening("localhost", "/ws/7").bytes()
}

/// Sends packets after a valid handshake. The server answers with frames; the last one is the only Close.
fn attack_with_frames(address: SocketAddr, packets: Packets) -> Result<(), TestCaseError> {
    let mut client = Client::tcp(address);
    client.send(opening_handshake());
    prop_assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    are_frames_up_to_a_close(&exchange(&mut client, &packets), 7)
}

/// Checks the frames that a client with this id gets when it is alone in the room.
fn are_frames_up_to_a_close(mut bytes: &[u8], client_id: i64) -> Result<(), TestCaseError> {
    let says = format!("Client #{client_id} says: ");
    loop {
        let Some((frame, length)) = Frame::parse(bytes) else {
            return Err(TestCaseError::fail(format!("not a frame: {bytes:?}")));
        };
        bytes = &bytes[length..];
        let text = |bytes: &[u8]| str::from_utf8(bytes).is_ok();
        prop_assert_eq!(frame.first & 0xf0, FIN, "not a whole frame without RSV bits: {:?}", frame);
        prop_assert!(!frame.masked, "masked: {:?}", frame);
        match frame.first & 0xf {
            TEXT => prop_assert!(text(&frame.payload) && frame.payload.starts_with(says.as_bytes())),
            CLOSE => {
                prop_assert!(frame.payload.len() <= 125 && frame.payload.len() != 1);
                prop_assert!(text(frame.payload.get(2..).unwrap_or_default()));
                prop_assert!(bytes.is_empty(), "after the Close: {:?}", bytes);
                return Ok(());
            }
            opcode => prop_assert!(opcode == PONG && frame.payload.len() <= 125, "{:?}", frame),
        }
    }
}

/// Sends packets instead of a handshake. The server answers with nothing, whole responses, or a 101 and frames as the last of
/// them: what is left of a spoiled request may be taken for the next one.
fn attack_with_request(address: SocketAddr, packets: Packets) -> Result<(), TestCaseError> {
    let answer = exchange(&mut Client::tcp(address), &packets);
    let mut rest = &*answer;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| end + 4);
        let (head, body) = rest.split_at(end.ok_or_else(|| TestCaseError::fail(format!("no head: {answer:?}")))?);
        let head = str::from_utf8(head).unwrap().to_ascii_lowercase();
        match head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()) {
            Some(101) => return are_frames_up_to_a_close(body, client_id(&packets.bytes)),
            Some(200 | 400..=431 | 505) => {}
            _ => return Err(TestCaseError::fail(head)),
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length = length.and_then(|length| length.parse::<usize>().ok());
        // The response to HEAD has the length but no body.
        let bodiless = body.is_empty() || body.starts_with(b"HTTP/1.");
        let after = length.and_then(|length| body.get(length..)).filter(|_| !bodiless);
        prop_assert!(bodiless || after.is_some(), "{}", head);
        rest = after.unwrap_or(body);
    }
    Ok(())
}

/// The id that an accepted request names. It may be another than 7, because the request is spoiled.
fn client_id(request: &[u8]) -> i64 {
    let request = String::from_utf8_lossy(request);
    let (_, rest) = request.split_once("/ws/").expect("only the chat is accepted");
    let end = rest.find([' ', '?', '#']).expect("a path ends");
    rest[..end].parse().expect("an accepted id is an integer")
}

/// One change to valid bytes.
#[derive(Clone, Debug)]
enum Spoil {
    Flip(u8),
    Insert(Vec<u8>),
    Remove,
    Repeat(usize),
    Truncate,
}

fn spoil() -> impl Strategy<Value = (prop::sample::Index, Spoil)> {
    let how = prop_oneof![
        4 => (0..8u8).prop_map(Spoil::Flip),
        2 => prop::collection::vec(any::<u8>(), 1..4).prop_map(Spoil::Insert),
        2 => Just(Spoil::Remove),
        1 => (2..200usize).prop_map(Spoil::Repeat),
        1 => Just(Spoil::Truncate),
    ];
    (any::<prop::sample::Index>(), how)
}

fn spoiled(mut bytes: Vec<u8>, spoils: &[(prop::sample::Index, Spoil)]) -> Vec<u8> {
    for (at, spoil) in spoils {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match spoil {
            Spoil::Flip(bit) => bytes[at] ^= 1 << bit,
            Spoil::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Spoil::Remove => drop(bytes.remove(at)),
            Spoil::Repeat(times) => {
                let byte = bytes[at];
                drop(bytes.splice(at..at, std::iter::repeat_n(byte, *times)));
            }
            Spoil::Truncate => bytes.truncate(at),
        }
    }
    bytes
}

/// A frame, usually a valid one, with any first byte, masked or not, whose header may announce another length.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x01, 0x00, 0x80, 0x89, 0x8a]),
        1 => prop::sample::select(vec![0x82, 0x88, 0x02]),
        1 => any::<u8>(),
    ];
    let text = "[a-zé€😀]{0,40}".prop_map(String::into_bytes);
    let payload = prop_oneof![
        6 => text,
        2 => prop::collection::vec(any::<u8>(), 0..140),
        1 => (900..1_100usize).prop_map(|length| vec![b'x'; length]),
        1 => any::<u16>().prop_map(|code| code.to_be_bytes().to_vec()),
    ];
    let claim = prop_oneof![20 => Just(None), 1 => any::<u64>().prop_map(Some), 1 => (0..2_000u64).prop_map(Some)];
    (first, prop::bool::weighted(0.97), payload, claim, any::<[u8; 4]>()).prop_map(
        |(first, masked, payload, claim, key)| {
            encode(first, masked.then_some(key), claim.unwrap_or(payload.len() as u64), &payload)
        },
    )
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any_frame(), 0..12).prop_map(|frames| frames.concat())
}

fn packets(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Packets> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (bytes, cuts).prop_map(|(bytes, cuts)| Packets { bytes, cuts })
}

#[test]
fn spoiled_frames() {
    let spoils = prop::collection::vec(spoil(), 0..3);
    let bytes = (frames(), spoils).prop_map(|(frames, spoils)| spoiled(frames, &spoils));
    bombard(packets(bytes), attack_with_frames);
}

#[test]
fn noise_instead_of_frames() {
    bombard(packets(prop::collection::vec(any::<u8>(), 0..2_000)), attack_with_frames);
}

#[test]
fn spoiled_requests() {
    let spoils = prop::collection::vec(spoil(), 0..4);
    let bytes = (spoils, frames()).prop_map(|(spoils, frames)| {
        let head = spoiled(opening_handshake(), &spoils);
        [head, frames].concat()
    });
    bombard(packets(bytes), attack_with_request);
}

#[test]
fn noise_instead_of_a_request() {
    bombard(packets(prop::collection::vec(any::<u8>(), 0..500)), attack_with_request);
}
