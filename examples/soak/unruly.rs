//! Bad company: a client that lives one short life after the other, each in its own bad manner.

use crate::faults::client::Client;
use crate::faults::frame::{FIN, PING, TEXT, claim, close, frame, text};
use crate::faults::stage::Stage;
use crate::faults::{Fault, all};
use std::fmt::{self, Display, Formatter};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What can be done with a life.
const MANNERS: [(&str, Manner); 7] = [
    ("came, chatted and closed", Manner::Chat),
    ("died with a reset", Manner::Reset),
    ("ended without a Close", Manner::End),
    ("stalled for up to 8 s", Manner::Stall),
    ("flooded with messages", Manner::Flood),
    ("flooded with Pings", Manner::Pings),
    ("acted out a fault of chaos", Manner::Fault),
];

#[derive(Clone, Copy, Debug)]
enum Manner {
    Chat,
    Reset,
    End,
    Stall,
    Flood,
    Pings,
    Fault,
}

/// How many lives were led in each manner.
#[derive(Debug, Default)]
pub struct Deeds {
    counts: [AtomicU64; MANNERS.len()],
    wrong: AtomicU64,
}

impl Deeds {
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Display for Deeds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} unruly lives", self.total())?;
        for ((name, _), count) in MANNERS.iter().zip(&self.counts) {
            write!(f, ", {} {name}", count.load(Ordering::Relaxed))?;
        }
        write!(f, "; {} faults got an unexpected answer", self.wrong.load(Ordering::Relaxed))
    }
}

/// One unruly client.
pub struct Unruly {
    stage: Stage,
    deeds: Arc<Deeds>,
    faults: Vec<Fault>,
    random: Random,
}

impl Unruly {
    pub fn new(stage: &Stage, deeds: &Arc<Deeds>, seed: u64, number: u64) -> Self {
        let faults = all().into_iter().filter(|fault| !fault.floods && fault.time(stage).is_zero());
        let random = Random(seed.wrapping_mul(1 << 32).wrapping_add(number));
        Self { stage: stage.clone(), deeds: Arc::clone(deeds), faults: faults.collect(), random }
    }

    /// Lives, until the end.
    pub async fn run(mut self, end: Instant) {
        while Instant::now() < end {
            let which = self.random.below(MANNERS.len());
            if let Err(error) = self.live(MANNERS[which].1).await {
                eprintln!("soak: {}: {error}", MANNERS[which].0);
            }
            self.deeds.counts[which].fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(self.random.below(1000) as u64)).await;
        }
    }

    async fn live(&mut self, manner: Manner) -> io::Result<()> {
        if let Manner::Fault = manner {
            return self.act().await;
        }
        let mut client = self.stage.join(self.stage.id()).await?;
        match manner {
            Manner::Chat => self.chat(client).await,
            Manner::Reset => {
                client.send(&self.something());
                client.flush().await;
                client.reset();
            }
            Manner::End => {
                client.send(&self.something());
                client.finish().await;
            }
            Manner::Stall => sleep(Duration::from_millis(self.random.below(8000) as u64)).await,
            Manner::Flood => self.flood(client).await,
            Manner::Pings => {
                let pings = 100 + self.random.below(5000);
                client.send(&frame(FIN | PING, &[b'p'; 125]).repeat(pings));
                let _ = timeout(Duration::from_secs(1), client.flush()).await;
            }
            Manner::Fault => {}
        }
        Ok(())
    }

    async fn act(&mut self) -> io::Result<()> {
        let fault = self.faults[self.random.below(self.faults.len())].clone();
        let answer = fault.act(&self.stage).await?;
        if !fault.expects(&answer, &self.stage) {
            eprintln!("soak: {}: {answer}", fault.name);
            self.deeds.wrong.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What a client may be at when it dies.
    fn something(&mut self) -> Vec<u8> {
        match self.random.below(4) {
            0 => Vec::new(),
            1 => text("last words"),
            2 => claim(FIN | TEXT, 60_000),
            _ => frame(TEXT, &vec![b'x'; self.random.below(60_000)]),
        }
    }

    async fn chat(&mut self, mut client: Client) {
        for _ in 0..self.random.below(20) {
            let length = self.random.below(200);
            client.send(&text(&"x".repeat(length)));
            let pause = Duration::from_millis(self.random.below(200) as u64);
            // Hears whatever comes meanwhile.
            let _ = timeout(pause, async { while client.frame().await.is_ok() {} }).await;
        }
        client.send(&close(1000, b""));
        let _ = timeout(self.stage.patience, client.end()).await;
    }

    /// Sends up to 2 MiB at once, in up to 2,000 messages, and reads none of what comes. More messages would only show how
    /// fast the neighbours of this soak are.
    async fn flood(&mut self, mut client: Client) {
        let message = text(&"x".repeat(1 + self.random.below(50_000)));
        let messages = 1 + self.random.below(((2 << 20) / message.len()).min(2_000));
        client.send(&message.repeat(messages));
        let _ = timeout(Duration::from_secs(1), client.flush()).await;
        sleep(Duration::from_millis(self.random.below(500) as u64)).await;
    }
}

/// SplitMix64: small, and the same everywhere.
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
