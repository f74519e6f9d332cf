use super::*;
use crate::frame::text::{unmask, whole_text_frame};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::io::Cursor;

/// The usual limit of a message, in bytes of payload.
pub const LIMIT: usize = 300;

/// The masking key of RFC 6455 5.7.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame as a client sends it. `first` is FIN, RSV and opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let body = payload.iter().zip(KEY.iter().cycle());
    let mut frame = claim(first, payload.len() as u64);
    frame.extend(body.map(|(byte, key)| byte ^ key));
    frame
}

/// The header alone of a client's frame that claims to have this much payload.
pub fn claim(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(0x80 | u8::try_from(length).unwrap()),
        126..=0xffff => {
            header.push(0xfe);
            header.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            header.push(0xff);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend(KEY);
    header
}

/// A text or binary message in one or more fragments, with Pings and Pongs between them.
fn message() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = prop_oneof![3 => "\\PC{0,20}", 1 => "[a-zé]{126,150}"].prop_map(String::into_bytes);
    let data = prop_oneof![(Just(1), text), (Just(2), vec(any::<u8>(), 0..LIMIT))];
    let cuts = vec((any::<Index>(), option::of(control())), 0..4);
    (data, cuts).prop_map(|((opcode, payload), mut cuts)| {
        cuts.sort_by_key(|(cut, _)| cut.index(payload.len() + 1));
        let (mut frames, mut start, mut opcode) = (Vec::new(), 0, opcode);
        for (cut, control) in cuts {
            let end = cut.index(payload.len() + 1);
            frames.push(masked(opcode, &payload[start..end]));
            frames.extend(control);
            (start, opcode) = (end, 0);
        }
        frames.push(masked(0x80 | opcode, &payload[start..]));
        frames
    })
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    (select(vec![0x89, 0x8a]), vec(any::<u8>(), 0..=125)).prop_map(|(first, payload)| masked(first, &payload))
}

/// The frames of a client that breaks no rule, without its Close.
pub fn valid_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let steps = prop_oneof![3 => message(), 1 => control().prop_map(|frame| vec![frame])];
    vec(steps, 0..6).prop_map(|steps| steps.concat())
}

/// Where to split a stream.
pub fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

/// The stream in pieces; some may be empty.
pub fn split<'a>(stream: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(stream.len());
    let mut start = 0;
    let piece = |end| &stream[std::mem::replace(&mut start, end)..end];
    ends.into_iter().map(piece).collect()
}

