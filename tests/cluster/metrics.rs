//! `GET /metrics` of nodes.

use crate::node::Node;
use crate::redis::{IN_MEMORY, Redis};
use crate::{LATE, RECOVERY, TOLD};
use std::thread;
use std::time::{Duration, Instant};
use test_client::frame::says;
use test_client::metrics::Metrics;

/// Asks until a sample has this value.
#[track_caller]
fn wait_for(node: &Node, name: &str, labels: &str, value: f64, within: Duration) -> Metrics {
    let start = Instant::now();
    loop {
        let metrics = Metrics::get(node.program.address);
        let now = metrics.value(name, labels);
        if now == Some(value) {
            return metrics;
        }
        assert!(start.elapsed() < within, "{name} {labels} is {now:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn appends_and_round_trips() {
    const MESSAGES: usize = 20;
    let redis = Redis::start(IN_MEMORY);
    let nodes = [Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let mut members = [nodes[0].join(1), nodes[1].join(2), nodes[1].join(3)];
    let begun = Instant::now();
    for number in 0..MESSAGES {
        // Nothing else is said before it is back, so each message is an entry.
        let message = number.to_string();
        members[0].send_text(&message);
        members.iter_mut().for_each(|member| member.expect(&says(1, &message)));
    }
    let longest = begun.elapsed().as_secs_f64();
    let count = MESSAGES as f64;
    let speaker = wait_for(&nodes[0], "redis_appends_total", "", count, RECOVERY);
    assert_eq!(speaker.value("redis_round_trip_seconds_count", ""), Some(count));
    let sum = speaker.value("redis_round_trip_seconds_sum", "").unwrap();
    assert!(sum > 0.0 && sum < longest, "{sum} {longest}");
    assert_eq!(speaker.value("redis_room_open", ""), Some(1.0));
    let listener = Metrics::get(nodes[1].program.address);
    for (name, value) in [
        ("redis_appends_total", 0.0),
        ("redis_round_trip_seconds_count", 0.0),
        ("messages_received_total", 0.0),
        ("members", 2.0),
        ("deliveries_total", 2.0 * count),
    ] {
        assert_eq!(listener.value(name, ""), Some(value), "{name}");
    }
    assert_eq!(speaker.value("deliveries_total", ""), Some(count));
}

#[test]
fn gap() {
    let redis = Redis::start(IN_MEMORY);
    let node = Node::start(&redis.url("room"));
    let mut member = node.join(1);
    member.send_text("hello");
    member.expect(&says(1, "hello"));
    redis.command(&["FLUSHALL"]);
    member.expect_close_about(1012, "log");
    let metrics = wait_for(&node, "redis_gaps_total", r#"kind="lost""#, 1.0, TOLD);
    assert_eq!(
        metrics.lines("redis_gaps_total"),
        ["kind=foreign 0", "kind=lost 1", "kind=missing 0", "kind=own_lost 0"]
    );
}

#[test]
fn outage() {
    let mut redis = Redis::start(IN_MEMORY);
    let node = Node::start_with_patience(&redis.url("room"), 1);
    redis.kill();
    // `/metrics` says what `/healthz` does.
    wait_for(&node, "redis_room_open", "", 0.0, LATE);
    let metrics = wait_for(&node, "redis_outages_total", r#"kind="finding_end""#, 1.0, RECOVERY);
    assert_eq!(metrics.lines("redis_outages_total"), ["kind=appending 0", "kind=finding_end 1", "kind=reading 1"]);
    redis.restart();
    wait_for(&node, "redis_room_open", "", 1.0, RECOVERY);
}
