//! Two healthy clients who chat while somebody else is in trouble.

use super::client::Client;
use super::server::Server;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use switchboard::server::Options;

/// The neighbours' client ids. No test uses them for anyone else.
const NEIGHBOURS: [i64; 2] = [-1, -2];

/// The pause between a neighbour's messages, so that the machine is left to the test.
const PACE: Duration = Duration::from_millis(1);

const BYE: &str = "bye";

/// Starts a server, lets `trouble` happen to it beside the neighbours, and checks that they got every message, each in the
/// same order, and that the server ends with no connection left.
pub fn beside_neighbours(options: Options, trouble: impl FnOnce(&Server)) {
    let server = Server::start(options);
    let neighbours = NEIGHBOURS.map(|id| (id, server.join(id)));
    thread::scope(|scope| {
        // The channels close when the trouble is over, also if it ended in a panic.
        let (talks, heard): (Vec<_>, Vec<_>) = neighbours
            .into_iter()
            .map(|(id, client)| {
                let (talk, over) = mpsc::channel::<()>();
                (talk, scope.spawn(move || chat(client, id, &over)))
            })
            .unzip();
        trouble(&server);
        drop(talks);
        let heard: Vec<_> =
            heard.into_iter().map(|neighbour| neighbour.join().expect("an untroubled neighbour")).collect();
        assert!(heard[0] == heard[1], "the neighbours heard the same");
    });
}

/// Whether this is something that a neighbour said.
pub fn is_small_talk(payload: &[u8]) -> bool {
    NEIGHBOURS.iter().any(|id| payload.starts_with(format!("Client #{id} says: ").as_bytes()))
}

/// Says numbers until it is over, and hears each of them before the next. Returns all that was heard.
fn chat(mut client: Client, id: i64, over: &Receiver<()>) -> Vec<String> {
    let mut heard = Vec::new();
    for number in 0.. {
        let last = over.recv_timeout(PACE) == Err(RecvTimeoutError::Disconnected);
        let message = if last { BYE.into() } else { number.to_string() };
        client.send_text(&message);
        let own = format!("Client #{id} says: ");
        loop {
            heard.push(client.read_text());
            // The first of the own messages that comes must be this one: none is lost, none comes twice.
            match heard.last().and_then(|text| text.strip_prefix(&own)) {
                Some(text) => break assert_eq!(text, message),
                None => continue,
            }
        }
        if last {
            break;
        }
    }
    let bye = |text: &String| NEIGHBOURS.map(|id| format!("Client #{id} says: {BYE}")).contains(text);
    while heard.iter().filter(|text| bye(text)).count() < NEIGHBOURS.len() {
        heard.push(client.read_text());
    }
    heard
}
