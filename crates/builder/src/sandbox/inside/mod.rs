//! What runs in the sandbox process: the same binary, started again by [`super::launch`].
//!
//! ```text
//! plimsoll                     the caller
//! └─ plimsoll __sandbox        supervisor: enters or makes the namespaces, keeps the time, tidies up
//!    └─ init (pid 1 inside)    mounts, pivots, starts the command, reaps what it leaves behind
//!       └─ the command
//! ```
//! The supervisor lives as long as its channel to the caller is open; init dies with the supervisor, and
//! with init everything in its process namespace. So nothing outlives a caller that is killed.

mod account;
mod asked;
mod binfmt;
mod chrooted;
mod devices;
mod execute;
mod group;
mod health;
mod ids;
mod init;
mod overlay;
mod owners;
mod privileges;
mod program;
mod relay;
mod skeleton;
mod supervisor;
mod surroundings;
mod target;
mod trees;
mod watch;

use std::os::fd::OwnedFd;

use super::channel::Channel;
use super::error::SandboxError;
use super::message::{Report, Request, Role, Task};
use super::system;

/// Does what the caller asks through standard input, and returns the exit code of this process.
pub(super) fn enter() -> i32 {
    match serve() {
        Ok(()) => 0,
        Err(_) => 70,
    }
}

/// Errors that reach the end of this function could not be reported, because the caller is gone.
fn serve() -> std::io::Result<()> {
    system::close_all_but(&[])?;
    let channel = Channel::from_descriptor(system::duplicate(0)?);
    leave_terminal()?;
    let Some((request, files)) = channel.receive::<Request>()? else { return Ok(()) };
    let mut files = Files { named: request.files.into_iter().zip(files).collect() };
    match perform(&channel, request.task, &mut files) {
        Ok(()) => Ok(()),
        Err(error) => channel.send(&Report::Failed(error)),
    }
}

/// An interrupt typed at the terminal is the caller's matter; and the channel must have one holder.
fn leave_terminal() -> std::io::Result<()> {
    let (empty, _) = std::io::pipe()?;
    rustix::stdio::dup2_stdin(&empty)?;
    // Refused only where this process leads a group already, which does as well.
    let _ = rustix::process::setsid();
    Ok(())
}

fn perform(channel: &Channel, task: Task, files: &mut Files) -> Result<(), SandboxError> {
    match task {
        Task::Run(job) => supervisor::run(channel, &job, Purpose::Run, files),
        Task::Tree(job) => trees::handle(channel, job, files),
        Task::MakeUserNamespace(mapping) => ids::make_user_namespace(channel, mapping),
        Task::Rehearse(job) => supervisor::run(channel, &job, Purpose::Rehearse, files),
    }
}

/// Whether the command is started, or everything is done up to that point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Run,
    Rehearse,
}

/// The open files that came with the request.
struct Files {
    named: Vec<(Role, OwnedFd)>,
}

impl Files {
    fn take(&mut self, role: Role) -> Option<OwnedFd> {
        let index = self.named.iter().position(|(named, _)| *named == role)?;
        Some(self.named.remove(index).1)
    }
}
