//! What the outer process asks of the sandbox process, and what that one reports.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{Command, Exit, RootFs, Status};
use super::error::SandboxError;
use super::service::Check;

/// What a new sandbox process is to do. The files that come with it are named by `files`, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) files: Vec<Role>,
    pub(super) task: Task,
}

/// What a file that comes with a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// The user namespace to enter.
    UserNamespace,
    /// The user namespace to enter last, in which an emulator is registered.
    EmulationNamespace,
    /// The network namespace to enter.
    NetworkNamespace,
    /// The command's standard input; for work on trees, the indexes of the layers below and then the tar.
    Input,
    /// Where a tar goes to.
    Output,
    /// The outer end of a port.
    Listener(u16),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// Run a command to its end.
    Run(Job),
    /// Make every part of the sandbox, without starting the command.
    Rehearse(Job),
    /// Make a user namespace and hand it over.
    MakeUserNamespace(Mapping),
    /// Work on a tree of files, without a sandbox.
    Tree(TreeJob),
}

/// Who gives ids to a new user namespace.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Mapping {
    /// The new process: its own user becomes root, and there is no other.
    OwnId,
    /// The caller, with the help of set-uid programs.
    FromOutside,
}

/// A command and what it runs on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) root: RootFs,
    pub(super) command: Command,
    pub(super) users: Users,
    /// Set for a command that keeps running.
    pub(super) service: Option<ServiceJob>,
}

/// Work on a tree of files. `has_lower` says whether what the layers below have is told first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum TreeJob {
    Apply { target: PathBuf, users: Users, has_lower: bool },
    Pack { upper: PathBuf, users: Users, times: Option<(i64, i64)>, exclude: Vec<Vec<u8>>, has_lower: bool },
    Remove { path: PathBuf },
}

/// What was done to a tree.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Handled {
    pub(super) entries: u64,
    /// Path and reason.
    pub(super) problems: Vec<(Vec<u8>, String)>,
}

/// Which users there are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Users {
    /// The machine's.
    Machine,
    /// Those of a user namespace with subordinate ids.
    Subordinate,
    /// Root alone, who is the caller.
    Single,
    /// Those of the container this runs in, which allows no namespaces and no mounts.
    Container,
}

/// What the sandbox process does for a service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServiceJob {
    /// Ports whose listening sockets come with the request.
    pub(super) relayed: Vec<u16>,
    pub(super) check: Option<Check>,
}

/// What the outer process says while the task goes on. When it goes away, everything is killed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Pass a signal to the command.
    Signal(i32),
    /// Kill the command and all it started.
    Kill,
    /// The ids are there.
    Continue,
}

/// What the sandbox process says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The user namespace comes with this; nothing follows.
    UserNamespace,
    /// The user namespace is made and has no ids yet.
    WaitsForIds,
    /// The service's network namespace comes with this.
    Network,
    /// The command's program runs. From inside, its mount namespace comes with this.
    Started,
    /// The service's health check succeeded once.
    Healthy,
    /// It has failed too often, the last time for this reason.
    Unhealthy(String),
    /// It fails for this reason; said again when the reason changes.
    NotHealthyYet(String),
    /// It will not come to that; nothing follows.
    Failed(SandboxError),
    /// The work on a tree is done; nothing follows.
    Handled(Handled),
    /// The command ended; nothing follows.
    Ended(Ended),
}

/// How a command ended, as seen by the sandbox process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) timed_out: bool,
    pub(super) too_many_processes: bool,
    pub(super) out_of_memory: bool,
}

impl Ended {
    pub(super) fn after(self, duration: Duration) -> Exit {
        let Self { status, timed_out, too_many_processes, out_of_memory } = self;
        Exit { status, out_of_memory, timed_out, too_many_processes, duration }
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self { status, timed_out: false, too_many_processes: false, out_of_memory: false }
    }
}
