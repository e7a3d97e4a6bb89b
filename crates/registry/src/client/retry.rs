//! When a request is made again, and after how long.
//!
//! | failure | again? | after |
//! |---|---|---|
//! | 429, 503 and others with `Retry-After` | yes | what the server asks for, at most `max_wait` |
//! | 408, 429, 500, 502, 503, 504 | yes | `wait`, times `backoff` for each further try |
//! | connection refused, broken, timed out | yes | the same |
//! | certificate refused, 4xx, wrong digest | no | |
//! | the host gave no answer for `total`, or used up its `budget` (`budget`) | no | |
//!
//! Retry sits at the single request, so that what arrived is never sent again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::budget::Budget;
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
    /// After how long without any answer a host is given up, whatever is left of the tries.
    pub total: Duration,
    /// How many further tries all requests to one host get together; five answers give one back.
    pub budget: u32,
    /// How long a connection may move no byte, or next to none.
    pub silence: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            wait: Duration::from_secs(10),
            backoff: 1.0,
            max_wait: Duration::from_secs(5 * 60),
            timeout: Duration::from_secs(25 * 60),
            total: Duration::from_secs(15 * 60),
            budget: 30,
            silence: Duration::from_secs(60),
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
    budget: Arc<Budget>,
    what: String,
    attempts: u32,
    failed: u32,
    began: Timestamp,
}

impl<'a> Retry<'a> {
    pub fn new(
        policy: &'a RetryPolicy,
        clock: &'a Clock,
        sink: &'a NoticeSink,
        budget: Arc<Budget>,
        what: String,
    ) -> Self {
        let (attempts, began) = (policy.attempts, clock.now());
        Self { policy, clock, sink, budget, what, attempts, failed: 0, began }
    }

    /// Returns these tries with so many of them gone since `began`.
    pub fn after(self, failed: u32, began: Timestamp) -> Self {
        Self { failed, began, ..self }
    }

    /// Returns the first of these tries alone.
    pub fn once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    /// Says that something came of the last try: the next failure counts as the first.
    pub fn progressed(&mut self) {
        (self.failed, self.began) = (0, self.clock.now());
    }

    /// Waits and returns where the request is to be made again.
    ///
    /// # Errors
    /// The failure, where another try does not help or there is none left.
    pub fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        self.failed += 1;
        if !failure.is_transient() || matches!(failure, Failure::GaveUp(_)) {
            return Err(failure);
        }
        let now = self.clock.now();
        let trouble = self.budget.failed(now);
        if self.failed >= self.attempts {
            let why = format!("gave up after {} attempts over {}", self.failed, span(self.began, now));
            return Err(if self.failed > 1 { failure.gave_up(why) } else { failure });
        }
        let wait = self.wait(&failure)?;
        let began = now.duration_since(trouble.since).unsigned_abs();
        if began + wait > self.policy.total {
            let why = format!(
                "gave up: {} attempts failed over {} and none was answered",
                trouble.attempts,
                span(trouble.since, now)
            );
            return Err(failure.gave_up(why));
        }
        if !self.budget.spend(self.policy.budget) {
            let why = format!(
                "gave up after {} attempts: all {} retries that this host gets are used up",
                self.failed, self.policy.budget
            );
            return Err(failure.gave_up(why));
        }
        (self.sink)(&Notice {
            attempt: self.failed,
            attempts: self.attempts,
            what: self.what.clone(),
            reason: store::with_causes(&failure),
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

/// Returns the time between two moments for people. A clock that was set back in between gives none.
fn span(since: Timestamp, now: Timestamp) -> String {
    format!("{} s", now.duration_since(since).as_secs().max(0))
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
        run_with(policy, &Arc::new(Budget::default()), failures)
    }

    fn run_with(
        policy: &RetryPolicy,
        budget: &Arc<Budget>,
        failures: Vec<Failure>,
    ) -> (Vec<u64>, Option<String>) {
        let slept = Arc::new(Mutex::new(Vec::new()));
        let (sleeps, passed) = (slept.clone(), slept.clone());
        let now = move || Timestamp::from_second(passed.lock().unwrap().iter().sum::<u64>() as i64).unwrap();
        let clock = Clock::new(now).sleeping(move |wait| sleeps.lock().unwrap().push(wait.as_secs()));
        let sink: NoticeSink = Arc::new(|_| {});
        let mut retry = Retry::new(policy, &clock, &sink, budget.clone(), "x".to_owned());
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
        assert_eq!(last.unwrap(), "status 500 Internal Server Error (gave up after 5 attempts over 160 s)");
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

    #[test]
    fn a_host_that_never_answers_is_given_up_in_time() {
        let policy = RetryPolicy { attempts: 100, total: Duration::from_secs(45), ..RetryPolicy::default() };
        let failures = (0..100).map(|_| status(503, None)).collect();
        let (waits, last) = run(&policy, failures);
        assert_eq!(waits, [10; 4]);
        let expected = "(gave up: 5 attempts failed over 40 s and none was answered)";
        assert!(last.unwrap().ends_with(expected));
    }

    #[test]
    fn all_requests_to_a_host_share_its_retries() {
        let policy = RetryPolicy { budget: 3, ..RetryPolicy::default() };
        let budget = Arc::new(Budget::default());
        let fail = || run_with(&policy, &budget, vec![status(500, None), status(500, None)]);
        assert_eq!(fail().0.len(), 2);
        let (waits, last) = fail();
        assert_eq!(waits.len(), 1);
        let expected = "(gave up after 2 attempts: all 3 retries that this host gets are used up)";
        assert!(last.as_deref().unwrap().ends_with(expected), "{last:?}");
        // Answers give them back, one for five.
        assert_eq!(fail().0.len(), 0);
        (0..5).for_each(|_| budget.answered());
        assert_eq!(fail().0.len(), 1);
    }
}
