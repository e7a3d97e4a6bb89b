//! Watches a running sandbox: obeys the caller, keeps the time limit, asks after a service's health.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::group::Groups;
use super::health::Prober;
use crate::sandbox::channel::Channel;
use crate::sandbox::command::Status;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Job, Order, Report};

/// A sandbox from the start of its first process to the end of its last one.
pub(super) struct Watch<'a> {
    job: &'a Job,
    caller: &'a Channel,
    /// Whether the caller is still there.
    heard: bool,
    init: Pid,
    inner: Channel,
    deadline: Option<Instant>,
    prober: Option<Prober<'a>>,
    groups: Option<&'a Groups>,
    outcome: Option<Result<Status, SandboxError>>,
    pub(super) killed: bool,
    pub(super) timed_out: bool,
    pub(super) too_many_processes: bool,
}

/// What has happened.
struct News {
    inner: bool,
    caller: bool,
    probe: bool,
}

impl<'a> Watch<'a> {
    /// Watches the process `init`, which reports through `inner`.
    pub(super) fn new(
        job: &'a Job,
        caller: &'a Channel,
        init: Pid,
        inner: Channel,
        groups: Option<&'a Groups>,
    ) -> Self {
        let deadline = job.command.limits.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            job,
            caller,
            heard: true,
            init,
            inner,
            deadline,
            prober: None,
            groups,
            outcome: None,
            killed: false,
            timed_out: false,
            too_many_processes: false,
        }
    }

    /// Waits until nothing is left inside, and returns how the command ended.
    pub(super) fn until_end(&mut self) -> Result<Status, SandboxError> {
        loop {
            let news = self.wait()?;
            if news.inner && !self.hear_inside() {
                break;
            }
            if news.caller {
                self.obey();
            }
            if !self.killed && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.timed_out = true;
                self.kill();
            }
            // Most that is refused a process tries again, and one that starts them for ever never ends.
            if !self.killed && self.groups.is_some_and(Groups::has_too_many) {
                self.too_many_processes = true;
                self.kill();
            }
            self.ask_for_health(news.probe);
        }
        let waited = waitpid(Some(self.init), WaitOptions::empty())
            .map_err(|errno| SandboxError::setup("wait for the first process", errno))?;
        match self.outcome.take() {
            Some(outcome) => outcome,
            None if self.killed => Ok(Status::Signal(Signal::KILL.as_raw())),
            None => Err(SandboxError::Lost { status: format!("{:?}", waited.map(|(_, status)| status)) }),
        }
    }

    fn wait(&self) -> Result<News, SandboxError> {
        let probe = self.prober.as_ref().and_then(Prober::descriptor);
        let mut sources = vec![PollFd::new(&self.inner, PollFlags::IN)];
        sources.extend(self.heard.then(|| PollFd::new(self.caller, PollFlags::IN)));
        sources.extend(probe.iter().map(|probe| PollFd::new(probe, PollFlags::IN)));
        let left = self.time_left().map(|left| Timespec::try_from(left).unwrap_or(LONG));
        rustix::io::retry_on_intr(|| poll(&mut sources, left.as_ref()))
            .map_err(|errno| SandboxError::setup("wait for the command", errno))?;
        let mut ready = sources.iter().map(|source| !source.revents().is_empty());
        let mut next = |asked: bool| asked && ready.next().unwrap_or(false);
        Ok(News { inner: next(true), caller: next(self.heard), probe: next(probe.is_some()) })
    }

    fn time_left(&self) -> Option<Duration> {
        let deadline = self.deadline.filter(|_| !self.killed);
        let wakes = deadline.into_iter().chain(self.prober.as_ref().map(Prober::wake));
        // Not every kernel tells when a process is refused, so it is looked after.
        let look = self.groups.filter(|groups| !self.killed && groups.counts_processes()).map(|_| LOOK);
        let left = wakes.min().map(|instant| instant.saturating_duration_since(Instant::now()));
        left.into_iter().chain(look).min()
    }

    /// Takes a report from inside; false when nothing more will come.
    fn hear_inside(&mut self) -> bool {
        match self.inner.receive::<Report>() {
            // Also said of a command that became no program; then the reason came before.
            Ok(Some((Report::Started, mut files))) if self.outcome.is_none() => {
                let health = self.job.service.as_ref().and_then(|service| service.check.as_ref());
                self.prober =
                    health.zip(files.pop()).map(|(check, mounts)| Prober::new(check, self.job, mounts));
                self.tell(&Report::Started);
            }
            Ok(Some((Report::Failed(error), _))) => self.outcome = Some(Err(error)),
            Ok(Some((Report::Ended(ended), _))) => {
                self.outcome.get_or_insert(Ok(ended.status));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
        true
    }

    /// Does what the caller says next. A caller that is gone wants everything killed.
    fn obey(&mut self) {
        match self.caller.receive::<Order>() {
            Ok(Some((Order::Signal(number), _))) => {
                if let Some(signal) = Signal::from_named_raw(number) {
                    let _ = kill_process(self.init, signal);
                }
            }
            Ok(Some((Order::Continue, _))) => {}
            Ok(Some((Order::Kill, _))) => self.kill(),
            Ok(None) | Err(_) => {
                self.heard = false;
                self.kill();
            }
        }
    }

    fn ask_for_health(&mut self, probe_ended: bool) {
        let Some(report) = self.prober.as_mut().and_then(|prober| prober.advance(probe_ended)) else {
            return;
        };
        if matches!(report, Report::Healthy) {
            self.prober = None;
        }
        self.tell(&report);
    }

    /// Kills init, and with it everything in its process namespace.
    fn kill(&mut self) {
        self.killed = true;
        self.prober = None;
        let _ = kill_process(self.init, Signal::KILL);
    }

    /// A caller that is gone is noticed when it is listened to.
    fn tell(&self, report: &Report) {
        let _ = self.caller.send(report);
    }
}

/// How often a step is looked after that may start too many processes.
const LOOK: Duration = Duration::from_millis(250);

/// Longer than any run.
const LONG: Timespec = Timespec { tv_sec: i32::MAX as i64, tv_nsec: 0 };
