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
