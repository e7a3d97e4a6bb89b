//! Waiting for what is written as a future: the library for object stores is, and this crate is not.
//!
//! Nothing here is a runtime. The transport that the bucket was given does its work while it is
//! polled, on the calling thread or on threads of its own, so there is nothing to schedule.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Wakes the thread that waits.
struct Waiting(Thread);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the calling thread until the future is ready.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Waiting(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake-up that came meanwhile is remembered, so this does not sleep through one.
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn waits_for_another_thread() {
        let (result, waker) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None::<Waker>)));
        let (result_there, waker_there) = (result.clone(), waker.clone());
        let other = thread::spawn(move || {
            while waker_there.lock().unwrap().is_none() {
                thread::yield_now();
            }
            *result_there.lock().unwrap() = Some(7);
            waker_there.lock().unwrap().take().unwrap().wake();
        });
        let future = std::future::poll_fn(|context| {
            *waker.lock().unwrap() = Some(context.waker().clone());
            match *result.lock().unwrap() {
                Some(value) => Poll::Ready(value),
                None => Poll::Pending,
            }
        });
        assert_eq!(wait(future), 7);
        other.join().unwrap();
    }
}
