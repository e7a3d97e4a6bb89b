//! The binary: reads the world once, runs one command, turns what went wrong into an exit code.
//!
//! This crate owns the command line, the environment, printing and exit codes; what the commands
//! do lives in the rooms below.

mod cli;
mod command;
mod daemon;
mod defect;
mod elsewhere;
mod env;
mod error;
mod history;
mod interrupt;
mod project;
mod session;
mod ui;
mod versions;
mod workbench;

use std::process::ExitCode;

use crate::env::Environment;
use crate::error::Code;

fn main() -> ExitCode {
    // Before anything else: as a sandbox the process must have one thread and nothing open.
    defect::abort_at_any();
    if let Some(code) = builder::sandbox::enter_if_asked(std::env::args_os()) {
        return ExitCode::from(code.clamp(0, 255) as u8);
    }
    defect::end_at_any(end);
    interrupt::watch(end);
    ExitCode::from(cli::run(Environment::read(), std::env::args_os()) as u8)
}

/// Ends the process at once; what is half written is temporary and is swept by the next run.
#[allow(clippy::disallowed_methods, reason = "the one place that may")]
fn end(code: Code) -> ! {
    std::process::exit(i32::from(code as u8))
}
