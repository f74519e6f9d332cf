//! Limited resources: connections, open files, memory, time.

use crate::SWITCHBOARD;
use crate::files_closed;
use std::time::{Duration, Instant};
use test_client::FLOOD_DEADLINE;
use test_client::client::{Client, Ended};
use test_client::faults::answer::Listener;
use test_client::frame::{CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close, from_client, ping, text};
use test_client::neighbours::Neighbours;
use test_client::program::Program;
use test_client::request::opening;
use test_client::target::Target;
use tokio::time::timeout;

/// The answer to an opening handshake, in words.
async fn answer(target: &Target) -> String {
    let mut client = Client::connect(target.address).await.unwrap();
    client.send(&target.request("-1").bytes());
    Listener::new(-1, FLOOD_DEADLINE).hear_response(&mut client).await.to_string()
}

#[tokio::test]
async fn full_server_answers_503_until_a_client_leaves() {
    let program = SWITCHBOARD.start(&["--max-connections", "3"]);
    let target = program.target();
    let neighbours = Neighbours::start(&target).await.unwrap();
    let files = program.open_files();
    let mut last = target.join(-1).await.unwrap();
    assert_eq!(answer(&target).await, "503 (Retry-After: 5), end of stream");
    last.send(&close(1000, b""));
    timeout(FLOOD_DEADLINE, last.end()).await.unwrap();
    drop(last);
    files_closed(&program, files).await;
    assert_eq!(answer(&target).await, "101, Close 1000, end of stream");
    assert!(neighbours.finish().await.unharmed());
}

#[tokio::test]
async fn stopping_server_closes_a_half_sent_request() {
    let program = SWITCHBOARD.start(&[]);
    let target = program.target();
    let mut late = Client::connect(target.address).await.unwrap();
    late.send(&target.request("-1").bytes()[..10]);
    late.flush().await;
    // The server accepts in order: once this client has joined, the late one has been accepted.
    let mut stays = target.join(-2).await.unwrap();
    program.terminate();
    assert!(timeout(FLOOD_DEADLINE, stays.frame()).await.unwrap().unwrap().is(CLOSE));
    let answer = Listener::new(-1, FLOOD_DEADLINE).hear_response(&mut late).await;
    assert_eq!(answer.to_string(), "end of stream");
}

#[tokio::test]
async fn second_signal_ends_it_at_once() {
    let mut program = SWITCHBOARD.start(&[]);
    let target = program.target();
    let mut stays = target.join(-1).await.unwrap();
    program.interrupt();
    assert_eq!(timeout(FLOOD_DEADLINE, stays.frame()).await.unwrap().unwrap().close_code(), Some(1001));
    program.interrupt();
    // Otherwise the client that stays would delay the end by 2 s.
    let (status, _) = program.wait(Duration::from_millis(1500));
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn health_is_ok() {
    let program = SWITCHBOARD.start(&[]);
    let target = program.target();
    let mut client = Client::connect(target.address).await.unwrap();
    client.send(&target.request("-1").path("/healthz").without("Upgrade").bytes());
    let response = timeout(FLOOD_DEADLINE, client.response()).await.unwrap().unwrap().unwrap();
    assert_eq!((response.status, response.header("content-length")), (200, Some("3")));
}

#[tokio::test]
async fn without_open_files_members_go_on_and_the_log_repeats_each_second() {
    let mut program = SWITCHBOARD.start(&["--max-connections", "1000"]);
    let target = program.target();
    let neighbours = Neighbours::start(&target).await.unwrap();
    let files = program.open_files();
    program.limit_open_files(files + 5);
    // The kernel accepts connections that the server can't.
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(target.address).await.unwrap());
    }
    let (begun, before) = (Instant::now(), program.usage().unwrap().processor);
    program.log_line("no connection can be accepted");
    program.log_line("no connection can be accepted");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    // It does not try again at once.
    let used = program.usage().unwrap().processor - before;
    assert!(used < begun.elapsed() / 4, "{used:?}");
    drop(clients);
    files_closed(&program, files).await;
    assert_eq!(answer(&target).await, "101, Close 1000, end of stream");
    assert!(neighbours.finish().await.unharmed());
    program.kill();
}

