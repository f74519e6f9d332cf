//! The scenarios. Each answers one question.

use crate::load::{Chat, Load};
use crate::transcript::SHORTEST_TEXT;
use crate::visits::End;

pub struct Scenario {
    pub name: &'static str,
    /// What the clients do, for the table's title.
    pub description: &'static str,
    pub rows: Vec<Row>,
    /// Further columns: their heads, and the heads of the figures that are divided by those of the first row.
    pub growth: &'static [(&'static str, &'static str)],
    /// Whether only builds of switchboard run: the rows differ in its options or use its `/lifecycle`.
    pub is_for_switchboard: bool,
    /// Whether server and load each have a core to themselves, or share all cores.
    pub is_pinned: bool,
}

/// One load of a scenario; most scenarios have only one.
pub struct Row {
    /// Distinguishes it from the scenario's other rows.
    pub label: &'static str,
    pub load: Load,
    /// The end of switchboard's command: options and redirections.
    pub options: &'static str,
}

/// Every client sends one message.
const EVERYONE_SENDS: Chat = Chat {
    clients: 32,
    senders: 32,
    messages: 1,
    text_bytes: SHORTEST_TEXT,
    rate: 0,
    newcomers: 0,
    stuck: 0,
    viewers: 0,
    least_bytes: 0,
    shows_memory: false,
};

const BURST: Chat = Chat { messages: 51, ..EVERYONE_SENDS };

/// As in the chat benchmark of Bun's repository.
const FLOOD: Chat = Chat { messages: 1_632, ..EVERYONE_SENDS };

const ROOM: Chat = Chat { clients: 256, senders: 256, messages: 4, text_bytes: 64, ..EVERYONE_SENDS };

const CROWD: Chat = Chat { shows_memory: true, ..one_to(10_000) };

/// A round sends 128 KiB to each client, a run 1.5 times the backlog a client may have.
const BESIDE_STUCK: Chat = Chat { messages: 4, text_bytes: 1000, least_bytes: 24 * 1024 * 1024, ..EVERYONE_SENDS };

const FAN_OUT: Chat = Chat { clients: 1_000, senders: 10, rate: 40, ..EVERYONE_SENDS };

const STORM: Chat = Chat { rate: 4, newcomers: 10_000, ..EVERYONE_SENDS };

const fn one_to(clients: usize) -> Chat {
    Chat { clients, senders: 1, ..EVERYONE_SENDS }
}

pub fn all() -> Vec<Scenario> {
    with_storm(STORM)
}

/// For `cargo test`: the quick scenarios, with a small storm.
pub fn smoke_test() -> Vec<Scenario> {
    const QUICK: [&str; 9] = ["chat", "burst", "room", "fan-out", "visit", "visit-reset", "storm", "http", "watched"];
    let mut scenarios = with_storm(Chat { newcomers: 200, ..STORM });
    scenarios.retain(|scenario| QUICK.contains(&scenario.name));
    scenarios
}

fn with_storm(storm: Chat) -> Vec<Scenario> {
    use Load::{Pages, Visits};
    vec![
        one(
            "chat",
            "32 clients each send a message of 16 bytes and wait until all have received everything; repeat",
            Load::Chat(EVERYONE_SENDS),
        ),
        one("burst", "as `chat`, with 51 messages from each at once", Load::Chat(BURST)),
        one("flood", "as `chat`, with 1,632 messages from each at once", Load::Chat(FLOOD)),
        one("room", "256 clients each send 4 messages of 64 bytes at once; repeat", Load::Chat(ROOM)),
        one(
            "fan-out",
            "1,000 clients, 10 of which send 40 messages/s in total on a schedule; latency from the scheduled time",
            Load::Chat(FAN_OUT),
        ),
        one("crowd", "10,000 idle connections; then one message to all of them; repeat", Load::Chat(CROWD)),
        one("visit", "connect, opening handshake, closing handshake; one client at a time", Visits(End::Close)),
        one("visit-reset", "connect, opening handshake, TCP reset; one client at a time", Visits(End::Reset)),
        one(
            "storm",
            "10,000 clients connect at once, while 32 others send 4 messages/s in total to the growing room",
            Load::Chat(storm),
        ),
        one("http", "16 connections each request the page, read it, and repeat", Pages),
        several(
            "sizes",
            "one message to this many receivers; repeat",
            [("10", 10), ("100", 100), ("1,000", 1_000), ("10,000", 10_000)]
                .map(|(label, clients)| row(label, Load::Chat(one_to(clients)))),
        ),
        threads("threads", "one message to 10,000 receivers; repeat; server and load share all cores", one_to(10_000)),
        threads("threads-chat", "as `chat`; server and load share all cores", EVERYONE_SENDS),
        threads("threads-burst", "as `burst`; server and load share all cores", BURST),
        Scenario {
            growth: &[("p99, times none stuck", "p99")],
            ..several(
                "stuck",
                "32 clients each send 4 messages of 1,000 bytes at once; repeat; beside clients that never read",
                [("none stuck", 0), ("1,000 stuck", 1_000)]
                    .map(|(label, stuck)| row(label, Load::Chat(Chat { stuck, ..BESIDE_STUCK }))),
            )
        },
        watched("watched", "as `room`, while `/lifecycle` or `--explain` shows every step", ROOM),
        watched(
            "watched-burst",
            "the same, with 51 messages of 16 bytes from each client at once, so the deliveries themselves cost little",
            Chat { clients: 256, senders: 256, ..BURST },
        ),
    ]
}

fn threads(name: &'static str, description: &'static str, load: Chat) -> Scenario {
    let rows = [("1 thread", "--threads 1"), ("2 threads", "--threads 2")]
        .map(|(label, options)| Row { options, ..row(label, Load::Chat(load)) });
    Scenario {
        is_for_switchboard: true,
        is_pinned: false,
        growth: &[("rate, times 1 thread", "deliveries/s"), ("CPU, times 1 thread", "CPU/delivery")],
        ..several(name, description, rows)
    }
}

fn watched(name: &'static str, description: &'static str, load: Chat) -> Scenario {
    let viewers = |label, viewers| row(label, Load::Chat(Chat { viewers, ..load }));
    let explain = |label, options| Row { options, ..viewers(label, 0) };
    let rows = [
        viewers("unwatched", 0),
        viewers("1 viewer", 1),
        viewers("16 viewers", 16),
        explain("--explain to a file", "--explain"),
        // A pipe whose reader goes away once the server has printed its first line.
        explain("--explain, stdout closed", "--explain > >(head -n 1)"),
    ];
    let growth = &[("CPU, times unwatched", "CPU/delivery")];
    Scenario { is_for_switchboard: true, growth, ..several(name, description, rows) }
}

fn one(name: &'static str, description: &'static str, load: Load) -> Scenario {
    several(name, description, [row("", load)])
}

fn several<const N: usize>(name: &'static str, description: &'static str, rows: [Row; N]) -> Scenario {
    let rows = rows.into();
    Scenario { name, description, rows, growth: &[], is_for_switchboard: false, is_pinned: true }
}

fn row(label: &'static str, load: Load) -> Row {
    Row { label, load, options: "" }
}
