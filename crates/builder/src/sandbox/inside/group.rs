//! A step's own control groups, below those of its build.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::sandbox::error::SandboxError;
use crate::sandbox::group::{self, StepGroup};

/// The groups that a step is put into, removed with the value.
pub(super) struct Groups {
    folders: Vec<PathBuf>,
    /// Tells of processes that were refused.
    refusals: Option<File>,
}

impl Groups {
    /// Makes the groups of the step that this process supervises; `None` where its build has none.
    pub(super) fn make(build: Option<&StepGroup>) -> Result<Option<Self>, SandboxError> {
        let Some(build) = build else { return Ok(None) };
        let cannot = |error: io::Error| SandboxError::setup("limit what the step may use", error);
        let mut groups = Self { folders: Vec::new(), refusals: None };
        for folder in &build.folders {
            let own = folder.join(format!("step-{}", std::process::id()));
            fs::create_dir(&own).map_err(cannot)?;
            groups.folders.push(own.clone());
            group::limit(&own, build.allowance).map_err(cannot)?;
            if let Ok(refusals) = File::open(own.join("pids.events")) {
                groups.refusals = Some(refusals);
            }
        }
        Ok(Some(groups))
    }

    /// Puts the calling process into them.
    pub(super) fn join(&self) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| fs::write(folder.join("cgroup.procs"), "0"))
    }

    /// Whether processes are counted and may be too many.
    pub(super) fn counts_processes(&self) -> bool {
        self.refusals.is_some()
    }

    /// Whether a process was refused because there were too many.
    pub(super) fn has_too_many(&self) -> bool {
        let mut text = [0; 256];
        let read = self.refusals.as_ref().map_or(0, |file| file.read_at(&mut text, 0).unwrap_or(0));
        count(&String::from_utf8_lossy(&text[..read]), "max") > 0
    }

    /// Whether a process of the step was killed for want of memory; `None` where the kernel does not say.
    pub(super) fn is_out_of_memory(&self) -> Option<bool> {
        let read =
            |name: &str| self.folders.iter().find_map(|folder| fs::read_to_string(folder.join(name)).ok());
        let text = read("memory.events").or_else(|| read("memory.oom_control"))?;
        Some(count(&text, "oom_kill") > 0)
    }
}

fn count(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.folders.iter().for_each(|folder| group::remove(folder));
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn counters_are_read_by_their_whole_names() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!([count(text, "oom_kill"), count(text, "oom"), count(text, "max")], [2, 3, 0]);
        assert_eq!(count("max 17\n", "max"), 17);
        assert_eq!(count("max x", "max"), 0);
    }
}
