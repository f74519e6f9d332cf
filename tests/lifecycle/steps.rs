//! The steps of scripted connections: exactly these, in this order.

use crate::viewer::Viewer;
use std::time::Duration;
use test_client::blocking::Client;
use test_client::frame::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close_payload, from_server, says, text};
use test_client::request::{opening, switching_protocols};
use test_client::server::{PAGE, Server, lifecycle, lifecycle_with_pings};

/// The checks of the opening handshake, if all pass.
const PASSED: [&str; 9] = [
    r#"upgrade WHO check: the method is GET: passed (GET) (RFC 6455 4.2.1, item 1) [rule: the method is GET; sent: GET; result: passed]"#,
    r#"upgrade WHO check: HTTP/1.1 or higher: passed (HTTP/1.1) (RFC 6455 4.2.1, item 1) [rule: HTTP/1.1 or higher; sent: HTTP/1.1; result: passed]"#,
    r#"upgrade WHO check: Host is present: passed (host: HOST) (RFC 6455 4.2.1, item 2) [rule: Host is present; sent: host: HOST; result: passed]"#,
    r#"upgrade WHO check: Upgrade has websocket: passed (upgrade: websocket) (RFC 6455 4.2.1, item 3) [rule: Upgrade has websocket; sent: upgrade: websocket; result: passed]"#,
    r#"upgrade WHO check: Connection has Upgrade: passed (connection: Upgrade) (RFC 6455 4.2.1, item 4) [rule: Connection has Upgrade; sent: connection: Upgrade; result: passed]"#,
    r#"upgrade WHO check: Sec-WebSocket-Key of 16 bytes: passed (sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==) (RFC 6455 4.2.1, item 5) [rule: Sec-WebSocket-Key of 16 bytes; sent: sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==; result: passed]"#,
    r#"upgrade WHO check: Sec-WebSocket-Version is 13: passed (sec-websocket-version: 13) (RFC 6455 4.2.1, item 6) [rule: Sec-WebSocket-Version is 13; sent: sec-websocket-version: 13; result: passed]"#,
    r#"upgrade WHO check: no body follows: passed (no content-length) (RFC 6455 4.1) [rule: no body follows; sent: no content-length; result: passed]"#,
    r#"upgrade WHO check: the origin is allowed: passed (no origin) (RFC 6455 4.2.2, item 4) [rule: the origin is allowed; sent: no origin; result: passed]"#,
];

/// The first checks of a connection, all passed.
fn passed(who: &str, count: usize) -> String {
    PASSED[..count].join("\n").replace("WHO", who)
}

/// A client that has received its own message, so all steps of its join have been shown.
fn settled(server: &Server, client_id: i64) -> Client {
    let mut client = server.join(client_id);
    client.send_text("");
    client.expect(&says(client_id, ""));
    client
}

