//! The scenarios. Each is there for one question.

use crate::load::{Load, Pace, Rounds, SHORTEST_TEXT, Schedule};

pub struct Scenario {
    pub name: &'static str,
    /// What happens in it, for the table's title.
    pub what: &'static str,
    pub unit: Unit,
    pub contest: Contest,
    pub rows: Vec<Row>,
}

/// A load of a scenario: most have one.
pub struct Row {
    /// Tells it from the scenario's others.
    pub label: &'static str,
    pub load: Load,
}

/// What is counted.
#[derive(Clone, Copy)]
pub enum Unit {
    Delivery,
    Handshake,
}

/// Who takes part, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contest {
    /// switchboard, the floor and the others; server and load each on a core of its own.
    All,
    /// switchboard with one thread and with two; every core is free for everyone.
    Threads,
}

impl Scenario {
    /// Whether the memory of idle connections is what it is about.
    pub fn measures_idle(&self) -> bool {
        self.name == "crowd"
    }

    /// Whether it compares rows with and without stuck clients.
    pub fn measures_stuck(&self) -> bool {
        self.name == "stuck"
    }
}

/// Clients who all send, wait until all have all, again.
const EVERYONE_SENDS: Rounds =
    Rounds { clients: 32, senders: 32, messages: 1, text_bytes: SHORTEST_TEXT, stuck: 0, pace: Pace::Time };

const BURST: Rounds = Rounds { messages: 51, ..EVERYONE_SENDS };

/// What the chat benchmark in Bun's repository sends.
const FLOOD: Rounds = Rounds { messages: 1_632, ..EVERYONE_SENDS };

const ROOM: Rounds = Rounds { clients: 256, senders: 256, messages: 4, text_bytes: 64, ..EVERYONE_SENDS };

const CROWD: Rounds = Rounds { pace: Pace::Times(10), ..one_to(10_000) };

/// A round tells each client 128 KiB; in all it is one and a half times the backlog that a client may have.
const BESIDE_STUCK: Rounds =
    Rounds { messages: 4, text_bytes: 1000, pace: Pace::Told(24 * 1024 * 1024), ..EVERYONE_SENDS };

const fn one_to(clients: usize) -> Rounds {
    Rounds { clients, senders: 1, ..EVERYONE_SENDS }
}

pub fn all() -> Vec<Scenario> {
    let one = |name, what, load| several(name, what, vec![Row { label: "", load }]);
    vec![
        one(
            "chat",
            "32 clients, each sends 1 message of 16 bytes, all wait until all have all, again",
            Load::Rounds(EVERYONE_SENDS),
        ),
        one("burst", "the same, 51 messages each at once", Load::Rounds(BURST)),
        one("flood", "the same, 1,632 messages each at once", Load::Rounds(FLOOD)),
        one("room", "256 clients, each sends 4 messages of 64 bytes at once, and again", Load::Rounds(ROOM)),
        one(
            "fan-out",
            "1,000 clients, 10 of them send 40 messages/s in all, on schedule; latency from the scheduled time",
            Load::Schedule(Schedule { clients: 1_000, senders: 10, rate: 40 }),
        ),
        one("crowd", "10,000 idle connections; then one message to all, ten times", Load::Rounds(CROWD)),
        Scenario {
            unit: Unit::Handshake,
            ..one("visit", "connect, opening handshake, closing handshake, again; one at a time", Load::Visit)
        },
        several("sizes", "one message to so many receivers, again", sizes()),
        Scenario {
            contest: Contest::Threads,
            ..one("threads", "one message to 10,000 receivers, again; no pins", Load::Rounds(one_to(10_000)))
        },
        several(
            "stuck",
            "32 clients, each sends 4 messages of 1,000 bytes at once, and again, besides clients who do not read at all",
            beside_stuck(),
        ),
    ]
}

fn several(name: &'static str, what: &'static str, rows: Vec<Row>) -> Scenario {
    Scenario { name, what, unit: Unit::Delivery, contest: Contest::All, rows }
}

fn sizes() -> Vec<Row> {
    let row = |label, clients| Row { label, load: Load::Rounds(one_to(clients)) };
    vec![row("10", 10), row("100", 100), row("1,000", 1_000), row("10,000", 10_000)]
}

fn beside_stuck() -> Vec<Row> {
    let row = |label, stuck| Row { label, load: Load::Rounds(Rounds { stuck, ..BESIDE_STUCK }) };
    vec![row("none stuck", 0), row("1,000 stuck", 1_000)]
}
