//! Redis ends and comes back: with all its data, with a part of it, with none.

use crate::load::Load;
use crate::log::{key, whole_log};
use crate::node::Node;
use crate::outcome::Outcome;
use crate::proxy::Proxy;
use crate::redis::{FSYNC_ALWAYS, FSYNC_EVERY_SECOND, IN_MEMORY, Redis};
use crate::{RECOVERY, TOLD};
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_client::blocking::Client;
use test_client::frame::says;

/// How long Redis is down.
const DOWN: Duration = Duration::from_millis(300);

/// Causes a fault while the members of two nodes talk. Returns what they received, and when the fault began.
#[track_caller]
fn under_load(redis: &mut Redis, fault: impl FnOnce(&mut Redis)) -> (Outcome, Instant) {
    let nodes = [Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    let begun = Instant::now();
    fault(redis);
    let took = load.served();
    println!("served again after {took:?}");
    assert!(took < RECOVERY, "served again after {took:?}");
    (load.finish(), begun)
}

/// Causes a fault that loses a part of the log. All members are told.
#[track_caller]
fn all_are_told(redis: &mut Redis, fault: impl FnOnce(&mut Redis)) {
    let (outcome, begun) = under_load(redis, fault);
    let took = outcome.told(&[0, 1], 1012, "", begun);
    println!("told after {took:?}");
    assert!(took < TOLD, "told after {took:?}");
    outcome.obeys_all_rules(&[]);
}

fn kill_and_restart(redis: &mut Redis) {
    redis.kill();
    sleep(DOWN);
    redis.restart();
}

fn flush(redis: &mut Redis) {
    redis.command(&["FLUSHALL"]);
}

#[test]
fn kill_with_fsync_always() {
    let mut redis = Redis::start(FSYNC_ALWAYS);
    let (outcome, _) = under_load(&mut redis, kill_and_restart);
    outcome.nobody_was_told();
    outcome.obeys_all_rules(&[whole_log(&redis, "room")]);
}

/// Redis may lose the last second. Then everyone is told.
#[test]
fn kill_with_fsync_every_second() {
    let mut redis = Redis::start(FSYNC_EVERY_SECOND);
    let (outcome, begun) = under_load(&mut redis, kill_and_restart);
    if outcome.is_anybody_told() {
        outcome.told(&[0, 1], 1012, "", begun);
        outcome.obeys_all_rules(&[]);
    } else {
        outcome.obeys_all_rules(&[whole_log(&redis, "room")]);
    }
}

#[test]
fn older_copy_of_the_file() {
    let mut redis = Redis::start(FSYNC_ALWAYS);
    let nodes = [Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    redis.copy_file();
    load.served();
    let begun = Instant::now();
    redis.kill();
    redis.restore_copy();
    redis.restart();
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    assert!(outcome.told(&[0, 1], 1012, "", begun) < TOLD);
    outcome.obeys_all_rules(&[]);
}

#[test]
fn restart_without_a_file() {
    all_are_told(&mut Redis::start(IN_MEMORY), kill_and_restart);
}

#[test]
fn flush_under_load() {
    all_are_told(&mut Redis::start(IN_MEMORY), flush);
}

/// Nothing can be appended to what is left of the stream, so the nodes begin a new one.
#[test]
fn deleted_head_under_load() {
    all_are_told(&mut Redis::start(IN_MEMORY), |redis| drop(redis.command(&["DEL", &key("room", "head")])));
}

/// Without load, the nodes notice by themselves.
#[test]
fn flush_of_an_idle_room() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = [Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let mut members = [nodes[0].join(1), nodes[1].join(2)];
    members[0].send_text("hello");
    for member in &mut members {
        member.expect(&says(1, "hello"));
    }
    let begun = Instant::now();
    redis.command(&["FLUSHALL"]);
    for member in &mut members {
        member.expect_close_about(1012, "log");
    }
    assert!(begun.elapsed() < TOLD);
    drop(members);
    for node in &nodes {
        // Unlike at the end of a drain.
        let line = node.program.log_line("disconnected");
        assert!(line.starts_with("WARN ") && line.contains("the server closed with 1012"), "{line}");
    }
}

/// Lets Redis fail for a node whose patience is a second. Returns what its log says about the room.
#[track_caller]
fn log_of(fault: impl FnOnce(&Node, &mut Client, &mut Redis)) -> Vec<String> {
    let mut redis = Redis::start(FSYNC_ALWAYS);
    let mut node = Node::start_with_patience(&redis.url("room"), 1);
    let mut member = node.join(1);
    member.send_text("hello");
    member.expect(&says(1, "hello"));
    fault(&node, &mut member, &mut redis);
    let mut member = node.join(2);
    member.send_text("again");
    member.expect(&says(2, "again"));
    drop(member);
    node.program.terminate();
    node.program.wait(RECOVERY);
    let mut lines = node.program.rest_of_log();
    lines.retain(|line| line.contains("Redis") && !line.contains(": GET "));
    lines
}

/// Takes the line of the end of an outage off, and returns the seconds that it had lasted.
#[track_caller]
fn lasted(lines: &mut Vec<String>, rest: &str) -> Duration {
    let line = lines.pop().unwrap_or_default();
    let seconds = line.strip_prefix("INFO  Redis works again, after ").and_then(|line| line.strip_suffix(rest));
    Duration::from_secs_f64(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{line}")))
}

#[test]
fn log_of_a_short_outage() {
    let mut lines = log_of(|_, _, redis| kill_and_restart(redis));
    assert!(lasted(&mut lines, " s") >= DOWN);
    assert!(lines.iter().all(|line| line.starts_with("WARN  ") && line.contains(" in Redis fails: ")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("WARN  reading the room's log")), "{lines:#?}");
}

#[test]
fn log_of_a_long_outage() {
    let mut lines = log_of(|node, member, redis| {
        redis.kill();
        member.expect_close(1013, "the room is out of reach");
        sleep(DOWN);
        redis.restart();
        node.wait_for_health(200, RECOVERY);
    });
    assert!(lasted(&mut lines, " s: the room is open again") >= Duration::from_secs(1) + DOWN);
    let closing = lines.pop().unwrap_or_default();
    assert!(closing.starts_with("WARN  the room is out of reach: Redis has failed for 1."), "{closing}");
    assert!(closing.ends_with(" s; closing 1 connection with 1013"), "{closing}");
    assert!(lines.iter().all(|line| line.contains(" in Redis fails: ")), "{lines:#?}");
}

/// Redis answers all the time.
#[test]
fn log_of_a_gap() {
    let lines = log_of(|node, member, redis| {
        redis.command(&["FLUSHALL"]);
        member.expect_close(1012, "the end of the room's log was lost");
        node.wait_for_health(200, RECOVERY);
    });
    assert_eq!(
        lines,
        [
            "WARN  a gap in Redis: the end of the room's log was lost; closing 1 connection with 1012",
            "INFO  the room is open again, at the end of its log in Redis"
        ]
    );
}

/// A node is cut off while others talk, and the log no longer has what they said.
#[test]
fn deleted_stream_and_a_node_cut_off() {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let nodes = [Node::start(&proxy.url("room")), Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    let others = |node| node != 0;
    let begun = Instant::now();
    proxy.hold();
    load.fill_log_on(others);
    // Otherwise the others could miss what is on its way.
    load.pause(others);
    redis.command(&["DEL", &key("room", "log")]);
    load.resume();
    load.served_on(others);
    proxy.pass();
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    outcome.told(&[0], 1012, "", begun);
    outcome.obeys_all_rules(&[]);
}
