//! RUN: a command over the layers below, and what it changed as a layer.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use layer::diff::Times;
use layer::observe::Tap;
use oci::Platform;

use super::build::Build;
use super::kept_root;
use super::layers::UnfinishedLayer;
use super::leak::SecretSearch;
use super::machine::{self, Lent};
use super::mounts::{Mounts, Prepared};
use super::work::WorkFolder;
use super::workspace::{LayerRef, Workspace, chain, io_error};
use crate::BuildError;
use crate::cache::{CacheKey, KeyBuilder};
use crate::dockerfile::Program;
use crate::error::Location;
use crate::request::HostAccess;
use crate::sandbox::{Command, Exit, Limits, Mount, NamedLimit, Network, OutputStream, RootFs, Status};

/// The time that files written by a step get: the first day all file formats can hold, in every
/// time zone. It is the same whenever the step runs, so that its layer depends on nothing but the key.
pub(crate) const LAYER_TIME: i64 = 315_619_200;

/// Where here-documents that are scripts are put.
pub(crate) const SCRIPTS: &str = "/dev/pipes/";

/// How many of a failing step's last lines are kept for its error.
const LAST_LINES: usize = 20;
const LONGEST_LINE: usize = 4096;

/// A RUN with everything that its result depends on.
pub(crate) struct RunStep<'a> {
    pub program: Program,
    pub shell: Vec<String>,
    /// `NAME=value`, part of the key.
    pub environment: Vec<String>,
    /// `NAME=value`, not part of the key.
    pub proxies: Vec<String>,
    pub working_directory: String,
    pub user: String,
    pub network: Network,
    pub hosts: Vec<(IpAddr, String)>,
    pub privileged: bool,
    pub mounts: Mounts<'a>,
    pub source_date_epoch: Option<i64>,
    pub timeout: Option<Duration>,
    pub shared_memory: Option<u64>,
    pub limits: &'a [NamedLimit],
    /// What its programs are for.
    pub platform: Platform,
    /// What it shares with the other steps, or may use alone. Not part of the key.
    pub share: Limits,
    /// What it is lent. Not part of the key.
    pub host: &'a HostAccess,
}

