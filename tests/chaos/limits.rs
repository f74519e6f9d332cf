//! What runs out: places, open files, memory, time.

use crate::DEADLINE;
use crate::faults::answer::Listener;
use crate::faults::client::{Client, Ended};
use crate::faults::frame::{CLOSE, FIN, PING, close, frame, text};
use crate::faults::neighbours::Neighbours;
use crate::faults::stage::Stage;
use crate::program::Program;
use crate::server::{files_closed, program_stage};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What the program answers to an opening handshake, in words.
async fn answer(stage: &Stage) -> String {
    let mut client = Client::connect(stage.address).await.unwrap();
    client.send(&stage.request("-1").bytes());
    Listener::new(-1, DEADLINE).hear_response(&mut client).await.to_string()
}

#[tokio::test]
async fn a_full_server_answers_503_until_somebody_leaves() {
    let program = Program::start(&["--max-connections", "3"]);
    let stage = program_stage(&program);
    let neighbours = Neighbours::start(&stage).await.unwrap();
    let files = program.open_files();
    let mut last = stage.join(-1).await.unwrap();
    assert_eq!(answer(&stage).await, "503 (Retry-After: 5), end of stream");
    last.send(&close(1000, b""));
    timeout(DEADLINE, last.end()).await.unwrap();
    drop(last);
    files_closed(&program, files).await;
    assert_eq!(answer(&stage).await, "101, Close 1000, end of stream");
    assert!(neighbours.finish().await.unharmed());
}

#[tokio::test]
async fn a_server_that_is_stopping_answers_503() {
    let program = Program::start(&[]);
    let stage = program_stage(&program);
    let mut late = Client::connect(stage.address).await.unwrap();
    let request = stage.request("-1").bytes();
    late.send(&request[..10]);
    late.flush().await;
    // Connections are accepted in their order, so the late one has been when this one has.
    let mut stays = stage.join(-2).await.unwrap();
    program.signal(Signal::TERM);
    assert!(timeout(DEADLINE, stays.frame()).await.unwrap().unwrap().is(CLOSE));
    late.send(&request[10..]);
    let answer = Listener::new(-1, DEADLINE).hear_response(&mut late).await;
    assert_eq!(answer.to_string(), "503 (Retry-After: 5), end of stream");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut program = Program::start(&[]);
    let stage = program_stage(&program);
    let mut stays = stage.join(-1).await.unwrap();
    program.signal(Signal::INT);
    assert_eq!(timeout(DEADLINE, stays.frame()).await.unwrap().unwrap().close_code(), Some(1001));
    program.signal(Signal::INT);
    // The one who stays would have kept it for 2 s.
    let (status, _) = program.wait(Duration::from_millis(1500));
    assert_eq!(status.code(), Some(1));
}

#[tokio::test]
async fn health_is_ok() {
    let program = Program::start(&[]);
    let stage = program_stage(&program);
    let mut client = Client::connect(stage.address).await.unwrap();
    client.send(&stage.request("-1").path("/healthz").bytes());
    let response = timeout(DEADLINE, client.response()).await.unwrap().unwrap().unwrap();
    assert_eq!((response.status, response.header("content-length")), (200, Some("3")));
}

#[tokio::test]
async fn without_open_files_the_connected_go_on_and_the_log_says_so_once_a_second() {
    let mut program = Program::start(&["--max-connections", "1000"]);
    let stage = program_stage(&program);
    let neighbours = Neighbours::start(&stage).await.unwrap();
    let files = program.open_files();
    program.limit_open_files(files + 5);
    // The kernel accepts what the server can't.
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(stage.address).await.unwrap());
    }
    let begun = Instant::now();
    program.log_line("no connection can be accepted");
    program.log_line("no connection can be accepted");
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    drop(clients);
    files_closed(&program, files).await;
    assert_eq!(answer(&stage).await, "101, Close 1000, end of stream");
    assert!(neighbours.finish().await.unharmed());
    program.kill();
}

#[tokio::test]
async fn a_flood_of_pings_whose_pongs_are_not_read_takes_no_memory() {
    let program = Program::start(&[]);
    let stage = program_stage(&program);
    let neighbours = Neighbours::start(&stage).await.unwrap();
    let mut client = stage.join(-1).await.unwrap();
    let before = program.resident();
    let pings = frame(FIN | PING, &[b'p'; 125]).repeat(8_000);
    // Until the server takes no more.
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

#[tokio::test]
async fn fifty_who_do_not_read_cost_one_backlog() {
    const BACKLOG: usize = 2 << 20;
    let program = Program::start(&["--max-backlog", &BACKLOG.to_string()]);
    let stage = program_stage(&program);
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(stage.join(-1).await.unwrap());
    }
    let neighbours = Neighbours::start(&stage).await.unwrap();
    let mut talker = stage.join(-2).await.unwrap();
    let before = program.resident();
    let mut most = before;
    let message = text(&"x".repeat(60_000));
    // As much as the kernel takes for each, and a backlog behind it.
    for _ in 0..(4 << 20) / 60_000 + BACKLOG / 60_000 + 1 {
        talker.send(&message);
        while timeout(DEADLINE, talker.frame()).await.unwrap().unwrap().payload.len() < 60_000 {}
        most = most.max(program.resident());
    }
    let grown = most - before;
    // The log grows by doubling, and what is pending stands beside it.
    assert!(grown < 6 * BACKLOG, "{grown} bytes for a backlog of {BACKLOG}");
    let mut cut_off = 0;
    for mut client in crowd {
        cut_off += usize::from(matches!(timeout(DEADLINE, client.end()).await, Ok(Ended::InOrder | Ended::Reset)));
    }
    assert_eq!(cut_off, 50);
    assert!(neighbours.finish().await.unharmed());
}
