//! Two healthy clients that chat while a test causes trouble, and what they lost.

use crate::client::Client;
use crate::frame::{CLOSE, FIN, Frame, PING, PONG, TEXT, close, from_client, says_prefix, text};
use crate::target::Target;
use std::fmt::{self, Display, Formatter};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// The pause between two messages of a neighbour.
const PACE: Duration = Duration::from_millis(20);

/// Messages that each neighbour still sends once the trouble is over: harm may show late.
const AFTERWARDS: usize = 5;

/// A longer delay is harm. On an idle machine, delays are well below a millisecond.
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// A neighbour's messages are this and a number; the last one is this and [`BYE`].
const SMALL_TALK: &str = "small talk ";
const BYE: &str = "ends";

/// Two neighbours, chatting.
pub struct Neighbours {
    over: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Record>>,
}

/// What one neighbour sent and received.
#[derive(Debug, Default)]
struct Record {
    id: i64,
    /// When each of its messages was sent.
    sent: Vec<Instant>,
    /// Sender, number and arrival of each message of the pair.
    received: Vec<(i64, usize, Instant)>,
    /// Neighbours whose last message has arrived.
    byes: usize,
    /// A hash of all text messages.
    stream: DefaultHasher,
    /// Received frames that aren't whole text messages.
    other_frames: usize,
    /// How the connection ended before its time.
    thrown_out: Option<String>,
}

/// What the neighbours lost.
#[derive(Clone, Debug)]
pub struct Losses {
    /// Messages due to both neighbours together.
    pub due: usize,
    pub lost: usize,
    /// Messages arrived twice, or in a different order at each neighbour.
    pub disorder: bool,
    pub thrown_out: Option<String>,
    /// Both received the same messages of all clients in the same order, and nothing but text. Only meaningful if no other
    /// client sent anything while the neighbours joined.
    pub same_stream: bool,
    /// Time from sending to receiving a message: the median and the maximum.
    pub median: Duration,
    pub longest: Duration,
}

impl Neighbours {
    /// Starts two neighbours. Both have joined when this returns.
    ///
    /// # Errors
    /// A neighbour can't connect, or gets no 101.
    pub async fn start(target: &Target) -> io::Result<Self> {
        Self::start_at_pace(target, PACE).await
    }

    /// Starts a neighbour at each of two servers that share a room. Both have joined when this returns.
    ///
    /// # Errors
    /// A neighbour can't connect, or gets no 101.
    pub async fn start_at(targets: [&Target; 2]) -> io::Result<Self> {
        Self::start_at_with_pace(targets, PACE).await
    }

    /// Starts two neighbours that each pause this long between two messages.
    ///
    /// # Errors
    /// A neighbour can't connect, or gets no 101.
    pub async fn start_at_pace(target: &Target, pace: Duration) -> io::Result<Self> {
        Self::start_at_with_pace([target, target], pace).await
    }

    async fn start_at_with_pace([one, other]: [&Target; 2], pace: Duration) -> io::Result<Self> {
        let over = watch::Sender::new(false);
        let ids = [one.id(), one.id()];
        let clients = [one.join(ids[0]).await?, other.join(ids[1]).await?];
        let neighbours = clients.into_iter().zip(ids);
        let tasks = neighbours
            .map(|(client, id)| tokio::spawn(chat(client, id, ids, over.subscribe(), pace, one.patience)))
            .collect();
        Ok(Self { over, tasks })
    }

    /// Ends the chat after a few more messages, and counts.
    pub async fn finish(self) -> Losses {
        self.over.send_replace(true);
        let mut records = Vec::new();
        for task in self.tasks {
            records.push(task.await.expect("a neighbour doesn't panic"));
        }
        Losses::count(&records)
    }
}

/// True for the payload of a neighbour's message.
pub fn is_small_talk(payload: &[u8]) -> bool {
    str::from_utf8(payload)
        .is_ok_and(|text| text.split_once(" says: ").is_some_and(|(_, said)| said.starts_with(SMALL_TALK)))
}