#[tokio::test]
async fn unread_pongs_take_no_memory() {
    let program = SWITCHBOARD.start(&[]);
    let target = program.target();
    let neighbours = Neighbours::start(&target).await.unwrap();
    let mut client = target.join(-1).await.unwrap();
    let before = program.resident();
    let pings = from_client(FIN | PING, &[b'p'; 125]).repeat(8_000);
    // Until the server stops reading.
    while timeout(Duration::from_millis(500), async {
        client.send(&pings);
        client.flush().await;
    })
    .await
    .is_ok()
    {}
    let grown = program.resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes");
    assert!(neighbours.finish().await.unharmed());
}

/// Sends one huge message to this path, reads the answer, and returns by how many bytes the server has grown afterwards.
async fn grown_by_one_huge_message(path: &str) -> usize {
    // glibc keeps freed memory of up to 32 MiB for later.
    const HUGE: usize = 40 << 20;
    let size = HUGE.to_string();
    let program = SWITCHBOARD.start(&["--max-message-size", &size, "--max-backlog", &(4 * HUGE).to_string()]);
    let mut client = Client::connect(program.target().address).await.unwrap();
    client.send(opening(program.target().address, path).as_bytes());
    timeout(FLOOD_DEADLINE, client.head()).await.unwrap().unwrap();
    let before = program.resident();
    client.send(&text(&"x".repeat(HUGE - 100)));
    while timeout(FLOOD_DEADLINE, client.frame()).await.unwrap().unwrap().payload.len() < HUGE - 100 {}
    program.resident().saturating_sub(before)
}

#[tokio::test]
async fn the_memory_of_one_huge_message_is_given_back() {
    for path in ["/ws/1", "/echo"] {
        let grown = grown_by_one_huge_message(path).await;
        assert!(grown < 4 << 20, "{path}: {grown} bytes");
    }
}

/// Sends this from some hundred clients, each of which leaves a message unfinished, and waits until all has been read. Returns
/// the clients and by how many bytes the program has grown for each byte.
async fn leave_unfinished(program: &Program, message: &[u8]) -> (Vec<Client>, f64) {
    const CLIENTS: usize = 300;
    let target = program.target();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(target.join(-1).await.unwrap());
    }
    let before = program.resident();
    for client in &mut clients {
        client.send(message);
        client.flush().await;
    }
    for client in &mut clients {
        // A frame that is cut short has no Ping behind it.
        if message.ends_with(&ping("")) {
            assert!(timeout(FLOOD_DEADLINE, client.frame()).await.unwrap().unwrap().is(PONG));
        }
    }
    let sent = message.len() * CLIENTS;
    let begun = Instant::now();
    while program.resident() < before + sent {
        assert!(begun.elapsed() < FLOOD_DEADLINE, "the messages are not in memory");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Whatever is read now was sent later than all of it.
    let mut last = target.join(-1).await.unwrap();
    last.send(&ping(""));
    assert!(timeout(FLOOD_DEADLINE, last.frame()).await.unwrap().unwrap().is(PONG));
    (clients, program.resident().saturating_sub(before) as f64 / sent as f64)
}

#[tokio::test]
async fn half_sent_messages_take_their_payload_once() {
    let payload = [b'x'; 59_000];
    let fragments: Vec<u8> = payload.chunks(1000).flat_map(|part| from_client(CONTINUATION, part)).collect();
    let cut_short = |first, payload: &[u8]| from_client(first, payload)[..payload.len() - 1000].to_vec();
    for (name, message) in [
        ("a frame that is cut short", cut_short(FIN | TEXT, &[b'x'; 60_000])),
        ("one fragment", [from_client(TEXT, &payload), ping("")].concat()),
        ("many fragments", [from_client(TEXT, b""), fragments, ping("")].concat()),
        (
            "a cut fragment",
            [from_client(TEXT, &payload[..30_000]), cut_short(CONTINUATION, &payload[..29_000])].concat(),
        ),
    ] {
        let program = SWITCHBOARD.start(&[]);
        let (clients, ratio) = leave_unfinished(&program, &message).await;
        assert!(ratio < 1.2, "{name}: {ratio:.2}");
        drop(clients);
    }
}

