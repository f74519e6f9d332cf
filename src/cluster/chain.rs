//! The chain of entries: whether anything is missing between two of them.
//!
//! An entry names its place, the byte at which it ends, and the *tag* of the entry before it. A tag belongs to one attempt to
//! append, so no two entries have the same one. An entry continues the log that a node has read if it names the tag that
//! the node read last, and begins at the place where that entry ended. If entries were trimmed, flushed, or lost when a
//! replica took over, the next one does not.

use crate::frame::Header;
use std::fmt::{self, Display, Formatter};
use std::str;

/// Where a log ends, or how far a node has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes since the log began.
    pub(super) place: u64,
    /// The tag of the last entry. Empty in a log without entries.
    pub(super) tag: Vec<u8>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The entry's place and tag.
    pub(super) head: Head,
    /// The tag of the entry before it.
    pub(super) before: Vec<u8>,
    /// Whole frames.
    pub(super) frames: Vec<u8>,
}

/// Why a node can't go on from what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// The entries after the last one that was read are not there.
    Missing,
    /// The log ends before, or elsewhere than, the last entry that was read.
    Lost,
    /// An entry of this node was appended, and is not there.
    OwnLost,
    /// An entry is not what a node appends.
    Foreign,
}

impl Gap {
    /// Its kind in `GET /metrics`.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Lost => "lost",
            Self::OwnLost => "own_lost",
            Self::Foreign => "foreign",
        }
    }
}

impl Display for Gap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "messages are missing: the room's log was trimmed or replaced",
            Self::Lost => "the end of the room's log was lost",
            Self::OwnLost => "a message was lost from the room's log",
            Self::Foreign => "the room's log has an entry that no server wrote",
        })
    }
}

/// An entry that continues the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// The messages in it: one frame each.
    pub(super) messages: u64,
    /// Whether this node appended it.
    pub(super) own: bool,
}

/// What a node has read, and which entries are its own.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) head: Head,
    /// The node's id as a writer.
    pub(super) writer: String,
}

impl Chain {
    /// Continues with an entry. `next_own` is the number of this node's next entry.
    ///
    /// # Errors
    /// The entry does not continue the log.
    pub(super) fn follow(&mut self, entry: &Entry, next_own: u64) -> Result<Followed, Gap> {
        let start = entry.head.place.checked_sub(entry.frames.len() as u64);
        if start != Some(self.head.place) || entry.before != self.head.tag {
            return Err(Gap::Missing);
        }
        let messages = count_texts(&entry.frames).ok_or(Gap::Foreign)?;
        let own = number(&entry.head.tag, &self.writer);
        if own.is_some_and(|number| number != next_own) {
            return Err(Gap::OwnLost);
        }
        self.head = entry.head.clone();
        Ok(Followed { messages, own: own.is_some() })
    }

    /// Checks that a log without further entries ends where this node has read to. `appended` is the number of this node's last
    /// entry that was known to be appended before `head` was read.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check(&self, head: &Head, next_own: u64, appended: u64) -> Result<(), Gap> {
        if *head != self.head {
            return Err(Gap::Lost);
        }
        if next_own <= appended { Err(Gap::OwnLost) } else { Ok(()) }
    }
}

/// The tag of an attempt to append a node's entry with this number.
pub(super) fn tag(writer: &str, number: u64, attempt: u32) -> String {
    format!("{writer}:{number}:{attempt}")
}

/// The number in a tag of this writer.
fn number(tag: &[u8], writer: &str) -> Option<u64> {
    let rest = str::from_utf8(tag).ok()?.strip_prefix(writer)?.strip_prefix(':')?;
    rest.split_once(':')?.0.parse().ok()
}

/// Counts the text frames, if the bytes are one or more whole ones as a server sends them: final, unmasked, in UTF-8. Anyone who
/// can write to the log could write anything, and a client would fail its connection.
fn count_texts(frames: &[u8]) -> Option<u64> {
    let (mut rest, mut count) = (after_text(frames)?, 1);
    while !rest.is_empty() {
        (rest, count) = (after_text(rest)?, count + 1);
    }
    Some(count)
}

/// What follows a text frame.
fn after_text(frames: &[u8]) -> Option<&[u8]> {
    const FINAL_TEXT: u8 = 0x81;
    let [FINAL_TEXT, second, ..] = frames else { return None };
    let header = Header::length(*second);
    if frames.len() < header {
        return None;
    }
    let Header { masked: false, payload_length, .. } = Header::parse(frames) else { return None };
    let shortest = match payload_length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    let end = header.checked_add(usize::try_from(payload_length).ok()?)?;
    let payload = frames.get(header..end)?;
    (header == shortest && str::from_utf8(payload).is_ok()).then(|| &frames[end..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
