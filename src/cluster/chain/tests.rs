use super::*;
use crate::frame::encode;
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::Data;

const OWN: Followed = Followed { messages: 1, own: true };
const OTHER: Followed = Followed { messages: 1, own: false };

const ME: &str = "00000000000000aa";

fn text(payload: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(Data::Text, &[payload.as_bytes()], &mut frame);
    frame
}

fn head(place: u64, tag: &str) -> Head {
    Head { place, tag: tag.into() }
}

/// The entry that a writer appends to a log that ends here.
fn after(end: &Head, tag: &str, frames: &[u8]) -> Entry {
    let place = end.place + frames.len() as u64;
    Entry { head: head(place, tag), before: end.tag.clone(), frames: frames.into() }
}

fn chain(at: Head) -> Chain {
    Chain { head: at, writer: ME.into() }
}

#[test]
fn entry_that_continues_the_log_is_followed() {
    let mut chain = chain(Head::default());
    let first = after(&chain.head, "other:1:1", &text("a"));
    assert_eq!(chain.follow(&first, 1), Ok(OTHER));
    let own = after(&chain.head, &tag(ME, 1, 3), &[text("b"), text("c")].concat());
    assert_eq!(chain.follow(&own, 1), Ok(Followed { messages: 2, own: true }));
    assert_eq!(chain.head, own.head);
}

#[test]
fn entry_that_does_not_continue_the_log_is_a_gap() {
    let at = head(100, "x:1:1");
    let good = after(&at, "x:2:1", &text("a"));
    let spoiled = |spoil: fn(&mut Entry)| {
        let (mut chain, mut entry) = (chain(at.clone()), good.clone());
        spoil(&mut entry);
        let followed = chain.follow(&entry, 1);
        assert_eq!(chain.head == at, followed.is_err());
        followed
    };
    assert_eq!(spoiled(|_| {}), Ok(OTHER));
    assert_eq!(spoiled(|entry| entry.head.place += 1), Err(Gap::Missing));
    assert_eq!(spoiled(|entry| entry.head.place = 0), Err(Gap::Missing));
    assert_eq!(spoiled(|entry| entry.before = b"x:1:2".into()), Err(Gap::Missing));
    assert_eq!(spoiled(|entry| entry.before.clear()), Err(Gap::Missing));
    assert_eq!(spoiled(|entry| entry.frames.push(0)), Err(Gap::Missing));
    assert_eq!(spoiled(|entry| entry.frames[0] = 0x82), Err(Gap::Foreign));
}

#[test]
fn own_entries_come_back_in_their_order() {
    let at = head(100, "x:1:1");
    let own = |number| after(&at, &tag(ME, number, 1), &text("a"));
    assert_eq!(chain(at.clone()).follow(&own(2), 2), Ok(OWN));
    assert_eq!(chain(at.clone()).follow(&own(3), 2), Err(Gap::OwnLost));
    assert_eq!(chain(at.clone()).follow(&own(1), 2), Err(Gap::OwnLost));
    // A tag that only begins like this writer's is another's.
    for other in ["00000000000000aab:9:1", "00000000000000aa", "00000000000000aa:9", ":9:1"] {
        assert_eq!(chain(at.clone()).follow(&after(&at, other, &text("a")), 2), Ok(OTHER), "{other}");
    }
}

#[test]
fn log_must_end_where_it_was_read_to() {
    let chain = chain(head(100, "x:1:1"));
    assert_eq!(chain.check(&head(100, "x:1:1"), 3, 2), Ok(()));
    for end in [head(100, "x:1:2"), head(99, "x:1:1"), head(101, "x:2:1"), Head::default()] {
        assert_eq!(chain.check(&end, 3, 2), Err(Gap::Lost), "{end:?}");
    }
    assert_eq!(chain.check(&head(100, "x:1:1"), 3, 3), Err(Gap::OwnLost));
}

#[test]
fn only_whole_text_frames_of_a_server_are_taken() {
    let long = |length: usize| text(&"x".repeat(length));
    for good in [text(""), text("ä"), long(125), long(126), long(65_535), long(65_536), [text("a"), long(126)].concat()]
    {
        let expected = 1 + u64::from(good.starts_with(&text("a")));
        assert_eq!(count_texts(&good), Some(expected), "{} bytes", good.len());
    }
    let masked = b"\x81\x81\0\0\0\0a";
    let bad: [&[u8]; 12] = [
        b"",
        b"\x81",
        b"\x81\x02a",
        b"\x81\x01ab",
        b"\x01\x01a",
        b"\x82\x01a",
        b"\x89\x01a",
        b"\xc1\x01a",
        masked,
        b"\x81\x01\xff",
        b"\x81\x7e\x00\x01a",
        b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xffa",
    ];
    for bad in bad {
        assert_eq!(count_texts(bad), None, "{bad:x?}");
    }
}

/// Whatever is taken out of a log, or put in another order, a node that has read some of it follows only what continues.
#[derive(Clone, Debug)]
struct Log(Vec<Entry>);

impl Log {
    fn append(&mut self, tag: &str, payload: &str) {
        let end = self.0.last().map_or_else(Head::default, |entry| entry.head.clone());
        self.0.push(after(&end, tag, &text(payload)));
    }
}

proptest! {
    #[test]
    fn node_never_follows_another_history(
        payloads in vec("[a-c]{0,3}", 1..8),
        others in vec("[a-c]{0,3}", 0..8),
        read in 0..8_usize,
        kept in 0..8_usize,
        trimmed in 0..8_usize,
    ) {
        let mut log = Log(Vec::new());
        payloads.iter().enumerate().for_each(|(n, payload)| log.append(&format!("x:{n}:1"), payload));
        let (read, kept) = (read.min(payloads.len()), kept.min(payloads.len()));
        let mut node = chain(Head::default());
        for entry in &log.0[..read] {
            prop_assert_eq!(node.follow(entry, 1), Ok(OTHER));
        }
        // A replica that has only some of the entries takes over, and others are appended to it.
        let mut replica = Log(log.0[..kept].to_vec());
        others.iter().enumerate().for_each(|(n, payload)| replica.append(&format!("y:{n}:1"), payload));
        let end = replica.0.last().map_or_else(Head::default, |entry| entry.head.clone());
        let at = node.head.place;
        let there = replica.0.iter().skip(trimmed).filter(|entry| entry.head.place > at);
        let mut followed = log.0[..read].to_vec();
        let mut gap = None;
        for entry in there {
            match node.follow(entry, 1) {
                Ok(_) => followed.push(entry.clone()),
                Err(found) => {
                    gap = Some(found);
                    break;
                }
            }
        }
        // Either it has read the new history from the beginning to the end, or it knows that it has not.
        let complete = followed == replica.0;
        prop_assert_eq!(gap.is_none() && node.check(&end, 1, 0).is_ok(), complete);
    }
}
