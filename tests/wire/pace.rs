//! The pace: speakers faster than a slow reader wait for it, and lose nothing.

use crate::SWITCHBOARD;
use std::time::Duration;
use test_client::FLOOD_DEADLINE;
use test_client::client::Client;
use test_client::frame::{CLOSE, CONTINUATION, FIN, Frame, PING, PONG, TEXT, from_client, says, text};
use test_client::request::opening;
use test_client::server::limits::{Limits, PACED_READ, QUIET, UNFINISHED_MESSAGE_AGE};
use test_client::server::{Options, Server};
use tokio::time::{Instant, sleep_until, timeout};

const MESSAGE: usize = 60_000;

fn message(number: usize) -> String {
    format!("{number:0MESSAGE$}")
}

/// Reads the next frame that isn't a Ping, and answers the Pings before it.
async fn next(client: &mut Client) -> Frame {
    loop {
        let frame = timeout(FLOOD_DEADLINE, client.frame()).await.expect("a frame comes in time").unwrap();
        if !frame.is(PING) {
            return frame;
        }
        client.send(&from_client(FIN | PONG, &frame.payload));
    }
}

/// Expects messages 0 to `count` of client 2.
async fn hear(client: &mut Client, count: usize) {
    for number in 0..count {
        assert!(next(client).await.payload == Frame::parse(&says(2, &message(number))).unwrap().0.payload, "{number}");
    }
}

/// Client 2 says as much as it can, client 1 takes this many bytes per second, and both receive everything.
async fn flood_beside_a_slow_reader(limits: Limits, count: usize, bytes_per_second: usize) {
    let server = Server::start(Options { limits, ..Options::default() });
    let target = server.target();
    let mut slow = target.open(Client::connect_small(target.address).await.unwrap(), 1).await.unwrap();
    let mut speaker = target.join(2).await.unwrap();
    let flood = tokio::spawn(async move {
        for number in 0..count {
            speaker.send(&text(&message(number)));
        }
        hear(&mut speaker, count).await;
    });
    let start = Instant::now();
    for number in 0..count {
        sleep_until(start + Duration::from_secs(number as u64 * MESSAGE as u64) / bytes_per_second as u32).await;
        assert!(next(&mut slow).await.payload.ends_with(&message(number).into_bytes()), "{number}");
    }
    flood.await.unwrap();
}

#[tokio::test]
async fn reader_above_the_pace_is_kept() {
    const PACE: usize = 8 << 20;
    // Much more than a member may be behind.
    let count = 2 * Limits::default().max_backlog / MESSAGE;
    let limits = Limits { pace: PACE as u64, ..Limits::default() };
    flood_beside_a_slow_reader(limits, count, PACE * 12 / 10).await;
}

#[tokio::test]
async fn speaker_that_waits_is_not_silent() {
    // At a byte per second, the speaker waits for longer than it may be silent.
    let limits = Limits { pace: 1, ping_interval: Some(Duration::from_secs(1)), ..Limits::default() };
    let count = limits.max_backlog / 2 / MESSAGE;
    flood_beside_a_slow_reader(limits, count, 10 << 20).await;
}

