//! Control groups: what all steps of a build may use together, where the kernel lets this process say so.
//!
//! ```text
//! GROUP/plimsoll-PID-N          one build; holds the limits, and no process
//!       └─ step-PID             one step, by the sandbox process; holds the limits too, and counts for the step alone
//! ```
//!
//! | | version 2 | version 1 |
//! |---|---|---|
//! | memory | `memory.max`, no swap | `memory.limit_in_bytes`, with swap the same |
//! | processes | `pids.max` | `pids.max` |
//!
//! In version 2 a group that holds processes gives no controllers to groups below it, so a sibling of our own group
//! is tried as well: there systemd puts what a user delegates. Nothing here is ever a reason not to build.
//!
//! Source: Linux, admin-guide/cgroup-v2.rst, "No Internal Process Constraint", "Delegation"; admin-guide/cgroup-v1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

/// What all steps of a build may use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

/// A group of processes that share an allowance. It is removed with the value.
#[derive(Debug)]
pub struct ResourceGroup {
    group: StepGroup,
}

/// What a step needs to know of the group of its build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepGroup {
    /// The same group in each hierarchy.
    pub(super) folders: Vec<PathBuf>,
    pub(super) allowance: Allowance,
}

impl StepGroup {
    /// Returns what it keeps to.
    pub fn allowance(&self) -> Allowance {
        self.allowance
    }
}

/// A part of an allowance that no group keeps, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unkept {
    /// `memory` or `processes`.
    pub what: &'static str,
    /// Why not.
    pub reason: String,
}

impl ResourceGroup {
    /// Makes a group with the parts of `allowance` that can be kept, and says which cannot; `None` where none can.
    pub fn make(allowance: Allowance) -> (Option<Self>, Vec<Unkept>) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("plimsoll-{}-{number}", std::process::id());
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let hierarchies = hierarchies(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let mut making = Making { hierarchies, name, group: StepGroup::default(), unkept: Vec::new() };
        if let Some(bytes) = allowance.memory {
            let part = Allowance { memory: Some(bytes), processes: None };
            making.add("memory", "memory", part);
        }
        if let Some(count) = allowance.processes {
            let part = Allowance { memory: None, processes: Some(count) };
            making.add("processes", "pids", part);
        }
        let group = (!making.group.folders.is_empty()).then_some(Self { group: making.group });
        (group, making.unkept)
    }

    /// Returns what a step needs to be in it.
    pub fn for_step(&self) -> StepGroup {
        self.group.clone()
    }
}

impl Drop for ResourceGroup {
    fn drop(&mut self) {
        self.group.folders.iter().for_each(|folder| remove(folder));
    }
}

/// Removes a group and those below it, which hold no processes any more. What cannot be removed holds nothing up.
pub(super) fn remove(folder: &Path) {
    let below = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let _ = fs::remove_dir(entry.path());
    }
    let _ = fs::remove_dir(folder);
}

/// Writes the limits of `allowance` that the group in `folder` knows.
pub(super) fn limit(folder: &Path, allowance: Allowance) -> io::Result<()> {
    let write = |name: &str, value: u64| fs::write(folder.join(name), value.to_string());
    if let Some(bytes) = allowance.memory {
        if folder.join("memory.max").exists() {
            write("memory.max", bytes)?;
            // Kernels without swap have no such file.
            let _ = write("memory.swap.max", 0);
        } else if folder.join("memory.limit_in_bytes").exists() {
            write("memory.limit_in_bytes", bytes)?;
            let _ = write("memory.memsw.limit_in_bytes", bytes);
        }
    }
    match allowance.processes {
        Some(count) if folder.join("pids.max").exists() => write("pids.max", count),
        _ => Ok(()),
    }
}

struct Making {
    hierarchies: Vec<Hierarchy>,
    name: String,
    group: StepGroup,
    unkept: Vec<Unkept>,
}

impl Making {
    fn add(&mut self, what: &'static str, controller: &str, part: Allowance) {
        let mut reason = "this machine has no control groups for it".to_owned();
        for folder in self.hierarchies.iter().flat_map(|hierarchy| hierarchy.candidates(controller)) {
            let place = folder.join(&self.name);
            match make(&folder, &place, controller, part) {
                Ok(()) => {
                    if !self.group.folders.contains(&place) {
                        self.group.folders.push(place);
                    }
                    let known = &mut self.group.allowance;
                    known.memory = known.memory.or(part.memory);
                    known.processes = known.processes.or(part.processes);
                    return;
                }
                Err(error) => {
                    // Where the other controller is in the same place, the group stays.
                    if !self.group.folders.contains(&place) {
                        remove(&place);
                    }
                    reason = format!("no control group can be made in {}: {error}", folder.display());
                }
            }
        }
        self.unkept.push(Unkept { what, reason });
    }
}

