//! Makes the user namespace that all sandboxes of an ordinary user share.
//!
//! It lives as long as its file is open: a step only has to enter it, so the set-uid programs that map
//! ids run once and not on every step.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::SandboxError;
use super::launch;
use super::message::{Mapping, Order, Report, Task};
use super::probe::Mode;

/// Makes the namespace for `mode`; root needs none, wherever it is root.
pub(super) fn make(program: &Path, mode: &Mode) -> Result<Option<OwnedFd>, SandboxError> {
    let mapping = match mode {
        Mode::Root | Mode::NamespaceRoot { .. } | Mode::Chroot => return Ok(None),
        Mode::UserSubordinate(_) => Mapping::FromOutside,
        Mode::UserSingle => Mapping::OwnId,
    };
    let mut process = launch::launch(program, Task::MakeUserNamespace(mapping), &[])?.process;
    if let Mode::UserSubordinate(ids) = mode {
        expect(process.next_report()?.0, |report| matches!(report, Report::WaitsForIds))?;
        ids.map(process.id())?;
        process.tell(&Order::Continue)?;
    }
    let (report, mut files) = process.next_report()?;
    expect(report, |report| matches!(report, Report::UserNamespace))?;
    Ok(files.pop())
}

fn expect(report: Report, is_expected: impl FnOnce(&Report) -> bool) -> Result<(), SandboxError> {
    match report {
        Report::Failed(error) => Err(error),
        report if is_expected(&report) => Ok(()),
        other => Err(SandboxError::Lost { status: format!("unexpected report {other:?}") }),
    }
}
