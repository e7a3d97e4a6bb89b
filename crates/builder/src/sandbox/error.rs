//! What can go wrong in the sandbox, in a form that crosses from the inner process to the outer one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a sandbox could not do what it was asked.
///
/// A command that ran and failed is no error: its [`Exit`](super::Exit) says how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SandboxError {
    /// The image has no such program.
    #[error("program {program} is not in the image ({searched})")]
    ProgramNotFound {
        /// The first word of the command.
        program: String,
        /// Where it was looked for, as a phrase.
        searched: String,
    },
    /// The program is there; what it needs to be started with is not.
    #[error("program {program} cannot start: its interpreter {interpreter} is not in the image")]
    InterpreterNotFound {
        /// The program found.
        program: String,
        /// The loader of an ELF file, or the program after `#!`.
        interpreter: String,
    },
    /// The program is there and may not be executed.
    #[error("program {program} cannot be executed: {reason}")]
    NotExecutable {
        /// The program found.
        program: String,
        /// What forbids it.
        reason: String,
    },
    /// The program is for another machine, or no program at all.
    #[error("program {program} cannot run here: it is {found}, this machine runs {host}")]
    ForeignFormat {
        /// The program found.
        program: String,
        /// What its header says it is.
        found: String,
        /// The architecture of this machine.
        host: String,
    },
    /// The command has no words.
    #[error("the command is empty: the image names no entry point and none was given")]
    EmptyCommand,
    /// A word of the command or its environment holds a NUL byte.
    #[error("{place} holds a NUL byte, which no program can be given")]
    NulByte {
        /// Which word.
        place: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot enter working directory {path} in the image")]
    WorkingDirectory {
        /// The folder, as seen inside.
        path: String,
        /// Why not.
        source: Cause,
    },
    /// No user of this name.
    #[error("no user {name} in the image's /etc/passwd: create it in the image or name a number")]
    UnknownUser {
        /// The name looked for.
        name: String,
    },
    /// No group of this name.
    #[error("no group {name} in the image's /etc/group: create it in the image or name a number")]
    UnknownGroup {
        /// The name looked for.
        name: String,
    },
    /// The user namespace has no such number.
    #[error(
        "user {uid}:{gid} does not exist for the ordinary user who runs this: give that user subordinate \
         ids (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME, and the uidmap package), \
         or run as root"
    )]
    UnmappedUser {
        /// Number of the user.
        uid: u32,
        /// Number of the group.
        gid: u32,
    },
    /// Something that only namespaces give, where there are none.
    #[error(
        "{what} needs namespaces, and this machine allows none (plimsoll doctor says what forbids them and how to \
         allow it)"
    )]
    NeedsNamespaces {
        /// What was asked for.
        what: String,
    },
    /// A mount could not be made.
    #[error("cannot mount {what} on {target} in the sandbox")]
    Mount {
        /// What was to be mounted.
        what: String,
        /// Where, as seen inside.
        target: String,
        /// Why not.
        source: Cause,
    },
    /// A mount's target leaves the image or is of the wrong kind.
    #[error("cannot mount on {target}: {reason}")]
    MountTarget {
        /// Where, as seen inside.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder given for the root file system cannot be used.
    #[error("cannot use {path} for the root file system of a step")]
    RootFs {
        /// The folder, as seen outside.
        path: PathBuf,
        /// Why not.
        source: Cause,
    },
    /// The kernel refuses a part of the isolation.
    #[error("cannot {doing} for the sandbox")]
    Setup {
        /// What was being done.
        doing: String,
        /// Why not.
        source: Cause,
    },
    /// No way to isolate a step on this machine.
    #[error("no sandbox can be made on this machine: {reason}; {remedy}")]
    Unavailable {
        /// What is forbidden, and by what.
        reason: String,
        /// How to allow it.
        remedy: String,
    },
    /// A layer could not be extracted, read or removed inside the user namespace.
    #[error("cannot {doing} {path}: {reason}")]
    Tree {
        /// The verb.
        doing: String,
        /// The folder.
        path: PathBuf,
        /// What the layer room said.
        reason: String,
    },
    /// The program that becomes the sandbox could not be started.
    #[error("cannot start {program} as a sandbox")]
    Launch {
        /// The program of [`Sandbox::new`](super::Sandbox::new).
        program: PathBuf,
        /// Why not.
        source: Cause,
    },
    /// The inner process ended without saying how the command ended.
    #[error(
        "the sandbox process ended without a report ({status}): it was killed from outside or ran out of memory"
    )]
    Lost {
        /// How it ended.
        status: String,
    },
    /// Programs for another processor cannot be run.
    #[error(
        "a step for {platform} on this machine ({host}) needs {program}: {reason}, and no emulator is registered \
         with the kernel; install it (Debian: apt-get install qemu-user-static), or put it into a folder of PATH or \
         of PLIMSOLL_EMULATORS"
    )]
    NoEmulator {
        /// What the step is for.
        platform: String,
        /// What this machine is.
        host: String,
        /// The program looked for.
        program: String,
        /// What became of it.
        reason: String,
    },
    /// The kernel does not take an emulator for one user namespace.
    #[error(
        "cannot have {} run programs of another processor in the sandbox (Linux before 6.7 allows that to the \
         machine's root alone: register it once for the machine, Debian: apt-get install qemu-user-static binfmt-support)",
        program.display()
    )]
    Emulator {
        /// The emulator.
        program: PathBuf,
        /// Why not.
        source: Cause,
    },
    /// A service did not become healthy.
    #[error("the service did not become healthy within {seconds} s: {reason}")]
    Unhealthy {
        /// How long was waited.
        seconds: u64,
        /// The last thing learnt.
        reason: String,
    },
}

impl SandboxError {
    /// Returns the exit code a shell would give: 127 for a missing program, 126 for one that cannot be
    /// executed, `None` for what is no matter of the command.
    pub fn shell_code(&self) -> Option<i32> {
        match self {
            Self::ProgramNotFound { .. } | Self::InterpreterNotFound { .. } => Some(127),
            Self::NotExecutable { .. } | Self::ForeignFormat { .. } => Some(126),
            _ => None,
        }
    }

    pub(super) fn setup(doing: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Setup { doing: doing.into(), source: source.into() }
    }
}

/// What the kernel said, kept across processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    /// The error number, where there is one.
    pub errno: Option<i32>,
    /// The text of it.
    pub message: String,
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        Self { errno: error.raw_os_error(), message: error.to_string() }
    }
}

impl From<rustix::io::Errno> for Cause {
    fn from(errno: rustix::io::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

impl From<serde_json::Error> for Cause {
    fn from(error: serde_json::Error) -> Self {
        Self { errno: None, message: error.to_string() }
    }
}
