//! The part of [`tree`](crate::sandbox::tree) that runs inside the user namespace.

use std::io::{self, BufReader, PipeReader, PipeWriter};
use std::path::Path;

use layer::diff::Times;
use layer::{Problem, Tree};

use super::{Files, supervisor};
use crate::sandbox::channel::Channel;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::{Handled, Report, Role, TreeJob};
use crate::sandbox::tree::{self, PackSettings};

/// Does one piece of work on a tree and reports it.
pub(super) fn handle(channel: &Channel, job: TreeJob, files: &mut Files) -> Result<(), SandboxError> {
    supervisor::enter_user_namespace(files)?;
    let handled = perform(job, files)?;
    let reported = channel.send(&Report::Handled(handled));
    reported.map_err(|error| SandboxError::setup("report the end of work on a tree", error))
}

fn perform(job: TreeJob, files: &mut Files) -> Result<Handled, SandboxError> {
    let missing = || SandboxError::setup("work on a tree", io::Error::other("a pipe is missing"));
    let input = PipeReader::from(files.take(Role::Input).ok_or_else(missing)?);
    let mut input = BufReader::with_capacity(tree::PIPE_BYTES, input);
    match job {
        TreeJob::Apply { target, users, has_lower } => {
            let lower = has_lower.then(|| lower(&mut input, &target)).transpose()?;
            let applied = tree::apply(&mut input, &target, users, lower.as_ref())?;
            Ok(handled(applied.entries, applied.problems))
        }
        TreeJob::Pack { upper, users, times, exclude, has_lower } => {
            let lower = has_lower.then(|| lower(&mut input, &upper)).transpose()?;
            let settings = PackSettings {
                times: times.map(|(newer_than, becomes)| Times { newer_than, becomes }),
                exclude: exclude.into_iter().collect(),
                lower: lower.as_ref(),
            };
            let mut output = PipeWriter::from(files.take(Role::Output).ok_or_else(missing)?);
            let packed = tree::pack(&upper, &settings, users, &mut output)?;
            Ok(handled(packed.entries, packed.problems))
        }
        TreeJob::Remove { path } => tree::remove(&path).map(|()| Handled::default()),
    }
}

/// Learns what the layers below have. What does not fit into memory is kept beside the folder that is worked on.
fn lower(input: &mut BufReader<PipeReader>, folder: &Path) -> Result<Tree, SandboxError> {
    let read = Tree::read_from(input, folder.parent().unwrap_or(folder));
    read.map_err(|error| SandboxError::setup("learn the layers below", error))
}

fn handled(entries: u64, problems: Vec<Problem>) -> Handled {
    Handled {
        entries,
        problems: problems.into_iter().map(|problem| (problem.path, problem.reason)).collect(),
    }
}
