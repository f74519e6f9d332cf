//! Connections, up to the head of the first response.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use socket2::SockRef;
use test_client::client::Client;
use test_client::request::{ACCEPT, Request, Response};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// The longest wait for an answer. Some servers send a Ping 20 s after the 101, which the clients here do not expect.
pub const DEADLINE: Duration = Duration::from_secs(18);

/// Clients that connect at the same time: fewer than any server's listen backlog.
pub const AT_ONCE: usize = 100;

/// Over loopback, with segments of 64 KiB, the kernel buffers 2.6 MB for a peer that does not read. These two limits
/// reduce that to about 100 KB, so unread messages queue in the server soon and don't fill the kernel's memory.
#[cfg(unix)]
const STUCK_SEGMENT_BYTES: u32 = 1460;
const STUCK_RECEIVE_BYTES: u32 = 16 * 1024;

/// The address of a server, which listens on loopback alone.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A request that asks for no upgrade.
pub fn get(port: u16, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", address(port)).into()
}

/// Reads the head of a response, and checks it.
pub async fn head(client: &mut Client, expected: &str, is_expected: impl Fn(&Response) -> bool) -> Result<Response> {
    let head =
        timeout(DEADLINE, client.head()).await.with_context(|| format!("expected {expected} in {DEADLINE:?}"))?;
    let head = head.map_err(|ended| anyhow!("expected {expected}, got {ended}"))?;
    let response = Response::parse(&head).filter(is_expected);
    response.with_context(|| format!("expected {expected}, got \"{}\"", head.escape_ascii()))
}

/// Connects a client of the chat, and waits for its 101.
pub async fn join(port: u16, id: usize) -> Result<Client> {
    upgrade(TcpSocket::new_v4()?, port, id).await
}

/// Connects a client that is not to read, so its buffers should be small.
pub async fn join_stuck(port: u16, id: usize) -> Result<Client> {
    let socket = TcpSocket::new_v4()?;
    #[cfg(unix)]
    SockRef::from(&socket).set_tcp_mss(STUCK_SEGMENT_BYTES)?;
    socket.set_recv_buffer_size(STUCK_RECEIVE_BYTES)?;
    upgrade(socket, port, id).await
}

async fn upgrade(socket: TcpSocket, port: u16, id: usize) -> Result<Client> {
    let mut client = Client::over(socket.connect(address(port)).await.context("connecting")?);
    client.send(&Request::opening(&address(port).to_string(), &format!("/ws/{id}")).bytes());
    let is_accepted =
        |response: &Response| response.status == 101 && response.header("sec-websocket-accept") == Some(ACCEPT);
    head(&mut client, "101 with the accept value", is_accepted).await.with_context(|| format!("client {id}"))?;
    Ok(client)
}

/// Connects clients before anyone sends a message.
pub async fn join_all(port: u16, mut ids: Range<usize>) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(ids.len());
    while !ids.is_empty() {
        let joining: Vec<_> = ids.by_ref().take(AT_ONCE).map(|id| tokio::spawn(join(port, id))).collect();
        for joined in joining {
            let client = joined.await??;
            ensure!(client.unread().is_empty(), "expected nothing after the 101, got {:?}", client.unread());
            clients.push(client);
        }
    }
    Ok(clients)
}

/// Connects a viewer of `/lifecycle`, and waits for the head of the response.
pub async fn view(port: u16) -> Result<Client> {
    let mut client = Client::connect(address(port)).await.context("connecting")?;
    client.send(&get(port, "/lifecycle"));
    let is_stream = |response: &Response| {
        let kind = response.header("content-type").unwrap_or_default();
        response.status == 200 && kind.starts_with("text/event-stream")
    };
    head(&mut client, "200 with an event stream", is_stream).await?;
    Ok(client)
}
