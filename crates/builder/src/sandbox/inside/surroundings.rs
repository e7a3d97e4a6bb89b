//! What a command finds around its files: `/proc`, `/sys`, `/dev`, name resolution, and asked-for mounts.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount_bind, mount_bind_recursive};

use super::devices;
use super::skeleton::create_missing;
use super::target::Target;
use crate::sandbox::command::{Command, Mount, Network};
use crate::sandbox::error::{Cause, SandboxError};
use crate::sandbox::message::Job;
use crate::sandbox::system::{self, Reach};

pub(super) const ETC_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
const FOLDERS: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Hidden because they tell about the machine or reach into it, as Docker hides them.
/// Source: moby, daemon/pkg/oci/defaults.go, "MaskedPaths".
const MASKED: [&str; 11] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "sys/devices/virtual/powercap",
    "sys/firmware",
];
/// Shown and not to be changed. Source: as above, "ReadonlyPaths".
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// A file or folder that a mount lies on.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) directory: bool,
}

/// Lists what [`mount`] mounts on, in its order.
pub(super) fn places(mounts: &[Mount]) -> Result<Vec<Place>, SandboxError> {
    let folders = FOLDERS.iter().map(|path| Place { path: path.into(), directory: true });
    let files = ETC_FILES.iter().map(|path| Place { path: path.into(), directory: false });
    let mut places: Vec<_> = folders.chain(files).collect();
    for mount in mounts {
        places.push(Place { path: mount.target().to_owned(), directory: is_directory(mount)? });
    }
    Ok(places)
}

pub(super) fn is_directory(mount: &Mount) -> Result<bool, SandboxError> {
    match mount {
        Mount::Tmpfs { .. } => Ok(true),
        Mount::Layers { directory, .. } => Ok(*directory),
        Mount::File { .. } => Ok(false),
        Mount::Bind { source, target, .. } => match fs::metadata(source) {
            Ok(found) => Ok(found.is_dir()),
            Err(error) => Err(SandboxError::Mount {
                what: source.display().to_string(),
                target: target.display().to_string(),
                source: error.into(),
            }),
        },
    }
}

/// Mounts everything below `root`, where the root file system lies for now.
pub(super) fn mount(root: &Path, job: &Job, user_namespace: bool) -> Result<(), SandboxError> {
    let tree = Tree::open(root)?;
    tree.process_information()?;
    devices::mount(&tree, &job.command, user_namespace)?;
    tree.system_information(&job.command, user_namespace)?;
    if !job.command.privileged {
        tree.protect()?;
    }
    tree.name_resolution(&job.command)?;
    job.command.mounts.iter().try_for_each(|mount| tree.asked_for(mount, user_namespace))
}

/// The root file system while it is being furnished.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    folder: rustix::fd::OwnedFd,
}

