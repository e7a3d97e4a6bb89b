//! `/dev` of a sandbox: the few devices every program may use, terminals, shared memory.
//!
//! Source: runtime-spec, config-linux.md, "Default Devices"; "Default Filesystems".

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_bind};

use super::surroundings::{Tree, failed};
use crate::sandbox::command::Command;
use crate::sandbox::error::SandboxError;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];
/// The group of terminals in every distribution.
const TERMINAL_GROUP: u32 = 5;
/// Bytes of `/dev/shm`, as Docker has it.
const SHARED_MEMORY: u64 = 64 << 20;

/// Mounts `/dev` and what lies below it.
pub(super) fn mount(tree: &Tree, command: &Command, user_namespace: bool) -> Result<(), SandboxError> {
    // Without the sticky bit: with it, root inside may not open a device of another owner for writing.
    let dev = tree.kernel_mount(
        "tmpfs",
        "/dev",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::STRICTATIME,
        "mode=755,size=65536k",
    )?;
    for name in DEVICES {
        let path = dev.join(name);
        show_device(&path).map_err(|errno| failed(&format!("/dev/{name}"), &path, errno))?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name)).map_err(|error| failed("a link", dev.join(name), error))?;
    }
    terminals(tree, user_namespace)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let shared_memory = command.shared_memory.unwrap_or(SHARED_MEMORY);
    tree.kernel_mount("tmpfs", "/dev/shm", flags, &format!("mode=1777,size={shared_memory}"))?;
    // Message queues are an option of the kernel.
    match tree.kernel_mount("mqueue", "/dev/mqueue", flags, "") {
        Err(SandboxError::Mount { source, .. }) if source.errno != Some(Errno::NODEV.raw_os_error()) => {
            Err(failed("mqueue", "/dev/mqueue", source))
        }
        _ => Ok(()),
    }
}

/// Shows a device of the machine. A node of our own would need a file system that opens nodes, and
/// there a step could make one of any disk.
fn show_device(path: &Path) -> Result<(), Errno> {
    mknodat(CWD, path, FileType::RegularFile, Mode::from_raw_mode(0o666), 0)?;
    let name = path.file_name().expect("a device has a name");
    mount_bind(Path::new("/dev").join(name), path)
}

fn terminals(tree: &Tree, user_namespace: bool) -> Result<(), SandboxError> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = "newinstance,ptmxmode=0666,mode=0620";
    let with_group = format!("{options},gid={TERMINAL_GROUP}");
    match tree.kernel_mount("devpts", "/dev/pts", flags, &with_group) {
        // A user namespace may not know the group.
        Err(_) if user_namespace => tree.kernel_mount("devpts", "/dev/pts", flags, options).map(drop),
        mounted => mounted.map(drop),
    }
}
