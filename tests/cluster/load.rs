//! Members on all nodes that talk while a test causes a fault. Each connection's sequence of messages is recorded.
//!
//! Each node has a talker and a listener; both receive. A member whose connection ends opens another, as the page does.

use crate::RECOVERY;
use crate::checker::{End, Message, Record, summary};
use crate::log::whole_log;
use crate::node::Node;
use crate::outcome::Outcome;
use crate::redis::Redis;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use test_client::FLOOD_DEADLINE;
use test_client::client::{Client, Ended};
use test_client::frame::{CLOSE, FIN, Frame, PING, PONG, TEXT, close, from_client, text};
use test_client::target::Target;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// The pause between two bursts of a talker.
const PACE: Duration = Duration::from_millis(20);

/// Messages in a burst.
const BURST: usize = 3;

/// The pause before a member opens another connection.
const RETRY: Duration = Duration::from_millis(20);

/// The pause between two looks at the records.
const PAUSE: Duration = Duration::from_millis(5);

/// Times that everyone is served, each by an entry of its own, to fill the log.
const ROUNDS: usize = 5;

/// Members of each node: a talker and a listener.
const MEMBERS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Talk,
    Listen,
    End,
}

/// Members that talk. Dropping it ends their connections.
pub struct Load {
    shared: Arc<Shared>,
    runtime: Runtime,
    members: Vec<JoinHandle<()>>,
}

struct Shared {
    stage: watch::Sender<Stage>,
    /// The next client id.
    ids: AtomicI64,
    records: Mutex<BTreeMap<i64, Record>>,
    /// The nodes that the test killed.
    killed: Mutex<BTreeSet<usize>>,
}

impl Load {
    /// Starts the members, and waits until each has received a message.
    #[track_caller]
    pub fn start(nodes: &[Node]) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared = Arc::new(Shared {
            stage: watch::Sender::new(Stage::Talk),
            ids: AtomicI64::new(1),
            records: Mutex::default(),
            killed: Mutex::default(),
        });
        let mut load = Self { members: Vec::new(), shared, runtime };
        nodes.iter().for_each(|node| load.add(node));
        load.served();
        load
    }

    /// Adds the members of another node.
    pub fn add(&mut self, node: &Node) {
        for _ in 0..MEMBERS {
            let member = self.members.len();
            let shared = Arc::clone(&self.shared);
            self.members.push(self.runtime.spawn(be_member(shared, node.target(), member / MEMBERS, member)));
        }
    }

    /// Notes that the test kills a node: its members lose their connections.
    pub fn expect_kill(&self, node: usize) {
        self.shared.killed.lock().unwrap().insert(node);
    }

    /// Waits until each member has received a message that was said after the call. Returns how long that took.
    #[track_caller]
    pub fn served(&self) -> Duration {
        self.served_on(|_| true)
    }

    /// The same for the members of some nodes.
    #[track_caller]
    pub fn served_on(&self, counts: impl Fn(usize) -> bool) -> Duration {
        let since = Instant::now();
        loop {
            let records = self.shared.records.lock().unwrap();
            let killed = self.shared.killed.lock().unwrap().clone();
            let mut nodes = (0..self.members.len()).map(|member| (member, member / MEMBERS));
            if nodes.all(|(member, node)| killed.contains(&node) || !counts(node) || is_served(&records, member, since))
            {
                return since.elapsed();
            }
            let summary = summary(records.values());
            drop(records);
            assert!(since.elapsed() < FLOOD_DEADLINE, "a member receives nothing: {summary}");
            thread::sleep(PAUSE);
        }
    }

    /// Waits until some nodes have appended more entries than a held reply to another node may have.
    #[track_caller]
    pub fn fill_log_on(&self, counts: impl Fn(usize) -> bool) {
        for _ in 0..ROUNDS {
            self.served_on(&counts);
        }
    }

    /// Ends the talk after a fault that nobody was told of, and that lost nothing.
    #[track_caller]
    pub fn ends_unnoticed(self, redis: &Redis) {
        let took = self.served();
        println!("served again after {took:?}");
        assert!(took < RECOVERY, "served again after {took:?}");
        let outcome = self.finish();
        outcome.nobody_was_told();
        outcome.obeys_all_rules(&[whole_log(redis, "room")]);
    }

    /// Ends the talk after a fault that was longer than the patience of these nodes.
    #[track_caller]
    pub fn ends_out_of_reach(self, redis: &Redis, nodes: &[Node], fault: Instant) {
        for node in nodes {
            node.wait_for_health(200, RECOVERY);
        }
        assert!(self.served() < RECOVERY);
        let nodes: Vec<_> = (0..nodes.len()).collect();
        let outcome = self.finish();
        outcome.told(&nodes, 1013, "the room is out of reach", fault);
        outcome.obeys_all_rules(&[whole_log(redis, "room")]);
    }

    /// Ends the talk. Once everything that was said has arrived everywhere, returns what each connection received.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        self.served();
        self.pause(|_| true);
        self.shared.stage.send_replace(Stage::End);
        for member in self.members.drain(..) {
            self.runtime.block_on(member).unwrap();
        }
        let records = std::mem::take(&mut *self.shared.records.lock().unwrap());
        Outcome { records: records.into_values().collect() }
    }

    /// Ends the talk until [`resume`](Self::resume). Waits until everything that was said on some nodes has arrived on all of them. If
    /// that does not happen, the checker tells what is missing.
    pub fn pause(&self, counts: impl Fn(usize) -> bool) {
        self.set_stage(Stage::Listen);
        let start = Instant::now();
        while start.elapsed() < FLOOD_DEADLINE && !self.is_settled(&counts) {
            thread::sleep(PAUSE);
        }
    }

    pub fn resume(&self) {
        self.set_stage(Stage::Talk);
    }

    /// Talkers say under the same lock, so they know it at once.
    fn set_stage(&self, stage: Stage) {
        let _records = self.shared.records.lock().unwrap();
        self.shared.stage.send_replace(stage);
    }

    /// Whether all open connections have received the same last message, and all of their own.
    fn is_settled(&self, counts: impl Fn(usize) -> bool) -> bool {
        let records = self.shared.records.lock().unwrap();
        let mut open = records.values().filter(|record| record.end == End::Open && counts(record.node));
        let last = open.clone().next().and_then(|record| record.received.last());
        open.all(|record| record.received.last() == last && record.is_complete())
    }
}

