//! The scenarios. Each answers one question.

use crate::load::{Chat, Load};
use crate::transcript::SHORTEST_TEXT;

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

pub fn all() -> Vec<Scenario> {
    // Each member sends one message, and the next round begins when all have received everything.
    let chat = Chat { members: 32, senders: 32, messages: 1, text_bytes: SHORTEST_TEXT, ..Chat::default() };
    let burst = Chat { messages: 51, ..chat };
    let room = Chat { members: 256, senders: 256, messages: 4, text_bytes: 64, ..chat };
    let one_to = |members| Chat { members, senders: 1, ..chat };
    // A round sends 128 KiB to each member, a run 1.5 times the backlog a client may have. Even the warm-up sends more
    // than the kernel buffers for a client that doesn't read.
    let beside_stuck = Chat { messages: 4, text_bytes: 1000, least_rounds: 192, ..chat };
    vec![
        scenario("chat", "32 clients each send a 16-byte message and wait until all have received everything; repeat")
            .row("", chat),
        scenario("burst", "as `chat`, with 51 messages from each at once").row("", burst),
        // As in the chat benchmark of Bun's repository.
        scenario("flood", "as `chat`, with 1,632 messages from each at once").row("", Chat { messages: 1_632, ..chat }),
        scenario("room", "256 clients each send 4 messages of 64 bytes at once; repeat").row("", room),
        scenario("fan-out", "10 of 1,000 clients send 40 messages/s in total; latency from the scheduled time")
            .row("", Chat { members: 1_000, senders: 10, rate: 40, ..chat }),
        scenario("crowd", "10,000 idle connections; then one message to all of them; repeat")
            .row("", Chat { shows_memory: true, ..one_to(10_000) }),
        scenario("visit", "connect, opening handshake, closing handshake; one client at a time")
            .row("", Load::Visits { end_with_reset: false }),
        scenario("visit-reset", "connect, opening handshake, TCP reset; one client at a time")
            .row("", Load::Visits { end_with_reset: true }),
        scenario("storm", "10,000 clients connect at once, while 32 others send 4 messages/s in total to the room")
            .row("", Chat { rate: 4, newcomers: 10_000, ..chat }),
        scenario("http", "16 connections each request the page, read it, and repeat").row("", Load::Pages),
        scenario("sizes", "one message to this many receivers; repeat")
            .row("10", one_to(10))
            .row("100", one_to(100))
            .row("1,000", one_to(1_000))
            .row("10,000", one_to(10_000)),
        scenario("threads", "one message to 10,000 receivers; repeat; server and load share all cores")
            .threads(one_to(10_000)),
        scenario("threads-chat", "as `chat`; server and load share all cores").threads(chat),
        scenario("threads-burst", "as `burst`; server and load share all cores").threads(burst),
        scenario("stuck", "32 clients each send 4 messages of 1,000 bytes; repeat; beside clients that never read")
            .row("none stuck", beside_stuck)
            .row("1,000 stuck", Chat { stuck: 1_000, ..beside_stuck })
            .growth(&[("p99, times none stuck", "p99")]),
        scenario("watched", "as `room`, while `/lifecycle` or `--explain` shows every step").watched(room),
        scenario("watched-burst", "as `watched`, with 51 messages of 16 bytes from each: deliveries cost little")
            .watched(Chat { members: 256, senders: 256, ..burst }),
    ]
}

/// A scenario without rows.
fn scenario(name: &'static str, description: &'static str) -> Scenario {
    Scenario { name, description, rows: Vec::new(), growth: &[], is_for_switchboard: false, is_pinned: true }
}

impl Scenario {
    fn row(self, label: &'static str, load: impl Into<Load>) -> Scenario {
        self.row_with(label, load, "")
    }

    fn row_with(mut self, label: &'static str, load: impl Into<Load>, options: &'static str) -> Scenario {
        self.rows.push(Row { label, load: load.into(), options });
        self
    }

    fn growth(self, growth: &'static [(&'static str, &'static str)]) -> Scenario {
        Scenario { growth, ..self }
    }

    fn threads(self, chat: Chat) -> Scenario {
        Scenario { is_for_switchboard: true, is_pinned: false, ..self }
            .row_with("1 thread", chat, "--threads 1")
            .row_with("2 threads", chat, "--threads 2")
            .growth(&[("rate, times 1 thread", "deliveries/s"), ("CPU, times 1 thread", "CPU/delivery")])
    }

    fn watched(self, chat: Chat) -> Scenario {
        Scenario { is_for_switchboard: true, ..self }
            .row("unwatched", chat)
            .row("1 viewer", Chat { viewers: 1, ..chat })
            .row("16 viewers", Chat { viewers: 16, ..chat })
            .row_with("--explain to a file", chat, "--explain")
            // A pipe whose reader goes away once the server has printed its first line.
            .row_with("--explain, stdout closed", chat, "--explain > >(head -n 1)")
            .growth(&[("CPU, times unwatched", "CPU/delivery")])
    }
}
