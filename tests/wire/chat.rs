//! The broadcast: everyone, the same, in the same order.

use crate::support::frame::{FIN, PING, PONG, says, text};
use crate::support::server::{Server, threads};
use std::thread;
use switchboard::limits::Limits;
use switchboard::server::Options;

#[test]
fn a_message_goes_to_everyone_the_sender_too() {
    let server = Server::start(Options::default());
    let mut clients = [server.join(1), server.join(2), server.join(3)];
    clients[1].send_text("h\u{e9}llo & <b>good</b>\0\n");
    for client in &mut clients {
        client.expect(&says(2, "h\u{e9}llo & <b>good</b>\0\n"));
    }
}

#[test]
fn one_client_id_may_be_used_by_two_connections() {
    let server = Server::start(Options::default());
    let (mut one, mut other) = (server.join(7), server.join(7));
    one.send_text("from one");
    for client in [&mut one, &mut other] {
        client.expect(&says(7, "from one"));
    }
    one.end();
    one.read_to_end();
    // The other has a place of its own.
    other.send_text("from the other");
    other.expect(&says(7, "from the other"));
}

/// Many speak at once, in bursts of several sizes. Everyone gets everything, each speaker's messages in order, and all of it
/// in one order.
fn everyone_hears_the_same(options: Options) {
    const CLIENTS: usize = 12;
    const MESSAGES: usize = 240;
    let server = Server::start(options);
    let clients: Vec<_> = (0..CLIENTS).map(|id| server.join(id as i64)).collect();
    let heard: Vec<Vec<String>> = thread::scope(|scope| {
        let hearing: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(id, mut client)| {
                let mut writer = client.second();
                scope.spawn(move || {
                    let numbers: Vec<_> = (0..MESSAGES).map(|n| text(&n.to_string())).collect();
                    for burst in numbers.chunks(id + 1) {
                        writer.send(burst.concat());
                    }
                });
                scope.spawn(move || (0..CLIENTS * MESSAGES).map(|_| client.read_text()).collect())
            })
            .collect();
        hearing.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for id in 0..CLIENTS {
        let prefix = format!("Client #{id} says: ");
        let own: Vec<_> = heard[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        let said: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(own, said, "client {id}'s messages, in order");
    }
    for other in &heard[1..] {
        assert!(*other == heard[0], "all heard the same order");
    }
}

#[test]
fn everyone_hears_the_same_in_the_same_order() {
    everyone_hears_the_same(Options::default());
}

#[test]
fn everyone_hears_the_same_in_the_same_order_on_three_threads() {
    everyone_hears_the_same(threads(3));
}

/// The Pong does not wait behind what the client has yet to take, and does not stand inside another frame.
#[test]
fn a_ping_is_answered_while_the_client_is_behind() {
    const MESSAGES: usize = 250;
    let server = Server::start(Options::default());
    let message = "x".repeat(60_000);
    assert!(MESSAGES * message.len() < Limits::default().max_backlog);

    let mut behind = server.join(7);
    let mut talker = server.join(8);
    for _ in 0..MESSAGES {
        talker.send_text(&message);
        talker.expect(&says(8, &message));
    }
    behind.send_frame(FIN | PING, b"now");
    // The talker is served after the Ping was: both came over one event loop.
    talker.send_text("last");
    talker.expect(&says(8, "last"));

    let before = (0..).find(|_| behind.read_any_frame().first == FIN | PONG).unwrap();
    assert!(before < MESSAGES, "{before} messages before the Pong");
    (before..MESSAGES).for_each(|_| behind.expect(&says(8, &message)));
    behind.expect(&says(8, "last"));
}
