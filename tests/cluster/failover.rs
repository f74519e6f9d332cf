//! A replica takes the place of the master, and lacks the end of its log.

use crate::RECOVERY;
use crate::load::Load;
use crate::log::{key, whole_log};
use crate::node::Node;
use crate::proxy::Proxy;
use crate::redis::{IN_MEMORY, Redis};
use crate::resp::Reply;
use std::thread::sleep;
use std::time::{Duration, Instant};
use test_client::DEADLINE;
use test_client::blocking::Client;
use test_client::frame::says;
use test_client::server::limits::cluster::CHECK;

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
        let start = Instant::now();
        while replica.replication("master_link_status") != "up" {
            assert!(start.elapsed() < DEADLINE, "the replica doesn't reach its master");
            sleep(Duration::from_millis(5));
        }
        Self { master, link, replica }
    }

    /// Waits until the replica has what the master has now.
    #[track_caller]
    fn catch_up(&self) {
        let offset = |redis: &Redis| redis.replication("master_repl_offset").parse::<u64>().unwrap();
        let (start, due) = (Instant::now(), offset(&self.master));
        while offset(&self.replica) < due {
            assert!(start.elapsed() < DEADLINE, "the replica doesn't catch up");
            sleep(Duration::from_millis(5));
        }
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
    redis.catch_up();
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
    nodes[0].program.log_line("it is a replica, and a room needs the master");
    proxy.switch(redis.master.address);
    load.ends_unnoticed(&redis.master);
}

/// A node appends a message and reads nothing, and the replica lacks the message. Returns its member, once the replica is the
/// master.
#[track_caller]
fn lose_what_was_not_read(redis: &Pair, proxy: &Proxy, node: &Node) -> Client {
    let mut member = node.join(1);
    member.send_text("read");
    member.expect(&says(1, "read"));
    redis.replica.wait_for_entries(1);
    redis.link.hold();
    proxy.cut("XREAD", usize::MAX);
    // Ends the read that has already begun.
    proxy.switch(redis.master.address);
    proxy.wait_for_cuts(usize::MAX - 1);
    member.send_text("lost");
    redis.master.wait_for_entries(2);
    redis.swap();
    proxy.switch(redis.replica.address);
    member
}

impl Redis {
    /// A field of `INFO replication`.
    #[track_caller]
    fn replication(&self, name: &str) -> String {
        let info = self.command(&["INFO", "replication"]);
        let field = info.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        field.unwrap_or_else(|| panic!("no {name} in {info:?}")).into()
    }

    /// Waits until the log has this number of entries.
    #[track_caller]
    fn wait_for_entries(&self, entries: i64) {
        let start = Instant::now();
        while self.command(&["XLEN", &key("room", "log")]) != Reply::Integer(entries) {
            assert!(start.elapsed() < DEADLINE, "the log has other than {entries} entries");
            sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn replica_lacks_an_own_message_that_was_not_read() {
    let redis = Pair::start();
    let proxy = Proxy::to(redis.master.address);
    let node = Node::start(&proxy.url("room"));
    let mut member = lose_what_was_not_read(&redis, &proxy, &node);
    proxy.cut("XREAD", 0);
    member.expect_close_about(1012, "a message was lost");
}

/// The node's next message continues the log that it has read.
#[test]
fn next_message_hides_a_lost_one() {
    let redis = Pair::start();
    let proxy = Proxy::to(redis.master.address);
    let node = Node::start(&proxy.url("room"));
    let mut member = lose_what_was_not_read(&redis, &proxy, &node);
    member.send_text("next");
    redis.replica.wait_for_entries(2);
    proxy.cut("XREAD", 0);
    member.expect_close_about(1012, "a message was lost");
}

/// No read waits in Redis when it changes its role, so no read fails.
#[test]
fn master_that_becomes_a_replica_is_refused() {
    let redis = Redis::start(IN_MEMORY);
    let proxy = Proxy::to(redis.address);
    let node = Node::start(&proxy.url("room"));
    let mut member = node.join(1);
    member.send_text("connected");
    member.expect(&says(1, "connected"));
    proxy.hold();
    // A read that waits now ends after a second, and the next one is held.
    sleep(CHECK + Duration::from_millis(300));
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    proxy.pass();
    let line = node.program.log_line("fails: ");
    assert!(line.contains("reading the room's log in Redis fails: it is a replica"), "{line}");
}
