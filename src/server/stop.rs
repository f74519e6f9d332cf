//! The signal that the server is stopping.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Tells every connection that the server is stopping.
#[derive(Debug, Default)]
pub struct StopSignal {
    told: AtomicBool,
    notify: Notify,
}

impl StopSignal {
    /// Tells everyone.
    pub fn tell(&self) {
        self.told.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Whether it has been told.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// Completes the next time it is told. It may have been told before: ask [`is_told`](Self::is_told), too.
    pub fn told(&self) -> Notified<'_> {
        self.notify.notified()
    }
}
