//! Defects of ours that a request runs into: they end that request, and nothing else.
//!
//! A panic unwinds through what the request holds, so sessions, locks, places and temporary files are
//! let go on the way. It is caught where an answer can still be given, else by the task that serves the
//! connection, which then ends. Whoever owns the process decides, in its panic hook, whether a panic ends
//! the process instead; [`is_survivable`] tells it which ones need not.

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What a panic said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Defect(pub String);

/// Whether a panic of the calling thread ends only the request, connection or round of work that the thread
/// is at: it belongs to a server, or to a client that one may use.
pub fn is_survivable() -> bool {
    CAUGHT.get()
}

/// Notes that whoever gives the calling thread its work catches panics.
pub(crate) fn mark_thread() {
    CAUGHT.set(true);
}

/// Does `work` to its end, or until it panics.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Defect> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let _marked = Marked::new();
        // What the work held was let go of by the panic, and nobody asks it again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(panic) => Poll::Ready(Err(Defect::of(&*panic))),
        }
    })
    .await
}

/// Does `work` to its end, or until it panics, which then ends nothing but this work: for threads that go on
/// with something else.
///
/// # Errors
/// What the panic said.
pub fn survive<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _marked = Marked::new();
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Defect::of(&*panic).0)
}

/// The calling thread catches panics until this is dropped.
struct Marked(bool);

impl Marked {
    fn new() -> Self {
        Self(CAUGHT.replace(true))
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        CAUGHT.set(self.0);
    }
}

impl Defect {
    /// Returns what was said by a panic that somebody caught.
    pub fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("it said nothing").to_owned())
    }
}

impl From<tokio::task::JoinError> for Defect {
    fn from(error: tokio::task::JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::of(&*panic),
            Err(_) => Self("it was cut off".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_panics_lets_go_of_what_it_holds_and_says_why() {
        let lock = std::sync::Arc::new(tokio::sync::Mutex::new(()));
        let held = lock.clone();
        let broken = caught(async move {
            let _held = held.lock().await;
            tokio::task::yield_now().await;
            assert!(lock_is_free(1), "number {}", 7);
        });
        assert_eq!(broken.await, Err(Defect("number 7".to_owned())));
        assert!(lock.try_lock().is_ok());
        assert_eq!(caught(async { 7 }).await, Ok(7));
        assert_eq!(caught(async { panic!("as it is") }).await, Err::<(), _>(Defect("as it is".to_owned())));
    }

    #[test]
    fn a_thread_survives_what_it_said_that_it_would_and_nothing_else() {
        assert!(!is_survivable());
        assert_eq!(survive(is_survivable), Ok(true));
        assert_eq!(survive(|| assert!(lock_is_free(1), "number 8")), Err("number 8".to_owned()));
        assert!(!is_survivable(), "also after a panic");
        assert_eq!(survive(|| survive(|| ()).is_ok() && is_survivable()), Ok(true), "one within another");
    }

    fn lock_is_free(number: u32) -> bool {
        number == 0
    }
}
