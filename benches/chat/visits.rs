//! Without a room: visits, which end after the opening handshake, one client at a time; and requests of the page.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use test_client::client::{Client, Ended};
use test_client::frame::{self, CLOSE, FIN};
use test_client::request::Response;
use test_client::server::PAGE;
use tokio::time::timeout;

use crate::connect::{self, DEADLINE};
use crate::figures::{Meter, REQUEST, Run, Unit, VISIT};
use crate::process::Process;
use crate::transcript::histogram;

/// Beyond this, a run would reuse ports.
const MAX_VISITS: u64 = 20_000;

/// Connections that request the page. Each has one request on its way.
const CONNECTIONS: usize = 16;

/// How a client ends its visit.
#[derive(Clone, Copy)]
pub enum End {
    /// With the closing handshake. The server closes TCP first, as RFC 6455 7.1.1 requires, so sockets in TIME_WAIT are on its
    /// side and the load does not run out of ports.
    Close,
    /// With a TCP reset.
    Reset,
}

pub async fn visit(end: End, server: &Process, time: Duration) -> Result<Run> {
    let once = async || {
        let began = Instant::now();
        visit_once(server.port, end).await?;
        Ok(began.elapsed())
    };
    repeat(once, MAX_VISITS, VISIT, server, time).await
}

async fn visit_once(port: u16, end: End) -> Result<()> {
    let mut client = connect::join(port, 1).await?;
    match end {
        End::Reset => client.reset(),
        End::Close => {
            client.send(&frame::close(1000, ""));
            let ended = timeout(DEADLINE, client.read_to_end()).await.context("the server does not close TCP")?;
            let rest = client.unread();
            ensure!(
                ended == Ended::InOrder && rest.first() == Some(&(FIN | CLOSE)),
                "expected a Close frame and the end of the stream, got {rest:02x?} and {ended}"
            );
        }
    }
    Ok(())
}

/// Takes the connections in turn, and reads the oldest response first, so that the server always has the other requests.
pub async fn request_page(server: &Process, time: Duration) -> Result<Run> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(server.port).await?);
    }
    let mut turns = (0..CONNECTIONS).cycle();
    let once = async || {
        let connection = &mut connections[turns.next().expect("there is no end")];
        let is_last = connection.receive_page().await?;
        let took = connection.asked.elapsed();
        if is_last {
            *connection = Connection::open(server.port).await?;
        } else {
            connection.ask(server.port).await;
        }
        Ok(took)
    };
    repeat(once, u64::MAX, REQUEST, server, time).await
}

struct Connection {
    client: Client,
    asked: Instant,
}

impl Connection {
    /// Opens TCP and sends the first request.
    async fn open(port: u16) -> Result<Connection> {
        let client = Client::connect(connect::address(port)).await.context("connecting")?;
        let mut connection = Connection { client, asked: Instant::now() };
        connection.ask(port).await;
        Ok(connection)
    }

    async fn ask(&mut self, port: u16) {
        self.asked = Instant::now();
        self.client.send(&connect::get(port, "/"));
        self.client.flush().await;
    }

    /// Reads the response, which must be the page. Returns whether it is the last one: a server may close the connection after
    /// any number of requests.
    async fn receive_page(&mut self) -> Result<bool> {
        let response = connect::head(&mut self.client, "200 with the page's length", is_page).await?;
        let body = timeout(DEADLINE, self.client.exactly(PAGE.len())).await.context("the page is incomplete")?;
        let body = body.map_err(|ended| anyhow!("expected the page's bytes, got {ended}"))?;
        ensure!(body == PAGE.as_bytes(), "expected the page's bytes, got others");
        Ok(response.has_token("connection", "close"))
    }
}

fn is_page(response: &Response) -> bool {
    response.status == 200 && response.header("content-length") == Some(&PAGE.len().to_string())
}

/// Does something again and again, which returns how long it took: first a fifth of the time as warm-up, then the measured time.
async fn repeat(
    mut once: impl AsyncFnMut() -> Result<Duration>,
    most: u64,
    unit: Unit,
    server: &Process,
    time: Duration,
) -> Result<Run> {
    let start = Instant::now();
    while start.elapsed() < time / 5 {
        once().await?;
    }
    let mut latencies = histogram();
    let meter = Meter::start(server);
    while meter.started.elapsed() < time && latencies.len() < most {
        latencies.saturating_record(once().await?.as_nanos() as u64);
    }
    Ok(meter.stop(unit, latencies.len(), &latencies))
}
