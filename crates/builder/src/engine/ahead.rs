//! Copies made ahead: while a RUN works, the COPY steps below it are hashed, written and compressed, as far as they
//! read the context and nothing else.
//!
//! What a COPY gives depends on the layers below it only by the folders on the way to its destination, and its second
//! key holds those. So it is made as if the RUN changed none of them, and kept under that key. When its turn
//! comes it is looked up like any other step: where the RUN did change them the key is another one, and what was made
//! ahead is left for the clean-up. Nothing but time depends on it, so whatever goes wrong here is left to the step
//! itself to say.
//!
//! Compressing in vain costs the processors that other steps need, so it is done where it is likely to count. A RUN
//! that makes something beside the destination gives the folder above it [`LAYER_TIME`]. A folder of a base image has
//! another time, and which of both the copy will find is not known before the last RUN above it: before that, the
//! files of such a copy are only hashed. Folders that steps made have that time already.

use std::sync::atomic::{AtomicBool, Ordering};

use layer::Kind;

use super::copy::{expand, with_documents};
use super::fill::Sources;
use super::place::{content_key, place};
use super::placed::PlacedList;
use super::run::LAYER_TIME;
use super::source;
use super::stage::StageRun;
use super::workspace::LayerRef;
use crate::BuildError;
use crate::dockerfile::{Command, Copy, Instruction};

/// Does `work`, which is a RUN's, and makes the copies below it meanwhile.
pub(crate) fn beside<T>(stage: &StageRun<'_>, current: &Instruction, work: impl FnOnce() -> T) -> T {
    if !is_worthwhile(stage, current) {
        return work();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| copies(stage, current, &stop));
        let result = work();
        stop.store(true, Ordering::Release);
        result
    })
}

/// Makes the copies below `current` until there are none left or `stop` is set.
fn copies(stage: &StageRun<'_>, current: &Instruction, stop: &AtomicBool) {
    let mut stage = stage.ahead();
    let mut runs_before = 0;
    for instruction in following(&stage, current) {
        runs_before += usize::from(matches!(instruction.command, Command::Run(_)));
        if stop.load(Ordering::Acquire) || step(&mut stage, instruction, runs_before).is_err() {
            return;
        }
    }
}

/// Whether there is a copy to be made ahead below `current`.
fn is_worthwhile(stage: &StageRun<'_>, current: &Instruction) -> bool {
    following(stage, current).iter().any(|instruction| context_copy(instruction).is_some())
}

fn following<'a>(stage: &StageRun<'a>, current: &Instruction) -> &'a [Instruction] {
    let instructions = &stage.stage.instructions;
    let place = instructions.iter().position(|one| one.span == current.span);
    place.map_or(&[], |place| &instructions[place + 1..])
}

fn context_copy(instruction: &Instruction) -> Option<&Copy> {
    match &instruction.command {
        Command::Copy(copy) if copy.from.is_none() => Some(copy),
        _ => None,
    }
}

/// Follows one instruction; only copies are carried out, of others what the copies below them see. `runs_before` it
/// are still to come.
fn step(stage: &mut StageRun<'_>, instruction: &Instruction, runs_before: usize) -> Result<(), BuildError> {
    if let Some(copy) = context_copy(instruction) {
        if let Some(layer) = make(stage, instruction, copy, runs_before)? {
            stage.state.layers.push(layer);
        }
        return Ok(());
    }
    if let Command::Workdir(path) = &instruction.command {
        let path = stage.state.expand(path).map_err(|error| stage.refuse(instruction, error.to_string()))?;
        stage.state.config.config.working_dir = stage.state.working_dir(&path);
        return Ok(());
    }
    let configured = stage.state.configure(&instruction.command, &stage.build.globals);
    configured.map(drop).map_err(|reason| stage.refuse(instruction, reason))
}

/// Makes the layer of a copy; `None` where all processors are busy with steps whose turn it is, or where it is
/// too early.
fn make(
    stage: &StageRun<'_>,
    at: &Instruction,
    copy: &Copy,
    runs_before: usize,
) -> Result<Option<LayerRef>, BuildError> {
    let Some(_permit) = stage.build.schedule.permit_if_free() else { return Ok(None) };
    let expanded = expand(stage, at, &copy.transfer, copy.parents.is_some())?;
    let context = stage.build.context()?;
    let refuse = |reason: String| stage.refuse(at, reason);
    let groups = source::from_context(context, &expanded.sources, &expanded.choice).map_err(refuse)?;
    let below = expanded.below(stage)?;
    let owner = stage.owner(at, &below, &expanded.chown)?;
    let chmod = expanded.chmod.as_ref().map(|(_, chmod)| chmod.clone());
    let groups = with_documents(groups, &expanded.documents);
    let attributes = stage.attributes(owner, chmod);
    let folder = stage.build.workspace.root();
    let placed = place(&below.tree, &expanded.destination, &groups, &attributes, folder)
        .map_err(|error| error.or(refuse))?;
    let step_time = stage.build.request.source_date_epoch.unwrap_or(LAYER_TIME);
    if runs_before > 0 && !stands_in_settled_folders(&placed, step_time) {
        return Ok(None);
    }
    let sources = Sources { context: Some(context), layers: &[] };
    let (layer, is_new) = stage.known_or_copied(&placed, sources, &stage.location(at))?.map_err(refuse)?;
    if is_new {
        stage.build.made_ahead(&content_key(&placed)?);
    }
    Ok(Some(layer))
}

/// Whether the folders above what is copied have the time that steps give to folders, and keep it whatever steps make
/// in them.
fn stands_in_settled_folders(placed: &PlacedList, step_time: i64) -> bool {
    let entries = placed.iter().map_while(Result::ok).map(|placed| placed.entry.clone());
    let mut above = entries.take_while(|entry| entry.kind == Kind::Directory);
    above.all(|folder| folder.mtime == step_time)
}