#[test]
fn whole_connection_closed_by_the_client() {
    let server = Server::start(lifecycle());
    let mut viewer = Viewer::open(server.address);
    let mut client = server.join(42);
    viewer.expect(r#"
        http #2 accepted: TCP accepted (RFC 9293 3.5) []
        http #2 request: request, without secrets (RFC 6455 4.1) [bytes: GET /ws/42 HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n]
    "#);
    viewer.expect(&passed("#2 Client #42", 9));
    viewer.expect(r#"
        upgrade #2 Client #42 key: key dGhlIHNhbXBsZSBub25jZQ==: 16 bytes 74 68 65 20 73 61 6d 70 6c 65 20 6e 6f 6e 63 65 (RFC 6455 4.2.1, item 5) [key: dGhlIHNhbXBsZSBub25jZQ==; bytes: 74 68 65 20 73 61 6d 70 6c 65 20 6e 6f 6e 63 65]
        upgrade #2 Client #42 joined-key: key and GUID joined: dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11 (RFC 6455 4.2.2, item 5.4) [text: dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11]
        upgrade #2 Client #42 digest: SHA-1 of that: b37a4f2cc0624f1690f64606cf385945b2bec4ea (RFC 6455 4.2.2, item 5.4) [sha1: b37a4f2cc0624f1690f64606cf385945b2bec4ea]
        upgrade #2 Client #42 accept: base64 of the digest: s3pPLMBiTxaQ9kYGzzhZRbK+xOo= (RFC 6455 4.2.2, item 5.4) [value: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=]
        upgrade #2 Client #42 switching: 101 Switching Protocols, as it was written (RFC 6455 4.2.2, item 5) [status: 101; bytes: HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\ndate: ...\r\n\r\n]
        loop #2 Client #42 joined: joined the list, 1 there now (RFC 6455 4.2.2: OPEN) [members: 1]
    "#);

    client.send_text("hi");
    client.expect(&says(42, "hi"));
    viewer.expect(r#"
        loop #2 Client #42 frame-in: frame in: text of 2 bytes: "hi" (RFC 6455 5.2, 5.3) [header: 81 82 37 fa 21 3d; fin: 1; rsv: 000; opcode: 1; name: text; mask: 1; length: 2; form: 7; masking-key: 37 fa 21 3d; masked: 5f 93; payload: 68 69; text: hi]
        loop #2 Client #42 broadcast: broadcast: 21 bytes to each of 1 member, 0 behind (RFC 6455 6.1) [members: 1; bytes: 21; behind: 0]
        loop #2 Client #42 frame-out: frame out: text of 19 bytes: "Client #42 says: hi" (RFC 6455 5.2, 5.1) [header: 81 13; fin: 1; rsv: 000; opcode: 1; name: text; mask: 0; length: 19; form: 7; payload: 43 6c 69 65 6e 74 20 23 34 32 20 73 61 79 73 3a 20 68 69; text: Client #42 says: hi]
    "#);

    client.send_frame(TEXT, b"Hel");
    client.send_frame(FIN | PING, b"p");
    client.expect(&from_server(FIN | PONG, b"p"));
    viewer.expect(r#"
        loop #2 Client #42 frame-in: frame in: text of 3 bytes, more to come: "Hel" (RFC 6455 5.2, 5.3) [header: 01 83 37 fa 21 3d; fin: 0; rsv: 000; opcode: 1; name: text; mask: 1; length: 3; form: 7; masking-key: 37 fa 21 3d; masked: 7f 9f 4d; payload: 48 65 6c; text: Hel]
        loop #2 Client #42 fragment: message so far: 1 fragment, 3 bytes (RFC 6455 5.4) [fragments: 1; bytes: 3]
        loop #2 Client #42 frame-in: frame in: ping of 1 byte: "p" (RFC 6455 5.2, 5.3) [header: 89 81 37 fa 21 3d; fin: 1; rsv: 000; opcode: 9; name: ping; mask: 1; length: 1; form: 7; masking-key: 37 fa 21 3d; masked: 47; payload: 70; text: p]
        loop #2 Client #42 ping: Ping by the client (RFC 6455 5.5.2) [by: client]
        loop #2 Client #42 frame-out: frame out: pong of 1 byte: "p" (RFC 6455 5.2, 5.1) [header: 8a 01; fin: 1; rsv: 000; opcode: 10; name: pong; mask: 0; length: 1; form: 7; payload: 70; text: p]
        loop #2 Client #42 pong: Pong by the server (RFC 6455 5.5.3) [by: server]
    "#);

    client.send_frame(FIN | CONTINUATION, b"lo");
    client.expect(&says(42, "Hello"));
    viewer.expect(r#"
        loop #2 Client #42 frame-in: frame in: continuation of 2 bytes: "lo" (RFC 6455 5.2, 5.3) [header: 80 82 37 fa 21 3d; fin: 1; rsv: 000; opcode: 0; name: continuation; mask: 1; length: 2; form: 7; masking-key: 37 fa 21 3d; masked: 5b 95; payload: 6c 6f; text: lo]
        loop #2 Client #42 fragment: message so far: 2 fragments, 5 bytes (RFC 6455 5.4) [fragments: 2; bytes: 5]
        loop #2 Client #42 broadcast: broadcast: 24 bytes to each of 1 member, 0 behind (RFC 6455 6.1) [members: 1; bytes: 24; behind: 0]
        loop #2 Client #42 frame-out: frame out: text of 22 bytes: "Client #42 says: Hello" (RFC 6455 5.2, 5.1) [header: 81 16; fin: 1; rsv: 000; opcode: 1; name: text; mask: 0; length: 22; form: 7; payload: 43 6c 69 65 6e 74 20 23 34 32 20 73 61 79 73 3a 20 48 65 6c 6c 6f; text: Client #42 says: Hello]
    "#);

    client.send_frame(FIN | PONG, b"");
    viewer.expect(r#"
        loop #2 Client #42 frame-in: frame in: pong of 0 bytes: "" (RFC 6455 5.2, 5.3) [header: 8a 80 37 fa 21 3d; fin: 1; rsv: 000; opcode: 10; name: pong; mask: 1; length: 0; form: 7; masking-key: 37 fa 21 3d; masked: ; payload: ; text:]
        loop #2 Client #42 pong: Pong by the client (RFC 6455 5.5.3) [by: client]
    "#);

    client.send_frame(FIN | CLOSE, &close_payload(1000, "it's \x1b[31m"));
    client.expect_close(1000, "it's \x1b[31m");
    client.expect_end();
    client.send_text("discarded");
    drop(client);
    viewer.expect(r#"
        loop #2 Client #42 frame-in: frame in: close of 12 bytes: "1000 it's \u{1b}[31m" (RFC 6455 5.2, 5.3) [header: 88 8c 37 fa 21 3d; fin: 1; rsv: 000; opcode: 8; name: close; mask: 1; length: 12; form: 7; masking-key: 37 fa 21 3d; masked: 34 12 48 49 10 89 01 26 6c c9 10 50; payload: 03 e8 69 74 27 73 20 1b 5b 33 31 6d; text: 1000 it's \u{1b}[31m]
        termination #2 Client #42 close: the client closes: 1000 normal closure, "it's \u{1b}[31m" (RFC 6455 7.1.3: CLOSING) [by: client; code: 1000; meaning: normal closure; reason: it's \u{1b}[31m]
        termination #2 Client #42 left: left the list, 0 remain (RFC 6455 7.1) [members: 0]
        loop #2 Client #42 frame-out: frame out: close of 12 bytes: "1000 it's \u{1b}[31m" (RFC 6455 5.2, 5.1) [header: 88 0c; fin: 1; rsv: 000; opcode: 8; name: close; mask: 0; length: 12; form: 7; payload: 03 e8 69 74 27 73 20 1b 5b 33 31 6d; text: 1000 it's \u{1b}[31m]
        termination #2 Client #42 close-answer: closing handshake done by the server's Close (RFC 6455 5.5.1) [by: server]
        termination #2 Client #42 tcp-closed: TCP closed first by the server (RFC 6455 7.1.1) [by: server]
        termination #2 Client #42 life: its life: 2 messages, 56 bytes in, 62 out, ... s (RFC 6455 7.1.4: CLOSED) [messages: 2; bytes-in: 56; bytes-out: 62; seconds: ...]
    "#);
}

#[test]
fn two_members_and_a_late_viewer() {
    let server = Server::start(lifecycle());
    let mut one = settled(&server, 1);
    let mut two = settled(&server, 2);
    one.expect(&says(2, ""));
    // A late viewer is shown the current members.
    let mut viewer = Viewer::open(server.address);
    viewer.expect(
        r#"
        loop #1 Client #1 present: in the list already, 2 there now (RFC 6455 4.2.2: OPEN) [members: 2]
        loop #2 Client #2 present: in the list already, 2 there now (RFC 6455 4.2.2: OPEN) [members: 2]
    "#,
    );
    two.send_text("ho");
    one.expect(&says(2, "ho"));
    two.expect(&says(2, "ho"));
    viewer.expect(r#"
        loop #2 Client #2 frame-in: frame in: text of 2 bytes: "ho" (RFC 6455 5.2, 5.3) [header: 81 82 37 fa 21 3d; fin: 1; rsv: 000; opcode: 1; name: text; mask: 1; length: 2; form: 7; masking-key: 37 fa 21 3d; masked: 5f 95; payload: 68 6f; text: ho]
        loop #2 Client #2 broadcast: broadcast: 20 bytes to each of 2 members, 0 behind (RFC 6455 6.1) [members: 2; bytes: 20; behind: 0]
        loop #1 Client #1 frame-out: frame out: text of 18 bytes: "Client #2 says: ho" (RFC 6455 5.2, 5.1) [header: 81 12; fin: 1; rsv: 000; opcode: 1; name: text; mask: 0; length: 18; form: 7; payload: 43 6c 69 65 6e 74 20 23 32 20 73 61 79 73 3a 20 68 6f; text: Client #2 says: ho]
        loop #2 Client #2 frame-out: frame out: text of 18 bytes: "Client #2 says: ho" (RFC 6455 5.2, 5.1) [header: 81 12; fin: 1; rsv: 000; opcode: 1; name: text; mask: 0; length: 18; form: 7; payload: 43 6c 69 65 6e 74 20 23 32 20 73 61 79 73 3a 20 68 6f; text: Client #2 says: ho]
    "#);
    one.reset();
    viewer.expect(r#"
        termination #1 Client #1 left: left the list, 1 remain (RFC 6455 7.1) [members: 1]
        termination #1 Client #1 tcp-closed: TCP closed first by the network (RFC 6455 7.1.1) [by: network]
        termination #1 Client #1 life: its life: 1 message, 6 bytes in, 56 out, ... s (RFC 6455 7.1.4: CLOSED) [messages: 1; bytes-in: 6; bytes-out: 56; seconds: ...]
    "#);
    two.end();
    two.expect_close_about(1002, "without a Close frame");
    viewer.expect(r#"
        termination #2 Client #2 left: left the list, 0 remain (RFC 6455 7.1) [members: 0]
        termination #2 Client #2 close: the server closes: 1002 protocol error, "end of stream without a Close frame, RFC 6455 7.1.4" (RFC 6455 7.1.3: CLOSING) [by: server; code: 1002; meaning: protocol error; reason: end of stream without a Close frame, RFC 6455 7.1.4]
        loop #2 Client #2 frame-out: frame out: close of 53 bytes: "1002 end of stream without a Close frame, RFC 6455 …" (RFC 6455 5.2, 5.1) [header: 88 35; fin: 1; rsv: 000; opcode: 8; name: close; mask: 0; length: 53; form: 7; payload: 03 ea 65 6e 64 20 6f 66 20 73 74 72 65 61 6d 20 77 69 74 68 6f 75 74 20 61 20 43 6c 6f 73 65 20 66 72 61 6d 65 2c 20 52 46 43 20 36 34 35 35 20; text: 1002 end of stream without a Close frame, RFC 6455]
        termination #2 Client #2 tcp-closed: TCP closed first by the client (RFC 6455 7.1.1) [by: client]
        termination #2 Client #2 life: its life: 2 messages, 14 bytes in, 93 out, ... s (RFC 6455 7.1.4: CLOSED) [messages: 2; bytes-in: 14; bytes-out: 93; seconds: ...]
    "#);
    // Members that left are not shown.
    let three = settled(&server, 3);
    drop(viewer);
    Viewer::open(server.address).expect(
        r#"
        loop #4 Client #3 present: in the list already, 1 there now (RFC 6455 4.2.2: OPEN) [members: 1]
    "#,
    );
    drop(three);
}

#[test]
fn echo_joins_no_list() {
    let server = Server::start(lifecycle());
    let mut echo = Client::open(server.address, "/echo");
    let mut viewer = Viewer::open(server.address);
    // It isn't a member, so a late viewer is not shown it.
    echo.send_frame(FIN | BINARY, &[0xff; 200]);
    echo.expect(&from_server(FIN | BINARY, &[0xff; 200]));
    viewer.expect(r#"
        loop #1 Echo frame-in: frame in: binary of 200 bytes: "������������������������������������������������…" (RFC 6455 5.2, 5.3) [header: 82 fe 00 c8 37 fa 21 3d; fin: 1; rsv: 000; opcode: 2; name: binary; mask: 1; length: 200; form: 16; masking-key: 37 fa 21 3d; masked: c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2 c8 05 de c2; payload: ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff; text: ������������������������������������������������]
        loop #1 Echo frame-out: frame out: binary of 200 bytes: "������������������������������������������������…" (RFC 6455 5.2, 5.1) [header: 82 7e 00 c8; fin: 1; rsv: 000; opcode: 2; name: binary; mask: 0; length: 200; form: 16; payload: ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff; text: ������������������������������������������������]
    "#);
}

#[test]
fn server_closes_after_a_fault() {
    let server = Server::start(lifecycle());
    let mut client = settled(&server, 5);
    let mut viewer = Viewer::open(server.address);
    client.send_frame(FIN | BINARY, b"x");
    client.expect_close_about(1003, "text");
    client.send_frame(FIN | CLOSE, &close_payload(1003, ""));
    client.expect_end();
    drop(client);
    viewer.expect(r#"
        loop #1 Client #5 present: in the list already, 1 there now (RFC 6455 4.2.2: OPEN) [members: 1]
        loop #1 Client #5 frame-in: frame in: binary of 1 byte: "x" (RFC 6455 5.2, 5.3) [header: 82 81 37 fa 21 3d; fin: 1; rsv: 000; opcode: 2; name: binary; mask: 1; length: 1; form: 7; masking-key: 37 fa 21 3d; masked: 4f; payload: 78; text: x]
        termination #1 Client #5 left: left the list, 0 remain (RFC 6455 7.1) [members: 0]
        termination #1 Client #5 close: the server closes: 1003 unsupported data, "this chat takes text only, RFC 6455 7.4.1" (RFC 6455 7.1.3: CLOSING) [by: server; code: 1003; meaning: unsupported data; reason: this chat takes text only, RFC 6455 7.4.1]
        loop #1 Client #5 frame-out: frame out: close of 43 bytes: "1003 this chat takes text only, RFC 6455 7.4.1" (RFC 6455 5.2, 5.1) [header: 88 2b; fin: 1; rsv: 000; opcode: 8; name: close; mask: 0; length: 43; form: 7; payload: 03 eb 74 68 69 73 20 63 68 61 74 20 74 61 6b 65 73 20 74 65 78 74 20 6f 6e 6c 79 2c 20 52 46 43 20 36 34 35 35 20 37 2e 34 2e 31; text: 1003 this chat takes text only, RFC 6455 7.4.1]
        loop #1 Client #5 frame-in: frame in: close of 2 bytes: "1003" (RFC 6455 5.2, 5.3) [header: 88 82 37 fa 21 3d; fin: 1; rsv: 000; opcode: 8; name: close; mask: 1; length: 2; form: 7; masking-key: 37 fa 21 3d; masked: 34 11; payload: 03 eb; text: 1003]
        termination #1 Client #5 close-answer: closing handshake done by the client's Close (RFC 6455 5.5.1) [by: client]
        termination #1 Client #5 tcp-closed: TCP closed first by the server (RFC 6455 7.1.1) [by: server]
        termination #1 Client #5 life: its life: 1 message, 13 bytes in, 63 out, ... s (RFC 6455 7.1.4: CLOSED) [messages: 1; bytes-in: 13; bytes-out: 63; seconds: ...]
    "#);
}

#[test]
fn viewer_is_closed_last_when_the_server_stops() {
    let mut server = Server::start(lifecycle());
    let mut client = settled(&server, 6);
    let mut viewer = Viewer::open(server.address);
    server.tell_to_stop();
    client.expect_close_about(1001, "going away");
    client.send_frame(FIN | CLOSE, &close_payload(1001, ""));
    client.expect_end();
    drop(client);
    viewer.expect(r#"
        loop #1 Client #6 present: in the list already, 1 there now (RFC 6455 4.2.2: OPEN) [members: 1]
        termination #1 Client #6 left: left the list, 0 remain (RFC 6455 7.1) [members: 0]
        termination #1 Client #6 close: the server closes: 1001 going away, "the server is going away" (RFC 6455 7.1.3: CLOSING) [by: server; code: 1001; meaning: going away; reason: the server is going away]
        loop #1 Client #6 frame-out: frame out: close of 26 bytes: "1001 the server is going away" (RFC 6455 5.2, 5.1) [header: 88 1a; fin: 1; rsv: 000; opcode: 8; name: close; mask: 0; length: 26; form: 7; payload: 03 e9 74 68 65 20 73 65 72 76 65 72 20 69 73 20 67 6f 69 6e 67 20 61 77 61 79; text: 1001 the server is going away]
        loop #1 Client #6 frame-in: frame in: close of 2 bytes: "1001" (RFC 6455 5.2, 5.3) [header: 88 82 37 fa 21 3d; fin: 1; rsv: 000; opcode: 8; name: close; mask: 1; length: 2; form: 7; masking-key: 37 fa 21 3d; masked: 34 13; payload: 03 e9; text: 1001]
        termination #1 Client #6 close-answer: closing handshake done by the client's Close (RFC 6455 5.5.1) [by: client]
        termination #1 Client #6 tcp-closed: TCP closed first by the server (RFC 6455 7.1.1) [by: server]
        termination #1 Client #6 life: its life: 1 message, 6 bytes in, 46 out, ... s (RFC 6455 7.1.4: CLOSED) [messages: 1; bytes-in: 6; bytes-out: 46; seconds: ...]
    "#);
    viewer.client.expect_end();
    server.wait_for_end();
}

#[test]
fn ping_and_round_trip_time() {
    let server = Server::start(lifecycle_with_pings(Duration::from_secs(1)));
    let mut viewer = Viewer::open(server.address);
    let mut client = Client::open(server.address, "/echo");
    client.expect(&from_server(FIN | PING, b""));
    client.send_frame(FIN | PONG, b"");
    while !viewer.raw().contains("step: switching") {}
    viewer.expect(r#"
        loop #2 Echo frame-out: frame out: ping of 0 bytes: "" (RFC 6455 5.2, 5.1) [header: 89 00; fin: 1; rsv: 000; opcode: 9; name: ping; mask: 0; length: 0; form: 7; payload: ; text:]
        loop #2 Echo ping: Ping by the server (RFC 6455 5.5.2) [by: server]
        loop #2 Echo frame-in: frame in: pong of 0 bytes: "" (RFC 6455 5.2, 5.3) [header: 8a 80 37 fa 21 3d; fin: 1; rsv: 000; opcode: 10; name: pong; mask: 1; length: 0; form: 7; masking-key: 37 fa 21 3d; masked: ; payload: ; text:]
        loop #2 Echo pong: Pong by the client after ... (RFC 6455 5.5.3) [by: client; round-trip: ...]
    "#);
}

#[test]
fn checks_up_to_the_failed_one() {
    let server = Server::start(lifecycle());
    let mut viewer = Viewer::open(server.address);
    let refused = |old: &str, new: &str| {
        let mut client = Client::tcp(server.address);
        client.send(opening(server.address, "/ws/7").replace(old, new));
        if !client.read_head().contains("close\r\n") {
            client.end();
        }
        client.read_to_end();
    };
    refused("Version: 13", "Version: \"12\"");
    viewer.expect(r#"
        http #2 accepted: TCP accepted (RFC 9293 3.5) []
        http #2 request: request, without secrets (RFC 6455 4.1) [bytes: GET /ws/7 HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: \"12\"\r\n\r\n]
    "#);
    viewer.expect(&passed("#2 Client #7", 6));
    viewer.expect(r#"
        upgrade #2 Client #7 check: Sec-WebSocket-Version is 13: REFUSED (sec-websocket-version: \"12\") (RFC 6455 4.2.1, item 6) [rule: Sec-WebSocket-Version is 13; sent: sec-websocket-version: \"12\"; result: refused]
        http #2 Client #7 response: response, without secrets (RFC 9110 15) [status: 426; bytes: HTTP/1.1 426 Upgrade Required\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: ...\r\ncache-control: ...\r\nupgrade: websocket\r\nconnection: Upgrade, close\r\nsec-websocket-version: 13\r\ncontent-length: ...\r\ndate: ...\r\n\r\n]
        termination #2 Client #7 tcp-closed: TCP closed first by the server (RFC 6455 7.1.1) [by: server]
    "#);
    refused("Version: 13\r\n", "Version: 13\r\nOrigin: http://evil.example\r\n");
    viewer.expect(r#"
        http #3 accepted: TCP accepted (RFC 9293 3.5) []
        http #3 request: request, without secrets (RFC 6455 4.1) [bytes: GET /ws/7 HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://evil.example\r\n\r\n]
    "#);
    viewer.expect(&passed("#3 Client #7", 8));
    viewer.expect(r#"
        upgrade #3 Client #7 check: the origin is allowed: REFUSED (origin: http://evil.example | host: HOST) (RFC 6455 4.2.2, item 4) [rule: the origin is allowed; sent: origin: http://evil.example | host: HOST; result: refused]
        http #3 Client #7 response: response, without secrets (RFC 9110 15) [status: 403; bytes: HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: ...\r\ncache-control: ...\r\nconnection: close\r\ncontent-length: ...\r\ndate: ...\r\n\r\n]
        termination #3 Client #7 tcp-closed: TCP closed first by the server (RFC 6455 7.1.1) [by: server]
    "#);
    refused("Version: 13\r\n", "Version: 13\r\nTransfer-Encoding: chunked\r\n");
    viewer.expect(r#"
        http #4 accepted: TCP accepted (RFC 9293 3.5) []
        http #4 request: request, without secrets (RFC 6455 4.1) [bytes: GET /ws/7 HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nTransfer-Encoding: chunked\r\n\r\n]
    "#);
    viewer.expect(&passed("#4 Client #7", 7));
    viewer.expect(r#"
        upgrade #4 Client #7 check: no body follows: REFUSED (transfer-encoding: chunked) (RFC 6455 4.1) [rule: no body follows; sent: transfer-encoding: chunked; result: refused]
        http #4 Client #7 response: response, without secrets (RFC 9110 15) [status: 400; bytes: HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: ...\r\ncache-control: ...\r\nconnection: close\r\ncontent-length: ...\r\ndate: ...\r\n\r\n]
        termination #4 Client #7 tcp-closed: TCP closed first by the server (RFC 6455 7.1.1) [by: server]
    "#);
    // This refusal leaves the connection open.
    refused("/ws/7", "/nowhere");
    viewer.expect(r#"
        http #5 accepted: TCP accepted (RFC 9293 3.5) []
        http #5 request: request, without secrets (RFC 6455 4.1) [bytes: GET /nowhere HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n]
        http #5 response: response, without secrets (RFC 9110 15) [status: 404; bytes: HTTP/1.1 404 Not Found\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: ...\r\ncache-control: ...\r\ncontent-length: ...\r\ndate: ...\r\n\r\n]
        termination #5 tcp-closed: TCP closed first by the client (RFC 6455 7.1.1) [by: client]
    "#);
}

#[test]
fn each_exchange_of_a_connection() {
    let server = Server::start(lifecycle());
    let mut viewer = Viewer::open(server.address);
    let mut client = Client::tcp(server.address);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    client.send(get("/"));
    client.read_head();
    client.read_exactly(PAGE.len());
    client.send(get("/").replace("GET", "HEAD"));
    client.read_head();
    // The last two in one packet, with a frame that follows.
    client.send([get("/healthz").as_bytes(), opening(server.address, "/echo").as_bytes(), &text("early")].concat());
    client.read_head();
    client.read_exactly(3);
    assert_eq!(client.read_head(), switching_protocols());
    client.expect(&from_server(FIN | TEXT, b"early"));
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "frame-out") {
        let event = viewer.raw();
        names.push(event.split("data: step: ").nth(1).unwrap().lines().next().unwrap().to_owned());
    }
    let exchanges = "request response ".repeat(3);
    let checks = "check ".repeat(9);
    let expected =
        format!("accepted {exchanges}request {checks}key joined-key digest accept switching frame-in frame-out");
    assert_eq!(names.join(" "), expected);
}
