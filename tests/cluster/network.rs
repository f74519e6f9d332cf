//! The network between one node and Redis is held, reset or cut. The other node has no fault.

use crate::load::Load;
use crate::log::{key, whole_log};
use crate::node::Node;
use crate::proxy::Proxy;
use crate::redis::{IN_MEMORY, Redis};
use crate::resp::Reply;
use crate::{LATE, RECOVERY, TOLD};
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_client::excerpt;
use test_client::frame::{FIN, TEXT, from_server, says};

/// Times that a fault is repeated.
const TIMES: usize = 5;

/// Causes a fault on the connections of the first of two nodes. Nobody is told, and nothing is lost.
#[track_caller]
fn nobody_notices(fault: impl FnOnce(&Load, &Redis, &Proxy)) {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let nodes = [Node::start(&proxy.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    fault(&load, &redis, &proxy);
    load.ends_unnoticed(&redis);
}

/// Longer than a command may take. What was held arrives after the retry.
#[test]
fn held() {
    nobody_notices(|_, _, proxy| {
        proxy.hold();
        sleep(Duration::from_millis(4500));
        proxy.pass();
    });
}

#[test]
fn reset() {
    nobody_notices(|load, _, proxy| {
        for _ in 0..TIMES {
            proxy.reset();
            sleep(Duration::from_millis(150));
            proxy.pass();
            assert!(load.served() < RECOVERY);
        }
    });
}

/// The entry is appended, and the node does not learn it.
#[test]
fn cut_between_an_append_and_its_reply() {
    nobody_notices(|_, _, proxy| {
        proxy.cut("EVAL", TIMES);
        proxy.wait_for_cuts(0);
    });
}

#[test]
fn cut_between_a_read_and_its_reply() {
    nobody_notices(|_, _, proxy| {
        proxy.cut("XREAD", TIMES);
        proxy.wait_for_cuts(0);
    });
}

#[test]
fn redis_forgets_its_scripts_and_kills_its_clients() {
    nobody_notices(|load, redis, _| {
        for _ in 0..TIMES {
            redis.command(&["SCRIPT", "FLUSH"]);
            redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            assert!(load.served() < RECOVERY);
        }
    });
}

#[test]
fn held_longer_than_the_patience() {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let nodes = [Node::start_with_patience(&proxy.url("room"), 2), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    let begun = Instant::now();
    proxy.hold();
    nodes[0].wait_for_health(503, LATE);
    assert_eq!((nodes[0].upgrade(), nodes[1].health()), (503, 200));
    load.served_on(|node| node == 1);
    proxy.pass();
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    outcome.told(&[0], 1013, "the room is out of reach", begun);
    outcome.obeys_all_rules(&[whole_log(&redis, "room")]);
}

#[test]
fn cut_off_while_the_log_is_trimmed() {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let nodes = [Node::start(&proxy.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    let other = |node| node == 1;
    let begun = Instant::now();
    proxy.hold();
    load.fill_log_on(other);
    load.pause(other);
    redis.command(&["XTRIM", &key("room", "log"), "MAXLEN", "1"]);
    load.resume();
    load.served_on(other);
    proxy.pass();
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    outcome.told(&[0], 1012, "messages are missing", begun);
    outcome.obeys_all_rules(&[]);
}

/// The log keeps 64 MiB.
#[test]
fn cut_off_for_longer_than_the_log_keeps() {
    const KEPT: usize = 64 << 20;
    const SIZE: usize = 60_000;
    /// Messages on their way.
    const WINDOW: usize = 16;
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let nodes = [Node::start_with(&proxy.url("room"), &["--redis-patience", "60"]), Node::start(&redis.url("room"))];
    let (mut cut_off, mut talker) = (nodes[0].join(1), nodes[1].join(2));
    let payload = "x".repeat(SIZE);
    proxy.hold();
    for number in 0..(KEPT + KEPT / 8) / SIZE + WINDOW {
        talker.send_text(&payload);
        if number >= WINDOW {
            talker.expect(&says(2, &payload));
        }
    }
    (0..WINDOW).for_each(|_| talker.expect(&says(2, &payload)));
    let kept = redis.command(&["MEMORY", "USAGE", &key("room", "log"), "SAMPLES", "0"]);
    let Reply::Integer(kept) = kept else { panic!("no log: {kept:?}") };
    println!("the log takes {kept} bytes");
    assert!(kept < 80 << 20, "the log takes {kept} bytes");

    let passes = Instant::now();
    proxy.pass();
    // If all this took less time than a command may, the held answer comes first: with the first message, before the gap.
    let close = loop {
        let frame = cut_off.read_frame();
        if !frame.is(TEXT) {
            break frame;
        }
        assert!(from_server(FIN | TEXT, &frame.payload) == says(2, &payload), "{}", excerpt(&frame.payload));
    };
    let reason = String::from_utf8_lossy(&close.payload);
    assert!(close.close_code() == Some(1012) && reason.contains("messages are missing"), "{}", excerpt(&close.payload));
    assert!(passes.elapsed() < TOLD);
    talker.send_text("still here");
    talker.expect(&says(2, "still here"));
}
