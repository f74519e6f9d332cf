//! A misbehaving client: it connects again and again, and misbehaves in a random way each time.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use test_client::client::Client;
use test_client::faults::{Fault, all};
use test_client::flood::Flooder;
use test_client::frame::{FIN, PING, TEXT, client_header, close, from_client, text};
use test_client::target::Target;
use tokio::time::{Instant, sleep, timeout};

/// The ways to misbehave, with their names in the report.
const WAYS: [(&str, Way); 8] = [
    ("chatted and closed", Way::Chat),
    ("died with a reset", Way::Reset),
    ("ended without a Close", Way::End),
    ("stalled for up to 8 s", Way::Stall),
    ("sent 2 MiB of messages and read nothing", Way::Burst),
    ("flooded for up to 3 s", Way::Flood),
    ("flooded with Pings", Way::Pings),
    ("caused a fault of chaos", Way::Fault),
];

#[derive(Clone, Copy, Debug)]
enum Way {
    Chat,
    Reset,
    End,
    Stall,
    Burst,
    Flood,
    Pings,
    Fault,
}

/// Number of clients that misbehaved in each way.
#[derive(Debug, Default)]
pub struct Counts {
    counts: [AtomicU64; WAYS.len()],
    wrong: AtomicU64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} misbehaving clients", self.total())?;
        for ((name, _), count) in WAYS.iter().zip(&self.counts) {
            write!(f, ", {} {name}", count.load(Ordering::Relaxed))?;
        }
        write!(f, "; {} faults got an unexpected answer", self.wrong.load(Ordering::Relaxed))
    }
}

/// One client after the other.
pub struct Unruly {
    target: Target,
    counts: Arc<Counts>,
    faults: Vec<Fault>,
    random: Random,
}

impl Unruly {
    pub fn new(target: &Target, counts: &Arc<Counts>, seed: u64, number: u64) -> Self {
        let faults = all().into_iter().filter(|fault| !fault.floods && fault.time(target).is_zero());
        let random = Random(seed.wrapping_mul(1 << 32).wrapping_add(number));
        Self { target: target.clone(), counts: Arc::clone(counts), faults: faults.collect(), random }
    }

    /// Connects and misbehaves until `end`.
    pub async fn run(mut self, end: Instant) {
        while Instant::now() < end {
            let which = self.random.below(WAYS.len());
            if let Err(error) = self.misbehave(WAYS[which].1).await {
                eprintln!("soak: {}: {error}", WAYS[which].0);
            }
            self.counts.counts[which].fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(self.random.below(1000) as u64)).await;
        }
    }

    async fn misbehave(&mut self, way: Way) -> io::Result<()> {
        if let Way::Fault = way {
            return self.fault().await;
        }
        if let Way::Flood = way {
            return self.flood().await;
        }
        let mut client = self.target.join(self.target.id()).await?;
        match way {
            Way::Chat => self.chat(client).await,
            Way::Reset => {
                client.send(&self.last_words());
                client.flush().await;
                client.reset();
            }
            Way::End => {
                client.send(&self.last_words());
                client.finish().await;
            }
            Way::Stall => sleep(Duration::from_millis(self.random.below(8000) as u64)).await,
            Way::Burst => self.burst(client).await,
            Way::Pings => {
                let pings = 100 + self.random.below(5000);
                client.send(&from_client(FIN | PING, &[b'p'; 125]).repeat(pings));
                let _ = timeout(Duration::from_secs(1), client.flush()).await;
            }
            Way::Fault | Way::Flood => {}
        }
        Ok(())
    }

    async fn fault(&mut self) -> io::Result<()> {
        let fault = self.faults[self.random.below(self.faults.len())].clone();
        let answer = fault.act(&self.target).await?;
        if !fault.expects(&answer, &self.target) {
            eprintln!("soak: {}: {answer}", fault.name);
            self.counts.wrong.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What a client may have sent when it dies.
    fn last_words(&mut self) -> Vec<u8> {
        match self.random.below(4) {
            0 => Vec::new(),
            1 => text("last words"),
            2 => client_header(FIN | TEXT, 60_000),
            _ => from_client(TEXT, &vec![b'x'; self.random.below(60_000)]),
        }
    }

    async fn chat(&mut self, mut client: Client) {
        for _ in 0..self.random.below(20) {
            let length = self.random.below(200);
            client.send(&text(&"x".repeat(length)));
            let pause = Duration::from_millis(self.random.below(200) as u64);
            // Reads whatever arrives meanwhile.
            let _ = timeout(pause, async { while client.frame().await.is_ok() {} }).await;
        }
        client.send(&close(1000, b""));
        let _ = timeout(self.target.patience, client.end()).await;
    }

    /// Says as much as it can, and reads everything.
    async fn flood(&mut self) -> io::Result<()> {
        let _flooder = Flooder::start(&self.target, 1 + self.random.below(50_000)).await?;
        sleep(Duration::from_millis(self.random.below(3000) as u64)).await;
        Ok(())
    }

    /// Sends up to 2 MiB at once, in up to 2,000 messages, and reads nothing.
    async fn burst(&mut self, mut client: Client) {
        let message = text(&"x".repeat(1 + self.random.below(50_000)));
        let messages = 1 + self.random.below(((2 << 20) / message.len()).min(2_000));
        client.send(&message.repeat(messages));
        let _ = timeout(Duration::from_secs(1), client.flush()).await;
        sleep(Duration::from_millis(self.random.below(500) as u64)).await;
    }
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}
