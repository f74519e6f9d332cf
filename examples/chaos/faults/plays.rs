//! Faults of time and of flow: silence, floods, ends without a Close.

use super::answer::{Answer, Listener, probe, words};
use super::client::Client;
use super::frame::{BINARY, CLOSE, FIN, PING, TEXT, claim, frame, text};
use super::stage::Stage;
use super::{Act, Fault, Play, Takes};
use std::io;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

/// How long this server waits for a whole request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How long this server waits for the answer to its Close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// How long this server waits for the end of a message.
const UNFINISHED_MESSAGE_AGE: Duration = Duration::from_secs(30);

/// What the kernel may hold, on its way to one client that does not read, beyond what the server holds, in bytes.
const IN_THE_KERNEL: usize = 8 << 20;

/// How much one flooding message holds, in bytes.
const FLOOD_MESSAGE: usize = 60_000;

/// How long a client that floods waits for the server to take it.
const FLOOD_DEADLINE: Duration = Duration::from_secs(5);

/// How late a client that leaves its Pongs unread begins to read.
const LATE: Duration = Duration::from_millis(500);

/// The pause between the bytes of a trickle.
const DRIP: Duration = Duration::from_millis(1);

const NOBODY: &str = "nobody is left to be told";
const END_BEHIND_REQUEST: &str =
    "101, Close 1002 \"end of stream without a Close frame, RFC 6455 7.1.4\", end of stream";
const END_WITHOUT_CLOSE: &str = "Close 1002 \"end of stream without a Close frame, RFC 6455 7.1.4\", end of stream";
const HALF_A_REQUEST: &[u8] = b"GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nUpgr";
const UNANSWERED: &str = "Close 1003 \"this chat takes text only, RFC 6455 7.4.1\", end of stream";
const PONGS_LATE: &str = "Pong of 125 bytes x 100000, Close 1000, end of stream";
const FLOODED: &str = "message of … bytes x …, Close 1013 \"too slow: … bytes behind\", end of stream";
const UNFINISHED: &str = "Close 1008 \"a message was not finished within … s, RFC 6455 10.4\", end of stream";
const TOO_SLOW: &str = "Close 1013 \"too slow: … bytes behind\", end of stream";

pub fn faults() -> Vec<Fault> {
    vec![
        play("a request that trickles in", "101, Close 1000, end of stream", |stage, id, patience| {
            Box::pin(trickle_request(stage, id, patience))
        }),
        play("half a request, then silence", "end of stream", |stage, id, patience| {
            Box::pin(fall_silent(stage, id, patience, HALF_A_REQUEST))
        })
        .takes(Takes::Time(REQUEST_DEADLINE)),
        play("a connection that says nothing", "end of stream", |stage, id, patience| {
            Box::pin(fall_silent(stage, id, patience, b""))
        })
        .takes(Takes::Time(REQUEST_DEADLINE)),
        play("a reset instead of waiting for the 101", NOBODY, |stage, id, patience| {
            Box::pin(reset_before_101(stage, id, patience))
        }),
        play("an end of stream right behind the request", END_BEHIND_REQUEST, |stage, id, patience| {
            Box::pin(end_before_101(stage, id, patience))
        }),
        play("frames that trickle in", "message \"drop by drop\", Close 1000, end of stream", |stage, id, patience| {
            Box::pin(trickle_frames(stage, id, patience))
        }),
        play("an end of stream without a Close", END_WITHOUT_CLOSE, |stage, id, patience| {
            Box::pin(end_after(stage, id, patience, Vec::new()))
        }),
        play("an end of stream inside a frame", END_WITHOUT_CLOSE, |stage, id, patience| {
            Box::pin(end_after(stage, id, patience, claim(FIN | TEXT, 100)))
        }),
        play("a reset", NOBODY, |stage, id, _| Box::pin(reset_after(stage, id, Vec::new()))),
        play("a reset inside a frame", NOBODY, |stage, id, _| Box::pin(reset_after(stage, id, claim(FIN | TEXT, 100)))),
        play("no answer to the server's Close", UNANSWERED, |stage, id, patience| {
            Box::pin(ignore_close(stage, id, patience))
        })
        .takes(Takes::Time(CLOSE_DEADLINE)),
        play("100,000 Pings, and no Pong read", PONGS_LATE, |stage, id, patience| {
            Box::pin(leave_pongs(stage, id, patience))
        })
        .floods(),
        play("a client that does not read the others", TOO_SLOW, |stage, id, patience| {
            Box::pin(read_late(stage, id, patience))
        })
        .floods(),
        play("a flood, and nothing of it read", FLOODED, |stage, id, patience| {
            Box::pin(flood_unread(stage, id, patience))
        })
        .floods(),
        play("a crowd that does not read", "all are cut off", |stage, id, patience| {
            Box::pin(crowd(stage, id, patience))
        })
        .floods(),
        play("silence, and no answer to a Ping", "Ping, end of stream", |stage, id, patience| {
            Box::pin(ignore_ping(stage, id, patience))
        })
        .takes(Takes::PingIntervals(2)),
        play("a message that is never finished", UNFINISHED, |stage, id, patience| {
            Box::pin(leave_unfinished(stage, id, patience))
        })
        .takes(Takes::Time(UNFINISHED_MESSAGE_AGE)),
    ]
}

fn play(name: &'static str, expected: &'static str, play: fn(Stage, i64, Duration) -> Play) -> Fault {
    Fault::new(name, Act::Play(play), expected)
}

