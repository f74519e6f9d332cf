//! Stages with several clients: the broadcast, and clients that would spoil it.

use super::super::checker::{Checker, Explain, Failure};
use super::super::connection::{Connection, Incoming};
use test_client::faults::{FLOOD_MESSAGE, KERNEL_BUFFERS};
use test_client::frame::text;

/// Messages that each client sends at once.
const BURST: usize = 20;

/// Clients that vanish one after the other: how much of it a server notices in time depends on the moment.
const ROUNDS: usize = 10;

const ONLY_SENDER: &str = "The sender got its message, the other client didn't. Who has to get it?";
const ORDER: &str = "Two clients spoke at the same time. What makes sure that everyone is written the same order?";
const AT_VANISHED: &str = "The client closed its side. What does a read return then, and what does the server do?";
const SAME_ID: &str = "An id may come back, as with a page that is reloaded. What is the key of your list?";

/// `speaker` says something, and everyone gets it.
fn everyone_hears(speaker: usize, clients: &mut [Connection], message: &str) -> Result<(), Failure> {
    let id = clients[speaker].id;
    clients[speaker].say(message);
    // The speaker first, since earlier stages have shown that it gets its own message.
    clients[speaker].expect_text(id, message)?;
    clients.iter_mut().filter(|client| client.id != id).try_for_each(|client| client.expect_text(id, message))
}

pub fn two_clients(checker: &mut Checker) -> Result<(), Failure> {
    let mut clients = [checker.join()?, checker.join()?];
    for speaker in 0..clients.len() {
        everyone_hears(speaker, &mut clients, "hello, both of you").or_hint(ONLY_SENDER)?;
    }
    for client in &mut clients {
        let burst: Vec<u8> = (0..BURST).flat_map(|number| text(&format!("burst {number}"))).collect();
        client.send(&burst);
    }
    let ids = clients.each_ref().map(|client| client.id);
    let [first, second] = clients.each_mut().map(|client| burst(client, ids));
    let (first, second) = (first?, second?);
    match first.iter().zip(&second).find(|(first, second)| first != second) {
        Some((first, second)) => Err(Failure::new(
            "the same order at both clients",
            format!("{first:?} at client {} where client {} has {second:?}", ids[0], ids[1]),
        )
        .hint(ORDER)),
        None => Ok(()),
    }
}

/// Reads the bursts of both clients. Each client's own order must be kept.
fn burst(client: &mut Connection, ids: [i64; 2]) -> Result<Vec<String>, Failure> {
    let expected = format!("{} messages at client {}", BURST * ids.len(), client.id);
    let mut next = [0; 2];
    let mut order = Vec::new();
    let deadline = client.deadline();
    while order.len() < BURST * ids.len() {
        let came = client.next(&format!("{expected}, of which {} came", order.len()), deadline)?;
        let Incoming::Text(bytes) = &came else {
            return Err(Failure::new(expected, came.in_words()));
        };
        let text = String::from_utf8_lossy(bytes).into_owned();
        let speaker =
            (0..ids.len()).find(|speaker| text == format!("Client #{} says: burst {}", ids[*speaker], next[*speaker]));
        let Some(speaker) = speaker else {
            return Err(Failure::new("each client's messages in the order in which it sent them", came.in_words()));
        };
        next[speaker] += 1;
        order.push(text);
    }
    Ok(order)
}

pub fn vanish(checker: &mut Checker) -> Result<(), Failure> {
    // These join first: a broadcast that stops at them is missed by those behind.
    let (id, request) = checker.opening();
    let killed = checker.open(id, &request.bytes())?;
    let mut silent = checker.join()?;
    let mut clients = vec![checker.join()?, checker.join()?];
    killed.reset();
    silent.finish();
    everyone_hears(0, &mut clients, "after a reset")?;
    for round in 0..ROUNDS {
        let speaker = round % clients.len();
        let killed = checker.join()?;
        clients[speaker].say("before a reset");
        killed.reset();
        let from = clients[speaker].id;
        clients.iter_mut().try_for_each(|client| client.expect_text(from, "before a reset"))?;
        everyone_hears(speaker, &mut clients, "after a reset")?;
    }
    if silent.rest().is_none() {
        let expected = format!("the end of the TCP connection of client {}, which has closed its side", silent.id);
        return Err(Failure::new(expected, "the server keeps it open").hint(AT_VANISHED));
    }
    clients.insert(0, checker.open(id, &request.bytes())?);
    everyone_hears(0, &mut clients, "back again").or_hint(SAME_ID)
}

/// Sends more than the kernel keeps for a client that doesn't read.
pub fn slow_reader(checker: &mut Checker) -> Result<(), Failure> {
    let _slow = checker.join_with_small_buffer()?;
    let mut clients = [checker.join()?, checker.join()?];
    let message = "x".repeat(FLOOD_MESSAGE);
    (0..KERNEL_BUFFERS.div_ceil(FLOOD_MESSAGE)).try_for_each(|_| {
        everyone_hears(0, &mut clients, &message)
            .map_err(|failure| failure.hint(""))
            .to("one of many messages, all unread by another client")
    })
}
