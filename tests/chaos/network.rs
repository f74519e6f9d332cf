//! What the network can do to a connection: cut it, reset it, stall it in one direction or both, slow it to a trickle. A
//! small proxy in the test plays the network.

use crate::SWITCHBOARD;
use crate::files_closed;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use test_client::client::Client;
use test_client::frame::{FIN, TEXT, from_client, text};
use test_client::neighbours::Neighbours;
use test_client::target::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// The state of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Up,
    /// A byte at a time.
    Trickle,
    /// Nothing more reaches the server; neither side notices.
    StalledUp,
    /// Nothing more reaches the client; neither side notices.
    StalledDown,
    /// Nothing more reaches either side: both are half-open.
    Stalled,
    /// Both sides see the end of the stream.
    Cut,
    /// Both sides see a reset.
    Reset,
}

impl Condition {
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

/// The network between a server and its clients. Dropping it cuts every connection.
struct Network {
    address: SocketAddr,
    condition: watch::Sender<Condition>,
}

impl Network {
    async fn before(server: SocketAddr, condition: Condition) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let condition = watch::Sender::new(condition);
        let changes = condition.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(forward(client, server, changes.clone()));
            }
        });
        Self { address, condition }
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, condition: watch::Receiver<Condition>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut changes = condition.clone();
    let ((client_reads, client_writes), (server_reads, server_writes)) = (client.split(), server.split());
    tokio::select! {
        _ = pass(client_reads, server_writes, condition.clone(), Condition::stalls_up) => {}
        _ = pass(server_reads, client_writes, condition.clone(), Condition::stalls_down) => {}
        _ = changes.wait_for(|condition| condition.ends()) => {}
    }
    if *condition.borrow() == Condition::Reset {
        client.set_zero_linger().unwrap();
        server.set_zero_linger().unwrap();
    }
}

/// Forwards one direction, to the end of its stream.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut condition: watch::Receiver<Condition>,
    stalls: fn(Condition) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let size = if *condition.borrow() == Condition::Trickle { 1 } else { buffer.len() };
        let length = from.read(&mut buffer[..size]).await?;
        condition.wait_for(|condition| !stalls(*condition)).await.map_err(io::Error::other)?;
        match length {
            0 => return to.shutdown().await,
            length => to.write_all(&buffer[..length]).await?,
        }
    }
}

/// The state of a client when the network changes.
#[derive(Clone, Copy, Debug)]
enum State {
    HalfARequest,
    Idle,
    InsideAFrame,
    BetweenFragments,
    Chatting,
}

const STATES: [State; 5] =
    [State::HalfARequest, State::Idle, State::InsideAFrame, State::BetweenFragments, State::Chatting];

impl State {
    async fn reach(self, target: &Target) -> Client {
        if let Self::HalfARequest = self {
            let mut client = Client::connect(target.address).await.unwrap();
            client.send(b"GET /ws/1 HTTP/1.1\r\nHost: localhost\r\nUpgr");
            client.flush().await;
            return client;
        }
        let mut client = target.join(target.id()).await.unwrap();
        client.send(&match self {
            Self::HalfARequest | Self::Idle => Vec::new(),
            Self::InsideAFrame => from_client(FIN | TEXT, &[b'x'; 65_536])[..60_000].to_vec(),
            Self::BetweenFragments => from_client(TEXT, &[b'x'; 60_000]),
            Self::Chatting => text("hello").repeat(100),
        });
        client.flush().await;
        client
    }
}

/// Clients in each state.
const EACH: usize = 5;

/// Three times, clients connect, the network changes, and the server drops all of them in time. It releases what they held:
/// files, places, memory.
async fn all_leave(condition: Condition, within: Duration) {
    // A stalled request takes 10 s to time out; the list of faults covers it.
    let states = STATES.into_iter().filter(|state| condition.ends() || !matches!(state, State::HalfARequest));
    let states: Vec<_> = states.collect();
    let places = (states.len() * EACH + 2).to_string();
    let program = SWITCHBOARD.start(&["--ping-interval", "1", "--max-connections", &places]);
    let target = program.target();
    let neighbours = Neighbours::start(&target).await.unwrap();
    let files = program.open_files();
    let mut resident = Vec::new();
    for _ in 0..3 {
        let network = Network::before(program.address, Condition::Up).await;
        let beyond = Target { address: network.address, ..target.clone() };
        let mut clients = Vec::new();
        for state in states.iter().cycle().take(states.len() * EACH) {
            clients.push(state.reach(&beyond).await);
        }
        // Every place is taken.
        assert!(target.join(target.id()).await.unwrap_err().to_string().contains("503"));

        let begun = tokio::time::Instant::now();
        network.condition.send_replace(condition);
        files_closed(&program, files).await;
        let took = begun.elapsed();
        assert!(took < within, "{condition:?}: the clients left after {took:?}");
        resident.push(program.resident());
    }
    let losses = neighbours.finish().await;
    assert!(losses.unharmed(), "the neighbours lost something: {losses}");
    // The first round also allocates what is allocated once.
    let [first, .., last] = resident[..] else { unreachable!() };
    assert!(last < first + (1 << 20), "resident memory after each: {resident:?}");
}

#[tokio::test]
async fn cut_connections_end_at_once() {
    all_leave(Condition::Cut, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn reset_connections_end_at_once() {
    all_leave(Condition::Reset, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn half_open_connections_end_after_two_ping_intervals() {
    tokio::join!(
        all_leave(Condition::Stalled, Duration::from_secs(5)),
        all_leave(Condition::StalledUp, Duration::from_secs(5)),
        all_leave(Condition::StalledDown, Duration::from_secs(5)),
    );
}

#[tokio::test]
async fn trickling_connection_loses_nothing() {
    let program = SWITCHBOARD.start(&[]);
    let target = program.target();
    let network = Network::before(program.address, Condition::Trickle).await;
    let beyond = Target { address: network.address, ..target.clone() };
    let direct = Neighbours::start(&target).await.unwrap();
    let trickling = Neighbours::start(&beyond).await.unwrap();
    // A few more messages than the neighbours send anyway.
    sleep(Duration::from_millis(200)).await;
    let (trickling, direct) = tokio::join!(trickling.finish(), direct.finish());
    assert!(trickling.unharmed(), "{trickling}");
    assert!(direct.none(), "{direct}");
}
