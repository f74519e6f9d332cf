//! Visits: connect, opening handshake, closing handshake; one client at a time. The server closes TCP first, as RFC 6455
//! section 7.1.1 requires, so sockets in TIME_WAIT are on its side and the load does not run out of ports.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::connect;
use super::fault::Fault;
use super::frame::{self, FIN_AND_CLOSE};
use super::latency::Latencies;
use super::{Figures, Meter};
use crate::process::Process;

/// Beyond this, a run would reuse ports.
const MAX_VISITS: u64 = 20_000;

pub fn run(server: &Process, time: Duration) -> Result<Figures, Fault> {
    let close = frame::close();
    let mut latencies = Latencies::new();
    let warm_up = Instant::now() + time / 5;
    while Instant::now() < warm_up {
        visit(server.port(), 0, &close)?;
    }
    let meter = Meter::start(server);
    while meter.started.elapsed() < time && latencies.count() < MAX_VISITS {
        let began = Instant::now();
        visit(server.port(), latencies.count() as usize, &close)?;
        latencies.record(began.elapsed(), 1);
    }
    Ok(meter.stop(&latencies, false))
}

fn visit(port: u16, id: usize, close: &[u8]) -> Result<(), Fault> {
    let mut stream = connect::client(port, id)?;
    let mut echo = Vec::new();
    stream
        .write_all(close)
        .and_then(|()| stream.read_to_end(&mut echo))
        .map_err(|error| Fault::Io("closing", error))?;
    if echo.first() != Some(&FIN_AND_CLOSE) {
        return Err(Fault::Close { seen: echo });
    }
    Ok(())
}
