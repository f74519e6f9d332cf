//! The drain (`--drain`): before the stop, the server closes its members' connections one after the other, so that they don't
//! all come back in the same moment. Meanwhile it answers every request with 503, and a proxy asks another server.

use super::shared::Shared;
use crate::escape::count;
use crate::frame::Failure;
use crate::limits::stop::DRAIN_TICK;
use log::info;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tungstenite::protocol::frame::coding::CloseCode;

/// Begins the stop, and drains the room for this long. Returns earlier once the room is empty.
pub async fn drain(server: &Shared, time: Duration) {
    server.stop.begin();
    let all = server.room.members();
    if time.is_zero() || all == 0 {
        return;
    }
    info!("draining: closing {} over {} s", count(all as u64, "connection"), time.as_secs());
    let failure = Failure::new(CloseCode::Restart, "the server is restarting");
    let (start, mut closed) = (Instant::now(), 0);
    while start.elapsed() < time && server.room.members() > 0 {
        let due = share(all, start.elapsed(), time);
        server.room.dismiss(due - closed, &failure);
        closed = due;
        sleep(DRAIN_TICK).await;
    }
}

/// The part of the members that should be closed by now, rounded up.
fn share(all: usize, elapsed: Duration, time: Duration) -> usize {
    let part = (all as u128 * elapsed.as_nanos()).div_ceil(time.as_nanos());
    usize::try_from(part).unwrap_or(all).min(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_spread_evenly_over_the_time() {
        let share = |all, milliseconds| share(all, Duration::from_millis(milliseconds), Duration::from_secs(1));
        assert_eq!([0, 1, 250, 999, 1000, 2000].map(|after| share(1000, after)), [0, 1, 250, 999, 1000, 1000]);
        assert_eq!([0, 1, 333, 334, 1000].map(|after| share(3, after)), [0, 1, 1, 2, 3]);
    }
}
