//! The sandbox in which steps and services run.
//!
//! This room owns namespaces, the overlay of layers a command sees, its surroundings and its limits, and
//! the work on file trees that must happen inside a user namespace. It leaves what is run, and what
//! becomes of the changes, to the engine; and tar to `layer`.
//!
//! | isolated | by |
//! |---|---|
//! | files | overlayfs of the given layers, `pivot_root`; nothing of the machine but asked-for mounts |
//! | processes | a process namespace with an init of ours; everything dies with it |
//! | users | nothing as root; a user namespace for an ordinary user |
//! | network | the machine's, or a namespace with loopback only |
//! | environment | built from the command alone |
//! | emulators | registered in a user namespace of the command's own, where the machine has none |
//!
//! Where the kernel allows none of that, as in an unprivileged container, a copy of the layers and `chroot` have to
//! do ([`Mode::Chroot`]).
//!
//! No daemon takes part: the program starts itself again, so its `main` begins with [`enter_if_asked`].
//! Needs Linux 5.12.

mod channel;
mod command;
mod emulation;
mod error;
mod group;
mod inside;
mod launch;
mod limit;
mod message;
mod probe;
mod seccomp;
mod service;
mod subordinate;
mod system;
mod tree;
mod user_namespace;

use std::ffi::OsString;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use oci::Platform;

pub use command::{Command, Content, Exit, Limits, Mount, Network, OutputStream, RootFs, Status};
pub use emulation::Emulator;
pub use error::{Cause, SandboxError};
pub use group::{Allowance, ResourceGroup, StepGroup, Unkept};
pub use limit::{LimitName, NamedLimit};
pub use probe::{Mode, Probe, Wanted, probe, probe_for, probe_once};
pub use service::{Health, OutputListener, RunningService, ServiceOptions, signal_number};
pub use subordinate::SubordinateIds;
pub use tree::PackSettings;

use message::{Ended, Job, Report, Role, ServiceJob, Task};

/// Becomes the sandbox process when the arguments of this program ask for it, and returns its exit code.
///
/// To be called first in `main`, before any thread is started or file opened.
pub fn enter_if_asked(arguments: impl IntoIterator<Item = OsString>) -> Option<i32> {
    let asked = arguments.into_iter().nth(1).is_some_and(|argument| argument == launch::ENTRY);
    asked.then(inside::enter)
}

/// A way to run commands isolated from this machine. Can be shared by threads.
#[derive(Debug)]
pub struct Sandbox {
    program: PathBuf,
    mode: Mode,
    /// Shared by all sandboxes of an ordinary user; closed, it is gone with the last process in it.
    user_namespace: Option<OwnedFd>,
    /// Folders that emulators are looked for in, the first ones first.
    emulators: Vec<PathBuf>,
    /// Where root registers an emulator; made at the first command that needs one.
    emulation: Mutex<Option<Arc<OwnedFd>>>,
}

impl Sandbox {
    /// Makes sandboxes of the kind that [`probe`] found by starting `program`, which must be this program:
    /// `/proc/self/exe`.
    ///
    /// # Errors
    /// When the user namespace of the mode cannot be made.
    pub fn new(program: PathBuf, mode: Mode) -> Result<Self, SandboxError> {
        let user_namespace = user_namespace::make(&program, &mode)?;
        Ok(Self { program, mode, user_namespace, emulators: Vec::new(), emulation: Mutex::default() })
    }

    /// Looks for emulators of other processors in `folders`, the first ones first.
    #[must_use]
    pub fn with_emulators(self, folders: Vec<PathBuf>) -> Self {
        Self { emulators: folders, ..self }
    }

    /// Returns what a command for `platform` needs to run here; `None` for nothing.
    ///
    /// # Errors
    /// [`SandboxError::NoEmulator`] names the program that is missing.
    pub fn emulator(&self, platform: &Platform) -> Result<Option<Emulator>, SandboxError> {
        let found = emulation::emulator(platform, &self.emulators)?;
        match found {
            // Without namespaces there is no place to register it in.
            Some(emulator) if self.mode == Mode::Chroot => Err(SandboxError::NoEmulator {
                platform: platform.to_string(),
                host: Platform::host().to_string(),
                program: emulator.program.display().to_string(),
                reason: "without user namespaces it can be registered with the whole machine alone"
                    .to_owned(),
            }),
            found => Ok(found),
        }
    }

    /// Returns how commands are isolated.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Runs a command on a root file system and waits for its end. Its output goes to `output` piece by piece.
    ///
    /// When it returns, no process of the command is left and `root.upper` holds what it changed.
    ///
    /// # Errors
    /// When the command cannot be started: [`SandboxError::shell_code`] tells a program that is missing or
    /// cannot be executed from a sandbox that cannot be made. A command that fails is no error.
    pub fn run(
        &self,
        root: &RootFs,
        command: &Command,
        output: &mut dyn FnMut(OutputStream, &[u8]),
    ) -> Result<Exit, SandboxError> {
        let started = Instant::now();
        let input = command.stdin.as_deref().map(memory_file).transpose()?;
        let emulation = command.emulator.as_ref().map(|_| self.emulation_namespace()).transpose()?.flatten();
        let mut files = self.namespace_file();
        files.extend(emulation.iter().map(|file| (Role::EmulationNamespace, file.as_fd())));
        files.extend(input.iter().map(|file| (Role::Input, file.as_fd())));
        let task = Task::Run(self.job(root, command, None));
        let launched = launch::launch(&self.program, task, &files)?;
        let last = launched.pump(output, &mut |_, _| {})?;
        Self::outcome(last).map(|ended| ended.after(started.elapsed()))
    }

    fn job(&self, root: &RootFs, command: &Command, service: Option<ServiceJob>) -> Job {
        Job { root: root.clone(), command: command.clone(), users: self.mode.users(), service }
    }

    /// Returns the user namespace that root registers emulators in; others have one of their own anyway.
    fn emulation_namespace(&self) -> Result<Option<Arc<OwnedFd>>, SandboxError> {
        if self.user_namespace.is_some() {
            return Ok(None);
        }
        let mut made = self.emulation.lock().expect("no holder panics");
        match &*made {
            Some(namespace) => Ok(Some(Arc::clone(namespace))),
            None => {
                let namespace = Arc::new(user_namespace::make_equal(&self.program)?);
                Ok(Some(Arc::clone(made.insert(namespace))))
            }
        }
    }

    /// What goes with every request, so that the new process enters the right users.
    fn namespace_file(&self) -> Vec<(Role, BorrowedFd<'_>)> {
        self.user_namespace.iter().map(|file| (Role::UserNamespace, file.as_fd())).collect()
    }

    fn outcome(report: Report) -> Result<Ended, SandboxError> {
        match report {
            Report::Ended(ended) => Ok(ended),
            Report::Failed(error) => Err(error),
            other => Err(SandboxError::Lost { status: format!("last report {other:?}") }),
        }
    }
}

/// Keeps bytes in a file that has no name.
fn memory_file(bytes: &[u8]) -> Result<std::fs::File, SandboxError> {
    let cannot = |error: std::io::Error| SandboxError::setup("keep the command's input", error);
    let file = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| cannot(errno.into()))?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).and_then(|()| file.rewind()).map_err(cannot)?;
    Ok(file)
}
