//! The scenarios. Each answers one question.

use crate::load::{Load, Rounds, SHORTEST_TEXT, Schedule, Until};
use crate::process::Stdout;

pub struct Scenario {
    pub name: &'static str,
    /// What the clients do, for the table's title.
    pub description: &'static str,
    pub unit: Unit,
    pub servers: Servers,
    /// Whether server and load each have a core to themselves, or share all cores.
    pub pinned: bool,
    pub extra: Extra,
    pub rows: Vec<Row>,
}

/// One load of a scenario; most scenarios have only one.
pub struct Row {
    /// Distinguishes it from the scenario's other rows.
    pub label: &'static str,
    pub load: Load,
    /// Further options of switchboard.
    pub options: &'static [&'static str],
    pub stdout: Stdout,
}

/// What is counted.
#[derive(Clone, Copy)]
pub enum Unit {
    Delivery,
    Handshake,
}

/// Which servers run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Servers {
    All,
    /// Only builds of switchboard: the rows differ in its options or use its `/lifecycle`.
    Switchboard,
}

/// A column that only this scenario has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    None,
    /// Memory of an idle connection.
    IdleMemory,
    /// Latency compared with the first row.
    EffectOfStuck,
    /// CPU time compared with the first row.
    CostOfWatching,
    /// Throughput compared with the first row.
    Speedup,
}

/// Every client sends one message and waits until all have received everything; repeat.
const EVERYONE_SENDS: Rounds = Rounds {
    clients: 32,
    senders: 32,
    messages: 1,
    text_bytes: SHORTEST_TEXT,
    stuck: 0,
    viewers: 0,
    until: Until::Time,
};

const BURST: Rounds = Rounds { messages: 51, ..EVERYONE_SENDS };

/// As in the chat benchmark of Bun's repository.
const FLOOD: Rounds = Rounds { messages: 1_632, ..EVERYONE_SENDS };

const ROOM: Rounds = Rounds { clients: 256, senders: 256, messages: 4, text_bytes: 64, ..EVERYONE_SENDS };

const CROWD: Rounds = Rounds { until: Until::Rounds(10), ..one_to(10_000) };

/// A round sends 128 KiB to each client, a run 1.5 times the backlog a client may have.
const BESIDE_STUCK: Rounds =
    Rounds { messages: 4, text_bytes: 1000, until: Until::Bytes(24 * 1024 * 1024), ..EVERYONE_SENDS };

const fn one_to(clients: usize) -> Rounds {
    Rounds { clients, senders: 1, ..EVERYONE_SENDS }
}

pub fn all() -> Vec<Scenario> {
    vec![
        one(
            "chat",
            "32 clients each send a message of 16 bytes and wait until all have received everything; repeat",
            Load::Rounds(EVERYONE_SENDS),
        ),
        one("burst", "as `chat`, with 51 messages from each at once", Load::Rounds(BURST)),
        one("flood", "as `chat`, with 1,632 messages from each at once", Load::Rounds(FLOOD)),
        one("room", "256 clients each send 4 messages of 64 bytes at once; repeat", Load::Rounds(ROOM)),
        one(
            "fan-out",
            "1,000 clients, 10 of which send 40 messages/s in total on a schedule; latency from the scheduled time",
            Load::Schedule(Schedule { clients: 1_000, senders: 10, rate: 40 }),
        ),
        Scenario {
            extra: Extra::IdleMemory,
            ..one("crowd", "10,000 idle connections; then one message to all of them, ten times", Load::Rounds(CROWD))
        },
        Scenario {
            unit: Unit::Handshake,
            ..one("visit", "connect, opening handshake, closing handshake; one client at a time", Load::Visit)
        },
        several(
            "sizes",
            "one message to this many receivers; repeat",
            [("10", 10), ("100", 100), ("1,000", 1_000), ("10,000", 10_000)]
                .map(|(label, clients)| row(label, Load::Rounds(one_to(clients)))),
        ),
        Scenario {
            servers: Servers::Switchboard,
            pinned: false,
            extra: Extra::Speedup,
            ..several(
                "threads",
                "one message to 10,000 receivers; repeat; server and load share all cores",
                [("1 thread", &["--threads", "1"]), ("2 threads", &["--threads", "2"])]
                    .map(|(label, options)| Row { options, ..row(label, Load::Rounds(one_to(10_000))) }),
            )
        },
        Scenario {
            extra: Extra::EffectOfStuck,
            ..several(
                "stuck",
                "32 clients each send 4 messages of 1,000 bytes at once; repeat; beside clients that never read",
                [("none stuck", 0), ("1,000 stuck", 1_000)]
                    .map(|(label, stuck)| row(label, Load::Rounds(Rounds { stuck, ..BESIDE_STUCK }))),
            )
        },
        watched("watched", "as `room`, while `/lifecycle` or `--explain` shows every step", ROOM),
        watched(
            "watched-burst",
            "the same, with 51 messages of 16 bytes from each client at once, so the deliveries themselves cost little",
            Rounds { clients: 256, senders: 256, ..BURST },
        ),
    ]
}

fn watched(name: &'static str, description: &'static str, load: Rounds) -> Scenario {
    let viewers = |label, viewers| row(label, Load::Rounds(Rounds { viewers, ..load }));
    let explain = |label, stdout| Row { options: &["--explain"], stdout, ..viewers(label, 0) };
    let rows = [
        viewers("unwatched", 0),
        viewers("1 viewer", 1),
        viewers("16 viewers", 16),
        explain("--explain to a file", Stdout::File),
        explain("--explain, stdout closed", Stdout::Closed),
    ];
    Scenario { servers: Servers::Switchboard, extra: Extra::CostOfWatching, ..several(name, description, rows) }
}

fn one(name: &'static str, description: &'static str, load: Load) -> Scenario {
    several(name, description, [row("", load)])
}

fn several<const N: usize>(name: &'static str, description: &'static str, rows: [Row; N]) -> Scenario {
    Scenario {
        name,
        description,
        unit: Unit::Delivery,
        servers: Servers::All,
        pinned: true,
        extra: Extra::None,
        rows: rows.into(),
    }
}

fn row(label: &'static str, load: Load) -> Row {
    Row { label, load, options: &[], stdout: Stdout::File }
}