/// Chats until `over`, and then until all messages of both neighbours have arrived or `patience` has run out.
async fn chat(
    mut client: Client,
    id: i64,
    ids: [i64; 2],
    over: watch::Receiver<bool>,
    pace: Duration,
    patience: Duration,
) -> Record {
    let mut record = Record { id, ..Record::default() };
    let mut pace = interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = usize::MAX;
    while record.sent.len() < last {
        tokio::select! {
            frame = client.frame() => match frame {
                Ok(frame) => client.send(&record.take(&frame, ids)),
                Err(ended) => record.thrown_out = record.thrown_out.or(Some(ended.to_string())),
            },
            _ = pace.tick() => {
                client.send(&text(&format!("{SMALL_TALK}{}", record.sent.len())));
                record.sent.push(Instant::now());
            }
        }
        if record.thrown_out.is_some() {
            return record;
        }
        if last == usize::MAX && *over.borrow() {
            last = record.sent.len() + AFTERWARDS;
        }
    }
    client.send(&text(&format!("{SMALL_TALK}{BYE}")));
    let rest = async {
        while record.byes < ids.len()
            && let Ok(frame) = client.frame().await
        {
            client.send(&record.take(&frame, ids));
        }
    };
    // Messages that don't arrive are counted as lost.
    let _ = timeout(patience, rest).await;
    client.send(&close(1000, b""));
    let _ = timeout(patience, client.end()).await;
    record
}

/// The neighbour's message in a frame, without the small talk prefix, if the frame is from this client.
fn small_talk_of(id: i64, frame: &Frame) -> Option<&str> {
    let text = frame.is(TEXT).then(|| str::from_utf8(&frame.payload).ok())??;
    text.strip_prefix(&says_prefix(id))?.strip_prefix(SMALL_TALK)
}

impl Record {
    /// Records a frame. Returns the bytes to answer it with.
    fn take(&mut self, frame: &Frame, ids: [i64; 2]) -> Vec<u8> {
        if frame.is(CLOSE) {
            self.thrown_out = Some(format!("Close {}", frame.close_code().unwrap_or(0)));
        }
        let said = ids.iter().find_map(|id| Some((*id, small_talk_of(*id, frame)?)));
        match frame.is(TEXT) {
            true => frame.payload.hash(&mut self.stream),
            false => self.other_frames += 1,
        }
        match said {
            Some((_, BYE)) => self.byes += 1,
            Some((id, number)) => {
                self.received.extend(number.parse().ok().map(|number| (id, number, Instant::now())));
            }
            None => {}
        }
        if frame.is(PING) { from_client(FIN | PONG, &frame.payload) } else { Vec::new() }
    }

    /// The hash of all it received up to the pair's last message, if that was nothing but text.
    fn stream(&self) -> Option<u64> {
        (self.byes == 2 && self.other_frames == 0).then(|| self.stream.finish())
    }
}

impl Losses {
    fn count(neighbours: &[Record]) -> Self {
        let due: usize = neighbours.iter().map(|each| each.sent.len()).sum();
        let mut delays = Vec::new();
        let mut disorder = false;
        for neighbour in neighbours {
            for speaker in neighbours {
                let of_speaker = || neighbour.received.iter().filter(|(id, ..)| *id == speaker.id);
                disorder |= !of_speaker().is_sorted_by(|(_, one, _), (_, next, _)| one < next);
                delays.extend(
                    of_speaker().filter_map(|(_, number, at)| speaker.sent.get(*number).map(|sent| *at - *sent)),
                );
            }
        }
        // Messages that both received must have the same order at both.
        let order = |one: usize, other: usize| {
            let known: std::collections::HashSet<_> =
                neighbours[other].received.iter().map(|(id, number, _)| (*id, *number)).collect();
            let received = neighbours[one].received.iter().map(|(id, number, _)| (*id, *number));
            received.filter(|message| known.contains(message)).collect::<Vec<_>>()
        };
        disorder |= order(0, 1) != order(1, 0);
        delays.sort_unstable();
        Self {
            due: due * neighbours.len(),
            lost: (due * neighbours.len()).saturating_sub(delays.len()),
            disorder,
            thrown_out: neighbours.iter().find_map(|each| each.thrown_out.clone()),
            same_stream: neighbours[0].stream().is_some() && neighbours[0].stream() == neighbours[1].stream(),
            median: delays.get(delays.len() / 2).copied().unwrap_or_default(),
            longest: delays.last().copied().unwrap_or_default(),
        }
    }