impl Tree {
    fn open(root: &Path) -> Result<Self, SandboxError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|errno| SandboxError::RootFs { path: root.to_owned(), source: errno.into() })?;
        Ok(Self { root: root.to_owned(), folder })
    }

    /// Returns where a path of the image lies now, made as a file or folder where a mount before hides it.
    pub(super) fn place(&self, path: &Path, directory: bool) -> Result<PathBuf, SandboxError> {
        let target = Target::resolve(&self.folder, path)?;
        if target.missing > 0 {
            create_missing(&self.folder, &target.path, directory)
                .map_err(|errno| failed("a place", path, errno))?;
        } else if target.directory != directory {
            let reason =
                if directory { "the image has a file there" } else { "the image has a folder there" };
            let target = path.display().to_string();
            return Err(SandboxError::MountTarget { target, reason: reason.to_owned() });
        }
        Ok(self.root.join(target.path))
    }

    /// Returns where a folder lies whose content is named by path later on; so it may be no link.
    fn plain_place(&self, path: &str) -> Result<PathBuf, SandboxError> {
        let place = self.place(Path::new(path), true)?;
        if place != self.root.join(path.trim_start_matches('/')) {
            let reason = "the image has a symbolic link there".to_owned();
            return Err(SandboxError::MountTarget { target: path.to_owned(), reason });
        }
        Ok(place)
    }

    /// Mounts a new file system of the kernel on the folder `path` and returns where that lies.
    pub(super) fn kernel_mount(
        &self,
        kind: &str,
        path: &str,
        flags: MountFlags,
        options: &str,
    ) -> Result<PathBuf, SandboxError> {
        let place = self.plain_place(path)?;
        let options = CString::new(options).expect("options are written here and hold no NUL");
        rustix::mount::mount(kind, &place, kind, flags, options.as_c_str())
            .map_err(|errno| failed(kind, path, errno))?;
        Ok(place)
    }

    fn process_information(&self) -> Result<(), SandboxError> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        self.kernel_mount("proc", "/proc", flags, "").map(drop)
    }

    /// A view of the kernel's own where the network allows it, else the machine's, read-only both.
    fn system_information(&self, command: &Command, user_namespace: bool) -> Result<(), SandboxError> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        let own_network = command.network != Network::Host;
        if own_network || !user_namespace {
            match self.kernel_mount("sysfs", "/sys", flags, "") {
                // Containers hide parts of theirs, and then give no other.
                Err(SandboxError::Mount { .. }) => {}
                mounted => return mounted.map(drop),
            }
        }
        let place = self.plain_place("/sys")?;
        mount_bind_recursive("/sys", &place).map_err(|errno| failed("/sys", "/sys", errno))?;
        system::make_read_only(&place, Reach::Tree).map_err(|error| failed("/sys", "/sys", error))?;
        self.hide(&place.join("fs/cgroup"))
    }

    fn protect(&self) -> Result<(), SandboxError> {
        for path in READ_ONLY {
            let place = self.root.join(path);
            if place.exists() {
                mount_bind(&place, &place).map_err(|errno| failed(path, path, errno))?;
                system::make_read_only(&place, Reach::Mount).map_err(|error| failed(path, path, error))?;
            }
        }
        MASKED.iter().try_for_each(|path| self.hide(&self.root.join(path)))
    }

    /// Covers a folder by an empty one, a file by nothing; what is not there needs no cover.
    fn hide(&self, place: &Path) -> Result<(), SandboxError> {
        let hidden = match fs::symlink_metadata(place) {
            Ok(found) if found.is_dir() => {
                let options = c"size=0,mode=755";
                rustix::mount::mount("tmpfs", place, "tmpfs", MountFlags::RDONLY, options)
            }
            Ok(_) => mount_bind(self.root.join("dev/null"), place),
            Err(_) => Ok(()),
        };
        hidden.map_err(|errno| failed("a cover", place.strip_prefix(&self.root).unwrap_or(place), errno))
    }

    /// Writes the files into the memory behind `/dev`, which is there already, and mounts them from it.
    fn name_resolution(&self, command: &Command) -> Result<(), SandboxError> {
        for (path, content) in ETC_FILES.iter().zip(resolution_files(command)) {
            let cannot = |error: std::io::Error| failed("a file", path, error);
            let scratch = self.root.join("dev/.file");
            fs::write(&scratch, content).map_err(cannot)?;
            let place = self.place(Path::new(path), false)?;
            mount_bind(&scratch, &place).map_err(|errno| failed("a file", path, errno))?;
            system::make_read_only(&place, Reach::Mount).map_err(cannot)?;
            // The mount keeps the file.
            fs::remove_file(&scratch).map_err(cannot)?;
        }
        Ok(())
    }
}

/// Returns what is in the files of [`ETC_FILES`].
pub(super) fn resolution_files(command: &Command) -> [Vec<u8>; 3] {
    let resolver = fs::read("/etc/resolv.conf").unwrap_or_default();
    let resolver = if command.network == Network::Host { resolver } else { Vec::new() };
    [hosts(command).into_bytes(), format!("{}\n", command.hostname).into_bytes(), resolver]
}

fn hosts(command: &Command) -> String {
    let mut lines =
        format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", command.hostname);
    for (address, name) in &command.hosts {
        let _ = writeln!(lines, "{address}\t{name}");
    }
    lines
}

pub(super) fn failed(what: &str, target: impl AsRef<Path>, cause: impl Into<Cause>) -> SandboxError {
    SandboxError::Mount {
        what: what.to_owned(),
        target: target.as_ref().display().to_string(),
        source: cause.into(),
    }
}
