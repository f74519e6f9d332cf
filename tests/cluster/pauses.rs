//! Redis stops answering for a while (SIGSTOP), and continues with what it was asked before.

use crate::LATE;
use crate::load::Load;
use crate::node::Node;
use crate::redis::{IN_MEMORY, Redis};
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_client::frame::{FIN, PING, PONG, says, text};

#[test]
fn shorter_than_the_patience() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = [Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    redis.freeze();
    sleep(Duration::from_secs(2));
    // Nothing is known to be wrong yet.
    assert_eq!((nodes[0].health(), nodes[0].upgrade(), nodes[0].plain()), (200, 101, 426));
    redis.thaw();
    load.ends_unnoticed(&redis);
}

#[test]
fn longer_than_the_patience() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = [(); 2].map(|()| Node::start_with_patience(&redis.url("room"), 2));
    let load = Load::start(&nodes);
    let begun = Instant::now();
    redis.freeze();
    for node in &nodes {
        node.wait_for_health(503, LATE);
        assert_eq!((node.upgrade(), node.plain()), (503, 503));
    }
    // The append that is not answered may have begun just before.
    assert!(begun.elapsed() >= Duration::from_millis(1900), "away after {:?}", begun.elapsed());
    sleep(Duration::from_secs(5).saturating_sub(begun.elapsed()));
    assert_eq!(nodes[0].health(), 503);
    redis.thaw();
    load.ends_out_of_reach(&redis, &nodes, begun);
}

/// A read of an idle log takes a second: Redis waits that long for an entry.
#[test]
fn idle_room_stays_open() {
    let redis = Redis::start(IN_MEMORY);
    let node = Node::start_with_patience(&redis.url("room"), 1);
    let mut member = node.join(1);
    sleep(Duration::from_secs(4));
    member.send_text("still here");
    member.expect(&says(1, "still here"));
}

#[test]
fn idle_room_closes_after_the_patience() {
    for patience in [1, 4] {
        let redis = Redis::start(IN_MEMORY);
        let node = Node::start_with_patience(&redis.url("room"), patience);
        let mut member = node.join(1);
        member.send_text("hello");
        member.expect(&says(1, "hello"));
        // The next read has just begun. Half a second later, Redis still waits for an entry.
        sleep(Duration::from_millis(500));
        let begun = Instant::now();
        redis.freeze();
        member.expect_close(1013, "the room is out of reach");
        let (took, patience) = (begun.elapsed(), Duration::from_secs(patience));
        assert!(took >= patience && took < patience + Duration::from_secs(2), "closed after {took:?}");
    }
}

/// A speaker says as much as the node takes. It does not answer Pings meanwhile, and is not closed for that.
#[test]
fn speakers_are_held() {
    const INTERVAL: u64 = 1;
    const HELD: Duration = Duration::from_secs(4);
    let redis = Redis::start(IN_MEMORY);
    let node = Node::start_with(&redis.url("room"), &["--ping-interval", &INTERVAL.to_string()]);
    let mut speaker = node.join(1);
    let payload = "x".repeat(60_000);
    speaker.send_text(&payload);
    speaker.expect(&says(1, &payload));
    let before = node.program.resident();

    redis.freeze();
    let frozen = Instant::now();
    let mut said = 1;
    while speaker.try_send(text(&payload), Duration::from_millis(500)).is_ok() {
        said += 1;
        assert!(said < 1000, "the speaker is not held");
    }
    let grown = node.program.resident().saturating_sub(before);
    println!("held after {said} messages, grown by {} KiB", grown / 1024);
    // The outbox, a batch on its way, the same batch as a command, and its copy in the connection.
    assert!(grown < 8 << 20, "grown by {grown} bytes");
    sleep(HELD.saturating_sub(frozen.elapsed()));
    redis.thaw();

    while said > 0 {
        let frame = speaker.read_any_frame();
        if frame.is(PING) {
            speaker.send_frame(FIN | PONG, &frame.payload);
        } else {
            assert!(says(1, &payload).ends_with(&frame.payload), "{frame:?}");
            said -= 1;
        }
    }
}
