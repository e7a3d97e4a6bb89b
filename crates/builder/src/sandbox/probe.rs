//! Which kind of isolation this machine allows, found by trying, with the reason in words.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::CapabilitySet;

use super::command::{Command, RootFs};
use super::error::SandboxError;
use super::message::Users;
use super::subordinate::SubordinateIds;
use super::{Sandbox, Task, launch};

/// Settings of the kernel that forbid user namespaces.
const SETTINGS: [&str; 3] = [
    "user/max_user_namespaces",
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
];

/// How commands are isolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// By root, without a user namespace: every owner and device is possible.
    Root,
    /// By root of a user namespace that someone else made, as in rootless containers: every owner is
    /// possible that it has ids for.
    NamespaceRoot {
        /// How many ids it has.
        ids: u64,
    },
    /// By an ordinary user in a user namespace with subordinate ids: every owner is possible.
    UserSubordinate(SubordinateIds),
    /// By an ordinary user in a user namespace with one id: owners of files are recorded beside them.
    UserSingle,
    /// By root of a container that allows no namespaces: in a copy of the layers, contained by that container.
    Chroot,
}

/// Which kind of isolation is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The best that works.
    #[default]
    Auto,
    /// [`Mode::Root`] or [`Mode::NamespaceRoot`].
    Root,
    /// [`Mode::UserSubordinate`].
    SubordinateIds,
    /// [`Mode::UserSingle`].
    SingleId,
    /// [`Mode::Chroot`].
    Chroot,
}

impl Wanted {
    fn allows(self, kind: Self) -> bool {
        self == Self::Auto || self == kind
    }
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "root" => Self::Root,
            "subids" => Self::SubordinateIds,
            "single" => Self::SingleId,
            "chroot" => Self::Chroot,
            _ => return Err("it is auto, root, subids, single or chroot".to_owned()),
        })
    }
}

/// What [`probe`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The best kind of isolation that works.
    pub mode: Mode,
    /// Why it is this one, and why no better one.
    pub reason: String,
}

/// Finds the best kind of isolation by rehearsing a sandbox in a temporary folder below `folder`, where
/// root file systems are going to lie.
///
/// # Errors
/// [`SandboxError::Unavailable`] names what forbids each kind and how to allow it.
pub fn probe(program: &Path, folder: &Path) -> Result<Probe, SandboxError> {
    probe_for(program, folder, Wanted::Auto)
}

/// As [`probe`], for one kind alone where one is wanted.
///
/// # Errors
/// As for [`probe`].
pub fn probe_for(program: &Path, folder: &Path, wanted: Wanted) -> Result<Probe, SandboxError> {
    probe_with(program, folder, None, wanted)
}

/// As [`probe`], and keeps in the file `note` what worked, so that it is rehearsed again only where the machine,
/// its settings, the user or the program are others.
///
/// # Errors
/// As for [`probe`].
pub fn probe_once(program: &Path, folder: &Path, note: &Path, wanted: Wanted) -> Result<Probe, SandboxError> {
    probe_with(program, folder, Some(note), wanted)
}

fn probe_with(
    program: &Path,
    folder: &Path,
    note: Option<&Path>,
    wanted: Wanted,
) -> Result<Probe, SandboxError> {
    let mut reasons = Vec::new();
    let mut last_error: Option<SandboxError> = None;
    for candidate in candidates(wanted) {
        let (mode, why) = match candidate {
            Ok(candidate) => candidate,
            Err(missing) => {
                reasons.push(missing);
                continue;
            }
        };
        let mark = note.map(|note| (note, circumstances(program, &mode)));
        let is_known = mark
            .as_ref()
            .is_some_and(|(note, mark)| fs::read(note).is_ok_and(|kept| kept == mark.as_bytes()));
        let works = if is_known { Ok(()) } else { rehearse(program, folder, mode.clone()) };
        match works {
            Ok(()) => {
                if let Some((note, mark)) = mark.filter(|_| !is_known) {
                    // Without the note the next run rehearses again, and that is all.
                    let _ = fs::write(note, mark);
                }
                reasons.push(why);
                if mode == Mode::Chroot && wanted == Wanted::Auto {
                    reasons.push(format!(
                        "for better isolation: {}",
                        remedy(Path::new("/proc"), last_error.as_ref())
                    ));
                }
                return Ok(Probe { mode, reason: reasons.join("; ") });
            }
            Err(error) => {
                reasons.push(format!("not {}: {}", mode.name(), with_sources(&error)));
                last_error = Some(error);
            }
        }
    }
    let remedy = remedy(Path::new("/proc"), last_error.as_ref());
    Err(SandboxError::Unavailable { reason: reasons.join("; "), remedy })
}

