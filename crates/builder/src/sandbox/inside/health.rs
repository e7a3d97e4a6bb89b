//! Finds out when a service is ready: the image's health check run inside, or its ports accepting.
//!
//! Source: the Dockerfile reference, "HEALTHCHECK". A first success counts at once. Docker waits an
//! `interval` before each probe; here they come sooner, but a service is given up only after the time
//! that Docker would have given it.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open, waitpid,
};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::{execute, relay};
use crate::sandbox::command::Command;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Job, Report};
use crate::sandbox::service::{Check, Health};
use crate::sandbox::system;

/// First pause between two probes; it doubles up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// As much of a probe's output as Docker keeps.
const KEPT_OUTPUT: usize = 4096;

/// Probes a service until it is healthy.
pub(super) struct Prober<'a> {
    check: &'a Check,
    job: &'a Job,
    mounts: OwnedFd,
    begun: Instant,
    next: Instant,
    pause: Duration,
    failures: u32,
    given_up: bool,
    said: String,
    probe: Option<Probe>,
}

/// A health command while it runs.
struct Probe {
    pid: Pid,
    ended: OwnedFd,
    output: PipeReader,
    deadline: Instant,
}

impl<'a> Prober<'a> {
    /// Begins now. `mounts` is the service's mount namespace.
    pub(super) fn new(check: &'a Check, job: &'a Job, mounts: OwnedFd) -> Self {
        let begun = Instant::now();
        Self {
            check,
            job,
            mounts,
            begun,
            next: begun,
            pause: SHORTEST_PAUSE,
            failures: 0,
            given_up: false,
            said: String::new(),
            probe: None,
        }
    }

    /// Returns what becomes readable when the running probe ends.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.probe.as_ref().map(|probe| probe.ended.as_fd())
    }

    /// Returns when to call [`Prober::advance`] at the latest.
    pub(super) fn wake(&self) -> Instant {
        self.probe.as_ref().map_or(self.next, |probe| probe.deadline)
    }

    /// Does what is due and returns what there is to tell.
    pub(super) fn advance(&mut self, probe_ended: bool) -> Option<Report> {
        let now = Instant::now();
        let result = match (&self.probe, self.check) {
            (Some(probe), Check::Command(health)) if probe_ended || now >= probe.deadline => {
                let verdict = self.probe.take().map(|probe| probe.finish(probe_ended, health));
                verdict.expect("there is one in this arm")
            }
            (Some(_), _) => return None,
            _ if now < self.next => return None,
            (None, Check::Ports(ports)) => try_ports(ports),
            (None, Check::Command(health)) => match self.start(health) {
                Ok(probe) => {
                    self.probe = Some(probe);
                    return None;
                }
                Err(error) => Err(format!("the health check cannot start: {error}")),
            },
        };
        match result {
            Ok(()) => Some(Report::Healthy),
            Err(reason) => self.after_failure(reason),
        }
    }

    fn after_failure(&mut self, reason: String) -> Option<Report> {
        self.next = soon(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if let Check::Command(health) = self.check {
            self.pause = self.pause.min(health.interval.max(SHORTEST_PAUSE));
            self.failures += 1;
            if !self.given_up && self.failures >= health.retries && self.begun.elapsed() >= patience(health) {
                self.given_up = true;
                return Some(Report::Unhealthy(reason));
            }
        }
        let news = self.said != reason;
        self.said.clone_from(&reason);
        news.then_some(Report::NotHealthyYet(reason))
    }

    /// Starts the health command among the service's processes, as its user, with its environment.
    fn start(&self, health: &Health) -> Result<Probe, SandboxError> {
        let failed = |error: io::Error| SandboxError::setup("start the health check", error);
        let (output, written) = io::pipe().map_err(failed)?;
        let pid = system::fork(move || {
            let command = Command { arguments: health.arguments.clone(), ..self.job.command.clone() };
            let entered = self.enter(&written);
            let error = entered
                .err()
                .unwrap_or_else(|| execute::become_command(&command, self.job.users, None, None));
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{error}"));
            127
        })
        .map_err(failed)?;
        rustix::io::ioctl_fionbio(&output, true).map_err(|errno| failed(errno.into()))?;
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Probe { pid, ended, output, deadline: soon(health.timeout) })
    }

    fn enter(&self, output: &io::PipeWriter) -> Result<(), SandboxError> {
        let failed = |error: io::Error| SandboxError::setup("enter the service for its health check", error);
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|errno| failed(errno.into()))?;
        rustix::stdio::dup2_stdout(output).map_err(|errno| failed(errno.into()))?;
        rustix::stdio::dup2_stderr(output).map_err(|errno| failed(errno.into()))?;
        move_into_thread_name_spaces(self.mounts.as_fd(), ThreadNameSpaceType::MOUNT)
            .map_err(|errno| failed(errno.into()))?;
        system::close_all_but(&[output.as_fd()]).map_err(failed)
    }
}

impl Probe {
    /// Says whether the health command succeeded; one that is still running is killed.
    fn finish(mut self, ended: bool, health: &Health) -> Result<(), String> {
        if !ended {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = kill_process(self.pid, Signal::KILL);
        }
        let status = waitpid(Some(self.pid), WaitOptions::empty()).ok().flatten().map(|(_, status)| status);
        if !ended {
            return Err(format!("the health check took longer than {} s", health.timeout.as_secs_f32()));
        }
        let code = status.and_then(|status| status.exit_status());
        if code == Some(0) {
            return Ok(());
        }
        let mut output = vec![0; KEPT_OUTPUT];
        let read = self.output.read(&mut output).unwrap_or(0);
        let said = String::from_utf8_lossy(&output[..read]).trim().to_owned();
        let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("gave exit code {code}"));
        Err(if said.is_empty() {
            format!("the health check {how}")
        } else {
            format!("the health check {how}: {said}")
        })
    }
}

fn try_ports(ports: &[u16]) -> Result<(), String> {
    for port in ports {
        relay::connect(*port, CONNECT_TIMEOUT)
            .map_err(|error| format!("nothing answers on port {port} inside: {error}"))?;
    }
    Ok(())
}

/// A moment that the clock can name; what is further away is never waited for.
fn soon(duration: Duration) -> Instant {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Instant::now() + duration.min(DAY)
}

/// The time Docker would take to call a service unhealthy that never is healthy.
fn patience(health: &Health) -> Duration {
    health.start_period.saturating_add(health.interval.saturating_mul(health.retries))
}
