//! Work on trees of files that has to be done by whoever the files belong to.
//!
//! As root, also of a user namespace, it is done here. Files of an ordinary user's sandbox belong to users of its user namespace:
//! there, this program is started once more inside it, and tars go through pipes.

use std::collections::HashSet;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use layer::diff::{PackOptions, Packed, Times};
use layer::{Applied, ApplyOptions, Devices, LayerPath, OverlayAttributes, Owners, Tree, Whiteouts};

use super::Sandbox;
use super::error::SandboxError;
use super::launch;
use super::message::{Handled, Report, Role, Task, TreeJob, Users};

/// What a pipe takes at once.
pub(super) const PIPE_BYTES: usize = 64 << 10;

/// How the changes of a step become a layer.
#[derive(Debug, Clone, Default)]
pub struct PackSettings<'a> {
    /// What becomes of times; `None` keeps them.
    pub times: Option<Times>,
    /// Paths that are left out with all they hold.
    pub exclude: HashSet<LayerPath>,
    /// The layers below, where they are known.
    pub lower: Option<&'a Tree>,
}

/// Work on trees.
impl Sandbox {
    /// Extracts the uncompressed `tar` of a layer into the existing folder `target`, which then serves as one
    /// of [`RootFs::lowers`](super::RootFs::lowers). `lower` are the layers below, where they are known.
    ///
    /// # Errors
    /// [`SandboxError::Tree`] with what is wrong with the tar or refused by the file system.
    pub fn apply_layer(
        &self,
        tar: &mut dyn Read,
        target: &Path,
        lower: Option<&Tree>,
    ) -> Result<Applied, SandboxError> {
        let users = self.mode.users();
        if self.user_namespace.is_none() {
            return apply(tar, target, users, lower);
        }
        let job = TreeJob::Apply { target: target.to_owned(), users, has_lower: lower.is_some() };
        let (mut process, input) = self.tree_process(job, None)?;
        let written = write_lower(&input, lower).and_then(|()| io::copy(tar, &mut &input));
        drop(input);
        match process.next_report()?.0 {
            Report::Handled(Handled { entries, problems }) => {
                written.map_err(|error| cannot("read the layer for", target, &error))?;
                let problems = problems.into_iter().map(|(path, reason)| layer::Problem { path, reason });
                Ok(Applied { entries, problems: problems.collect() })
            }
            other => Err(unexpected(other)),
        }
    }

    /// Packs what a command left in `upper` as the uncompressed tar of a layer.
    ///
    /// # Errors
    /// [`SandboxError::Tree`] with the file that cannot be read or be in a layer, or what `output` refused.
    pub fn pack_upper(
        &self,
        upper: &Path,
        settings: &PackSettings<'_>,
        output: &mut dyn Write,
    ) -> Result<Packed, SandboxError> {
        let users = self.mode.users();
        if self.user_namespace.is_none() {
            return pack(upper, settings, users, output);
        }
        let (mut read, write) = io::pipe().map_err(|error| cannot("pack", upper, &error))?;
        let job = TreeJob::Pack {
            upper: upper.to_owned(),
            users,
            times: settings.times.map(|times| (times.newer_than, times.becomes)),
            exclude: settings.exclude.iter().cloned().collect(),
            has_lower: settings.lower.is_some(),
        };
        let (mut process, input) = self.tree_process(job, Some(write))?;
        let written = write_lower(&input, settings.lower);
        drop(input);
        let copied = written.and_then(|()| io::copy(&mut read, output));
        // A process that still writes must not wait for a reader that gave up.
        drop(read);
        let report = process.next_report()?.0;
        copied.map_err(|error| cannot("pack", upper, &error))?;
        match report {
            Report::Handled(Handled { entries, problems }) => {
                let problems = problems.into_iter().map(|(path, reason)| layer::Problem { path, reason });
                Ok(Packed { entries, problems: problems.collect() })
            }
            other => Err(unexpected(other)),
        }
    }

    /// Removes a folder with all it holds, whoever it belongs to. One that is not there is no error.
    ///
    /// # Errors
    /// [`SandboxError::Tree`] with what the file system refused.
    pub fn remove_tree(&self, path: &Path) -> Result<(), SandboxError> {
        if self.user_namespace.is_none() {
            return remove(path);
        }
        let (mut process, _) = self.tree_process(TreeJob::Remove { path: path.to_owned() }, None)?;
        match process.next_report()?.0 {
            Report::Handled(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn tree_process(
        &self,
        job: TreeJob,
        output: Option<PipeWriter>,
    ) -> Result<(launch::Process, PipeWriter), SandboxError> {
        let (read, write) = io::pipe().map_err(|error| SandboxError::setup("move a tree", error))?;
        let mut files = self.namespace_file();
        files.push((Role::Input, read.as_fd()));
        files.extend(output.iter().map(|output| (Role::Output, output.as_fd())));
        let launched = launch::launch(&self.program, Task::Tree(job), &files)?;
        Ok((launched.process, write))
    }
}

pub(super) fn apply(
    tar: &mut dyn Read,
    target: &Path,
    users: Users,
    lower: Option<&Tree>,
) -> Result<Applied, SandboxError> {
    let is_machine = users == Users::Machine;
    let attributes = match users {
        Users::Machine => OverlayAttributes::Trusted,
        Users::Subordinate | Users::Single => OverlayAttributes::User,
        Users::Container => OverlayAttributes::Plain,
    };
    let options = ApplyOptions {
        whiteouts: Whiteouts::Overlay(attributes),
        owners: owners(users),
        devices: if is_machine { Devices::Create } else { Devices::Skip },
        lower,
    };
    layer::apply(tar, target, &options).map_err(|error| cannot("extract a layer into", target, &error))
}

pub(super) fn pack(
    upper: &Path,
    settings: &PackSettings<'_>,
    users: Users,
    output: &mut dyn Write,
) -> Result<Packed, SandboxError> {
    let options = PackOptions {
        settle: true,
        exclude: settings.exclude.clone(),
        times: settings.times,
        owners: owners(users),
        lower: settings.lower,
    };
    layer::diff::write_upper(upper, output, &options).map_err(|error| cannot("pack", upper, &error))
}

pub(super) fn remove(path: &Path) -> Result<(), SandboxError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, &error)),
        _ => Ok(()),
    }
}

fn owners(users: Users) -> Owners {
    if users == Users::Single { Owners::Record } else { Owners::Keep }
}

/// Tells what the layers below have.
fn write_lower(pipe: &PipeWriter, lower: Option<&Tree>) -> io::Result<()> {
    let mut pipe = io::BufWriter::with_capacity(PIPE_BYTES, pipe);
    lower.map_or(Ok(()), |lower| lower.write_to(&mut pipe))?;
    pipe.flush()
}

/// Says the whole chain: the sources do not travel between processes.
pub(super) fn cannot(doing: &str, path: &Path, error: &dyn std::error::Error) -> SandboxError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = format!("{reason}: {error}");
        source = error.source();
    }
    SandboxError::Tree { doing: doing.to_owned(), path: path.to_owned(), reason }
}

fn unexpected(report: Report) -> SandboxError {
    match report {
        Report::Failed(error) => error,
        other => SandboxError::Lost { status: format!("unexpected report {other:?}") },
    }
}
