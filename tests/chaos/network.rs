//! What the network can do to a connection: cut it, reset it, stall it in one direction or both, let it trickle. A small
//! proxy in the test is the network.

use crate::faults::client::Client;
use crate::faults::frame::{FIN, TEXT, claim, frame, text};
use crate::faults::neighbours::Neighbours;
use crate::faults::stage::Stage;
use crate::program::Program;
use crate::server::{files_closed, program_stage};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What the network does with what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    /// A byte at a time.
    Trickle,
    /// Nothing gets through to the server any more, and nobody is told.
    StalledUp,
    /// Nothing gets through to the client any more, and nobody is told.
    StalledDown,
    /// Nothing gets through at all: half-open, seen from either side.
    Stalled,
    /// Both sides see the end of the stream.
    Cut,
    /// Both sides see a reset.
    Reset,
}

impl Weather {
    fn stalls_up(self) -> bool {
        matches!(self, Self::Stalled | Self::StalledUp)
    }

    fn stalls_down(self) -> bool {
        matches!(self, Self::Stalled | Self::StalledDown)
    }

    fn ends(self) -> bool {
        matches!(self, Self::Cut | Self::Reset)
    }
}

/// The network between a server and its clients. Dropping it cuts what is left.
struct Network {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Network {
    async fn before(server: SocketAddr, weather: Weather) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let weather = watch::Sender::new(weather);
        let forecast = weather.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(client, server, forecast.clone()));
            }
        });
        Self { address, weather }
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, weather: watch::Receiver<Weather>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut forecast = weather.clone();
    let ((client_reads, client_writes), (server_reads, server_writes)) = (client.split(), server.split());
    tokio::select! {
        _ = pass(client_reads, server_writes, weather.clone(), Weather::stalls_up) => {}
        _ = pass(server_reads, client_writes, weather.clone(), Weather::stalls_down) => {}
        _ = forecast.wait_for(|weather| weather.ends()) => {}
    }
    if *weather.borrow() == Weather::Reset {
        client.set_zero_linger().unwrap();
        server.set_zero_linger().unwrap();
    }
}

/// Carries one direction, to the end of its stream.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut weather: watch::Receiver<Weather>,
    stalls: fn(Weather) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let size = if *weather.borrow() == Weather::Trickle { 1 } else { buffer.len() };
        let length = from.read(&mut buffer[..size]).await?;
        weather.wait_for(|weather| !stalls(*weather)).await.map_err(io::Error::other)?;
        match length {
            0 => return to.shutdown().await,
            length => to.write_all(&buffer[..length]).await?,
        }
    }
}

/// How far a client has come when the weather changes.
#[derive(Clone, Copy, Debug)]
enum Standing {
    HalfARequest,
    Idle,
    InsideAFrame,
    BetweenFragments,
    Chatting,
}

const STANDINGS: [Standing; 5] =
    [Standing::HalfARequest, Standing::Idle, Standing::InsideAFrame, Standing::BetweenFragments, Standing::Chatting];

impl Standing {
    async fn reach(self, stage: &Stage) -> Client {
        if let Self::HalfARequest = self {
            let mut client = Client::connect(stage.address).await.unwrap();
            client.send(b"GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nUpgr");
            client.flush().await;
            return client;
        }
        let mut client = stage.join(stage.id()).await.unwrap();
        client.send(&match self {
            Self::HalfARequest | Self::Idle => Vec::new(),
            Self::InsideAFrame => [claim(FIN | TEXT, 65_536), vec![0; 60_000]].concat(),
            Self::BetweenFragments => frame(TEXT, &[b'x'; 60_000]),
            Self::Chatting => text("hello").repeat(100),
        });
        client.flush().await;
        client
    }
}

/// How many clients stand in each standing.
const EACH: usize = 5;

/// Three times over, clients come, the weather changes, and all of them leave in their time. What they held is given
/// back: files, places, memory.
async fn all_leave(weather: Weather, within: Duration) {
    // A request that stalls takes its 10 s; the list of faults has that.
    let standings =
        STANDINGS.into_iter().filter(|standing| weather.ends() || !matches!(standing, Standing::HalfARequest));
    let standings: Vec<_> = standings.collect();
    let places = (standings.len() * EACH + 2).to_string();
    let program = Program::start(&["--ping-interval", "1", "--max-connections", &places]);
    let stage = program_stage(&program);
    let neighbours = Neighbours::start(&stage).await.unwrap();
    let files = program.open_files();
    let mut resident = Vec::new();
    for _ in 0..3 {
        let network = Network::before(program.address, Weather::Fair).await;
        let beyond = Stage { address: network.address, ..stage.clone() };
        let mut clients = Vec::new();
        for standing in standings.iter().cycle().take(standings.len() * EACH) {
            clients.push(standing.reach(&beyond).await);
        }
        // Every place is taken.
        assert!(stage.join(stage.id()).await.unwrap_err().to_string().contains("503"));

        let begun = tokio::time::Instant::now();
        network.weather.send_replace(weather);
        files_closed(&program, files).await;
        let took = begun.elapsed();
        assert!(took < within, "{weather:?}: they took {took:?} to leave");
        resident.push(program.resident());
    }
    let losses = neighbours.finish().await;
    assert!(losses.unharmed(), "the neighbours lost something: {losses}");
    // The first time is for what is allocated once.
    let [first, .., last] = resident[..] else { unreachable!() };
    assert!(last < first + (1 << 20), "resident memory after each: {resident:?}");
}

#[tokio::test]
async fn clients_that_are_cut_off_leave_at_once() {
    all_leave(Weather::Cut, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn clients_that_are_reset_leave_at_once() {
    all_leave(Weather::Reset, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn clients_that_are_half_open_leave_after_two_ping_intervals() {
    tokio::join!(
        all_leave(Weather::Stalled, Duration::from_secs(5)),
        all_leave(Weather::StalledUp, Duration::from_secs(5)),
        all_leave(Weather::StalledDown, Duration::from_secs(5)),
    );
}

#[tokio::test]
async fn a_connection_that_trickles_loses_nothing() {
    let program = Program::start(&[]);
    let stage = program_stage(&program);
    let network = Network::before(program.address, Weather::Trickle).await;
    let beyond = Stage { address: network.address, ..stage.clone() };
    let direct = Neighbours::start(&stage).await.unwrap();
    let trickling = Neighbours::start(&beyond).await.unwrap();
    // Some messages more than the neighbours send in any case.
    sleep(Duration::from_millis(200)).await;
    let (trickling, direct) = tokio::join!(trickling.finish(), direct.finish());
    assert!(trickling.unharmed(), "{trickling}");
    assert!(direct.none(), "{direct}");
}
