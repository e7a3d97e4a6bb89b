//! SIGINT and SIGTERM. A command that can stop in good order takes the signal with [`wait`] or asks
//! [`requested`]; any other is ended at once, and so is the good order by a second signal.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::Code;

/// What the signals did so far. One for the process, as signals are.
static STATE: Mutex<State> = Mutex::new(State { taken: false, received: None });
static CHANGED: Condvar = Condvar::new();

struct State {
    /// Whether a command wants to stop by itself.
    taken: bool,
    /// What came first.
    received: Option<Code>,
}

/// Listens from now on, on a thread of its own; `end` ends the process.
pub fn watch(end: fn(Code) -> !) {
    let spawned = std::thread::Builder::new().name("signals".to_owned()).spawn(move || listen(end));
    if let Err(error) = spawned {
        tracing::debug!(%error, "no thread for signals; their default action stays");
    }
}

/// Takes the signals from the default action: from now on the first one is only noted.
pub fn take() {
    STATE.lock().unwrap_or_else(PoisonError::into_inner).taken = true;
}

/// Blocks until the first signal and returns its exit code.
pub fn wait() -> Code {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(code) = state.received {
            return code;
        }
        state = CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn listen(end: fn(Code) -> !) {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => Code::Interrupted,
                _ = terminate.recv() => Code::Terminated,
            };
            if !note(code) {
                end(code);
            }
        }
    });
}

/// Notes a signal; `false` where the process is to end at once.
fn note(code: Code) -> bool {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let first = state.received.replace(code).is_none();
    CHANGED.notify_all();
    state.taken && first
}
