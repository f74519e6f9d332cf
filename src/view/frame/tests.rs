use super::*;
use crate::frame::tests::{KEY, claim, cuts, masked, split, tungstenite_reads, valid_frames};
use proptest::prelude::*;

/// The frames that are collected from a stream.
pub fn collect(pieces: &[&[u8]]) -> Vec<FrameView> {
    let (mut collector, mut frames) = (FrameCollector::default(), Vec::new());
    for mut bytes in pieces.iter().copied() {
        while let Some((frame, rest)) = collector.next(bytes) {
            frames.push(frame);
            bytes = rest;
        }
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_split_of_a_stream_gives_each_frame_once(
        frames in valid_frames(),
        cuts in cuts(),
    ) {
        let views = collect(&split(&frames.concat(), &cuts));
        prop_assert_eq!(views.len(), frames.len());
        for (view, frame) in views.iter().zip(&frames) {
            let (header, whole) = tungstenite_reads(frame);
            let (head, payload) = frame.split_at(view.header().len());
            let shown = &payload[..payload.len().min(SHOWN_PAYLOAD)];
            prop_assert_eq!(view.header(), head);
            prop_assert_eq!(view.parsed().payload_length, (whole - head.len()) as u64);
            prop_assert_eq!(view.parsed().fin, header.is_final);
            prop_assert_eq!(view.parsed().opcode, u8::from(header.opcode));
            prop_assert_eq!(view.masking_key(), Some(KEY));
            prop_assert_eq!(view.masked(), shown);
            prop_assert_eq!(masked(frame[0], view.payload()), masked_prefix(frame, shown));
        }
    }
}

/// A frame with the first byte of `frame`, and this masked payload.
fn masked_prefix(frame: &[u8], shown: &[u8]) -> Vec<u8> {
    [&claim(frame[0], shown.len() as u64), shown].concat()
}

#[test]
fn a_frame_in_words() {
    let shown = |frame: &[u8]| {
        let views = collect(&[frame]);
        assert_eq!(views.len(), 1);
        views[0].to_string()
    };
    assert_eq!(shown(b"\x81\x05Hello"), "text of 5 bytes: \"Hello\"");
    assert_eq!(shown(&masked(0x01, b"Hel\x1b")), r#"text of 4 bytes, more to come: "Hel\u{1b}""#);
    assert_eq!(shown(&masked(0x80, b"lo")), "continuation of 2 bytes: \"lo\"");
    assert_eq!(shown(&masked(0x82, &[b'x'; 49])), format!("binary of 49 bytes: \"{}…\"", "x".repeat(48)));
    assert_eq!(shown(&masked(0x82, &[b'x'; 48])), format!("binary of 48 bytes: \"{}\"", "x".repeat(48)));
    assert_eq!(shown(&masked(0x88, b"\x03\xe8bye\n")), r#"close of 6 bytes: "1000 bye\n""#);
    assert_eq!(shown(&masked(0x88, b"")), "close of 0 bytes: \"\"");
    assert_eq!(shown(&masked(0x89, b"")), "ping of 0 bytes: \"\"");
    assert_eq!(shown(&masked(0x8a, b"p")), "pong of 1 byte: \"p\"");
    assert_eq!(shown(&masked(0x83, b"")), "reserved of 0 bytes: \"\"");
}

#[test]
fn the_fields_have_the_names_of_rfc_6455_5_2() {
    let fields = |frame: &[u8]| {
        let fields = collect(&[frame]).remove(0).fields().into_iter();
        fields.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        fields(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        "header=81 85 37 fa 21 3d; fin=1; rsv=000; opcode=1; name=text; mask=1; length=5; form=7; \
         masking-key=37 fa 21 3d; masked=7f 9f 4d 51 58; payload=48 65 6c 6c 6f; text=Hello"
    );
    assert_eq!(
        fields(b"\x31\x01x"),
        "header=31 01; fin=0; rsv=011; opcode=1; name=text; mask=0; length=1; form=7; payload=78; text=x"
    );
    assert!(fields(&masked(0x88, b"\x03\xe8")).ends_with("; text=1000"));
    for (length, form) in [(125, 7), (126, 16), (65535, 16), (65536, 64)] {
        assert_eq!(collect(&[&masked(0x82, &vec![0; length])])[0].length_form(), form);
    }
}

#[test]
fn the_reason_of_a_close_is_whole() {
    let reason = "x".repeat(123);
    let payload = [b"\x03\xe8", reason.as_bytes()].concat();
    assert_eq!(collect(&[&masked(0x88, &payload)])[0].close(), Some((1000, reason)));
    assert_eq!(collect(&[&masked(0x88, b"")])[0].close(), None);
}

#[test]
fn kept_payload_is_bounded() {
    let frame = masked(0x82, &[0; 1000]);
    let kept = |pieces: &[&[u8]]| collect(pieces)[0].payload.len();
    assert_eq!(kept(&[&frame]), KEPT_PAYLOAD);
    assert_eq!(kept(&[&frame[..100], &frame[100..]]), KEPT_PAYLOAD);
}