async fn drip(client: &mut Client, bytes: &[u8]) {
    for byte in bytes {
        client.send(&[*byte]);
        client.flush().await;
        sleep(DRIP).await;
    }
}

async fn trickle_request(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = Client::connect(stage.address).await?;
    drip(&mut client, &stage.request(&id.to_string()).bytes()).await;
    Ok(Listener::new(id, patience).hear_response(&mut client).await)
}

async fn fall_silent(stage: Stage, id: i64, patience: Duration, behind: &[u8]) -> io::Result<Answer> {
    let listener = Listener::new(id, patience);
    let mut client = Client::connect(stage.address).await?;
    client.send(behind);
    Ok(listener.hear_response(&mut client).await)
}

async fn reset_before_101(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = Client::connect(stage.address).await?;
    client.send(&stage.request(&id.to_string()).bytes());
    client.flush().await;
    client.reset();
    Ok(nobody(id, patience))
}

fn nobody(id: i64, patience: Duration) -> Answer {
    let mut listener = Listener::new(id, patience);
    listener.note(NOBODY);
    listener.answer()
}

async fn end_before_101(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = Client::connect(stage.address).await?;
    client.send(&stage.request(&id.to_string()).bytes());
    client.finish().await;
    Ok(Listener::new(id, patience).hear_response(&mut client).await)
}

async fn trickle_frames(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = stage.join(id).await?;
    drip(&mut client, &text("drop by drop")).await;
    client.send(&probe());
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

async fn end_after(stage: Stage, id: i64, patience: Duration, frames: Vec<u8>) -> io::Result<Answer> {
    let mut client = stage.join(id).await?;
    client.send(&frames);
    client.finish().await;
    Ok(Listener::new(id, patience).closing().hear_frames(&mut client).await)
}

async fn reset_after(stage: Stage, id: i64, frames: Vec<u8>) -> io::Result<Answer> {
    let mut client = stage.join(id).await?;
    client.send(&frames);
    client.flush().await;
    client.reset();
    Ok(nobody(id, stage.patience))
}

async fn ignore_close(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = stage.join(id).await?;
    client.send(&frame(FIN | BINARY, b"x"));
    Ok(Listener::new(id, patience).closing().hear_frames(&mut client).await)
}

async fn leave_pongs(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let client = Client::connect_small(stage.address).await?;
    let mut client = stage.open(client, id).await?;
    client.send(&frame(FIN | PING, &[b'p'; 125]).repeat(100_000));
    client.send(&probe());
    // What is not taken in this time is sent while the Pongs are read.
    let _ = timeout(LATE, client.flush()).await;
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

/// One who says so much that whoever does not read is certainly too far behind, and hears himself meanwhile.
async fn flood(stage: &Stage) -> io::Result<()> {
    let mut talker = stage.join(stage.id()).await?;
    let message = text(&"x".repeat(FLOOD_MESSAGE));
    for _ in 0..(stage.max_backlog + IN_THE_KERNEL) / FLOOD_MESSAGE {
        talker.send(&message);
        // A server that lets itself be held up does not give it back in time.
        let heard = timeout(stage.patience, async {
            while talker.frame().await.is_ok_and(|frame| frame.payload.len() < FLOOD_MESSAGE) {}
        });
        if heard.await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn read_late(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let client = Client::connect_small(stage.address).await?;
    let mut client = stage.open(client, id).await?;
    flood(&stage).await?;
    client.send(&probe());
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

async fn flood_unread(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let client = Client::connect_small(stage.address).await?;
    let mut client = stage.open(client, id).await?;
    let messages = (stage.max_backlog + IN_THE_KERNEL) / FLOOD_MESSAGE;
    client.send(&text(&"x".repeat(FLOOD_MESSAGE)).repeat(messages));
    // A server that waits for the client to read takes no more.
    let _ = timeout(FLOOD_DEADLINE, client.flush()).await;
    client.send(&probe());
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

async fn crowd(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut clients = Vec::new();
    for _ in 0..stage.crowd {
        let client = Client::connect(stage.address).await?;
        clients.push(stage.open(client, stage.id()).await?);
    }
    let mut listener = Listener::new(id, patience);
    flood(&stage).await?;
    let mut ends = JoinSet::new();
    for mut client in clients {
        ends.spawn(async move { timeout(patience + CLOSE_DEADLINE, client.end()).await.is_ok() });
    }
    let cut_off = ends.join_all().await.into_iter().filter(|ended| *ended).count();
    listener.note(match stage.crowd - cut_off {
        0 => "all are cut off".into(),
        left => format!("{left} of {} are kept", stage.crowd),
    });
    Ok(listener.answer())
}

async fn ignore_ping(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut listener = Listener::new(id, patience);
    let mut client = stage.join(id).await?;
    let end = listener.begun + patience;
    loop {
        match timeout_at(end, client.frame()).await {
            Ok(Ok(frame)) if frame.is(PING) => listener.note("Ping"),
            Ok(Ok(frame)) if frame.is(CLOSE) => listener.note("Close"),
            Ok(Ok(_)) => {}
            Ok(Err(ended)) => break listener.note(words(ended)),
            Err(_) => break listener.note("kept open"),
        }
    }
    Ok(listener.answer())
}

async fn leave_unfinished(stage: Stage, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = stage.join(id).await?;
    client.send(&frame(TEXT, b"x"));
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}
