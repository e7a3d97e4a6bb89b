//! What is to be run, on what, within which limits, and how it ended.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::emulation::Emulator;
use super::group::StepGroup;
use super::limit::NamedLimit;

/// The layers a command sees as its root folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Extracted layers, lowest first. None of them is written to. Empty for `scratch`.
    pub lowers: Vec<PathBuf>,
    /// An existing empty folder that receives what the command changes, in overlayfs' form.
    pub upper: PathBuf,
    /// An existing folder on the file system of `upper`, for the sandbox' own use. What every run leaves
    /// there is to be removed with the folder, best when nobody waits for it.
    pub work: PathBuf,
    /// Whether the command may change nothing outside its mounts.
    pub read_only: bool,
    /// For [`Mode::Chroot`](super::Mode::Chroot) alone: a folder with all of `lowers` merged, where it exists, and
    /// in any case where the root file system is left as the command changed it. Made and thrown away where absent.
    pub merged: Option<PathBuf>,
}

/// A command and the surroundings it runs in. Nothing is inherited from this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments. A program without a slash is looked for in `PATH` of `environment`.
    pub arguments: Vec<String>,
    /// The whole environment, in order. Only `HOME` is added, from the image's `/etc/passwd`, where it lacks.
    pub environment: Vec<(String, String)>,
    /// Absolute folder to start in; it must exist in the image. Empty means `/`.
    pub working_directory: String,
    /// As in an image's config: empty, `name`, `uid`, `name:group`, `uid:gid`.
    pub user: String,
    /// Name of the machine as the command sees it.
    pub hostname: String,
    /// More lines for `/etc/hosts`.
    pub hosts: Vec<(IpAddr, String)>,
    /// Which network it sees.
    pub network: Network,
    /// What else it sees, mounted in order.
    pub mounts: Vec<Mount>,
    /// Bytes for its standard input; `/dev/null` when absent.
    #[serde(skip)]
    pub stdin: Option<Vec<u8>>,
    /// What it may use.
    pub limits: Limits,
    /// Whether it keeps every capability this process has and sees all of `/proc` and `/sys`.
    pub privileged: bool,
    /// What runs its programs, where they are for another processor; see [`Sandbox::emulator`](super::Sandbox::emulator).
    pub emulator: Option<Emulator>,
    /// Size of `/dev/shm` in bytes; 64 MiB when absent.
    pub shared_memory: Option<u64>,
}

impl Command {
    /// Makes a command that runs as root in `/` with an empty environment on the host's network.
    pub fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            environment: Vec::new(),
            working_directory: String::new(),
            user: String::new(),
            hostname: "buildkitsandbox".to_owned(),
            hosts: Vec::new(),
            network: Network::Host,
            mounts: Vec::new(),
            stdin: None,
            limits: Limits::default(),
            privileged: false,
            emulator: None,
            shared_memory: None,
        }
    }
}

/// The network a command sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The machine's own.
    #[default]
    Host,
    /// A loopback interface of its own and nothing else.
    None,
    /// As `None`, and other services may join it and ports may be relayed into it.
    Private,
}

/// Something mounted into the root file system for the time of the command. Mount points that the
/// image lacks do not end in the layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A folder or file of this machine.
    Bind {
        /// Path outside.
        source: PathBuf,
        /// Absolute path inside.
        target: PathBuf,
        /// Whether the command may not write to it.
        read_only: bool,
    },
    /// An empty folder in memory.
    Tmpfs {
        /// Absolute path inside.
        target: PathBuf,
        /// Largest content in bytes; the kernel's default when absent.
        size: Option<u64>,
    },
    /// The layers of another image, or a part of them.
    Layers {
        /// Extracted layers, lowest first; at least one.
        lowers: Vec<PathBuf>,
        /// Where the command may write: two existing empty folders as in [`RootFs`], for what it writes and
        /// for the sandbox' own use.
        writes: Option<(PathBuf, PathBuf)>,
        /// What of the joined layers: a relative path without links; empty for all.
        source: PathBuf,
        /// Whether that is a folder.
        directory: bool,
        /// Absolute path inside.
        target: PathBuf,
    },
    /// A small file in memory that the command may not write to.
    File {
        /// What is in it.
        content: Content,
        /// Permission bits.
        mode: u32,
        /// Owner's number, inside.
        uid: u32,
        /// Group's number, inside.
        gid: u32,
        /// Absolute path inside.
        target: PathBuf,
    },
}

/// Bytes that no message shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content(pub Vec<u8>);

impl std::fmt::Debug for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

impl Mount {
    pub(super) fn target(&self) -> &std::path::Path {
        match self {
            Self::Bind { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Layers { target, .. }
            | Self::File { target, .. } => target,
        }
    }
}

/// What a command may use. A limit above what this process may give is lowered to that, never refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// After this the command and everything it started is killed.
    pub timeout: Option<Duration>,
    /// Most open files of one process; 1024, to be raised by the process itself to 524288, when absent.
    pub open_files: Option<u64>,
    /// Most processes of the command's user; counted over all sandboxes of that user.
    pub processes: Option<u64>,
    /// Largest file in bytes.
    pub file_size: Option<u64>,
    /// Limits by their names, over those above.
    pub named: Vec<NamedLimit>,
    /// Memory of one process in bytes, counted roughly: what it may write to and shares with nobody.
    pub memory: Option<u64>,
    /// What it shares with other steps of its build.
    pub group: Option<StepGroup>,
}

/// Which of its two streams a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code or signal.
    pub status: Status,
    /// Whether the kernel ran out of memory meanwhile and the command was killed.
    pub out_of_memory: bool,
    /// Whether it was killed for its [`Limits::timeout`].
    pub timed_out: bool,
    /// Whether it was killed because it started more processes than [`Limits::group`] allows.
    pub too_many_processes: bool,
    /// From the start of the sandbox to its end.
    pub duration: Duration,
}

impl Exit {
    /// Returns whether the command ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// Returns the exit code as a shell gives it: 128 and the signal's number for a signal.
    pub fn code(&self) -> i32 {
        match self.status {
            Status::Code(code) => code,
            Status::Signal(signal) => 128 + signal,
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.timed_out {
            return write!(out, "time limit reached after {} s", self.duration.as_secs());
        }
        if self.too_many_processes {
            return out.write_str("too many processes at once");
        }
        match self.status {
            Status::Code(code) => write!(out, "exit code {code}")?,
            Status::Signal(signal) => write!(out, "killed by signal {signal}")?,
        }
        if self.out_of_memory { out.write_str(" (out of memory)") } else { Ok(()) }
    }
}

/// The way a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By itself.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
}
