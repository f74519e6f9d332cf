//! Made-up records that break one rule each.

use super::*;

/// Messages in short: `1a 2a 1b` is the first of client 1, the first of client 2, the second of client 1.
fn messages(text: &str) -> Vec<Message> {
    let message = |word: &str| {
        let (client, letter) = word.split_at(word.len() - 1);
        Message { client: client.parse().unwrap(), number: usize::from(letter.as_bytes()[0] - b'a') }
    };
    text.split_whitespace().map(message).collect()
}

/// A connection that is open, and that said as much as it received of its own.
fn open(client: i64, received: &str) -> Record {
    let received = messages(received);
    let own = received.iter().filter(|message| message.client == client).count();
    Record { client, node: 0, member: 0, said: vec![Instant::now(); own], received, end: End::Open }
}

fn ended(client: i64, received: &str, end: End) -> Record {
    Record { end, ..open(client, received) }
}

fn closed(code: u16, reason: &str) -> End {
    End::Closed { code, reason: reason.into(), at: Instant::now() }
}

#[track_caller]
fn obeys(records: &[Record], logs: &[&str]) {
    let logs: Vec<_> = logs.iter().map(|log| messages(log)).collect();
    assert_eq!(check(records, &logs), Ok(()));
}

#[track_caller]
fn breaks(records: &[Record], logs: &[&str], fault: &str) {
    let logs: Vec<_> = logs.iter().map(|log| messages(log)).collect();
    assert_eq!(check(records, &logs), Err(fault.into()));
}

#[test]
fn broadcast_is_parsed() {
    assert_eq!(Message::parse(b"Client #12 says: 3"), Some(Message { client: 12, number: 3 }));
    assert_eq!(Message::parse(b"Client #-1 says: 3 xxx"), Some(Message { client: -1, number: 3 }));
    for other in ["Client #1 says: x", "Client #+1 says: 3", "Client #1 says 3", ""] {
        assert_eq!(Message::parse(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn pieces_of_one_log() {
    let log = "1a 2a 1b 2b 1c";
    let told = ended(4, "2a 1b", closed(1012, "lost"));
    let away = ended(5, "", closed(1013, "away"));
    let records = [open(1, log), open(2, "2a 1b 2b 1c"), open(3, "1c"), told, away, ended(6, "1a", End::Killed)];
    obeys(&records, &[log]);
    obeys(&records, &[]);
}

#[test]
fn pieces_of_two_logs() {
    let told = ended(1, "1a 1b 1c", closed(1012, "lost"));
    obeys(&[told.clone(), open(2, "1b 2a 2b")], &["1a 1b 1c", "1a 1b 2a 2b"]);
    let fault = "end: connection 2 of node 0 is open, and has received up to Some(1/2), not Some(2/1)";
    breaks(&[told, open(2, "1b 1c")], &["1a 1b 1c", "1a 1b 2a 2b"], fault);
}

/// A client said three messages. The second was lost with the first log, the third is in the second.
#[test]
fn hole_where_the_log_was_lost() {
    let told = ended(1, "1a 1b", closed(1012, "lost"));
    obeys(&[told.clone(), open(2, "1a 1c 2a")], &["1a 1b", "1a 1c 2a"]);
    breaks(&[told], &["1a 1b", "1a 1d"], "log 1: order: 1/3 instead of 1/2");
}

#[test]
fn message_twice() {
    breaks(&[open(2, "1a 1b")], &["1a 1b 1a"], "log 0: once: 1/0 occurs twice");
    breaks(&[open(2, "1a 1b 1a")], &["1a 1b"], "connection 2 of node 0: once: 1/0 occurs twice");
}

#[test]
fn messages_in_another_order() {
    breaks(&[], &["1a 2a 1c 1b"], "log 0: order: 1/2 instead of 1/1");
    breaks(&[open(2, "1b 1a")], &[], "connection 2 of node 0: order: 1/0 instead of 1/2");
}

#[test]
fn hole_in_what_a_client_said() {
    breaks(&[], &["1b 1c"], "log 0: order: 1/1 instead of 1/0");
    breaks(&[open(2, "1d 1f")], &[], "connection 2 of node 0: order: 1/5 instead of 1/4");
    breaks(&[open(1, "2a 1b")], &[], "connection 1 of node 0: order: 1/1 instead of 1/0");
}

#[test]
fn message_missing_on_a_connection() {
    let records = [open(3, "1a 2a 1b"), open(4, "1a 1b")];
    breaks(&records, &["1a 2a 1b"], "piece: connection 4 of node 0 received 1/1 after 1/0, instead of 2/0");
    let fault = "piece: after 1/0, connection 3 of node 0 received 2/0, and connection 4 of node 0 1/1";
    breaks(&records, &[], fault);
}

/// Only what comes before shows it.
#[test]
fn message_missing_where_another_connection_begins() {
    let fault = "piece: before 1/1, connection 3 of node 0 received 2/0, and connection 4 of node 0 3/0";
    breaks(&[open(3, "2a 1b"), open(4, "3a 1b")], &[], fault);
}

#[test]
fn two_orders() {
    let records = [open(3, "1a 2a"), open(4, "2a 1a")];
    breaks(&records, &["1a 2a"], "piece: connection 4 of node 0 received 1/0 after 2/0, where the log ends");
    breaks(&records, &[], "piece: 1/0 is before itself");
}

#[test]
fn received_message_is_not_in_the_log() {
    breaks(&[open(1, "1a 1b")], &["1a"], "piece: connection 1 of node 0 received 1/1 after 1/0, where the log ends");
    breaks(&[open(1, "1a")], &["2a"], "piece: connection 1 of node 0 received 1/0, which is in no log");
}

#[test]
fn open_connection_misses_the_end() {
    let fault = "end: connection 4 of node 0 is open, and has received up to Some(1/0), not Some(1/1)";
    breaks(&[open(3, "1a 1b"), open(4, "1a")], &["1a 1b"], fault);
    breaks(&[open(3, "1a 1b"), open(4, "1a")], &[], fault);
    let fault = "end: connection 4 of node 0 is open, and has received up to None, not Some(1/0)";
    breaks(&[open(4, "")], &["1a"], fault);
}

#[test]
fn open_connection_misses_its_own() {
    let said = vec![Instant::now(); 2];
    breaks(&[Record { said, ..open(1, "1a") }], &["1a"], "end: connection 1 of node 0 is open, said 2, received 1");
}

#[test]
fn connection_is_not_told() {
    let ends = [
        (End::Lost("reset".into()), "ended without a Close: reset"),
        (closed(1000, "bye"), "was closed with 1000 \"bye\""),
        (closed(1012, ""), "was closed with 1012 \"\""),
    ];
    for (end, fault) in ends {
        breaks(&[ended(4, "1a", end)], &["1a 1b"], &format!("told: connection 4 of node 0 {fault}"));
    }
}
