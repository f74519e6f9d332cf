//! A replica takes the place of the master, and lacks the end of its log.

use crate::RECOVERY;
use crate::load::Load;
use crate::log::whole_log;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::redis::{IN_MEMORY, Redis};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A master, its replica, and the proxy between them.
struct Pair {
    master: Redis,
    link: Proxy,
    replica: Redis,
}

impl Pair {
    #[track_caller]
    fn start() -> Self {
        // Otherwise the master waits 5 s for more replicas.
        let master = Redis::start(&[IN_MEMORY, &["--repl-diskless-sync-delay", "0"]].concat());
        let link = Proxy::to(master.address);
        let port = link.address.port().to_string();
        let replica = Redis::start(&[IN_MEMORY, &["--replicaof", "127.0.0.1", &port]].concat());
        replica.wait_for_replication("master_link_status:up");
        Self { master, link, replica }
    }

    /// Makes the replica a master, and the master its replica.
    fn swap(&self) {
        self.replica.command(&["REPLICAOF", "NO", "ONE"]);
        let port = self.replica.address.port().to_string();
        self.master.command(&["REPLICAOF", "127.0.0.1", &port]);
    }
}

#[test]
fn replica_lacks_what_all_nodes_have_read() {
    let redis = Pair::start();
    let proxy = Proxy::to(redis.master.address);
    let nodes = [Node::start(&proxy.url("room")), Node::start(&proxy.url("room"))];
    let load = Load::start(&nodes);
    redis.link.hold();
    load.served();
    let begun = Instant::now();
    proxy.switch(redis.replica.address);
    let old = whole_log(&redis.master, "room");
    redis.swap();
    let took = load.served();
    println!("served again after {took:?}");
    assert!(took < RECOVERY, "served again after {took:?}");
    let outcome = load.finish();
    outcome.told(&[0, 1], 1012, "", begun);
    outcome.obeys_all_rules(&[old, whole_log(&redis.replica, "room")]);
}

/// The second node is cut off first, so it continues with the log of the replica.
#[test]
fn replica_lacks_what_one_node_has_read() {
    let redis = Pair::start();
    let proxies = [Proxy::to(redis.master.address), Proxy::to(redis.master.address)];
    let nodes = [Node::start(&proxies[0].url("room")), Node::start(&proxies[1].url("room"))];
    let load = Load::start(&nodes);
    proxies[1].hold();
    load.served_on(|node| node == 0);
    redis.link.hold();
    load.served_on(|node| node == 0);
    let begun = Instant::now();
    proxies.iter().for_each(|proxy| proxy.switch(redis.replica.address));
    let old = whole_log(&redis.master, "room");
    redis.swap();
    proxies[1].pass();
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    outcome.told(&[0], 1012, "", begun);
    outcome.obeys_all_rules(&[old, whole_log(&redis.replica, "room")]);
}

/// The node doesn't believe a replica about where the log ends.
#[test]
fn replica_that_stays_one_is_refused() {
    let redis = Pair::start();
    let proxy = Proxy::to(redis.master.address);
    let nodes = [Node::start(&proxy.url("room")), Node::start(&redis.master.url("room"))];
    let load = Load::start(&nodes);
    redis.link.hold();
    load.served();
    proxy.switch(redis.replica.address);
    sleep(Duration::from_secs(2));
    let asked = redis.replica.command(&["INFO", "commandstats"]);
    assert!(asked.text().contains("cmdstat_role:"), "the node has not asked the replica: {asked:?}");
    assert!(!asked.text().contains("cmdstat_xread:"), "the node has read from the replica: {asked:?}");
    proxy.switch(redis.master.address);
    assert!(load.served() < RECOVERY);
    let outcome = load.finish();
    outcome.nobody_was_told();
    outcome.obeys_all_rules(&[whole_log(&redis.master, "room")]);
}
