//! Two healthy clients who chat while somebody else is in trouble, and what they lost by it.

use super::answer::words;
use super::frame::{CLOSE, Frame, TEXT, close, text};
use super::stage::Stage;
use super::{client::Client, frame};
use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// The pause between one neighbour's messages.
const PACE: Duration = Duration::from_millis(20);

/// How many messages each neighbour still sends once the trouble is over: harm may show late.
const AFTERWARDS: usize = 5;

/// A delay above this is harm. On an idle machine it is well below a millisecond.
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// What a neighbour says last.
const BYE: &str = "bye";

/// Two neighbours, chatting.
pub struct Neighbours {
    over: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Heard>>,
}

/// What one neighbour said and heard.
#[derive(Debug, Default)]
struct Heard {
    id: i64,
    said: Vec<Instant>,
    /// Who said the how-manieth, and when it came.
    heard: Vec<(i64, usize, Instant)>,
    /// How many have said all they had to say.
    byes: usize,
    /// How the connection ended before its time.
    thrown_out: Option<String>,
}

/// What the neighbours lost.
#[derive(Clone, Debug)]
pub struct Losses {
    /// How many messages should have come, both neighbours' taken together.
    pub due: usize,
    pub lost: usize,
    /// Messages came twice, or not in the same order to both.
    pub disorder: bool,
    pub thrown_out: Option<String>,
    /// From sending to hearing: half of the messages took no longer, and none took longer.
    pub median: Duration,
    pub longest: Duration,
}

impl Neighbours {
    /// Both have joined when this returns.
    pub async fn start(stage: &Stage) -> io::Result<Self> {
        let over = watch::Sender::new(false);
        let ids = [stage.id(), stage.id()];
        let clients = [stage.join(ids[0]).await?, stage.join(ids[1]).await?];
        let neighbours = clients.into_iter().zip(ids);
        let tasks = neighbours
            .map(|(client, id)| {
                let chat = chat(client, id, ids, over.subscribe(), stage.patience);
                tokio::spawn(chat)
            })
            .collect();
        Ok(Self { over, tasks })
    }

    /// The trouble is over: a few messages more, then the count.
    pub async fn finish(self) -> Losses {
        self.over.send_replace(true);
        let mut heard = Vec::new();
        for task in self.tasks {
            heard.push(task.await.expect("a neighbour does not panic"));
        }
        Losses::count(&heard)
    }
}

/// Chats until it is over, and all that both have said has come, or does not come in time.
async fn chat(mut client: Client, id: i64, ids: [i64; 2], over: watch::Receiver<bool>, patience: Duration) -> Heard {
    let mut heard = Heard { id, ..Heard::default() };
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = usize::MAX;
    while heard.said.len() < last {
        tokio::select! {
            frame = client.frame() => match frame {
                Ok(frame) => heard.take(&frame, ids, &mut client),
                Err(ended) => heard.thrown_out = heard.thrown_out.or(Some(words(ended).into())),
            },
            _ = pace.tick() => {
                client.send(&text(&heard.said.len().to_string()));
                heard.said.push(Instant::now());
            }
        }
        if heard.thrown_out.is_some() {
            return heard;
        }
        if last == usize::MAX && *over.borrow() {
            last = heard.said.len() + AFTERWARDS;
        }
    }
    client.send(&text(BYE));
    let rest = async {
        while heard.byes < ids.len()
            && let Ok(frame) = client.frame().await
        {
            heard.take(&frame, ids, &mut client);
        }
    };
    // If they don't come, they are counted as lost.
    let _ = timeout(patience, rest).await;
    client.send(&close(1000, b""));
    let _ = timeout(patience, client.end()).await;
    heard
}

/// What a frame says, if it is from this client.
fn said_by(id: i64, frame: &Frame) -> Option<&str> {
    let text = frame.is(TEXT).then(|| str::from_utf8(&frame.payload).ok())??;
    text.strip_prefix(&format!("Client #{id} says: "))
}

impl Heard {
    fn take(&mut self, frame: &Frame, ids: [i64; 2], client: &mut Client) {
        if frame.is(CLOSE) {
            self.thrown_out = Some(format!("Close {}", frame.close_code().unwrap_or(0)));
        } else if frame.is(frame::PING) {
            client.send(&frame::frame(frame::FIN | frame::PONG, &frame.payload));
        }
        for id in ids {
            match said_by(id, frame).map(|text| (text, text.parse())) {
                Some((_, Ok(number))) => self.heard.push((id, number, Instant::now())),
                Some((BYE, _)) => self.byes += 1,
                _ => {}
            }
        }
    }
}

impl Losses {
    fn count(neighbours: &[Heard]) -> Self {
        let due: usize = neighbours.iter().map(|each| each.said.len()).sum();
        let mut delays = Vec::new();
        let mut disorder = false;
        for neighbour in neighbours {
            for speaker in neighbours {
                let of_speaker = || neighbour.heard.iter().filter(|(id, ..)| *id == speaker.id);
                disorder |= !of_speaker().is_sorted_by(|(_, one, _), (_, next, _)| one < next);
                delays.extend(
                    of_speaker().filter_map(|(_, number, at)| speaker.said.get(*number).map(|said| *at - *said)),
                );
            }
        }
        // What both heard must have come to both in the same order.
        let order = |one: usize, other: usize| {
            let known: std::collections::HashSet<_> =
                neighbours[other].heard.iter().map(|(id, number, _)| (*id, *number)).collect();
            let heard = neighbours[one].heard.iter().map(|(id, number, _)| (*id, *number));
            heard.filter(|message| known.contains(message)).collect::<Vec<_>>()
        };
        disorder |= order(0, 1) != order(1, 0);
        delays.sort_unstable();
        Self {
            due: due * neighbours.len(),
            lost: (due * neighbours.len()).saturating_sub(delays.len()),
            disorder,
            thrown_out: neighbours.iter().find_map(|each| each.thrown_out.clone()),
            median: delays.get(delays.len() / 2).copied().unwrap_or_default(),
            longest: delays.last().copied().unwrap_or_default(),
        }
    }

    /// Whether the neighbours noticed nothing.
    pub fn none(&self) -> bool {
        self.unharmed() && self.longest <= LONGEST_DELAY
    }

    /// The same, whatever the delay: a busy machine delays as well.
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
