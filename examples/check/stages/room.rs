//! Stages with several clients: the broadcast, and clients that would spoil it.

use super::super::checker::{Checker, Explain, Failure};
use super::super::connection::Connection;
use test_client::faults::{FLOOD_MESSAGE, KERNEL_BUFFERS};
use test_client::frame::text;

/// Messages that each client sends at once.
const BURST: usize = 20;

/// Clients that vanish one after the other: how much of it a server notices in time depends on the moment.
const ROUNDS: usize = 10;

const ONLY_SENDER: &str = "The sender got its message, the other client didn't. Who has to get it?";
const ORDER: &str =
    "Two clients spoke at the same time. What makes sure that all clients get the messages in the same order?";
const AT_VANISHED: &str = "The client closed its side. What does a read return then, and what does the server do?";
const SAME_ID: &str = "Two clients with the same id are two clients, as with a page that is open twice. What is the key of your \
                       list?";

/// Adds a client, whose first message everyone gets. Without it, a server that answers with the 101 before it adds the
/// client to its list would fail now and then, by chance.
fn enter(clients: &mut Vec<Connection>, newcomer: Connection) -> Result<(), Failure> {
    clients.push(newcomer);
    everyone_hears(clients.len() - 1, clients, "here I am")
}

/// `speaker` says something, and everyone gets it.
fn everyone_hears(speaker: usize, clients: &mut [Connection], message: &str) -> Result<(), Failure> {
    let id = clients[speaker].id;
    clients[speaker].say(message);
    // The speaker first, since earlier stages have shown that it gets its own message.
    clients[speaker].expect_text(id, message)?;
    let mut others = clients.iter_mut().enumerate().filter(|(index, _)| *index != speaker);
    others.try_for_each(|(_, client)| client.expect_text(id, message))
}

pub fn two_clients(checker: &mut Checker) -> Result<(), Failure> {
    let (id, request) = checker.opening();
    let mut clients = Vec::new();
    enter(&mut clients, checker.open(id, &request.bytes())?)?;
    enter(&mut clients, checker.join()?).or_hint(ONLY_SENDER)?;
    everyone_hears(0, &mut clients, "hello, both of you").or_hint(ONLY_SENDER)?;
    for client in &mut clients {
        let burst: Vec<u8> = (0..BURST).flat_map(|number| text(&format!("burst {number}"))).collect();
        client.send(&burst);
    }
    let ids = [clients[0].id, clients[1].id];
    let first = burst(&mut clients[0], ids)?;
    let second = burst(&mut clients[1], ids)?;
    match first.iter().zip(&second).find(|(first, second)| first != second) {
        Some((first, second)) => Err(Failure::new(
            "the same order at both clients",
            format!("{first:?} at client {} where client {} has {second:?}", ids[0], ids[1]),
        )
        .hint(ORDER)),
        None => enter(&mut clients, checker.open(id, &request.bytes())?).or_hint(SAME_ID),
    }
}

/// Reads the bursts of both clients. Each client's own order must be kept.
fn burst(client: &mut Connection, ids: [i64; 2]) -> Result<Vec<String>, Failure> {
    let expected = format!("{} messages at client {}", BURST * ids.len(), client.id);
    let mut next = [0; 2];
    let mut order = Vec::new();
    let deadline = client.deadline();
    while order.len() < BURST * ids.len() {
        let text = client.next_text(&format!("{expected}, of which {} came", order.len()), deadline)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let speaker =
            (0..ids.len()).find(|speaker| text == format!("Client #{} says: burst {}", ids[*speaker], next[*speaker]));
        let Some(speaker) = speaker else {
            return Err(Failure::new("each client's messages in the order in which it sent them", format!("{text:?}")));
        };
        next[speaker] += 1;
        order.push(text);
    }
    Ok(order)
}

pub fn vanish(checker: &mut Checker) -> Result<(), Failure> {
    // These join first: a broadcast that stops at them is missed by those behind.
    let mut clients = Vec::new();
    for _ in 0..4 {
        enter(&mut clients, checker.join()?)?;
    }
    clients.remove(0).reset();
    let mut silent = clients.remove(0);
    silent.finish();
    everyone_hears(0, &mut clients, "after a reset")?;
    for round in 0..ROUNDS {
        let speaker = round % clients.len();
        enter(&mut clients, checker.join()?)?;
        let killed = clients.pop();
        clients[speaker].say("before a reset");
        killed.into_iter().for_each(Connection::reset);
        let from = clients[speaker].id;
        clients.iter_mut().try_for_each(|client| client.expect_text(from, "before a reset"))?;
        everyone_hears(speaker, &mut clients, "after a reset")?;
    }
    if silent.rest().is_none() {
        let expected = format!("the end of the TCP connection of client {}, which has closed its side", silent.id);
        return Err(Failure::new(expected, "the server keeps it open").hint(AT_VANISHED));
    }
    Ok(())
}

/// Sends more than the kernel keeps for a client that doesn't read.
pub fn slow_reader(checker: &mut Checker) -> Result<(), Failure> {
    let mut clients = Vec::new();
    enter(&mut clients, checker.join_with_small_buffer()?)?;
    for _ in 0..2 {
        enter(&mut clients, checker.join()?)?;
    }
    let _slow = clients.remove(0);
    let message = "x".repeat(FLOOD_MESSAGE);
    (0..KERNEL_BUFFERS.div_ceil(FLOOD_MESSAGE)).try_for_each(|_| {
        everyone_hears(0, &mut clients, &message)
            .map_err(|failure| failure.hint(""))
            .to("one of many messages, all unread by another client")
    })
}