    /// True if the neighbours noticed nothing.
    pub fn none(&self) -> bool {
        self.unharmed() && self.longest <= LONGEST_DELAY
    }

    /// True if nothing but time was lost: a busy machine causes delays too.
    pub fn unharmed(&self) -> bool {
        self.lost == 0 && !self.disorder && self.thrown_out.is_none()
    }
}

impl Display for Losses {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.lost > 0 {
            write!(f, "{} of {} lost", self.lost, self.due)?;
        } else {
            write!(f, "0 of {}", self.due)?;
        }
        if self.disorder {
            write!(f, ", out of order")?;
        }
        if let Some(how) = &self.thrown_out {
            write!(f, ", thrown out ({how})")?;
        }
        let ms = |delay: Duration| delay.as_secs_f64() * 1e3;
        write!(f, ", {:.1} / {:.1} ms", ms(self.median), ms(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BINARY, close_payload, from_server, says};

    /// A frame, in short: `1:0` is the small talk of neighbour 1, `7:x` a message of another client.
    fn frame(short: &str) -> Frame {
        let bytes = match short.split_once(':') {
            Some((id @ ("1" | "2"), said)) => says(id.parse().expect("an id"), &format!("{SMALL_TALK}{said}")),
            Some((id, said)) => says(id.parse().expect("an id"), said),
            None if short == "binary" => from_server(FIN | BINARY, b"x"),
            None => from_server(FIN | CLOSE, &close_payload(1000, "")),
        };
        Frame::parse(&bytes).expect("a whole frame").0
    }

    /// The neighbours' losses if each has sent one message, and they receive these frames.
    fn losses(frames: [&str; 2]) -> Losses {
        let records = [(1, frames[0]), (2, frames[1])].map(|(id, frames)| {
            let mut record = Record { id, sent: vec![Instant::now()], ..Record::default() };
            frames.split(' ').for_each(|short| drop(record.take(&frame(short), [1, 2])));
            record
        });
        Losses::count(&records)
    }

    #[test]
    fn each_loss_is_found() {
        const ALL: &str = "1:0 7:a 2:0 1:ends 2:ends";
        for (case, frames, (lost, disorder, thrown_out, same_stream)) in [
            ("no loss", ALL, (0, false, false, true)),
            ("lost", "1:0 7:a 1:ends 2:ends", (1, false, false, false)),
            ("swapped", "2:0 7:a 1:0 1:ends 2:ends", (0, true, false, false)),
            ("twice", "1:0 1:0 7:a 2:0 1:ends 2:ends", (0, true, false, false)),
            ("last message lost", "1:0 7:a 2:0 1:ends", (0, false, false, false)),
            ("another client's message lost", "1:0 2:0 1:ends 2:ends", (0, false, false, false)),
            ("another client's message changed", "1:0 7:b 2:0 1:ends 2:ends", (0, false, false, false)),
            ("a frame that is not text", "1:0 7:a binary 2:0 1:ends 2:ends", (0, false, false, false)),
            ("closed", "1:0 7:a 2:0 1:ends 2:ends close", (0, false, true, false)),
        ] {
            let losses = losses([ALL, frames]);
            assert_eq!(
                (losses.lost, losses.disorder, losses.thrown_out.is_some(), losses.same_stream),
                (lost, disorder, thrown_out, same_stream),
                "{case}"
            );
        }
    }
}
