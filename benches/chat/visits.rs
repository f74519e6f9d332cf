//! Without a room: visits, which end after the opening handshake, one client at a time; and requests of the page.

use std::collections::VecDeque;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::SockRef;
use test_client::frame::{self, CLOSE, FIN};
use test_client::server::PAGE;

use crate::client::{self, Client, DEADLINE, Request};
use crate::figures::{Meter, Run};
use crate::process::Process;
use crate::transcript::histogram;

/// Beyond this, a run would reuse ports.
const MAX_VISITS: u64 = 20_000;

/// Connections that request the page. Each has one request on its way.
const CONNECTIONS: usize = 16;

/// How a client ends its visit.
#[derive(Clone, Copy)]
pub enum End {
    /// With the closing handshake. The server closes TCP first, as RFC 6455 7.1.1 requires, so sockets in TIME_WAIT are
    /// on its side and the load does not run out of ports.
    Close,
    /// With a TCP reset.
    Reset,
}

pub fn visit(end: End, server: &Process, time: Duration) -> Result<Run> {
    let once = || {
        let began = Instant::now();
        let mut client = client::join(server.port, 1, false)?;
        match end {
            End::Reset => SockRef::from(client.get_ref()).set_linger(Some(Duration::ZERO))?,
            End::Close => close(&mut client)?,
        }
        drop(client);
        Ok(began.elapsed())
    };
    repeat(once, MAX_VISITS, ["visits/s", "CPU/visit"], server, time)
}

fn close(client: &mut Client) -> Result<()> {
    client::send(client, &frame::close(1000, ""))?;
    let mut rest = Vec::new();
    let ended = client.read_to_end(&mut rest);
    let expected = || format!("expected a Close frame and the end of the stream in {DEADLINE:?}, got {rest:02x?}");
    ended.with_context(expected)?;
    ensure!(rest.first() == Some(&(FIN | CLOSE)), expected());
    Ok(())
}

/// Takes the connections in turn, and reads the oldest response first: the server always has the other requests.
pub fn request_page(server: &Process, time: Duration) -> Result<Run> {
    let request = Request::Page.bytes(server.port);
    // Returns the client and the time of its request.
    let ask = |client: Client| {
        let asked = Instant::now();
        client::send(&client, &request)?;
        Ok((client, asked))
    };
    let connect = || ask(client::connect(server.port, false)?);
    let mut connections = (0..CONNECTIONS).map(|_| connect()).collect::<Result<VecDeque<_>>>()?;
    let once = || {
        let (mut client, asked) = connections.pop_front().expect("each that is taken is put back");
        let is_last = receive_page(&mut client)?;
        let took = asked.elapsed();
        connections.push_back(if is_last { connect()? } else { ask(client)? });
        Ok(took)
    };
    repeat(once, u64::MAX, ["requests/s", "CPU/request"], server, time)
}

/// Reads the response, which must be the page. Returns whether the server will close the connection after it.
fn receive_page(client: &mut Client) -> Result<bool> {
    let response = client::read_head(client, Request::Page)?;
    let mut body = [0; PAGE.len()];
    client.read_exact(&mut body).context("the page is incomplete")?;
    ensure!(body == PAGE.as_bytes(), "expected the page's bytes, got others");
    Ok(response.has_token("connection", "close"))
}

/// Does something again and again, which returns how long it took: a fifth of the time as warm-up, then the whole.
fn repeat(
    mut once: impl FnMut() -> Result<Duration>,
    most: u64,
    heads: [&'static str; 2],
    server: &Process,
    time: Duration,
) -> Result<Run> {
    let start = Instant::now();
    while start.elapsed() < time / 5 {
        once()?;
    }
    let mut latencies = histogram();
    let meter = Meter::start(server);
    while meter.started.elapsed() < time && latencies.len() < most {
        latencies.saturating_record(once()?.as_nanos() as u64);
    }
    Ok(meter.stop(heads, latencies.len(), &latencies))
}
