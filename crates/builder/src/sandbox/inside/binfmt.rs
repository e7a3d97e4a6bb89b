//! Registers an emulator for the programs of another processor, for the time of one command and for nobody
//! else: in the user namespace of the command, through a file system that is mounted nowhere.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::sandbox::emulation::Emulator;
use crate::sandbox::error::SandboxError;
use crate::sandbox::system;

/// What a registration lives by: it goes with the last process that holds this.
pub(super) struct Registration {
    _file_system: OwnedFd,
}

/// An emulator, opened while the machine's files are still in sight.
pub(super) struct Opened<'a> {
    emulator: &'a Emulator,
    program: File,
}

impl<'a> Opened<'a> {
    /// Opens the emulator's program.
    pub(super) fn open(emulator: &'a Emulator) -> Result<Self, SandboxError> {
        let program = File::open(&emulator.program).map_err(|error| failed(emulator, error))?;
        Ok(Self { emulator, program })
    }

    /// Enters `namespace`, where one is given, and registers the emulator in the user namespace of this process.
    pub(super) fn register(self, namespace: Option<&OwnedFd>) -> Result<Registration, SandboxError> {
        let failed = |error: io::Error| failed(self.emulator, error);
        if let Some(namespace) = namespace {
            move_into_thread_name_spaces(namespace.as_fd(), ThreadNameSpaceType::USER)
                .map_err(|errno| failed(errno.into()))?;
            // Only who owns the namespace of mounts may mount, and a file system is a mount even when it has no place.
            system::unshare(UnshareFlags::NEWNS).map_err(failed)?;
        }
        let file_system = mount().map_err(|errno| failed(errno.into()))?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let register = rustix::fs::openat(&file_system, "register", flags, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        let line = self.emulator.machine.registration(&format!("/proc/self/fd/{}", self.program.as_raw_fd()));
        match File::from(register).write_all(line.as_bytes()) {
            // Another command of the same user namespace did the same.
            Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
            Err(error) => return Err(failed(error)),
            Ok(()) => {}
        }
        Ok(Registration { _file_system: file_system })
    }
}

fn mount() -> Result<OwnedFd, Errno> {
    let context = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn failed(emulator: &Emulator, error: io::Error) -> SandboxError {
    SandboxError::Emulator { program: emulator.program.clone(), source: error.into() }
}