impl Mode {
    pub(super) fn users(&self) -> Users {
        match self {
            Self::Root => Users::Machine,
            Self::NamespaceRoot { ids: 1 } | Self::UserSingle => Users::Single,
            Self::NamespaceRoot { .. } | Self::UserSubordinate(_) => Users::Subordinate,
            Self::Chroot => Users::Container,
        }
    }

    /// Returns whether root is the only user there is inside.
    pub fn is_single(&self) -> bool {
        self.users() == Users::Single
    }

    /// Returns the kind as a phrase.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Root => "root without a user namespace",
            Self::NamespaceRoot { .. } => "root of a user namespace",
            Self::UserSubordinate(_) => "a user namespace with subordinate ids",
            Self::UserSingle => "a user namespace with a single id",
            Self::Chroot => "a changed root without namespaces",
        }
    }
}

/// Lists what is worth trying, best first, with the reason for each; or why it is not.
fn candidates(wanted: Wanted) -> Vec<Result<(Mode, String), String>> {
    let mut candidates = Vec::new();
    let is_root = rustix::process::geteuid().is_root();
    if is_root && wanted.allows(Wanted::Root) {
        candidates.push(match rustix::thread::capabilities(None) {
            Ok(sets) if sets.effective.contains(CapabilitySet::SYS_ADMIN) => {
                Ok(root_of(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default()))
            }
            _ => Err("root without CAP_SYS_ADMIN".to_owned()),
        });
    }
    if wanted.allows(Wanted::SubordinateIds) {
        candidates.push(SubordinateIds::of_this_user().map(|ids| {
            let why = format!("ordinary user with {} subordinate ids", ids.count());
            (Mode::UserSubordinate(ids), why)
        }));
    }
    if wanted.allows(Wanted::SingleId) {
        candidates.push(Ok((Mode::UserSingle, "ordinary user with a single id".to_owned())));
    }
    if is_root && wanted.allows(Wanted::Chroot) {
        candidates.push(Ok((Mode::Chroot, "root that may change its root".to_owned())));
    }
    if candidates.is_empty() {
        candidates.push(Err("the kind that is asked for needs root".to_owned()));
    }
    candidates
}

/// Tells the machine's root from that of a user namespace, by the ids there are.
/// Source: user_namespaces(7), "the initial user namespace".
fn root_of(uid_map: &str) -> (Mode, String) {
    const ALL: u64 = u32::MAX as u64;
    let counts = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    match counts.sum() {
        0 | ALL => (Mode::Root, "root with CAP_SYS_ADMIN".to_owned()),
        ids => (Mode::NamespaceRoot { ids }, format!("root of a user namespace with {ids} ids")),
    }
}

/// Everything that decides whether a rehearsal goes well, in words: after a change it is done again.
fn circumstances(program: &Path, mode: &Mode) -> String {
    let file = |name: &str| fs::read_to_string(Path::new("/proc").join(name)).unwrap_or_default();
    let link = |name: &str| fs::read_link(Path::new("/proc/self/ns").join(name)).unwrap_or_default();
    let program =
        fs::metadata(program).map(|found| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec()));
    let capabilities = rustix::thread::capabilities(None).map(|sets| sets.effective.bits());
    let (boot, map) = (file("sys/kernel/random/boot_id"), file("self/uid_map"));
    let settings = SETTINGS.map(|name| file(&format!("sys/{name}")));
    let namespaces = ["mnt", "pid", "user"].map(link);
    let user = rustix::process::geteuid().as_raw();
    format!("{mode:?} {boot:?} {map:?} {settings:?} {namespaces:?} {program:?} {capabilities:?} {user}\n")
}

