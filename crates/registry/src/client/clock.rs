//! Time as an argument: what the client knows of now, and how it waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// The two things the client wants from time.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    sleep: Arc<dyn Fn(Duration) + Send + Sync>,
}

impl Clock {
    /// Returns a clock that asks `now` for the time and lets the calling thread sleep.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), sleep: Arc::new(std::thread::sleep) }
    }

    /// Returns this clock with another way to wait, such as one that can be interrupted or one
    /// that only counts.
    pub fn sleeping(self, sleep: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { sleep: Arc::new(sleep), ..self }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(crate) fn sleep(&self, duration: Duration) {
        (self.sleep)(duration);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
