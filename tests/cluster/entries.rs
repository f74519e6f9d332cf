//! Entries that no node wrote. Anyone who can write to Redis can add some.

use crate::RECOVERY;
use crate::log::key;
use crate::node::Node;
use crate::redis::{IN_MEMORY, Redis};
use test_client::frame::{BINARY, CONTINUATION, FIN, PING, RSV1, TEXT, encode, from_client, from_server, says};

/// Appends an entry that continues the log, in one step as a node does.
#[track_caller]
fn append(redis: &Redis, tag: &str, bytes: &[u8]) {
    const APPEND: &str = "local head = redis.call('HMGET', KEYS[2], 'place', 'tag')
        local place = head[1] + #ARGV[2]
        redis.call('XADD', KEYS[1], place .. '-0', 't', ARGV[1], 'p', head[2], 'b', ARGV[2])
        redis.call('HSET', KEYS[2], 'place', place, 'tag', ARGV[1])";
    let (log, head) = (key("room", "log"), key("room", "head"));
    redis.command(
        &["EVAL", APPEND, "2", &log, &head, tag].map(str::as_bytes).into_iter().chain([bytes]).collect::<Vec<_>>(),
    );
}

#[test]
fn whole_text_frame_by_hand() {
    let redis = Redis::start(IN_MEMORY);
    let node = Node::start(&redis.url("room"));
    let mut member = node.join(1);
    member.send_text("hello");
    member.expect(&says(1, "hello"));
    append(&redis, "by:1:1", &says(7, "by hand").repeat(2));
    member.expect(&says(7, "by hand"));
    member.expect(&says(7, "by hand"));
    member.send_text("next");
    member.expect(&says(1, "next"));
}

#[test]
fn anything_else_by_hand() {
    let whole = says(7, "by hand");
    let cases = [
        ("a Ping", from_server(FIN | PING, b"")),
        ("a binary message", from_server(FIN | BINARY, b"x")),
        ("a fragment", from_server(TEXT, b"x")),
        ("a continuation", from_server(FIN | CONTINUATION, b"x")),
        ("a reserved bit", from_server(FIN | RSV1 | TEXT, b"x")),
        ("a masked frame", from_client(FIN | TEXT, b"x")),
        ("bytes that aren't UTF-8", from_server(FIN | TEXT, b"\xff")),
        ("a longer length than needed", [b"\x81\x7e\x00\x01".as_slice(), b"x"].concat()),
        ("a cut frame", whole[..whole.len() - 1].into()),
        ("a cut header", vec![0x81]),
        ("a length beyond the entry", encode(FIN | TEXT, None, 1 << 40, b"x")),
        ("the largest length", encode(FIN | TEXT, None, u64::MAX, b"x")),
        ("bytes after a frame", [whole.as_slice(), b"x"].concat()),
    ];
    let redis = Redis::start(IN_MEMORY);
    let node = Node::start(&redis.url("room"));
    let mut first = node.join(1);
    first.send_text("hello");
    first.expect(&says(1, "hello"));
    for (number, (name, bytes)) in cases.iter().enumerate() {
        println!("{name}");
        node.wait_for_health(200, RECOVERY);
        let mut member = node.join(1);
        append(&redis, &format!("by:{number}:1"), bytes);
        member.expect_close_about(1012, "an entry that no server wrote");
    }
    node.wait_for_health(200, RECOVERY);
    let mut last = node.join(1);
    last.send_text("next");
    last.expect(&says(1, "next"));
}