/// Whether a member is connected, and the last message that it has received was said after `since`.
fn is_served(records: &BTreeMap<i64, Record>, member: usize, since: Instant) -> bool {
    let said = |message: &Message| records.get(&message.client)?.said.get(message.number).copied();
    let connection = records.values().rfind(|record| record.member == member);
    connection.is_some_and(|record| {
        record.end == End::Open && record.received.last().and_then(said).is_some_and(|said| said >= since)
    })
}

/// Opens connections, one after the other, until the end.
async fn be_member(shared: Arc<Shared>, target: Target, node: usize, member: usize) {
    let stage = shared.stage.subscribe();
    // Another program may get the port of a killed node.
    while *stage.borrow() != Stage::End && !shared.killed.lock().unwrap().contains(&node) {
        let id = shared.ids.fetch_add(1, Relaxed);
        // Without a 101, it tries again.
        if let Ok(client) = target.join(id).await {
            let record = Record { client: id, node, member, said: vec![], received: vec![], end: End::Open };
            shared.records.lock().unwrap().insert(id, record);
            let mut connection = Connection { shared: &shared, client, id };
            if let Some(end) = connection.run(member.is_multiple_of(MEMBERS)).await {
                let is_killed = matches!(end, End::Lost(_)) && shared.killed.lock().unwrap().contains(&node);
                let end = if is_killed { End::Killed } else { end };
                connection.record(|record| record.end = end);
            }
        }
        sleep(RETRY).await;
    }
}

/// A connection past its 101.
struct Connection<'a> {
    shared: &'a Shared,
    client: Client,
    id: i64,
}

impl Connection<'_> {
    fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(self.shared.records.lock().unwrap().get_mut(&self.id).expect("a record of each connection"))
    }

    /// Talks and listens. Returns how the server ended the connection, or None at the end of the test.
    async fn run(&mut self, is_talker: bool) -> Option<End> {
        let mut stage = self.shared.stage.subscribe();
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = self.client.frame() => {
                    if let Some(end) = self.receive(frame) {
                        self.client.flush().await;
                        return Some(end);
                    }
                }
                _ = ticks.tick(), if is_talker => (0..BURST).for_each(|_| self.say()),
                () = async { drop(stage.wait_for(|stage| *stage == Stage::End).await) } => {
                    self.client.send(&close(1000, ""));
                    self.client.flush().await;
                    return None;
                }
            }
        }
    }

    /// Says the next message, unless the talk has ended.
    fn say(&mut self) {
        let number = self.record(|record| {
            let talks = *self.shared.stage.borrow() == Stage::Talk;
            talks.then(|| record.said.push(Instant::now()))?;
            Some(record.said.len() - 1)
        });
        if let Some(number) = number {
            self.client.send(&text(&number.to_string()));
        }
    }

    /// Records what the server sent. Returns how that ends the connection.
    fn receive(&mut self, frame: Result<Frame, Ended>) -> Option<End> {
        let frame = match frame {
            Ok(frame) => frame,
            Err(ended) => return Some(End::Lost(ended.to_string())),
        };
        if let (true, Some(code)) = (frame.is(CLOSE), frame.close_code()) {
            self.client.send(&from_client(FIN | CLOSE, &frame.payload));
            let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
            return Some(End::Closed { code, reason, at: Instant::now() });
        }
        if frame.is(PING) {
            self.client.send(&from_client(FIN | PONG, &frame.payload));
            return None;
        }
        match Message::parse(&frame.payload).filter(|_| frame.is(TEXT)) {
            Some(message) => self.record(|record| record.received.push(message)),
            None => return Some(End::Lost(format!("unexpected {frame:?}"))),
        }
        None
    }
}
