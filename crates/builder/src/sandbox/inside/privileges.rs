//! What a command may do: Docker's default capabilities, resource limits, its user.
//!
//! Source: moby, daemon/pkg/oci/caps/defaults.go; capabilities(7), "Transformation of capabilities during execve()".

use std::fs;
use std::io;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, UnshareFlags, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::account::Account;
use crate::sandbox::command::Limits;
use crate::sandbox::error::SandboxError;
use crate::sandbox::limit::LimitName;
use crate::sandbox::message::Users;
use crate::sandbox::system;

const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// By which root of a container would leave the folder that is its root, or reach a disk.
const WAYS_OUT: CapabilitySet = CapabilitySet::SYS_CHROOT.union(CapabilitySet::MKNOD);

/// Takes from this process every capability a command in Docker has not. Those that are left become
/// effective when a program of root's is started.
pub(super) fn drop_capabilities(users: Users) -> Result<(), SandboxError> {
    let failed = |errno: Errno| SandboxError::setup("drop capabilities", errno);
    let _ = clear_ambient_capability_set();
    let kept = if users == Users::Container { KEPT.difference(WAYS_OUT) } else { KEPT };
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one this kernel knows.
            Err(Errno::INVAL) => break,
            // A container may give no right to take rights away; what it gives is what it means to give.
            Err(Errno::PERM) if users == Users::Container => break,
            Err(errno) => return Err(failed(errno)),
        }
    }
    let mut sets = capabilities(None).map_err(failed)?;
    sets.inheritable = CapabilitySet::empty();
    if users == Users::Container {
        sets.permitted = sets.permitted.intersection(kept);
        sets.effective = sets.effective.intersection(kept);
    }
    set_capabilities(None, sets).map_err(failed)
}

/// Becomes the user of the command, for good.
pub(super) fn become_user(account: &Account) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    // The user's own group is among the others as well, as in Docker: a program that changes its group keeps it.
    let mut groups = vec![account.gid];
    groups.extend(account.groups.iter().copied().filter(|group| *group != account.gid));
    let groups: Vec<_> = groups.into_iter().map(Gid::from_raw).collect();
    match set_thread_groups(&groups) {
        // With a single id mapped, the kernel forbids it, and there are no groups to be in.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
        Err(errno) => return Err(SandboxError::setup("join the user's groups", errno)),
    }
    let changed = set_thread_res_gid(gid, gid, gid).and_then(|()| set_thread_res_uid(uid, uid, uid));
    changed.map_err(|errno| match errno {
        Errno::INVAL => SandboxError::UnmappedUser { uid: account.uid, gid: account.gid },
        errno => SandboxError::setup("become the user of the command", errno),
    })
}

/// Where there is one id only, gives it the number of the command's user, by a user namespace within the
/// user namespace. The command then is who the image says, and so are the owners of all files it sees.
pub(super) fn call_own_id(account: &Account) -> Result<(), SandboxError> {
    if (account.uid, account.gid) == (0, 0) {
        return Ok(());
    }
    let rename = || -> io::Result<()> {
        system::unshare(UnshareFlags::NEWUSER)?;
        // The kernel lets nobody but root write maps of a process that hides its memory.
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        fs::write("/proc/self/uid_map", format!("{} 0 1", account.uid))?;
        fs::write("/proc/self/gid_map", format!("{} 0 1", account.gid))?;
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    };
    rename().map_err(|error| SandboxError::setup(format!("become user {}", account.uid), error))
}

/// Sets resource limits, lowering what may not be given.
pub(super) fn limit_resources(limits: &Limits) {
    let open_files = limits.open_files.map_or((1024, 524_288), |files| (files, files));
    limit(Resource::Nofile, open_files.0, open_files.1);
    // A core file would end in the layer, and differ from run to run.
    limit(Resource::Core, 0, u64::MAX);
    for (resource, most) in [
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_size),
        (Resource::Data, limits.memory),
    ] {
        if let Some(most) = most {
            limit(resource, most, most);
        }
    }
    for named in &limits.named {
        limit(resource(named.what), named.soft.unwrap_or(u64::MAX), named.hard.unwrap_or(u64::MAX));
    }
}

fn resource(name: LimitName) -> Resource {
    match name {
        LimitName::As => Resource::As,
        LimitName::Core => Resource::Core,
        LimitName::Cpu => Resource::Cpu,
        LimitName::Data => Resource::Data,
        LimitName::Fsize => Resource::Fsize,
        LimitName::Locks => Resource::Locks,
        LimitName::Memlock => Resource::Memlock,
        LimitName::Msgqueue => Resource::Msgqueue,
        LimitName::Nice => Resource::Nice,
        LimitName::Nofile => Resource::Nofile,
        LimitName::Nproc => Resource::Nproc,
        LimitName::Rss => Resource::Rss,
        LimitName::Rtprio => Resource::Rtprio,
        LimitName::Rttime => Resource::Rttime,
        LimitName::Sigpending => Resource::Sigpending,
        LimitName::Stack => Resource::Stack,
    }
}

/// Lets a process of the sandbox itself have as many open files as it may.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn limit(resource: Resource, current: u64, maximum: u64) {
    let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let maximum = maximum.min(allowed);
    let wanted = |value: u64| (value != u64::MAX).then_some(value);
    // Lowering is always allowed, so this cannot fail; and a limit is no reason to refuse a step.
    let _ = setrlimit(resource, Rlimit { current: wanted(current.min(maximum)), maximum: wanted(maximum) });
}
