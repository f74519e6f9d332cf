//! Clients that say as much as the server takes, and readers of a given speed.

use crate::client::Client;
use crate::frame::{CLOSE, FIN, PING, PONG, from_client, text};
use crate::target::Target;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Least bytes per write.
const CHUNK: usize = 64 * 1024;

/// A client that says messages as fast as its socket takes them, and reads everything. It ends when it is dropped.
pub struct Flooder {
    /// One task speaks, one reads. Both end with the connection.
    tasks: JoinSet<()>,
}

impl Flooder {
    /// Starts a flood of messages of this length.
    ///
    /// # Errors
    /// The client can't connect, or gets no 101.
    pub async fn start(target: &Target, length: usize) -> io::Result<Self> {
        let (mut reader, mut writer) = target.join(target.id()).await?.into_socket().into_split();
        let message = text(&"x".repeat(length));
        let chunk = message.repeat(CHUNK.div_ceil(message.len()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while writer.write_all(&chunk).await.is_ok() {} });
        // Parsing what is read would slow down the flood.
        tasks.spawn(async move { drop(copy(&mut reader, &mut sink()).await) });
        Ok(Self { tasks })
    }

    /// Whether the server has ended the connection.
    pub fn is_over(&mut self) -> bool {
        self.tasks.try_join_next().is_some()
    }
}

/// Reads this many bytes per second for some time, and answers Pings. Returns what went wrong: how the connection ended, or that
/// it got less than half of that.
pub async fn read_slowly(client: &mut Client, bytes_per_second: u64, time: Duration) -> Option<String> {
    let start = Instant::now();
    let mut read = 0;
    loop {
        let due = start + Duration::from_nanos(read * 1_000_000_000 / bytes_per_second);
        sleep_until(due.min(start + time)).await;
        let frame = match timeout_at(start + time, client.frame()).await {
            Err(_) => {
                let least = bytes_per_second * time.as_secs() / 2;
                return (read < least).then(|| format!("kept, with {read} bytes"));
            }
            Ok(Err(ended)) => return Some(ended.to_string()),
            Ok(Ok(frame)) => frame,
        };
        read += frame.payload.len() as u64;
        match frame.close_code() {
            _ if frame.is(PING) => client.send(&from_client(FIN | PONG, &frame.payload)),
            code if frame.is(CLOSE) => return Some(format!("Close {}", code.unwrap_or(0))),
            _ => {}
        }
    }
}
