//! The first process inside: prepares the root file system, starts the command, reaps what it leaves.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, kill_process, set_dumpable_behavior,
    set_parent_process_death_signal, wait,
};
use rustix::thread::UnshareFlags;

use super::binfmt::Opened;
use super::group::Groups;
use super::{Purpose, chrooted, execute, overlay, owners, supervisor, surroundings};
use crate::sandbox::channel::Channel;
use crate::sandbox::command::Status;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Job, Report, Users};
use crate::sandbox::system;

/// What init takes over from the supervisor.
pub(super) struct Inside<'a> {
    pub(super) job: &'a Job,
    /// The working folder of the overlay; without one, the prepared root.
    pub(super) work: &'a Path,
    pub(super) purpose: Purpose,
    /// The command's standard input.
    pub(super) input: Option<OwnedFd>,
    /// The user namespace to register an emulator in, where this one belongs to others.
    pub(super) emulation: Option<OwnedFd>,
    /// Where to report to.
    pub(super) reports: Channel,
    /// Is open at its other end as long as the supervisor lives.
    pub(super) gate: PipeReader,
    /// What the command is counted in.
    pub(super) groups: Option<&'a Groups>,
}

/// Runs the inside of a sandbox; returns the exit code of this process, which nobody looks at.
pub(super) fn run(inside: Inside<'_>) -> i32 {
    let ended = match live(&inside) {
        Ok(status) => inside.reports.send(&Report::Ended(status.into())),
        Err(error) => inside.reports.send(&Report::Failed(error)),
    };
    i32::from(ended.is_err())
}

fn live(inside: &Inside<'_>) -> Result<Status, SandboxError> {
    attach(inside).map_err(|error| SandboxError::setup("start the first process", error))?;
    if let Some(groups) = inside.groups {
        groups.join().map_err(|error| SandboxError::setup("limit what the step may use", error))?;
        supervisor::hide_groups();
    }
    if inside.job.users == Users::Container {
        chrooted::enter(inside.work)?;
        return begin(inside, None);
    }
    bound_processes();
    let mounts =
        make_mount_namespace().map_err(|error| SandboxError::setup("make a namespace for mounts", error))?;
    let user_namespace = inside.job.users != Users::Machine;
    let root = overlay::mount(&inside.job.root, inside.work, &inside.job.command.mounts, user_namespace)?;
    surroundings::mount(&root, inside.job, user_namespace)?;
    let emulator = inside.job.command.emulator.as_ref().map(Opened::open).transpose()?;
    overlay::enter(&root, &inside.job.root)?;
    rustix::system::sethostname(inside.job.command.hostname.as_bytes())
        .map_err(|errno| SandboxError::setup("name the machine", errno))?;
    // Held until the end of the command.
    let _registration = emulator.map(|emulator| emulator.register(inside.emulation.as_ref())).transpose()?;
    begin(inside, Some(&mounts))
}

fn begin(inside: &Inside<'_>, mounts: Option<&File>) -> Result<Status, SandboxError> {
    match inside.purpose {
        Purpose::Rehearse => Ok(Status::Code(0)),
        Purpose::Run => start_and_reap(inside, mounts),
    }
}

/// Bounds how many processes a command can have at once, so that one which starts them for ever does not take all
/// that the machine has. Costs nothing, unlike a control group. Source: Linux 6.14, kernel/pid_namespace.c.
fn bound_processes() {
    const MOST: &str = "16384";
    let uname = rustix::system::uname();
    // Before, the setting was the machine's.
    if is_at_least(&uname.release().to_string_lossy(), (6, 14)) {
        let _ = std::fs::write("/proc/sys/kernel/pid_max", MOST);
    }
}

fn is_at_least(release: &str, (major, minor): (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Returns the file of the new namespace, for those who enter it later.
fn make_mount_namespace() -> io::Result<File> {
    system::unshare(UnshareFlags::NEWNS)?;
    File::open("/proc/self/ns/mnt")
}

/// Ties this process to the supervisor: it dies with it, and holds none of its files.
fn attach(inside: &Inside<'_>) -> io::Result<()> {
    let mut kept = vec![inside.reports.as_fd(), inside.gate.as_fd()];
    kept.extend(inside.input.iter().chain(&inside.emulation).map(AsFd::as_fd));
    system::close_all_but(&kept)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The supervisor may have died before the line above; then the other end is closed.
    let mut gate = [PollFd::new(&inside.gate, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut gate, Some(&Timespec::default())))?;
    if gate[0].revents().contains(PollFlags::HUP) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // The command must not reach this binary, or the caller's files, through /proc/1.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

fn start_and_reap(inside: &Inside<'_>, mounts: Option<&File>) -> Result<Status, SandboxError> {
    let failed = |error: io::Error| SandboxError::setup("start the command", error);
    system::hold_signals().map_err(failed)?;
    // Closed by the kernel at the moment the program replaces the copy of this process.
    let (mut running, starting) = io::pipe().map_err(failed)?;
    let (asks, theirs) = Channel::pair().map_err(failed)?;
    let command = system::fork(|| {
        let Inside { job, input, .. } = inside;
        let error = execute::become_command(&job.command, job.users, input.as_ref(), Some(&theirs));
        let _ = inside.reports.send(&Report::Failed(error));
        127
    })
    .map_err(failed)?;
    drop((starting, theirs));
    // Only who waits for a service asks when it runs; for a step it would wake three processes for nothing.
    if let Some(mounts) = mounts.filter(|_| inside.job.service.is_some()) {
        running.read(&mut [0]).map_err(failed)?;
        let _ = inside.reports.send_with(&Report::Started, &[mounts.as_fd()]);
    }
    if inside.job.users == Users::Single
        && let Some(listener) = asks.receive::<()>().map_err(failed)?.and_then(|(_, mut files)| files.pop())
    {
        // A thread, so that the wait for processes stays as it is; it ends with this process.
        std::thread::Builder::new().spawn(move || while owners::answer_next(&listener) {}).map_err(failed)?;
    }
    Ok(reap_until_end(command))
}

/// Passes signals on to the command and reaps every process, until the command itself ends.
fn reap_until_end(command: Pid) -> Status {
    loop {
        let signal = system::next_signal();
        if signal != Signal::CHILD.as_raw() {
            if let Some(signal) = Signal::from_named_raw(signal) {
                let _ = kill_process(command, signal);
            }
            continue;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == command {
                return ended(status);
            }
        }
    }
}

fn ended(status: WaitStatus) -> Status {
    match status.terminating_signal() {
        Some(signal) => Status::Signal(signal),
        None => Status::Code(status.exit_status().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn releases_of_the_kernel_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.14.0-rc1", true),
            ("6.9.12", false),
            ("7.0", true),
            ("6.18.44-fc-v857", true),
            ("5.15", false),
            ("x", false),
        ] {
            assert_eq!(is_at_least(release, (6, 14)), expected, "{release}");
        }
    }
}
