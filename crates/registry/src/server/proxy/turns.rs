//! One question at a time about one thing: who comes second finds what the first one fetched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// After so many entries those that nobody waits for are cleared away.
const CLEAR_AT: usize = 256;

/// Who is at work on what.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<AsyncMutex<()>>>>);

impl Turns {
    /// Waits until nobody else is at work on `what`.
    pub async fn take(&self, what: String) -> OwnedMutexGuard<()> {
        let lock = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= CLEAR_AT {
                turns.retain(|_, lock| lock.strong_count() > 0);
            }
            match turns.get(&what).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(AsyncMutex::new(()));
                    turns.insert(what, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_and_nothing_is_left() {
        let turns = Turns::default();
        let first = turns.take("a".to_owned()).await;
        let waits = tokio::time::timeout(std::time::Duration::from_millis(5), turns.take("a".to_owned()));
        assert!(waits.await.is_err());
        turns.take("b".to_owned()).await;
        drop(first);
        turns.take("a".to_owned()).await;
        for number in 0..1000 {
            turns.take(number.to_string()).await;
        }
        assert!(turns.0.lock().unwrap().len() <= CLEAR_AT);
    }
}
