//! The process between the caller and the sandbox: makes namespaces, keeps the time, tidies up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::init::{self, Inside};
use super::{Files, Purpose, overlay};
use crate::sandbox::channel::Channel;
use crate::sandbox::command::{Command, Network, Status};
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Ended, Job, Order, Report, Role};
use crate::sandbox::system;

/// Runs a command to its end and reports it.
pub(super) fn run(
    channel: &Channel,
    job: &Job,
    purpose: Purpose,
    files: &mut Files,
) -> Result<(), SandboxError> {
    let user_namespace = enter_user_namespace(files)?;
    isolate(&job.command)?;
    let kills_before = out_of_memory_kills();
    let mut sandbox = start(job, purpose, files.take(Role::Input), user_namespace)?;
    let ended = sandbox.watch(channel, job.command.limits.timeout);
    overlay::tidy(&job.root)?;
    let status = ended?;
    let by_kernel = matches!(status, Status::Signal(9) | Status::Code(137)) && !sandbox.killed;
    let ended = Ended {
        status,
        timed_out: sandbox.timed_out,
        out_of_memory: by_kernel && out_of_memory_kills() > kills_before,
    };
    channel
        .send(&Report::Ended(ended))
        .map_err(|error| SandboxError::setup("report the end of the command", error))
}

/// Enters the user namespace that came with the request. Says whether there was one.
fn enter_user_namespace(files: &mut Files) -> Result<bool, SandboxError> {
    let Some(namespace) = files.take(Role::UserNamespace) else { return Ok(false) };
    move_into_thread_name_spaces(namespace.as_fd(), ThreadNameSpaceType::USER)
        .map_err(|errno| SandboxError::setup("enter the user namespace", errno))?;
    // The caller's further groups stay outside, except where a single id is mapped and the kernel forbids this.
    let _ = rustix::thread::set_thread_groups(&[]);
    Ok(true)
}

/// Makes the namespaces that this process shares with the command. The one for mounts comes later, in
/// init, so that this process keeps seeing the caller's files.
fn isolate(command: &Command) -> Result<(), SandboxError> {
    let mut flags = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if command.network != Network::Host {
        flags |= UnshareFlags::NEWNET;
    }
    system::unshare(flags).map_err(|error| SandboxError::setup("make namespaces", error))?;
    // Kernels without control groups have no such namespace, and then nothing to hide.
    let _ = system::unshare(UnshareFlags::NEWCGROUP);
    if command.network != Network::Host {
        system::raise_loopback().map_err(|error| SandboxError::setup("switch the loopback on", error))?;
    }
    Ok(())
}

/// The running inside of a sandbox.
struct Sandbox {
    init: Pid,
    inner: Channel,
    killed: bool,
    timed_out: bool,
}

fn start(
    job: &Job,
    purpose: Purpose,
    input: Option<OwnedFd>,
    user_namespace: bool,
) -> Result<Sandbox, SandboxError> {
    let failed = |error: io::Error| SandboxError::setup("start the first process", error);
    let (inner, reports) = Channel::pair().map_err(failed)?;
    let (gate, opener) = io::pipe().map_err(failed)?;
    let inside = Inside { job, purpose, input, user_namespace, reports, gate };
    let init = system::fork(move || init::run(inside)).map_err(failed)?;
    io::Write::write_all(&mut &opener, &[1]).map_err(failed)?;
    Ok(Sandbox { init, inner, killed: false, timed_out: false })
}

/// What has happened since the last look.
struct News {
    from_caller: bool,
    from_inside: bool,
}

impl Sandbox {
    /// Waits for the command's end, obeying the caller and the clock.
    fn watch(&mut self, channel: &Channel, timeout: Option<Duration>) -> Result<Status, SandboxError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut caller = Some(channel);
        let mut outcome = None;
        loop {
            let news = self.wait(caller, deadline.filter(|_| !self.killed))?;
            if news.from_inside {
                match self.inner.receive::<Report>() {
                    Ok(Some((Report::Started, _))) => {
                        let _ = channel.send(&Report::Started);
                    }
                    Ok(Some((Report::Failed(error), _))) => outcome = Some(Err(error)),
                    Ok(Some((Report::Ended(ended), _))) => {
                        outcome.get_or_insert(Ok(ended.status));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
            } else if news.from_caller {
                caller = self.obey(channel).then_some(channel);
            } else {
                self.timed_out = true;
                self.kill();
            }
        }
        self.outcome(outcome)
    }

    fn wait(&self, caller: Option<&Channel>, deadline: Option<Instant>) -> Result<News, SandboxError> {
        let mut sources = vec![PollFd::new(&self.inner, PollFlags::IN)];
        sources.extend(caller.map(|channel| PollFd::new(channel, PollFlags::IN)));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec::try_from(left).expect("a time limit fits the kernel's seconds"));
        loop {
            match poll(&mut sources, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(SandboxError::setup("wait for the command", errno)),
                Ok(_) => break,
            }
        }
        let ready = |index: usize| sources.get(index).is_some_and(|source| !source.revents().is_empty());
        Ok(News { from_inside: ready(0), from_caller: ready(1) })
    }

    /// Does what the caller says next; false when there is no caller any more.
    fn obey(&mut self, channel: &Channel) -> bool {
        match channel.receive::<Order>() {
            Ok(Some((Order::Signal(number), _))) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    let _ = kill_process(self.init, signal);
                }
                true
            }
            Ok(Some((Order::Continue, _))) => true,
            Ok(Some((Order::Kill, _))) => {
                self.kill();
                true
            }
            Ok(None) | Err(_) => {
                self.kill();
                false
            }
        }
    }

    /// Kills init, and with it everything in its process namespace.
    fn kill(&mut self) {
        self.killed = true;
        let _ = kill_process(self.init, Signal::KILL);
    }

    fn outcome(&self, reported: Option<Result<Status, SandboxError>>) -> Result<Status, SandboxError> {
        let waited = waitpid(Some(self.init), WaitOptions::empty())
            .map_err(|errno| SandboxError::setup("wait for the first process", errno))?;
        match reported {
            Some(outcome) => outcome,
            None if self.killed => Ok(Status::Signal(9)),
            None => Err(SandboxError::Lost { status: format!("{:?}", waited.map(|(_, status)| status)) }),
        }
    }
}

/// How often the kernel has killed a process for want of memory since it started; zero where it does not say.
fn out_of_memory_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