pub fn tungstenite_reads(frame: &[u8]) -> (FrameHeader, usize) {
    let mut cursor = Cursor::new(frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    let whole = cursor.position() + length;
    (header, usize::try_from(whole).unwrap())
}

/// The offsets where no message is half read, by tungstenite's reading of the headers.
fn offsets_between_messages(frames: &[Vec<u8>]) -> Vec<usize> {
    let (mut offsets, mut at, mut open) = (vec![0], 0, false);
    for frame in frames {
        let (header, length) = tungstenite_reads(frame);
        at += length;
        if matches!(header.opcode, OpCode::Data(_)) {
            open = !header.is_final;
        }
        if !open {
            offsets.push(at);
        }
    }
    offsets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn between_messages_and_begun_in_agree_with_tungstenites_reading(
        frames in valid_frames(),
        cuts in cuts(),
    ) {
        let offsets = offsets_between_messages(&frames);
        let stream = frames.concat();
        let (mut walk, mut at) = (Frames::new(LIMIT), 0);
        for piece in split(&stream, &cuts) {
            prop_assert_eq!(walk.advance(piece), (piece.len(), Reached::End));
            let start = at;
            at += piece.len();
            prop_assert_eq!(walk.between_messages(), offsets.contains(&at));
            let begin = offsets.iter().rev().find(|offset| **offset <= at).unwrap();
            let begun = (*begin != at).then_some(*begin >= start);
            prop_assert_eq!(walk.begun_in(piece.len()), begun);
        }
    }
}

/// tungstenite would allocate what the header claims, so it never has the whole header.
#[test]
fn a_header_that_breaks_a_rule_is_not_handed_on() {
    let huge = claim(0x82, u64::MAX >> 1);
    let (mut walk, good) = (Frames::new(LIMIT), masked(0x81, b"good"));
    let failure =
        Failure::new(CloseCode::Size, "a message of 9223372036854775807 bytes, the limit is 300, RFC 6455 10.4");
    let stream = [&good[..], &huge, b"payload"].concat();
    assert_eq!(walk.advance(&stream), (good.len(), Reached::Fault(failure.clone())));

    let mut walk = Frames::new(LIMIT);
    let (last, rest) = huge.split_last().unwrap();
    assert_eq!(walk.advance(rest), (rest.len(), Reached::End));
    assert_eq!(walk.advance(&[*last, 0]), (0, Reached::Fault(failure)));
}

/// A text frame whose payload length is in 2 bytes (form 126) or in 8 (form 127), whatever its value.
fn with_length_form(form: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let length = if form == 126 { &bytes[6..] } else { &bytes[..] };
    [&[0x81, 0x80 | form], length, &KEY, payload].concat()
}

#[test]
fn a_payload_length_in_a_longer_form_than_needed_fails() {
    let rule = "a payload length must take as few bytes as it can, RFC 6455 5.2";
    for (form, length) in [(126, 0), (126, 1), (126, 125), (127, 0), (127, 125), (127, 126), (127, 65_535)] {
        let frame = with_length_form(form, length, &vec![b'x'; length as usize]);
        let mut walk = Frames::new(LIMIT);
        assert_eq!(walk.advance(&frame), (0, Reached::Fault(Failure::protocol(rule))), "{form} {length}");
        assert_eq!(whole_text_frame(&frame, usize::MAX), None, "{form} {length}");
    }
    for (form, length) in [(126, 126), (126, 65_535), (127, 65_536)] {
        let frame = with_length_form(form, length, &vec![b'x'; length as usize]);
        assert_eq!(Frames::new(70_000).advance(&frame), (frame.len(), Reached::End), "{form} {length}");
        assert!(whole_text_frame(&frame, usize::MAX).is_some(), "{form} {length}");
    }
}

#[test]
fn a_payload_length_with_its_top_bit_set_fails() {
    let rule = "the top bit of a payload length of 8 bytes must be 0, RFC 6455 5.2";
    for length in [1 << 63, u64::MAX] {
        let mut walk = Frames::new(LIMIT);
        let frame = with_length_form(127, length, b"x");
        assert_eq!(walk.advance(&frame), (0, Reached::Fault(Failure::protocol(rule))), "{length}");
    }
}

#[test]
fn the_walk_stops_behind_a_close_and_knows_its_code() {
    let close = masked(0x88, b"\x03\xe9bye");
    let stream = [&close[..], &masked(0x81, b"late")].concat();
    let mut walk = Frames::new(LIMIT);
    assert_eq!(walk.advance(&stream), (close.len(), Reached::Close));
    assert_eq!(walk.close_code(), Some(1001));

    let mut walk = Frames::new(LIMIT);
    for byte in &close[..close.len() - 1] {
        assert_eq!(walk.advance(&[*byte]), (1, Reached::End));
    }
    assert_eq!(walk.advance(&close[close.len() - 1..]), (1, Reached::Close));
    assert_eq!(walk.close_code(), Some(1001));
}

#[test]
fn a_close_without_two_bytes_has_no_code() {
    for payload in [&b""[..], b"\x03"] {
        let (mut walk, close) = (Frames::new(LIMIT), masked(0x88, payload));
        assert_eq!(walk.advance(&close), (close.len(), Reached::Close));
        assert_eq!(walk.close_code(), None);
    }
}

#[test]
fn the_servers_frames_of_rfc_6455_5_7_are_encoded_as_there() {
    let encoded = |opcode, payload: &[u8]| {
        let mut output = Vec::new();
        encode(opcode, &[payload], &mut output);
        output
    };
    assert_eq!(encoded(Data::Text, b"Hello"), b"\x81\x05Hello");
    let bytes = vec![7; 65536];
    assert_eq!(encoded(Data::Binary, &bytes[..256]), [b"\x82\x7e\x01\x00", &bytes[..256]].concat());
    assert_eq!(encoded(Data::Binary, &bytes), [b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", &bytes[..]].concat());
}

#[test]
fn an_encoded_frame_is_read_back_by_tungstenite_at_every_length_of_length() {
    for length in [0, 1, 125, 126, 65535, 65536] {
        let (payload, mut frame) = (vec![b'x'; length], Vec::new());
        let (front, back) = payload.split_at(length / 3);
        encode(Data::Text, &[front, back, b""], &mut frame);
        let (header, whole) = tungstenite_reads(&frame);
        let expected = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
        assert_eq!(header, expected, "{length}");
        assert_eq!(whole, frame.len(), "{length}");
        assert!(frame.ends_with(&payload), "{length}");
        // What follows is not looked at.
        let stream = frame.iter().copied().chain([0xff; 20]);
        assert_eq!(length_on_wire(stream), frame.len() as u64, "{length}");
    }
}

#[test]
fn length_on_wire_counts_a_masking_key_and_never_overflows() {
    for length in [0, 125, 126, 65535, 65536, 1 << 40] {
        let header = claim(0x82, length);
        assert_eq!(length_on_wire(header.iter().copied()), header.len() as u64 + length);
    }
    assert_eq!(length_on_wire(claim(0x82, u64::MAX).into_iter()), u64::MAX);
}

#[test]
fn a_text_frame_that_is_not_masked_is_no_whole_text_frame() {
    for length in [0, 5, 125, 126, 65_535, 65_536] {
        let mut frame = Vec::new();
        encode(Data::Text, &[&vec![b'x'; length]], &mut frame);
        assert_eq!(whole_text_frame(&frame, usize::MAX), None, "{length}");
    }
}

proptest! {
    #[test]
    fn unmasking_is_the_exclusive_or_with_the_key_over_and_over(payload in vec(any::<u8>(), 0..70), key: [u8; 4]) {
        let mut clear = b"what was there before".to_vec();
        unmask(&payload, key, &mut clear);
        let expected: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        prop_assert_eq!(clear, [b"what was there before", &expected[..]].concat());
    }
}