impl RunStep<'_> {
    /// Returns the key of the step over the layers `below`.
    pub fn key(&self, below: &[LayerRef]) -> CacheKey {
        let (kind, words) = match &self.program {
            Program::Exec(words) => ("exec", words.clone()),
            Program::Shell(text) => ("shell", self.shell.iter().chain([text]).cloned().collect()),
            Program::Script { name, content } => ("script", vec![name.clone(), content.clone()]),
        };
        let key = KeyBuilder::new("run")
            .field("below", chain(below).as_bytes())
            .field("platform", self.platform.to_string())
            .field("form", kind)
            .list("words", words)
            .list("environment", &self.environment)
            .field("folder", &self.working_directory)
            .field("user", &self.user)
            .field("network", format!("{:?}", self.network))
            .list("hosts", self.hosts.iter().map(|(address, name)| format!("{address} {name}")))
            .field("privileged", if self.privileged { "yes" } else { "" })
            .list("mounts", self.mounts.fields())
            .field("epoch", self.source_date_epoch.map_or_else(String::new, |epoch| epoch.to_string()));
        // Fields of what few ask for come only then, so that the keys of all others stay what they were.
        let key = match self.shared_memory {
            Some(bytes) => key.field("shared memory", bytes.to_string()),
            None => key,
        };
        match self.limits {
            [] => key.finish(),
            limits => key.list("limits", limits.iter().map(|limit| format!("{limit:?}"))).finish(),
        }
    }

    /// Runs the command and keeps what it changed as a layer, whose blob is still to be finished.
    ///
    /// # Errors
    /// `Step` where the command fails; `Sandbox` where it cannot be started.
    pub fn execute(
        &self,
        build: &Build<'_>,
        below: &[LayerRef],
        location: &Location,
        output: &mut dyn FnMut(&[u8]),
        warn: &dyn Fn(String),
    ) -> Result<UnfinishedLayer, BuildError> {
        let workspace = build.workspace;
        let work = workspace.work_folder()?;
        let rootfs = RootFs {
            lowers: workspace.tree_stack(below)?,
            upper: work.create("upper")?,
            work: work.create("work")?,
            read_only: false,
            merged: kept_root::take(workspace, &work, below)?,
        };
        let prepared = self.mounts.prepare(build, &work)?;
        let refused = |source| BuildError::Sandbox { location: location.clone(), source };
        let sandbox = workspace.sandbox().map_err(refused)?;
        let emulator = sandbox.emulator(&self.platform).map_err(refused)?;
        let lent = self.lend(workspace, below)?;
        let command = Command { emulator, ..self.command(&work, &prepared, lent)? };
        let mut tail = Tail::default();
        let mut take = |_: OutputStream, bytes: &[u8]| {
            tail.push(bytes);
            output(bytes);
        };
        let started = modified(&rootfs.upper)?;
        let exit = sandbox.run(&rootfs, &command, &mut take).map_err(refused)?;
        if !exit.success() {
            let outcome = self.outcome(&exit);
            return Err(BuildError::Step { location: location.clone(), outcome, last_lines: tail.lines() });
        }
        let layer = self.keep(workspace, below, &rootfs, started, location, warn)?;
        work.leave();
        Ok(layer)
    }

    fn keep(
        &self,
        workspace: &Workspace,
        below: &[LayerRef],
        rootfs: &RootFs,
        started: i64,
        location: &Location,
        warn: &dyn Fn(String),
    ) -> Result<UnfinishedLayer, BuildError> {
        let times = match self.source_date_epoch {
            Some(epoch) => Times { newer_than: epoch, becomes: epoch },
            // What was written in the second the step started in is its own as well.
            None => Times { newer_than: started - 1, becomes: LAYER_TIME },
        };
        let mut search = SecretSearch::new(self.mounts.secrets());
        let tap: Box<dyn Tap + '_> = match &mut search {
            Some(search) => Box::new(search),
            None => Box::new(()),
        };
        let unfinished = workspace.pack_upper(&rootfs.upper, below, times, &location.instruction, tap)?;
        let layer = unfinished.layer();
        for (path, id) in search.map(SecretSearch::found).unwrap_or_default() {
            warn(format!(
                "{location}: the secret {id} is in {path} of the step's layer, for whoever has the image"
            ));
        }
        if let Some(merged) = &rootfs.merged {
            kept_root::keep(
                workspace,
                merged,
                &rootfs.upper,
                &[below, std::slice::from_ref(layer)].concat(),
            )?;
        }
        workspace.adopt_tree(layer, &rootfs.upper)?;
        Ok(unfinished)
    }

    fn lend(&self, workspace: &Workspace, below: &[LayerRef]) -> Result<Lent, BuildError> {
        let sandbox = workspace.sandbox().map_err(|error| BuildError::layer("prepare a step", error))?;
        let is_apts = || Ok::<_, BuildError>(workspace.merged(below)?.get(b"etc/apt").is_some());
        let single_user = sandbox.mode().is_single() && is_apts()?;
        let own: Vec<String> = self.environment.iter().chain(&self.proxies).cloned().collect();
        Ok(machine::lend(self.host, single_user, &own))
    }

    fn command(&self, work: &WorkFolder<'_>, prepared: &Prepared, lent: Lent) -> Result<Command, BuildError> {
        let mut mounts = prepared.mounts.clone();
        mounts.extend(lent.mounts);
        let arguments = match &self.program {
            Program::Exec(words) => words.clone(),
            Program::Shell(text) => self.shell.iter().chain([text]).cloned().collect(),
            Program::Script { name, content } => {
                let source = work.write_executable("script", content.as_bytes())?;
                let target = format!("{SCRIPTS}{name}");
                mounts.push(Mount::Bind { source, target: target.clone().into(), read_only: true });
                vec![target]
            }
        };
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        Ok(Command {
            arguments,
            environment: self
                .environment
                .iter()
                .chain(&self.proxies)
                .chain(&prepared.environment)
                .chain(&lent.environment)
                .map(pair)
                .collect(),
            working_directory: self.working_directory.clone(),
            user: self.user.clone(),
            network: self.network,
            hosts: self.hosts.clone(),
            privileged: self.privileged,
            mounts,
            shared_memory: self.shared_memory,
            limits: Limits { timeout: self.timeout, named: self.limits.to_vec(), ..self.share.clone() },
            ..Command::new(&[])
        })
    }

    fn outcome(&self, exit: &Exit) -> String {
        match self.timeout {
            Some(timeout) if exit.timed_out => format!("took longer than {} s", timeout.as_secs()),
            _ if exit.too_many_processes => self.too_many_processes(),
            _ if exit.out_of_memory => self.out_of_memory(),
            _ => match exit.status {
                Status::Code(code) => format!("exited with code {code}"),
                Status::Signal(signal) => format!("was killed by signal {signal}"),
            },
        }
    }
}

impl RunStep<'_> {
    fn too_many_processes(&self) -> String {
        let most =
            self.share.group.as_ref().and_then(|group| group.allowance().processes).unwrap_or_default();
        format!("was ended: the steps of this build may be {most} processes at once (--pids-limit)")
    }

    fn out_of_memory(&self) -> String {
        match self.share.group.as_ref().and_then(|group| group.allowance().memory) {
            Some(bytes) => format!(
                "was killed because memory ran out: the steps of this build may use {} MiB (--memory)",
                bytes >> 20
            ),
            None => "was killed because memory ran out".to_owned(),
        }
    }
}

/// When a folder was made, in seconds, by the clock that stamps the files in it.
fn modified(folder: &Path) -> Result<i64, BuildError> {
    let metadata = std::fs::metadata(folder).map_err(|source| io_error("read", folder, source))?;
    Ok(metadata.mtime())
}

/// The last lines of an output that arrives in pieces.
#[derive(Default)]
struct Tail {
    lines: std::collections::VecDeque<Vec<u8>>,
    open: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.open {
                self.lines.push_back(Vec::new());
            }
            self.open = !piece.ends_with(b"\n");
            let line = self.lines.back_mut().expect("a line was pushed");
            let room = LONGEST_LINE.saturating_sub(line.len());
            line.extend(piece.iter().take(room).filter(|byte| **byte != b'\n'));
            if self.lines.len() > LAST_LINES {
                self.lines.pop_front();
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| String::from_utf8_lossy(line).trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_whole() {
        let mut tail = Tail::default();
        for number in 0..50 {
            tail.push(b"li");
            tail.push(format!("ne {number}\nx").as_bytes());
            tail.push(b"\n");
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines[LAST_LINES - 2..], ["line 49", "x"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.push(&[b'x'; 1000]);
        }
        assert_eq!(tail.lines(), ["x".repeat(LONGEST_LINE)]);
    }
}