/// glibc returns memory to the system from the end of its heap only, and the little that lives on there keeps it from doing so.
/// But what was freed is used again.
#[tokio::test]
async fn memory_of_half_sent_messages_is_used_again() {
    let program = SWITCHBOARD.start(&[]);
    let files = program.open_files();
    let message = [from_client(TEXT, &[b'x'; 59_000]), ping("")].concat();
    let (clients, _) = leave_unfinished(&program, &message).await;
    let most = program.resident();
    drop(clients);
    files_closed(&program, files).await;
    let target = program.target();
    for _ in 0..3 {
        let mut clients = Vec::new();
        for _ in 0..300 {
            let mut client = target.join(-1).await.unwrap();
            client.send(&message);
            clients.push(client);
        }
        for client in &mut clients {
            assert!(timeout(FLOOD_DEADLINE, client.frame()).await.unwrap().unwrap().is(PONG));
        }
        drop(clients);
        files_closed(&program, files).await;
    }
    let now = program.resident();
    assert!(now < most + (2 << 20), "{now} bytes, and {most} before");
}

#[tokio::test]
async fn all_half_sent_messages_together_are_bounded() {
    const BOUND: usize = 64 << 20;
    const SIZE: usize = 1 << 20;
    let program = SWITCHBOARD.start(&["--max-message-size", &SIZE.to_string()]);
    let target = program.target();
    let neighbours = Neighbours::start(&target).await.unwrap();
    let before = program.resident();
    let message = [from_client(TEXT, &[b'x'; SIZE]), ping("")].concat();
    let (mut clients, mut most) = (Vec::new(), 0);
    for _ in 0..2 * BOUND / SIZE {
        let mut client = target.join(-1).await.unwrap();
        client.send(&message);
        while !timeout(FLOOD_DEADLINE, client.frame()).await.unwrap().unwrap().is(PONG) {}
        clients.push(client);
        most = most.max(program.resident());
    }
    let grown = most - before;
    assert!(grown < BOUND + BOUND / 5, "{grown} bytes");
    let mut closed = 0;
    for client in &mut clients[..BOUND / SIZE] {
        closed += usize::from(timeout(FLOOD_DEADLINE, client.end()).await == Ok(Ended::InOrder));
    }
    assert_eq!(closed, BOUND / SIZE);
    assert!(neighbours.finish().await.unharmed());
}

#[tokio::test]
async fn an_idle_connection_keeps_no_buffer() {
    const CLIENTS: usize = 400;
    let program = SWITCHBOARD.start(&[]);
    let target = program.target();
    // The first connections may allocate more than later ones.
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(target.join(-1).await.unwrap());
    }
    let before = program.resident();
    for _ in 0..CLIENTS {
        idle.push(target.join(-1).await.unwrap());
    }
    let each = program.resident().saturating_sub(before) / CLIENTS;
    // With hyper's buffer, it would be about 6,000.
    assert!(each < 4096, "{each} bytes");
}

#[tokio::test]
async fn fifty_clients_that_do_not_read_cost_one_backlog() {
    const BACKLOG: usize = 4 << 20;
    let program = SWITCHBOARD.start(&["--max-backlog", &BACKLOG.to_string()]);
    let target = program.target();
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(target.join(-1).await.unwrap());
    }
    let neighbours = Neighbours::start(&target).await.unwrap();
    let mut talker = target.join(-2).await.unwrap();
    let before = program.resident();
    let mut most = before;
    let message = text(&"x".repeat(60_000));
    // What the kernel buffers for each, and a backlog on top.
    for _ in 0..(4 << 20) / 60_000 + BACKLOG / 60_000 + 1 {
        talker.send(&message);
        while timeout(FLOOD_DEADLINE, talker.frame()).await.unwrap().unwrap().payload.len() < 60_000 {}
        most = most.max(program.resident());
    }
    let grown = most - before;
    // The log grows by doubling, and pending messages are outside it.
    assert!(grown < 6 * BACKLOG, "{grown} bytes for a backlog of {BACKLOG}");
    let mut cut_off = 0;
    for mut client in crowd {
        cut_off +=
            usize::from(matches!(timeout(FLOOD_DEADLINE, client.end()).await, Ok(Ended::InOrder | Ended::Reset)));
    }
    assert_eq!(cut_off, 50);
    assert!(neighbours.finish().await.unharmed());
}