fn make(folder: &Path, place: &Path, controller: &str, part: Allowance) -> io::Result<()> {
    hand_down(folder, controller)?;
    match fs::create_dir(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    hand_down(place, controller)?;
    limit(place, part)
}

/// Gives a controller to the groups below `folder`; in version 1 they have it.
fn hand_down(folder: &Path, controller: &str) -> io::Result<()> {
    let file = folder.join("cgroup.subtree_control");
    let Ok(handed) = fs::read_to_string(&file) else { return Ok(()) };
    if handed.split_whitespace().any(|known| known == controller) {
        return Ok(());
    }
    fs::write(file, format!("+{controller}"))
}

/// A mounted tree of control groups, and where this process is in it.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Empty for version 2.
    controllers: Vec<String>,
    mount: PathBuf,
    own: PathBuf,
}

impl Hierarchy {
    /// Returns the groups below which one with this controller may be made, best first.
    fn candidates(&self, controller: &str) -> Vec<PathBuf> {
        if self.controllers.iter().any(|known| known == controller) {
            return vec![self.own.clone()];
        }
        let available = |folder: &PathBuf| {
            let list = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().any(|known| known == controller)
        };
        if !self.controllers.is_empty() {
            return Vec::new();
        }
        let above = self.own.parent().filter(|above| above.starts_with(&self.mount)).map(Path::to_owned);
        std::iter::once(self.own.clone()).chain(above).filter(available).collect()
    }
}

/// Reads where this process is (`/proc/self/cgroup`) and where that is seen (`/proc/self/mountinfo`).
fn hierarchies(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let of = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers: Vec<String> =
            names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if number != "0" && controllers.is_empty() {
            return None;
        }
        let (root, mount) = mounts.lines().find_map(|line| mount_of(line, &controllers))?;
        let below = path.strip_prefix(root.trim_end_matches('/'))?.trim_start_matches('/');
        Some(Hierarchy { own: PathBuf::from(mount).join(below), mount: mount.into(), controllers })
    };
    groups.lines().filter_map(of).collect()
}

/// Returns the root and the place of a mount, where it is of these controllers; none are version 2.
///
/// Source: proc_pid_mountinfo(5).
fn mount_of<'a>(line: &'a str, controllers: &[String]) -> Option<(&'a str, &'a str)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, mount) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (kind, options) = (kind.next()?, kind.nth(1)?);
    let is_it = match controllers {
        [] => kind == "cgroup2",
        several => {
            kind == "cgroup" && several.iter().all(|name| options.split(',').any(|option| option == name))
        }
    };
    is_it.then_some((root, mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "26 25 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        30 26 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        31 26 0:27 /pod /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        32 26 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn places_are_found_in_every_hierarchy() {
        let groups = "9:name=systemd:/\n8:pids:/pod/a\n4:memory:/b/c\n0::/d\nbroken\n3:cpu:/x\n";
        let found = hierarchies(groups, HYBRID);
        let shown: Vec<_> = found.iter().map(|one| one.own.to_str().unwrap()).collect();
        let expected = ["/sys/fs/cgroup/pids/a", "/sys/fs/cgroup/memory/b/c", "/sys/fs/cgroup/unified/d"];
        assert_eq!(shown, expected);
        assert_eq!(found[1].candidates("memory"), [PathBuf::from("/sys/fs/cgroup/memory/b/c")]);
        assert!(found[1].candidates("pids").is_empty());
        // Seen from a place that is not below what is mounted.
        assert!(hierarchies("8:pids:/elsewhere\n", HYBRID).is_empty());
    }

    #[test]
    fn limits_are_written_where_the_group_knows_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["memory.max", "pids.max"] {
            fs::write(at(name), "max").unwrap();
        }
        limit(folder.path(), Allowance { memory: Some(1 << 20), processes: None }).unwrap();
        limit(folder.path(), Allowance { memory: None, processes: Some(7) }).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!((read("memory.max"), read("pids.max")), ("1048576".to_owned(), "7".to_owned()));
    }

    #[test]
    fn nothing_wanted_makes_no_group() {
        let (group, unkept) = ResourceGroup::make(Allowance::default());
        assert!(group.is_none() && unkept.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(groups: String, mounts: String) {
            hierarchies(&groups, &mounts);
        }
    }
}
