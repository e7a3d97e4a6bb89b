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

/// Makes a namespace in which every id of this process' namespace is itself, for root to register an emulator in.
pub(super) fn make_equal(program: &Path) -> Result<OwnedFd, SandboxError> {
    let mut process = launch::launch(program, Task::MakeUserNamespace(Mapping::FromOutside), &[])?.process;
    expect(process.next_report()?.0, |report| matches!(report, Report::WaitsForIds))?;
    let failed = |error: std::io::Error| SandboxError::setup("map ids to themselves", error);
    for map in ["uid_map", "gid_map"] {
        let own = std::fs::read_to_string(format!("/proc/self/{map}")).map_err(failed)?;
        let place = format!("/proc/{}/{map}", process.id().as_raw_nonzero());
        std::fs::write(place, to_themselves(&own)).map_err(failed)?;
    }
    process.tell(&Order::Continue)?;
    let (report, mut files) = process.next_report()?;
    expect(report, |report| matches!(report, Report::UserNamespace))?;
    files.pop().ok_or_else(|| SandboxError::Lost { status: "no user namespace came".to_owned() })
}

/// Turns the map of a namespace, as the kernel shows it, into that of one within it with the same ids.
fn to_themselves(map: &str) -> String {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let (first, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    map.lines().filter_map(line).collect()
}

fn expect(report: Report, is_expected: impl FnOnce(&Report) -> bool) -> Result<(), SandboxError> {
    match report {
        Report::Failed(error) => Err(error),
        report if is_expected(&report) => Ok(()),
        other => Err(SandboxError::Lost { status: format!("unexpected report {other:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_what_they_are() {
        assert_eq!(to_themselves("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(to_themselves("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
        assert_eq!(to_themselves(""), "");
    }
}
