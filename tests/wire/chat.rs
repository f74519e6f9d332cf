//! The broadcast: everyone receives the same messages in the same order.

use std::thread;
use test_client::frame::{FIN, PING, PONG, says, text};
use test_client::server::{Limits, Options, Server, threads};

#[test]
fn message_goes_to_everyone_including_the_sender() {
    let server = Server::start(Options::default());
    let mut clients = [server.join(1), server.join(2), server.join(3)];
    clients[1].send_text("h\u{e9}llo & <b>good</b>\0\n");
    for client in &mut clients {
        client.expect(&says(2, "h\u{e9}llo & <b>good</b>\0\n"));
    }
}

#[test]
fn two_connections_with_one_client_id() {
    let server = Server::start(Options::default());
    let (mut one, mut other) = (server.join(7), server.join(7));
    one.send_text("from one");
    for client in [&mut one, &mut other] {
        client.expect(&says(7, "from one"));
    }
    one.end();
    one.read_to_end();
    // The other connection is a member of its own.
    other.send_text("from the other");
    other.expect(&says(7, "from the other"));
}

/// Many clients send at once, in bursts of different sizes. Everyone receives everything in one order, and each sender's
/// messages in the order they were sent.
fn many_senders(options: Options) {
    const CLIENTS: usize = 12;
    const MESSAGES: usize = 240;
    let server = Server::start(options);
    let clients: Vec<_> = (0..CLIENTS).map(|id| server.join(id as i64)).collect();
    let received: Vec<Vec<String>> = thread::scope(|scope| {
        let readers: Vec<_> = clients
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
        readers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for id in 0..CLIENTS {
        let prefix = format!("Client #{id} says: ");
        let own: Vec<_> = received[0].iter().filter_map(|text| text.strip_prefix(&prefix)).collect();
        let sent: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
        assert_eq!(own, sent, "client {id}'s messages, in order");
    }
    for other in &received[1..] {
        assert!(*other == received[0], "two clients received different orders");
    }
}

#[test]
fn one_order() {
    many_senders(Options::default());
}

#[test]
fn one_order_on_three_threads() {
    many_senders(threads(3));
}

/// The Pong overtakes the messages that the client hasn't read yet, and never splits a frame.
#[test]
fn pong_overtakes_the_backlog() {
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
    // Both arrive over one event loop, so the Ping is handled before this message.
    talker.send_text("last");
    talker.expect(&says(8, "last"));

    let before = (0..).find(|_| behind.read_any_frame().first == FIN | PONG).unwrap();
    assert!(before < MESSAGES, "{before} messages before the Pong");
    (before..MESSAGES).for_each(|_| behind.expect(&says(8, &message)));
    behind.expect(&says(8, "last"));
}
