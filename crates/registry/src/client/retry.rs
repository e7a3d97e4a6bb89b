//! When a request is made again, and after how long.
//!
//! | failure | again? | after |
//! |---|---|---|
//! | 429, 503 and others with `Retry-After` | yes | what the server asks for, at most `max_wait` |
//! | 408, 429, 500, 502, 503, 504 | yes | `wait`, times `backoff` for each further try |
//! | connection refused, broken, timed out | yes | the same |
//! | certificate refused, 4xx, wrong digest | no | |
//!
//! Retry sits at the single request, so that what arrived is never sent again.

use std::sync::Arc;
use std::time::Duration;

use super::{Clock, Failure};

/// How often and how patiently requests are made again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How many tries in all; at least 1.
    pub attempts: u32,
    /// The wait after the first failure.
    pub wait: Duration,
    /// What each further wait is multiplied by.
    pub backoff: f64,
    /// The longest wait, also where the server asks for more: then the request fails at once.
    pub max_wait: Duration,
    /// After how long one try is given up.
    pub timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            wait: Duration::from_secs(10),
            backoff: 1.0,
            max_wait: Duration::from_secs(5 * 60),
            timeout: Duration::from_secs(25 * 60),
        }
    }
}

impl RetryPolicy {
    /// Returns the wait after failure number `attempt`, counted from 1.
    fn wait_after(&self, attempt: u32) -> Duration {
        let factor = self.backoff.max(0.0).powi(i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX));
        let seconds = (self.wait.as_secs_f64() * factor).min(self.max_wait.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max_wait)
    }
}

/// Told before a request is made again, so that people see why it takes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which try failed, from 1.
    pub attempt: u32,
    /// How many there are in all.
    pub attempts: u32,
    /// What is tried again, such as `push of blob sha256:... to ghcr.io/acme/api`.
    pub what: String,
    /// Why it failed, with the status where there was one.
    pub reason: String,
    /// What is done now.
    pub next: Next,
}

/// What is done after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same once more, after this wait.
    Again(Duration),
    /// Another place is asked: this mirror, or the registry itself.
    Elsewhere(String),
}

/// Who is told.
pub type NoticeSink = Arc<dyn Fn(&Notice) + Send + Sync>;

/// The tries of one request.
pub(crate) struct Retry<'a> {
    policy: &'a RetryPolicy,
    clock: &'a Clock,
    sink: &'a NoticeSink,
    what: String,
    failed: u32,
}

impl<'a> Retry<'a> {
    pub fn new(policy: &'a RetryPolicy, clock: &'a Clock, sink: &'a NoticeSink, what: String) -> Self {
        Self { policy, clock, sink, what, failed: 0 }
    }

    /// Returns these tries with at least so many of them gone.
    pub fn after(self, failed: u32) -> Self {
        Self { failed: self.failed.max(failed), ..self }
    }

    /// Waits and returns where the request is to be made again.
    ///
    /// # Errors
    /// The failure, where another try does not help or there is none left.
    pub fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        self.failed += 1;
        if !failure.is_transient() || self.failed >= self.policy.attempts {
            return Err(failure);
        }
        let wait = self.wait(&failure)?;
        (self.sink)(&Notice {
            attempt: self.failed,
            attempts: self.policy.attempts,
            what: self.what.clone(),
            reason: super::failure::with_sources(&failure),
            next: Next::Again(wait),
        });
        self.clock.sleep(wait);
        Ok(())
    }

    fn wait(&self, failure: &Failure) -> Result<Duration, Failure> {
        let limit = self.policy.max_wait;
        match failure {
            Failure::Status { status, retry_after: Some(wait), .. } if *wait > limit => {
                Err(Failure::WaitTooLong { status: *status, wait: *wait, limit })
            }
            Failure::Status { retry_after: Some(wait), .. } => Ok(*wait),
            _ => Ok(self.policy.wait_after(self.failed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hyper::StatusCode;
    use jiff::Timestamp;

    use super::*;

    fn status(code: u16, retry_after: Option<u64>) -> Failure {
        Failure::Status {
            status: StatusCode::from_u16(code).unwrap(),
            body: None,
            text: String::new(),
            limit: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// Feeds failures until the retry gives up; returns the waits in seconds and the last failure.
    fn run(policy: &RetryPolicy, failures: Vec<Failure>) -> (Vec<u64>, Option<String>) {
        let slept = Arc::new(Mutex::new(Vec::new()));
        let sleeps = slept.clone();
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH)
            .sleeping(move |wait| sleeps.lock().unwrap().push(wait.as_secs()));
        let sink: NoticeSink = Arc::new(|_| {});
        let mut retry = Retry::new(policy, &clock, &sink, "x".to_owned());
        let last = failures.into_iter().find_map(|failure| retry.again(failure).err());
        let slept = slept.lock().unwrap().clone();
        (slept, last.map(|failure| failure.to_string()))
    }

    #[test]
    fn waits_grow_and_are_limited() {
        let max_wait = Duration::from_secs(60);
        let policy = RetryPolicy { attempts: 5, backoff: 3.0, max_wait, ..RetryPolicy::default() };
        let failures = (0..5).map(|_| status(500, None)).collect();
        let (waits, last) = run(&policy, failures);
        assert_eq!(waits, [10, 30, 60, 60]);
        assert_eq!(last.unwrap(), "status 500 Internal Server Error");
    }

    #[test]
    fn the_server_decides_up_to_the_limit() {
        let policy = RetryPolicy::default();
        let (waits, last) = run(&policy, vec![status(429, Some(3)), status(429, Some(301))]);
        assert_eq!(waits, [3]);
        assert!(last.unwrap().contains("asks for a wait of 301 s"));
    }

    #[test]
    fn what_cannot_help_is_not_tried() {
        assert_eq!(run(&RetryPolicy::default(), vec![status(403, None)]).0, [0_u64; 0]);
        let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        assert_eq!(run(&once, vec![status(500, None)]).0, [0_u64; 0]);
    }
}
