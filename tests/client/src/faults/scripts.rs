//! Faults of timing and flow: silence, floods, ends without a Close. Each is a small script of its own.

use super::answer::{Answer, Listener, probe};
use super::{Act, Fault, Script, Takes};
use crate::client::Client;
use crate::flood::{Flooder, read_slowly};
use crate::frame::{BINARY, CLOSE, FIN, PING, TEXT, client_header, from_client, text};
use crate::server::limits::{CLOSE_DEADLINE, REQUEST_DEADLINE, UNFINISHED_MESSAGE_AGE};
use crate::target::Target;
use std::io;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

/// Bytes that the kernel may buffer for one client that doesn't read, in addition to the server's backlog.
pub const KERNEL_BUFFERS: usize = 8 << 20;

/// Payload of one message of a flood, in bytes.
pub const FLOOD_MESSAGE: usize = 60_000;

/// Number of clients that leave a message of [`FLOOD_MESSAGE`] bytes unfinished: 69 MiB together.
const HALF_SENT: usize = 1200;

/// Time limit for the server to accept a flood.
const FLOOD_SENT: Duration = Duration::from_secs(5);

/// Delay before a client that leaves its Pongs unread starts to read.
const LATE: Duration = Duration::from_millis(500);

/// The pause between two bytes that trickle in.
const DRIP: Duration = Duration::from_millis(1);

const NO_ANSWER: &str = "nobody is left to be told";
const END_AFTER_REQUEST: &str = "101, Close 1002 \"*without a Close frame*\", end of stream";
const END_WITHOUT_CLOSE: &str = "Close 1002 \"*without a Close frame*\", end of stream";
const HALF_A_REQUEST: &[u8] = b"GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nUpgr";
const UNANSWERED: &str = "Close 1003 \"*text*\", end of stream";
const PONGS_LATE: &str = "Pong of 125 bytes x 100000, Close 1000, end of stream";
const FLOODED: &str = "message of … bytes x …, Close 1013 \"too slow: … bytes behind\", end of stream";
const TOO_MANY: &str = "Close 1008 \"*too many unfinished messages*\", end of stream";
const UNFINISHED: &str = "Close 1008 \"*not finished within … s*\", end of stream";
const TOO_SLOW: &str = "Close 1013 \"too slow: … bytes behind\", end of stream";

pub fn faults() -> Vec<Fault> {
    vec![
        script("a request that trickles in", "101, Close 1000, end of stream", |target, id, patience| {
            Box::pin(trickle_request(target, id, patience))
        }),
        script("half a request, then silence", "end of stream", |target, id, patience| {
            Box::pin(fall_silent(target, id, patience, HALF_A_REQUEST))
        })
        .takes(Takes::Time(REQUEST_DEADLINE)),
        script("a connection without a request", "end of stream", |target, id, patience| {
            Box::pin(fall_silent(target, id, patience, b""))
        })
        .takes(Takes::Time(REQUEST_DEADLINE)),
        script("a request, then silence", "404, end of stream", |target, id, patience| {
            Box::pin(fall_silent_after_a_response(target, id, patience))
        })
        .takes(Takes::Time(REQUEST_DEADLINE)),
        script(
            "a request and the handshake in one packet",
            "404, 101, Close 1000, end of stream",
            |target, id, patience| Box::pin(upgrade_later(target, id, patience)),
        ),
        script("a reset before the 101", NO_ANSWER, |target, id, patience| {
            Box::pin(reset_before_101(target, id, patience))
        }),
        script("an end of stream right after the request", END_AFTER_REQUEST, |target, id, patience| {
            Box::pin(end_before_101(target, id, patience))
        }),
        script(
            "frames that trickle in",
            "message \"drop by drop\", Close 1000, end of stream",
            |target, id, patience| Box::pin(trickle_frames(target, id, patience)),
        ),
        script("an end of stream without a Close", END_WITHOUT_CLOSE, |target, id, patience| {
            Box::pin(end_after(target, id, patience, Vec::new()))
        }),
        script("an end of stream inside a frame", END_WITHOUT_CLOSE, |target, id, patience| {
            Box::pin(end_after(target, id, patience, client_header(FIN | TEXT, 100)))
        }),
        script("a reset", NO_ANSWER, |target, id, _| Box::pin(reset_after(target, id, Vec::new()))),
        script("a reset inside a frame", NO_ANSWER, |target, id, _| {
            Box::pin(reset_after(target, id, client_header(FIN | TEXT, 100)))
        }),
        script("no answer to the server's Close", UNANSWERED, |target, id, patience| {
            Box::pin(ignore_close(target, id, patience))
        })
        .takes(Takes::Time(CLOSE_DEADLINE)),
        script("100,000 Pings whose Pongs are read late", PONGS_LATE, |target, id, patience| {
            Box::pin(leave_pongs(target, id, patience))
        })
        .floods(),
        script("a client that does not read during a flood", TOO_SLOW, |target, id, patience| {
            Box::pin(read_late(target, id, patience))
        })
        .floods(),
        script("a flood from a client that does not read", FLOODED, |target, id, patience| {
            Box::pin(flood_unread(target, id, patience))
        })
        .floods(),
        script("many clients that do not read during a flood", "all are cut off", |target, id, patience| {
            Box::pin(crowd(target, id, patience))
        })
        .floods(),
        script("a flood by a client that reads", "kept", |target, id, patience| {
            Box::pin(flood_and_read(target, id, patience))
        })
        .takes(Takes::Time(FLOOD_TIME))
        .floods(),
        script("a slow reader beside a flood", "kept", |target, id, patience| {
            Box::pin(read_slowly_beside_floods(target, id, patience, 1, 100))
        })
        .takes(Takes::Time(FLOOD_TIME))
        .floods(),
        script("a slow reader beside ten floods", "kept", |target, id, patience| {
            Box::pin(read_slowly_beside_floods(target, id, patience, 10, 60_000))
        })
        .takes(Takes::Time(FLOOD_TIME))
        .floods(),
        script("1,200 half-sent messages", TOO_MANY, |target, id, patience| {
            Box::pin(leave_many_unfinished(target, id, patience))
        })
        .floods(),
        script("no answer to a Ping", "Ping, end of stream", |target, id, patience| {
            Box::pin(ignore_ping(target, id, patience))
        })
        .takes(Takes::PingIntervals(2)),
        script("a message that is never finished", UNFINISHED, |target, id, patience| {
            Box::pin(leave_unfinished(target, id, patience))
        })
        .takes(Takes::Time(UNFINISHED_MESSAGE_AGE)),
    ]
}

