//! Redis has no memory left (`maxmemory`), and evicts nothing: it refuses to append.

use crate::load::Load;
use crate::node::Node;
use crate::redis::{IN_MEMORY, Redis};
use crate::{LATE, RECOVERY};
use std::thread::sleep;
use std::time::{Duration, Instant};

impl Redis {
    /// Less than it uses already means that it is full. 0 is no limit.
    fn limit_memory(&self, bytes: &str) {
        self.command(&["CONFIG", "SET", "maxmemory", bytes]);
    }
}

#[test]
fn full_for_a_moment() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = [Node::start(&redis.url("room")), Node::start(&redis.url("room"))];
    let load = Load::start(&nodes);
    redis.limit_memory("1");
    sleep(Duration::from_secs(1));
    redis.limit_memory("0");
    load.ends_unnoticed(&redis);
}

#[test]
fn full_for_longer_than_the_patience() {
    let redis = Redis::start(IN_MEMORY);
    let nodes = [(); 2].map(|()| Node::start_with_patience(&redis.url("room"), 2));
    let load = Load::start(&nodes);
    let begun = Instant::now();
    redis.limit_memory("1");
    for node in &nodes {
        node.wait_for_health(503, LATE);
    }
    // It stays away for as long as nothing can be appended.
    sleep(Duration::from_secs(1));
    assert_eq!((nodes[0].health(), nodes[0].upgrade()), (503, 503));
    redis.limit_memory("0");
    load.ends_out_of_reach(&redis, &nodes, begun);
}

/// A room in which nothing can be said is out of reach, even if nobody tries.
#[test]
fn full_and_idle() {
    let redis = Redis::start(IN_MEMORY);
    let node = Node::start_with_patience(&redis.url("room"), 1);
    let mut member = node.join(1);
    redis.limit_memory("1");
    member.expect_close(1013, "the room is out of reach");
    assert_eq!((node.health(), node.upgrade()), (503, 503));
    redis.limit_memory("0");
    node.wait_for_health(200, RECOVERY);
}