#[tokio::test]
async fn echo_is_not_paced() {
    let limits = Limits { pace: 1, ping_interval: None, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let target = server.target();
    let _slow = target.open(Client::connect_small(target.address).await.unwrap(), 1).await.unwrap();
    let mut speaker = target.join(2).await.unwrap();
    // More than may be said before the room is paced.
    for number in 0..limits.max_backlog / MESSAGE {
        speaker.send(&text(&message(number)));
    }
    hear(&mut speaker, limits.max_backlog / 4 / MESSAGE).await;
    let mut echo = Client::connect(target.address).await.unwrap();
    echo.send(opening(target.address, "/echo").as_bytes());
    timeout(FLOOD_DEADLINE, echo.head()).await.unwrap().unwrap();
    for number in 0..100 {
        echo.send(&text(&message(number)));
        assert!(next(&mut echo).await.payload == message(number).into_bytes());
    }
}

#[tokio::test]
async fn frames_behind_the_handshake_wait_too() {
    let limits = Limits { pace: 1, ping_interval: None, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let target = server.target();
    let slow = target.open(Client::connect_small(target.address).await.unwrap(), 1).await.unwrap();
    let mut speaker = target.join(2).await.unwrap();
    for number in 0..limits.max_backlog / MESSAGE {
        speaker.send(&text(&message(number)));
    }
    hear(&mut speaker, limits.max_backlog / 4 / MESSAGE).await;
    let mut newcomer = Client::connect(target.address).await.unwrap();
    // More than is read at a time.
    let frames = [text("early"), text(&"x".repeat(PACED_READ))].concat();
    newcomer.send(&target.request("3").rest(&frames).bytes());
    timeout(FLOOD_DEADLINE, newcomer.head()).await.unwrap().unwrap();
    // Once a client that comes later has its echo, the newcomer has had its chance.
    let mut echo = Client::connect(target.address).await.unwrap();
    echo.send(opening(target.address, "/echo").as_bytes());
    timeout(FLOOD_DEADLINE, echo.head()).await.unwrap().unwrap();
    echo.send(&text("x"));
    next(&mut echo).await;
    let own = Frame::parse(&says(3, "early")).unwrap().0.payload;
    let waits = timeout(Duration::from_millis(100), async { while newcomer.frame().await.unwrap().payload != own {} });
    assert!(waits.await.is_err());
    // Nobody is slow any more.
    drop((slow, speaker));
    while next(&mut newcomer).await.payload != own {}
}

#[tokio::test]
#[ignore = "takes 35 s: longer than a message may take"]
async fn time_spent_waiting_does_not_count_for_an_unfinished_message() {
    const SECOND: Duration = Duration::from_secs(1);
    let limits = Limits { pace: 1, ping_interval: None, ..Limits::default() };
    let server = Server::start(Options { limits, ..Options::default() });
    let target = server.target();
    let slow = target.open(Client::connect_small(target.address).await.unwrap(), 1).await.unwrap();
    let mut speaker = target.join(2).await.unwrap();
    let mut begun = target.join(3).await.unwrap();
    let start = Instant::now();
    // Too much for a quiet client, so that it has to wait.
    let beginning = "x".repeat(QUIET as usize);
    begun.send(&from_client(TEXT, beginning.as_bytes()));
    begun.flush().await;
    for number in 0..limits.max_backlog / MESSAGE {
        speaker.send(&text(&message(number)));
    }
    hear(&mut speaker, limits.max_backlog / 4 / MESSAGE).await;
    // The room is paced: this waits.
    begun.send(&from_client(CONTINUATION, b"continued, "));
    begun.flush().await;
    sleep_until(start + UNFINISHED_MESSAGE_AGE - 10 * SECOND).await;
    drop(slow);
    sleep_until(start + UNFINISHED_MESSAGE_AGE + 3 * SECOND).await;
    begun.send(&from_client(FIN | CONTINUATION, b"finished"));
    let own = says(3, &(beginning + "continued, finished"));
    let own = Frame::parse(&own).unwrap().0.payload;
    while next(&mut begun).await.payload != own {}
}

#[tokio::test]
async fn server_with_speakers_that_wait_stops_in_order() {
    let mut program = SWITCHBOARD.start(&["--pace", "1", "--ping-interval", "0"]);
    let target = program.target();
    let _slow = target.open(Client::connect_small(target.address).await.unwrap(), 1).await.unwrap();
    let mut speaker = target.join(2).await.unwrap();
    let count = Limits::default().max_backlog / MESSAGE;
    for number in 0..count {
        speaker.send(&text(&message(number)));
    }
    // Those before the room is paced.
    hear(&mut speaker, Limits::default().max_backlog / 4 / MESSAGE).await;
    program.terminate();
    let mut last = next(&mut speaker).await;
    while !last.is(CLOSE) {
        last = next(&mut speaker).await;
    }
    assert_eq!(last.close_code(), Some(1001));
    assert!(program.wait(FLOOD_DEADLINE).0.success());
}
