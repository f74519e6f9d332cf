//! The rules of a room on several servers, checked on what each connection received.
//!
//! | rule | |
//! |---|---|
//! | once | No message occurs twice, in a log or on a connection. |
//! | order | The messages of a client are in the order said, and none is missing between two of them, unless an earlier log has it. |
//! | piece | A connection received a contiguous piece of one log. |
//! | end | A connection that stays open has received everything to the end of the log, and all of its own messages. |
//! | told | Any other connection was closed with 1001, 1012 or 1013 and a reason, unless its node was killed. |
//!
//! The logs come from Redis. If it has lost or trimmed its log, there is none, and the pieces must fit together instead. There
//! are two if a replica takes over that lacks the end of the first one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Display, Formatter};
use std::time::Instant;
use test_client::frame::says_prefix;

/// A message that a member says: the number is its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Each connection has a client id of its own.
    pub client: i64,
    /// Counts from 0 on each connection.
    pub number: usize,
}

impl Debug for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.client, self.number)
    }
}

impl Message {
    /// Parses a message as the server broadcasts it. Text after a space does not count.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (client, text) = str::from_utf8(payload).ok()?.split_once(" says: ")?;
        let client = client.strip_prefix("Client #")?.parse().ok()?;
        let number = text.split(' ').next()?.parse().ok()?;
        payload.starts_with(says_prefix(client).as_bytes()).then_some(Self { client, number })
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is open, or the test closed it at its end.
    Open,
    /// By a Close of the server.
    Closed { code: u16, reason: String, at: Instant },
    /// The test killed the node.
    Killed,
    /// Without a Close.
    Lost(String),
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => write!(f, "open"),
            Self::Closed { code, reason, .. } => write!(f, "Close {code} {reason:?}"),
            Self::Killed => write!(f, "killed"),
            Self::Lost(how) => write!(f, "{how} without a Close"),
        }
    }
}

/// What one connection sent and received, between its 101 and its end.
#[derive(Clone, Debug)]
pub struct Record {
    pub client: i64,
    /// The number of its node.
    pub node: usize,
    /// The member that opened it, and that opens another when it ends.
    pub member: usize,
    /// When each of its messages was said.
    pub said: Vec<Instant>,
    pub received: Vec<Message>,
    pub end: End,
}

impl Record {
    /// The number of its own messages that have come back.
    fn returned(&self) -> usize {
        self.received.iter().filter(|message| message.client == self.client).count()
    }

    /// Whether all that it said has come back.
    pub fn is_complete(&self) -> bool {
        self.returned() == self.said.len()
    }

    fn name(&self) -> String {
        format!("connection {} of node {}", self.client, self.node)
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, said, returned, received) = (self.name(), self.said.len(), self.returned(), self.received.len());
        write!(f, "{name}: said {said}, got {returned} of them back and {received} in all, {}", self.end)
    }
}

/// The connections, a line each.
pub fn summary<'a>(records: impl IntoIterator<Item = &'a Record>) -> String {
    records.into_iter().map(|record| format!("\n{record}")).collect()
}

/// Checks all rules. The last of the logs is the one that open connections follow; without logs, the pieces make one.
///
/// # Errors
/// The first rule that is broken, and how.
pub fn check(records: &[Record], logs: &[Vec<Message>]) -> Result<(), String> {
    let mut earlier = BTreeSet::new();
    for (number, log) in logs.iter().enumerate() {
        check_order(log, |_| true, &earlier).map_err(|fault| format!("log {number}: {fault}"))?;
        earlier.extend(log);
    }
    for record in records {
        let is_own = |client| client == record.client;
        check_order(&record.received, is_own, &earlier).map_err(|fault| format!("{}: {fault}", record.name()))?;
    }
    if logs.is_empty() {
        check_pieces(records)?;
    } else {
        let logs: Vec<_> = logs.iter().map(|log| Log::new(log)).collect();
        records.iter().try_for_each(|record| check_piece(record, &logs))?;
    }
    let mut open = records.iter().filter(|record| record.end == End::Open);
    let last = match logs.last() {
        Some(log) => log.last(),
        None => open.clone().next().and_then(|record| record.received.last()),
    };
    open.try_for_each(|record| check_end(record, last))?;
    records.iter().try_for_each(check_told)
}

