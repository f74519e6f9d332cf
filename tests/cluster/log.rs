//! The room's log, as Redis has it.

use crate::checker::Message;
use crate::redis::Redis;
use crate::resp::Reply;
use test_client::frame::unmasked;

/// The name of one of the room's keys.
pub fn key(room: &str, name: &str) -> String {
    format!("switchboard:{{{room}}}:{name}")
}

/// An entry of the log.
struct Entry {
    place: usize,
    tag: Vec<u8>,
    before: Vec<u8>,
    frames: Vec<u8>,
}

impl Entry {
    /// An ID and the fields `t`, `p` and `b`.
    fn new(entry: &Reply) -> Self {
        let [id, fields] = entry.array() else { panic!("not an entry: {entry:?}") };
        let place = id.text().strip_suffix("-0").expect("an ID with the sequence number 0");
        let [t, tag, p, before, b, frames] = fields.array() else { panic!("not the fields of an entry: {fields:?}") };
        assert_eq!([t, p, b].map(Reply::text), ["t", "p", "b"]);
        let [tag, before, frames] = [tag, before, frames].map(|field| field.bytes().to_vec());
        Self { place: place.parse().unwrap(), tag, before, frames }
    }
}

/// Reads a log from its beginning, which is still there, and checks that its entries are a chain.
#[track_caller]
pub fn whole_log(redis: &Redis, room: &str) -> Vec<Message> {
    let entries = redis.command(&["XRANGE", &key(room, "log"), "-", "+"]);
    let (mut messages, mut place, mut tag) = (Vec::new(), 0, Vec::new());
    for entry in entries.array().iter().map(Entry::new) {
        assert_eq!((entry.place, &entry.before), (place + entry.frames.len(), &tag), "the entry breaks the chain");
        messages.extend(split(&entry.frames));
        (place, tag) = (entry.place, entry.tag);
    }
    messages
}

/// The messages in the frames of an entry.
fn split(mut frames: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while !frames.is_empty() {
        let (length, payload) = unmasked(frames).expect("whole frames");
        messages.push(Message::parse(payload).expect("a message"));
        frames = &frames[length..];
    }
    messages
}
