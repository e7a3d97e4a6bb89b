//! The process between the caller and the sandbox: makes namespaces, starts the inside, tidies up.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use super::group::Groups;
use super::init::{self, Inside};
use super::relay::{self, Door};
use super::watch::Watch;
use super::{Files, Purpose, chrooted, overlay};
use crate::sandbox::channel::Channel;
use crate::sandbox::command::{Network, Status};
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Ended, Job, Report, Role, Users};
use crate::sandbox::system;

/// Runs a command to its end and reports it.
pub(super) fn run(
    channel: &Channel,
    job: &Job,
    purpose: Purpose,
    files: &mut Files,
) -> Result<(), SandboxError> {
    if job.users == Users::Container {
        return chrooted::run(channel, job, purpose, files);
    }
    enter_user_namespace(files)?;
    join_network(channel, job, files)?;
    let relay = relay::start(doors(job, files))?;
    let groups = Groups::make(job.command.limits.group.as_ref())?;
    isolate(groups.is_some())?;
    let kills_before = out_of_memory_kills();
    let work = overlay::make_work(&job.root)?;
    // Held until the end of this function, by which init sees that this process lives.
    let (init, inner, _alive) = start(job, &work, purpose, files, groups.as_ref())?;
    let mut watch = Watch::new(job, channel, init, inner, groups.as_ref());
    let ended = watch.until_end();
    if let Some(relay) = relay {
        end(relay);
    }
    overlay::tidy(&work);
    report_end(channel, &watch, ended?, kills_before, groups.as_ref())
}

/// Tells the caller how the command ended.
pub(super) fn report_end(
    channel: &Channel,
    watch: &Watch<'_>,
    status: Status,
    kills_before: u64,
    groups: Option<&Groups>,
) -> Result<(), SandboxError> {
    let by_kernel = matches!(status, Status::Signal(9) | Status::Code(137)) && !watch.killed;
    let ended = Ended {
        status,
        timed_out: watch.timed_out,
        too_many_processes: watch.too_many_processes,
        out_of_memory: match groups.and_then(Groups::is_out_of_memory) {
            // The step's own counter: whatever the command made of the end of one of its processes.
            Some(killed) => killed && status != Status::Code(0) && !watch.killed,
            None => by_kernel && out_of_memory_kills() > kills_before,
        },
    };
    let reported = channel.send(&Report::Ended(ended));
    reported.map_err(|error| SandboxError::setup("report the end of the command", error))
}

/// Enters the user namespace, where one came with the request.
pub(super) fn enter_user_namespace(files: &mut Files) -> Result<(), SandboxError> {
    let Some(namespace) = files.take(Role::UserNamespace) else { return Ok(()) };
    move_into_thread_name_spaces(namespace.as_fd(), ThreadNameSpaceType::USER)
        .map_err(|errno| SandboxError::setup("enter the user namespace", errno))?;
    // The caller's further groups stay outside, except where a single id is mapped and the kernel forbids this.
    let _ = rustix::thread::set_thread_groups(&[]);
    Ok(())
}

/// Enters the network the command is to see; a new one is handed to the caller, so that others may join.
fn join_network(channel: &Channel, job: &Job, files: &mut Files) -> Result<(), SandboxError> {
    if let Some(namespace) = files.take(Role::NetworkNamespace) {
        return move_into_thread_name_spaces(namespace.as_fd(), ThreadNameSpaceType::NETWORK)
            .map_err(|errno| SandboxError::setup("join the network of another service", errno));
    }
    if job.command.network == Network::Host {
        return Ok(());
    }
    let failed = |error: io::Error| SandboxError::setup("make a network", error);
    system::unshare(UnshareFlags::NEWNET).map_err(failed)?;
    system::raise_loopback().map_err(failed)?;
    if job.service.is_some() {
        let namespace = File::open("/proc/self/ns/net").map_err(failed)?;
        channel.send_with(&Report::Network, &[namespace.as_fd()]).map_err(failed)?;
    }
    Ok(())
}

fn doors(job: &Job, files: &mut Files) -> Vec<Door> {
    let ports = job.service.iter().flat_map(|service| &service.relayed);
    ports
        .filter_map(|port| Some(Door { port: *port, listener: files.take(Role::Listener(*port))? }))
        .collect()
}

/// Makes the other namespaces that this process shares with the command. The one for mounts comes later,
/// in init, so that this process keeps seeing the caller's files.
fn isolate(grouped: bool) -> Result<(), SandboxError> {
    system::unshare(UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)
        .map_err(|error| SandboxError::setup("make namespaces", error))?;
    system::leave_keyring();
    // Init joins the groups of its step first, so that they are all it sees.
    if !grouped {
        hide_groups();
    }
    Ok(())
}

/// Makes the control groups of this process the only ones it sees.
pub(super) fn hide_groups() {
    // Kernels without control groups have no such namespace, and then nothing to hide.
    let _ = system::unshare(UnshareFlags::NEWCGROUP);
}

/// Starts init, which reports through the channel and lives no longer than what is returned last.
pub(super) fn start(
    job: &Job,
    work: &Path,
    purpose: Purpose,
    files: &mut Files,
    groups: Option<&Groups>,
) -> Result<(Pid, Channel, PipeWriter), SandboxError> {
    let failed = |error: io::Error| SandboxError::setup("start the first process", error);
    let (inner, reports) = Channel::pair().map_err(failed)?;
    let (gate, opener) = io::pipe().map_err(failed)?;
    let input = files.take(Role::Input);
    let emulation = files.take(Role::EmulationNamespace);
    let inside = Inside { job, work, purpose, input, emulation, reports, gate, groups };
    let init = system::fork(move || init::run(inside)).map_err(failed)?;
    Ok((init, inner, opener))
}

fn end(process: Pid) {
    let _ = kill_process(process, Signal::KILL);
    let _ = waitpid(Some(process), WaitOptions::empty());
}

/// How often the kernel has killed a process for want of memory since it started; zero where it does not say.
pub(super) fn out_of_memory_kills() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