/// *once* and *order*. `from_first` says of which clients the first message must be there.
fn check_order(
    messages: &[Message],
    from_first: impl Fn(i64) -> bool,
    earlier: &BTreeSet<Message>,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut next = BTreeMap::new();
    for message @ Message { client, number } in messages {
        if !seen.insert(message) {
            return Err(format!("once: {message:?} occurs twice"));
        }
        let next = next.entry(client).or_insert(if from_first(*client) { 0 } else { *number });
        while *next < *number && earlier.contains(&Message { client: *client, number: *next }) {
            *next += 1;
        }
        if number != next {
            return Err(format!("order: {message:?} instead of {client}/{next}"));
        }
        *next += 1;
    }
    Ok(())
}

/// A log, and the place of each message in it.
struct Log<'a> {
    messages: &'a [Message],
    places: BTreeMap<Message, usize>,
}

impl<'a> Log<'a> {
    fn new(messages: &'a [Message]) -> Self {
        Self { messages, places: messages.iter().enumerate().map(|(place, message)| (*message, place)).collect() }
    }

    /// The messages that follow where a piece begins.
    fn from(&self, piece: &[Message]) -> &[Message] {
        piece.first().and_then(|first| self.places.get(first)).map_or(&[], |place| &self.messages[*place..])
    }
}

/// *piece*, with logs.
fn check_piece(record: &Record, logs: &[Log<'_>]) -> Result<(), String> {
    let piece = &record.received;
    let common = |log: &Log<'_>| log.from(piece).iter().zip(piece).take_while(|(one, other)| one == other).count();
    let Some((length, log)) = logs.iter().map(|log| (common(log), log)).max_by_key(|(length, _)| *length) else {
        return Ok(());
    };
    if length == piece.len() {
        return Ok(());
    }
    let (got, due, name) = (piece[length], log.from(piece).get(length), record.name());
    Err(match (length.checked_sub(1).map(|place| piece[place]), due) {
        (None, _) => format!("piece: {name} received {got:?}, which is in no log"),
        (Some(before), None) => format!("piece: {name} received {got:?} after {before:?}, where the log ends"),
        (Some(before), Some(due)) => format!("piece: {name} received {got:?} after {before:?}, instead of {due:?}"),
    })
}

/// *piece*, without a log: no two connections received different messages after, or before, the same one.
fn check_pieces(records: &[Record]) -> Result<(), String> {
    let (mut after, mut before) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        for pair in record.received.windows(2) {
            for (neighbors, key, value, side) in
                [(&mut after, pair[0], pair[1], "after"), (&mut before, pair[1], pair[0], "before")]
            {
                let (first, name) = neighbors.entry(key).or_insert_with(|| (value, record.name()));
                if *first != value {
                    let other = record.name();
                    return Err(format!("piece: {side} {key:?}, {name} received {first:?}, and {other} {value:?}"));
                }
            }
        }
    }
    // Each message now has one neighbor on each side at most. What can't be reached from a beginning goes round.
    let all: BTreeSet<_> = after.keys().collect();
    let mut reached = BTreeSet::new();
    for start in all.iter().filter(|message| !before.contains_key(message)) {
        let mut message = **start;
        while let Some((next, _)) = after.get(&message) {
            reached.insert(message);
            message = *next;
        }
    }
    match all.iter().find(|message| !reached.contains(**message)) {
        Some(message) => Err(format!("piece: {message:?} is before itself")),
        None => Ok(()),
    }
}

/// *end*.
fn check_end(record: &Record, last: Option<&Message>) -> Result<(), String> {
    let (got, name) = (record.received.last(), record.name());
    if got != last {
        return Err(format!("end: {name} is open, and has received up to {got:?}, not {last:?}"));
    }
    match record.is_complete() {
        true => Ok(()),
        false => Err(format!("end: {name} is open, said {}, received {}", record.said.len(), record.returned())),
    }
}

/// *told*.
fn check_told(record: &Record) -> Result<(), String> {
    let name = record.name();
    match &record.end {
        End::Open | End::Killed => Ok(()),
        End::Closed { code: 1001 | 1012 | 1013, reason, .. } if !reason.is_empty() => Ok(()),
        End::Closed { code, reason, .. } => Err(format!("told: {name} was closed with {code} {reason:?}")),
        End::Lost(how) => Err(format!("told: {name} ended without a Close: {how}")),
    }
}

#[cfg(test)]
mod tests;