fn script(name: &'static str, expected: &'static str, run: fn(Target, i64, Duration) -> Script) -> Fault {
    Fault::new(name, Act::Script(run), expected)
}

async fn trickle_request(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = Client::connect(target.address).await?;
    client.trickle(&target.request(&id.to_string()).bytes(), DRIP).await;
    Ok(Listener::new(id, patience).hear_response(&mut client).await)
}

async fn fall_silent(target: Target, id: i64, patience: Duration, start: &[u8]) -> io::Result<Answer> {
    let listener = Listener::new(id, patience);
    let mut client = Client::connect(target.address).await?;
    client.send(start);
    Ok(listener.hear_response(&mut client).await)
}

/// Sends a request for a path that does not exist, with these bytes behind it, and notes the status of the response.
async fn ask(client: &mut Client, target: &Target, listener: &mut Listener, rest: &[u8]) {
    let request = target.request("1").path("/nowhere").without("Upgrade").without("Connection").rest(rest);
    client.send(&request.bytes());
    let response = timeout(listener.patience, async {
        let response = client.response().await.ok().flatten()?;
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        client.exactly(length.unwrap_or(0)).await.ok()?;
        Some(response)
    });
    let status = response.await.ok().flatten().map(|response| response.status.to_string());
    listener.note(status.unwrap_or("no response".into()));
}

async fn fall_silent_after_a_response(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut listener = Listener::new(id, patience);
    let mut client = Client::connect(target.address).await?;
    ask(&mut client, &target, &mut listener, b"").await;
    Ok(listener.hear_response(&mut client).await)
}

async fn upgrade_later(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut listener = Listener::new(id, patience);
    let mut client = Client::connect(target.address).await?;
    let opening = target.request(&id.to_string()).bytes();
    ask(&mut client, &target, &mut listener, &opening).await;
    Ok(listener.hear_response(&mut client).await)
}

async fn reset_before_101(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = Client::connect(target.address).await?;
    client.send(&target.request(&id.to_string()).bytes());
    client.flush().await;
    client.reset();
    Ok(no_answer(id, patience))
}

fn no_answer(id: i64, patience: Duration) -> Answer {
    let mut listener = Listener::new(id, patience);
    listener.note(NO_ANSWER);
    listener.answer()
}

async fn end_before_101(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = Client::connect(target.address).await?;
    client.send(&target.request(&id.to_string()).bytes());
    client.finish().await;
    Ok(Listener::new(id, patience).hear_response(&mut client).await)
}