/// Makes and leaves a sandbox of every part but the command.
fn rehearse(program: &Path, folder: &Path, mode: Mode) -> Result<(), SandboxError> {
    let sandbox = Sandbox::new(program.to_owned(), mode)?;
    let unusable =
        |error: std::io::Error| SandboxError::RootFs { path: folder.to_owned(), source: error.into() };
    let place = tempfile::Builder::new().prefix("rehearsal").tempdir_in(folder).map_err(unusable)?;
    let mut root = RootFs::default();
    for (name, path) in [("upper", &mut root.upper), ("work", &mut root.work)] {
        *path = place.path().join(name);
        fs::create_dir(&*path).map_err(unusable)?;
    }
    let job = sandbox.job(&root, &Command::new(&[]), None);
    let launched = launch::launch(&sandbox.program, Task::Rehearse(job), &sandbox.namespace_file())?;
    Sandbox::outcome(launched.pump(&mut |_, _| {}, &mut |_, _| {})?).map(drop)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error} ({})", with_sources(source)),
        None => error.to_string(),
    }
}

/// Names the setting that forbids user namespaces, as far as `/proc` (given for the tests' sake) tells.
fn remedy(proc: &Path, error: Option<&SandboxError>) -> String {
    let setting =
        |name: &str| fs::read_to_string(proc.join("sys").join(name)).unwrap_or_default().trim().to_owned();
    let or_root = "or run as root";
    if setting("user/max_user_namespaces") == "0" {
        return format!("allow user namespaces (sysctl -w user.max_user_namespaces=15000) {or_root}");
    }
    if setting("kernel/unprivileged_userns_clone") == "0" {
        return format!("allow user namespaces (sysctl -w kernel.unprivileged_userns_clone=1) {or_root}");
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return format!(
            "let AppArmor allow user namespaces (sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a \
             profile with `userns,` for this program) {or_root} (sudo)"
        );
    }
    if matches!(error, Some(SandboxError::Mount { what, .. }) if what == "proc") {
        return "the container hides parts of /proc: start it with --security-opt systempaths=unconfined \
                (Kubernetes: procMount: Unmasked), or privileged"
            .to_owned();
    }
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    if status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])) {
        return "the container's seccomp profile is the likely reason: start it with --security-opt \
                seccomp=unconfined (Kubernetes: hostUsers: false and a profile that allows unshare and mount), \
                or as root with CAP_SYS_ADMIN"
            .to_owned();
    }
    "run as root, or where user namespaces are allowed".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(settings: &[(&str, &str)], error: Option<SandboxError>, expected: &str) {
        let proc = tempfile::tempdir().unwrap();
        for (name, value) in settings {
            let path = proc.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        let remedy = remedy(proc.path(), error.as_ref());
        assert!(remedy.contains(expected), "{remedy}");
    }

    #[test]
    fn root_of_a_user_namespace_is_not_root_of_the_machine() {
        let mode = |map: &str| root_of(map).0;
        assert_eq!(mode("         0          0 4294967295\n"), Mode::Root);
        assert_eq!(mode(""), Mode::Root);
        assert_eq!(mode("0 1000 1\n1 100000 65536\n"), Mode::NamespaceRoot { ids: 65537 });
        assert_eq!(mode("0 1000 1\n").users(), Users::Single);
    }

    #[test]
    fn the_setting_that_forbids_is_named() {
        check(&[("sys/user/max_user_namespaces", "0\n")], None, "user.max_user_namespaces=");
        check(&[("sys/kernel/unprivileged_userns_clone", "0\n")], None, "kernel.unprivileged_userns_clone=1");
        let apparmor = "sys/kernel/apparmor_restrict_unprivileged_userns";
        check(&[(apparmor, "1\n")], None, "kernel.apparmor_restrict_unprivileged_userns=0");
        check(&[("self/status", "Name:\tx\nSeccomp:\t2\n")], None, "seccomp=unconfined");
        let source = rustix::io::Errno::PERM.into();
        let masked = SandboxError::Mount { what: "proc".into(), target: "/proc".into(), source };
        check(&[("self/status", "Seccomp:\t2\n")], Some(masked), "systempaths=unconfined");
        check(&[(apparmor, "0\n")], None, "run as root");
    }
}
