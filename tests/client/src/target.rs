//! The server under test, and what is known about it.

use crate::client::Client;
use crate::request::Request;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// The value of `Host`.
    pub host: String,
    /// The path of the chat; `{id}` is replaced with the client id.
    pub path: String,
    /// Time limit for anything that should come at once.
    pub patience: Duration,
    pub ping_interval: Duration,
    /// The backlog that gets a slow client cut off, in bytes.
    pub max_backlog: usize,
    /// Number of clients in a crowd that doesn't read.
    pub crowd: usize,
    /// The last client id handed out.
    pub ids: Arc<AtomicI64>,
}

impl Target {
    /// Returns a client id that no other client has.
    pub fn id(&self) -> i64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A client's valid opening handshake.
    pub fn request(&self, client_id: &str) -> Request {
        Request::opening(&self.host, &self.path.replace("{id}", client_id))
    }

    /// Connects a client, and waits for its 101.
    pub async fn join(&self, id: i64) -> io::Result<Client> {
        self.open(Client::connect(self.address).await?, id).await
    }

    /// Does the opening handshake over an existing connection.
    pub async fn open(&self, mut client: Client, id: i64) -> io::Result<Client> {
        client.send(&self.request(&id.to_string()).bytes());
        let response = tokio::time::timeout(self.patience, client.response()).await;
        match response {
            Ok(Ok(Some(response))) if response.status == 101 => Ok(client),
            other => Err(io::Error::other(format!("no 101: {other:?}"))),
        }
    }
}
