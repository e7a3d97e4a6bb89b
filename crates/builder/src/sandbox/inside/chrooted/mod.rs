//! A sandbox where the kernel allows neither namespaces nor mounts, as for root of an unprivileged container.
//!
//! The layers are copied into one folder, the command runs with that as its root, and what it changed is found by
//! comparing the folder with what it was. What the other kinds mount is copied in for the time of the command.
//!
//! | other kinds | here |
//! |---|---|
//! | overlayfs | copies ([`merge`]), compared afterwards ([`changes`]) |
//! | mounts | files and folders put in place ([`furnish`]), never part of the layer |
//! | process namespace | the command's processes are found by their parents, and killed |
//! | `/proc`, `/sys` | a few files about the machine: they cannot be mounted, and the container's processes are not to be seen |
//! | a network of its own | refused |
//!
//! The container around it is what contains a step here. The right to change its root, by which it could leave
//! the folder, and the right to make devices are taken from it.

mod changes;
mod furnish;
mod merge;

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, chdir, kill_process, set_child_subreaper, wait};

use super::group::Groups;
use super::supervisor::{self, report_end};
use super::watch::Watch;
use super::{Files, Purpose, overlay};
use crate::sandbox::channel::Channel;
use crate::sandbox::command::Network;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::Job;

use changes::Snapshot;
use furnish::Furniture;

/// Folders in the working folder of a run: the root of the command, and what was in the way of its mounts.
const ROOT: &str = "root";
const ASIDE: &str = "aside";

/// Runs a command to its end and reports it.
pub(super) fn run(
    channel: &Channel,
    job: &Job,
    purpose: Purpose,
    files: &mut Files,
) -> Result<(), SandboxError> {
    refuse(job)?;
    let work = overlay::make_work(&job.root)?;
    let aside = work.join(ASIDE);
    fs::create_dir(&aside).map_err(|error| overlay::unusable(&aside, error))?;
    let is_kept = job.root.merged.is_some();
    let root = job.root.merged.clone().unwrap_or_else(|| work.join(ROOT));
    if !root.is_dir() {
        fs::create_dir(&root).map_err(|error| overlay::unusable(&root, error))?;
        merge::merge(&job.root.lowers, &root)?;
    }
    let furniture = Furniture::place(&root, &aside, job)?;
    let before = Snapshot::take(&root, &furniture)?;
    // What a command leaves running becomes this process' child and can be found.
    set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| SandboxError::setup("take over what a command leaves", errno))?;
    let kills_before = supervisor::out_of_memory_kills();
    let groups = Groups::make(job.command.limits.group.as_ref())?;
    let groups = groups.as_ref();
    let (init, inner, _alive) = supervisor::start(job, &root, purpose, files, groups)?;
    let mut watch = Watch::new(job, channel, init, inner, groups);
    let ended = watch.until_end();
    end_all();
    furniture.give_back()?;
    changes::write(&root, &job.root.upper, &before, &furniture, is_kept)?;
    if is_kept {
        furniture.take_away(&root)?;
    }
    report_end(channel, &watch, ended?, kills_before, groups)
}

fn refuse(job: &Job) -> Result<(), SandboxError> {
    let needs = if job.service.is_some() {
        "a service"
    } else if job.command.network != Network::Host {
        "a network of its own (--network=none)"
    } else {
        return Ok(());
    };
    Err(SandboxError::NeedsNamespaces { what: needs.to_owned() })
}

/// Makes the prepared folder the root of this process.
pub(super) fn enter(root: &Path) -> Result<(), SandboxError> {
    let failed = |errno: Errno| SandboxError::setup("change to the root file system", errno);
    // What the command leaves running is reaped by init as elsewhere.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
    rustix::process::chroot(root).map_err(failed)?;
    chdir("/").map_err(failed)
}

/// Kills everything that the command left, until no child of this process is left.
fn end_all() {
    loop {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        // Its children become this process' when one dies, so that the next round finds them.
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Lists the children of this process.
fn children() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().get().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let is_child = |stat: &str| {
        // The name before it may hold anything, brackets too. Source: proc_pid_stat(5).
        let (_, fields) = stat.rsplit_once(')')?;
        (fields.split_whitespace().nth(1)? == own).then_some(())
    };
    let child = |process: fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        is_child(&fs::read_to_string(process.path().join("stat")).ok()?)?;
        Pid::from_raw(pid)
    };
    processes.flatten().filter_map(child).collect()
}
