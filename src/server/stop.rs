//! The signal that the server is stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Tells connections that the server is stopping. The room dismisses its members, which ask only when they begin.
#[derive(Debug, Default)]
pub struct StopSignal {
    begun: AtomicBool,
    told: AtomicBool,
    notify: Arc<Notify>,
}

impl StopSignal {
    /// From now on, requests are refused. Connections go on.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Whether requests are refused.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Tells everyone.
    pub fn tell(&self) {
        self.begin();
        self.told.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// Whether it has been told.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// Completes the next time it is told. It may have been told before: ask [`is_told`](Self::is_told), too.
    pub fn told(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }
}
