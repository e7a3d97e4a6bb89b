//! Panics: what they do to the process.
//!
//! | where | what happens |
//! |---|---|
//! | a command, on whichever thread | it is told and the process ends with [`Code::Defect`], before anybody waits for the thread |
//! | a sandbox's own process | it is told and the process aborts, which the build sees as a sandbox that was lost |
//! | a server that the process is there for | it is told; the request, connection or round ends, and the server goes on |

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Code;
use crate::ui;

/// Whether the process is there to serve others. One for the process, as the hook is.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Aborts the process at any panic.
pub fn abort_at_any() {
    std::panic::set_hook(Box::new(|panic| {
        ui::report_defect(panic);
        // A thread that ended alone would leave the others, and the command in the sandbox, waiting for it.
        std::process::abort()
    }));
}

/// Ends the process at any panic that nobody survives, by `end`.
pub fn end_at_any(end: fn(Code) -> !) {
    std::panic::set_hook(Box::new(move |panic| {
        if SERVES.load(Ordering::Relaxed) && registry::server::is_survivable() {
            return ui::report_survived_defect(panic);
        }
        ui::report_defect(panic);
        end(Code::Defect)
    }));
}

/// Lets the servers of this process go on where a request of theirs panics.
pub fn survive_in_servers() {
    SERVES.store(true, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    /// Asks the test below to panic as another process.
    const ASKED: &str = "panic as a worker";

    /// A worker of a build panics while the others wait for what it was to send.
    #[test]
    fn part_that_panics() {
        let mut asked = String::new();
        if !is_part() || std::io::stdin().read_to_string(&mut asked).is_err() || asked != ASKED {
            return;
        }
        end_at_any(crate::end);
        // Of commands that serve nobody, and of threads that are no server's.
        survive_in_servers();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|threads| {
            threads.spawn(|| panic!("the worker's words"));
            let _ = receiver.recv();
        });
        drop(sender);
    }

    /// Whether this process runs that one test alone.
    fn is_part() -> bool {
        std::env::args().any(|argument| argument == "--exact")
            && std::env::args().any(|argument| argument.ends_with("part_that_panics"))
    }

    #[test]
    fn a_worker_that_panics_ends_the_process_at_once_with_the_code_for_it() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "defect::tests::part_that_panics", "--nocapture"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(ASKED.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(Code::Defect as u8)), "{text}");
        assert!(text.contains("error: this is a defect of plimsoll"), "{text}");
        assert!(text.contains("the worker's words") && text.contains("hint: please report it"), "{text}");
    }
}