async fn trickle_frames(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = target.join(id).await?;
    client.trickle(&text("drop by drop"), DRIP).await;
    client.send(&probe());
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

async fn end_after(target: Target, id: i64, patience: Duration, frames: Vec<u8>) -> io::Result<Answer> {
    let mut client = target.join(id).await?;
    client.send(&frames);
    client.finish().await;
    Ok(Listener::new(id, patience).closing().hear_frames(&mut client).await)
}

async fn reset_after(target: Target, id: i64, frames: Vec<u8>) -> io::Result<Answer> {
    let mut client = target.join(id).await?;
    client.send(&frames);
    client.flush().await;
    client.reset();
    Ok(no_answer(id, target.patience))
}

async fn ignore_close(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = target.join(id).await?;
    client.send(&from_client(FIN | BINARY, b"x"));
    Ok(Listener::new(id, patience).closing().hear_frames(&mut client).await)
}

async fn leave_pongs(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let client = Client::connect_small(target.address).await?;
    let mut client = target.open(client, id).await?;
    client.send(&from_client(FIN | PING, &[b'p'; 125]).repeat(100_000));
    client.send(&probe());
    // The rest is sent while the Pongs are read.
    let _ = timeout(LATE, client.flush()).await;
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

/// Sends more than a client that doesn't read may fall behind, and reads its own messages meanwhile.
async fn flood(target: &Target) -> io::Result<()> {
    let mut talker = target.join(target.id()).await?;
    let message = text(&"x".repeat(FLOOD_MESSAGE));
    for _ in 0..(target.max_backlog + KERNEL_BUFFERS) / FLOOD_MESSAGE {
        talker.send(&message);
        // If one slow client blocks the server, this doesn't come back in time.
        let echoed = timeout(target.patience, async {
            while talker.frame().await.is_ok_and(|frame| frame.payload.len() < FLOOD_MESSAGE) {}
        });
        if echoed.await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn read_late(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let client = Client::connect_small(target.address).await?;
    let mut client = target.open(client, id).await?;
    flood(&target).await?;
    client.send(&probe());
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

async fn flood_unread(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let client = Client::connect_small(target.address).await?;
    let mut client = target.open(client, id).await?;
    let messages = (target.max_backlog + KERNEL_BUFFERS) / FLOOD_MESSAGE;
    client.send(&text(&"x".repeat(FLOOD_MESSAGE)).repeat(messages));
    // A server that waits for the client to read stops reading.
    let _ = timeout(FLOOD_SENT, client.flush()).await;
    client.send(&probe());
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

/// How long a flood lasts.
const FLOOD_TIME: Duration = Duration::from_secs(5);

/// What a slow reader takes, in bytes per second: a little more than this server's default `--pace`.
const SLOW: u64 = (1 << 20) * 12 / 10;

async fn flood_and_read(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut listener = Listener::new(id, patience);
    let mut flooder = Flooder::start(&target, 100).await?;
    sleep(FLOOD_TIME).await;
    listener.note(if flooder.is_over() { "cut off" } else { "kept" });
    Ok(listener.answer())
}

async fn read_slowly_beside_floods(
    target: Target,
    id: i64,
    patience: Duration,
    count: usize,
    length: usize,
) -> io::Result<Answer> {
    let mut listener = Listener::new(id, patience);
    let mut client = target.join(id).await?;
    let mut flooders = Vec::new();
    for _ in 0..count {
        flooders.push(Flooder::start(&target, length).await?);
    }
    let end = read_slowly(&mut client, SLOW, FLOOD_TIME).await;
    listener.note(end.unwrap_or("kept".into()));
    Ok(listener.answer())
}

async fn crowd(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut clients = Vec::new();
    for _ in 0..target.crowd {
        let client = Client::connect(target.address).await?;
        clients.push(target.open(client, target.id()).await?);
    }
    let mut listener = Listener::new(id, patience);
    flood(&target).await?;
    let mut ends = JoinSet::new();
    for mut client in clients {
        ends.spawn(async move { timeout(patience + CLOSE_DEADLINE, client.end()).await.is_ok() });
    }
    let cut_off = ends.join_all().await.into_iter().filter(|ended| *ended).count();
    listener.note(match target.crowd - cut_off {
        0 => "all are cut off".into(),
        left => format!("{left} of {} are kept", target.crowd),
    });
    Ok(listener.answer())
}

async fn ignore_ping(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut listener = Listener::new(id, patience);
    let mut client = target.join(id).await?;
    let end = listener.begun + patience;
    loop {
        match timeout_at(end, client.frame()).await {
            Ok(Ok(frame)) if frame.is(PING) => listener.note("Ping"),
            Ok(Ok(frame)) if frame.is(CLOSE) => listener.note("Close"),
            Ok(Ok(_)) => {}
            Ok(Err(ended)) => break listener.note(ended.to_string()),
            Err(_) => break listener.note("kept open"),
        }
    }
    Ok(listener.answer())
}

async fn leave_unfinished(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let mut client = target.join(id).await?;
    client.send(&from_client(TEXT, b"x"));
    Ok(Listener::new(id, patience).hear_frames(&mut client).await)
}

/// The answer is that to the oldest message.
async fn leave_many_unfinished(target: Target, id: i64, patience: Duration) -> io::Result<Answer> {
    let fragment = from_client(TEXT, &[b'x'; FLOOD_MESSAGE]);
    let mut oldest = target.join(id).await?;
    oldest.send(&fragment);
    oldest.flush().await;
    // All of them answer Pings, which they may between two fragments, so that none is dropped for its silence.
    let hear =
        |mut client: Client, id| async move { Listener::new(id, FLOOD_SENT + patience).hear_frames(&mut client).await };
    let answer = tokio::spawn(hear(oldest, id));
    let mut others = JoinSet::new();
    for id in (1..HALF_SENT).map(|_| target.id()) {
        let mut client = target.join(id).await?;
        client.send(&fragment);
        others.spawn(hear(client, id));
    }
    answer.await.map_err(io::Error::other)
}
