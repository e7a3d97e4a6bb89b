//! Telling receivers, one message at a time for each, until they take it.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::Message;
use super::{Hooks, Receiver};
use crate::client::PostFailure;
use crate::server::defect::{Defect, caught};
use crate::server::routes::State;

/// How long a receiver may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The longest wait that a receiver may ask for.
const MAX_ASKED: Duration = Duration::from_secs(60 * 60);

/// What came of earlier tries of a message. A restart forgets it and tries at once.
#[derive(Clone, Copy)]
struct Tries {
    failed: usize,
    due: Instant,
    /// Whether the receiver as a whole did not answer, so that its first answer makes this due.
    is_receivers_fault: bool,
}

/// Tells all receivers until the server ends.
pub(in crate::server) async fn run(state: Arc<State>, hooks: Arc<Hooks>) {
    let mut tasks = tokio::task::JoinSet::new();
    for receiver in &hooks.receivers {
        let (state, hooks, receiver) = (state.clone(), hooks.clone(), receiver.clone());
        tasks.spawn(async move {
            loop {
                if let Err(defect) = caught(tell(&hooks, &receiver)).await {
                    state.note_defect("telling a receiver of events", &defect);
                }
                // What waits is in files: it is told again, as after a restart.
                tokio::time::sleep(hooks.options.waits.first().copied().unwrap_or(ANSWER_LIMIT)).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Tells a receiver for ever.
async fn tell(hooks: &Arc<Hooks>, receiver: &Arc<Receiver>) {
    let mut tries: HashMap<u64, Tries> = HashMap::new();
    loop {
        let (message, due) = match next(receiver, &tries) {
            Some(next) => next,
            None => {
                receiver.added.notified().await;
                continue;
            }
        };
        if due > Instant::now() {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = receiver.added.notified() => {}
            }
            continue;
        }
        let (sender, to) = (hooks.clone(), receiver.clone());
        let sent = message.clone();
        let outcome = tokio::task::spawn_blocking(move || post(&sender, &to, &sent)).await;
        let outcome = outcome.unwrap_or_else(|error| {
            let Defect(reason) = error.into();
            Err(PostFailure { status: None, retry_after: None, reason })
        });
        settle(hooks, receiver, &mut tries, &message, outcome).await;
    }
}

/// Returns the message to tell next and when; those that never failed come in order.
fn next(receiver: &Receiver, tries: &HashMap<u64, Tries>) -> Option<(Message, Instant)> {
    let queue = receiver.queue.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let due = |message: &Message| tries.get(&message.number).map_or(now, |tries| tries.due);
    let first = queue.messages().min_by_key(|message| (due(message).max(now), message.number))?;
    Some((first.clone(), due(first)))
}

async fn settle(
    hooks: &Hooks,
    receiver: &Receiver,
    tries: &mut HashMap<u64, Tries>,
    message: &Message,
    outcome: Result<(), PostFailure>,
) {
    let queue = || receiver.queue.lock().unwrap_or_else(PoisonError::into_inner);
    let Err(failure) = outcome else {
        queue().done(message.number);
        tries.remove(&message.number);
        receiver.counts.delivered.fetch_add(1, Relaxed);
        // The receiver is back: what waited for it goes now.
        tries.values_mut().filter(|one| one.is_receivers_fault).for_each(|one| one.due = Instant::now());
        return;
    };
    receiver.counts.failed.fetch_add(1, Relaxed);
    let failed = tries.get(&message.number).map_or(0, |tries| tries.failed) + 1;
    let wait = hooks.options.waits.get(failed - 1).copied();
    // 410: the receiver wants no more of this.
    let Some(wait) = wait.filter(|_| failure.status != Some(410)) else {
        queue().bury(message.number);
        tries.remove(&message.number);
        receiver.counts.dead.fetch_add(1, Relaxed);
        let reason = format!("given up after {failed} tries, kept as dead letter {}: {failure}", message.id);
        hooks.report(receiver, reason, true);
        return;
    };
    let is_receivers_fault = failure.status.is_none_or(|status| status == 429 || status >= 500);
    let wait = failure.retry_after.map_or(wait, |asked| wait.max(asked.min(MAX_ASKED)));
    let due = Instant::now() + jittered(wait);
    tries.insert(message.number, Tries { failed, due, is_receivers_fault });
    if failed == 1 {
        hooks.report(receiver, format!("try 1 of {}: {failure}", hooks.options.waits.len() + 1), false);
    }
    if is_receivers_fault {
        // The others would find the same; they come one by one, not all at once.
        tokio::time::sleep(wait.min(hooks.options.waits[0])).await;
    }
}

/// Returns the wait and up to a tenth more, so that many senders do not come back at the same moment.
fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random numbers all come at the same moment.
    let _ = getrandom::fill(&mut random);
    wait + wait / 10 * u32::from(random[0]) / 255
}

fn post(hooks: &Hooks, receiver: &Receiver, message: &Message) -> Result<(), PostFailure> {
    let seconds = (hooks.options.now)().as_second();
    let signatures: Vec<String> =
        receiver.hook.secrets.iter().map(|secret| secret.sign(&message.id, seconds, &message.body)).collect();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("webhook-id", message.id.clone()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ];
    hooks.options.client.post(&receiver.hook.url, &headers, message.body.clone(), ANSWER_LIMIT)
}
