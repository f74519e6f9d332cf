//! Nodes and their members: nodes that are killed, join, and stop; members that leave.

use crate::RECOVERY;
use crate::checker::End;
use crate::load::Load;
use crate::log::whole_log;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::redis::{IN_MEMORY, Redis};
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_client::frame::{CLOSE, FIN, PING, PONG, close, close_payload, from_client, from_server, says, text};

/// How long a node may take to stop.
const STOP: Duration = Duration::from_secs(3);

#[test]
fn one_order_on_three_nodes() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = [(); 3].map(|()| Node::start(&redis.url("room")));
    let load = Load::start(&nodes);
    sleep(Duration::from_millis(500));
    let outcome = load.finish();
    outcome.nobody_was_told();
    outcome.obeys_all_rules(&[whole_log(&redis, "room")]);
}

#[test]
fn killed_under_load() {
    let redis = Redis::start(IN_MEMORY);
    let mut nodes = [(); 3].map(|()| Node::start(&redis.url("room")));
    let load = Load::start(&nodes);
    load.expect_kill(0);
    nodes[0].program.kill();
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    for record in &outcome.records {
        assert_eq!(record.end, if record.node == 0 { End::Killed } else { End::Open }, "{record}");
    }
    outcome.obeys_all_rules(&[whole_log(&redis, "room")]);
}

/// The room's log has begun long before.
#[test]
fn joins_under_load() {
    let redis = Redis::start(IN_MEMORY);
    let first = [Node::start(&redis.url("room"))];
    let mut load = Load::start(&first);
    let second = Node::start(&redis.url("room"));
    load.add(&second);
    load.ends_unnoticed(&redis);
}

#[test]
fn two_rooms_in_one_redis() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = ["one", "other"].map(|room| Node::start(&redis.url(room)));
    let mut members = [nodes[0].join(1), nodes[1].join(2)];
    for (member, (id, message)) in members.iter_mut().zip([(1, "here"), (2, "there")]) {
        member.send_text(message);
        member.expect(&says(id, message));
    }
    // The first message of each other room would have come before.
    for (member, (id, message)) in members.iter_mut().zip([(1, "again"), (2, "as well")]) {
        member.send_text(message);
        member.expect(&says(id, message));
    }
}

/// A node and a member of it, with a proxy between the node and Redis.
fn one_member() -> (Redis, Proxy, Node) {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let node = Node::start(&proxy.url("room"));
    (redis, proxy, node)
}

#[test]
fn last_words_come_back_before_the_close() {
    let (_redis, proxy, node) = one_member();
    for held in [Duration::ZERO, Duration::from_millis(300)] {
        let mut member = node.join(1);
        proxy.hold();
        member.send([text("bye"), close(1000, "")].concat());
        sleep(held);
        proxy.pass();
        member.expect(&says(1, "bye"));
        member.expect_close(1000, "");
        member.expect_end();
    }
}

#[test]
fn close_waits_a_second_for_the_last_words() {
    let (_redis, proxy, node) = one_member();
    let mut member = node.join(1);
    proxy.hold();
    let begun = Instant::now();
    member.send([text("bye"), close(1000, "")].concat());
    member.expect_close(1000, "");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < STOP, "{took:?}");
    member.expect_end();
}

/// Everything that the node has read when it is told to stop is delivered, on the other node too.
#[test]
fn stops_with_messages_on_their_way() {
    const MESSAGES: usize = 200;
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let mut node = Node::start(&proxy.url("room"));
    let other = Node::start(&redis.url("room"));
    let (mut speaker, mut listener) = (node.join(1), other.join(2));
    proxy.hold();
    let messages: Vec<_> = (0..MESSAGES).map(|number| text(&number.to_string())).collect();
    speaker.send(messages.concat());
    // The answer to this Ping shows that the node has read the messages before it.
    speaker.send_frame(FIN | PING, b"");
    speaker.expect(&from_server(FIN | PONG, b""));

    let told = Instant::now();
    node.program.terminate();
    sleep(Duration::from_millis(300));
    proxy.pass();
    for member in [&mut speaker, &mut listener] {
        (0..MESSAGES).for_each(|number| member.expect(&says(1, &number.to_string())));
    }
    speaker.expect_close(1001, "the server is going away");
    speaker.send(from_client(FIN | CLOSE, &close_payload(1001, "")));
    speaker.expect_end();
    drop(speaker);
    let (status, _) = node.program.wait(STOP);
    assert!(status.success(), "{status}");
    assert!(told.elapsed() < STOP, "{:?}", told.elapsed());
    listener.send_text("still here");
    listener.expect(&says(2, "still here"));
}

#[test]
fn stops_without_redis() {
    let mut redis = Redis::start(IN_MEMORY);
    let mut node = Node::start(&redis.url("room"));
    let mut member = node.join(1);
    redis.kill();
    member.send_text("never sent");
    node.program.terminate();
    member.expect_close(1001, "the server is going away");
    drop(member);
    let (status, _) = node.program.wait(STOP);
    assert!(status.success(), "{status}");
}

#[test]
fn explain_shows_what_came_back() {
    let redis = Redis::start(IN_MEMORY);
    let mut node = Node::start_with(&redis.url("room"), &["--explain"]);
    let mut member = node.join(42);
    member.send_text("hi");
    member.expect(&says(42, "hi"));
    member.send_text("again");
    member.expect(&says(42, "again"));
    drop(member);
    node.program.terminate();
    assert!(node.program.wait(STOP).0.success());
    let shown = node.program.rest_of_output();
    let back: Vec<_> = shown.lines().filter(|line| line.contains("back after")).collect();
    let [hi, again] = &back[..] else { panic!("{shown}") };
    assert!(hi.contains(" ms, broadcast: 21 bytes to each of 1 member, 0 behind"), "{hi}");
    assert!(again.contains(" ms, broadcast: 24 bytes to each of 1 member, 0 behind"), "{again}");
}
