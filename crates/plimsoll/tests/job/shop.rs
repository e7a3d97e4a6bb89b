//! A project in a git repository, a root of its own, and `local/base:1` made of busybox.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use testkit::git::GitRepository;
use testkit::tar::{Header, TarBuilder};

use crate::seen::Seen;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll");
const BUSYBOX: &str = "/bin/busybox";

/// The programs of the base image.
const APPLETS: &[&str] = &[
    "sh", "cat", "chmod", "cp", "dd", "echo", "false", "grep", "head", "ls", "mkdir", "nc", "rm", "sleep",
    "stat", "test", "touch", "true",
];

/// A folder with a project and a root, gone when dropped.
pub struct Shop {
    folder: tempfile::TempDir,
    /// The project.
    pub git: GitRepository,
}

impl Shop {
    /// Makes a project of these files, committed on `main`. Nothing of it can be built in a sandbox.
    pub fn without_base(files: &[(&str, &str)]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), git: GitRepository::with_files(files) }
    }

    /// Makes a project of these files and imports the base image; says why not where the machine
    /// has no sandbox or no busybox.
    pub fn open(files: &[(&str, &str)]) -> Option<Self> {
        can_build()?;
        let shop = Self::without_base(files);
        shop.import_base();
        Some(shop)
    }

    /// Makes a project of one service that is this Dockerfile.
    pub fn with_dockerfile(dockerfile: &str) -> Option<Self> {
        Self::open(&[("plimsoll.toml", "[service.app]\n"), ("Dockerfile", dockerfile)])
    }

    /// Imports the base image into the root.
    pub fn import_base(&self) {
        let tar = self.folder.path().join("base.tar");
        std::fs::write(&tar, base_image()).unwrap();
        self.call(&format!("import {} local/base:1", tar.display())).exits(0);
    }

    /// Imports the base image as `local/open:1`, in a layer that does not name its folders.
    pub fn import_open_base(&self) {
        let tar = self.folder.path().join("open.tar");
        std::fs::write(&tar, open_image()).unwrap();
        self.call(&format!("import {} local/open:1", tar.display())).exits(0);
    }

    /// Returns the same project with an empty root of its own, base image imported.
    pub fn with_other_root(self) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap(), git: self.git };
        shop.import_base();
        shop
    }

    /// Returns the same project with an empty root of its own.
    pub fn with_empty_root(self) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), git: self.git }
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Returns the path of a file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.git.path().join(name)
    }

    /// Returns the path of a file beside project and root.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the path of a file of the root.
    pub fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    /// Returns the binary with words separated by white space as its arguments.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args(line.split_whitespace()).current_dir(self.git.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.beside("home")).env("PATH", "/usr/bin:/bin");
        command.env("PLIMSOLL_ROOT", self.folder.path().join("root"));
        command
    }

    /// Runs the binary.
    pub fn call(&self, line: &str) -> Seen {
        Seen::of(&self.command(line).output().unwrap())
    }

    /// Runs the binary in an environment with more in it.
    pub fn call_with(&self, line: &str, environment: &[(&str, &OsStr)]) -> Seen {
        Seen::of(&self.command(line).envs(environment.iter().copied()).output().unwrap())
    }

    /// Runs the job, which must come to this exit code, and returns the ledger.
    #[track_caller]
    pub fn ledger(&self, line: &str, code: i32) -> Value {
        self.call(&format!("{line} --format json")).exits(code).json()
    }

    /// Returns what the project's `SERVICE:TAG` is in the local registry; `None` where there is no such tag.
    pub fn tagged(&self, name: &str) -> Option<String> {
        let seen = self.call(&format!("digest local/repository/{name}"));
        (seen.code == Some(0)).then(|| seen.stdout.trim().to_owned())
    }

    /// Demands that every blob of the store is what its name says and that nothing is half there.
    #[track_caller]
    pub fn check_root(&self) {
        for blob in files_in(&self.root("store/blobs/sha256")) {
            let digest = oci::Digest::of(&std::fs::read(&blob).unwrap());
            assert_eq!(
                OsStr::new(&digest.hex()),
                blob.file_name().unwrap(),
                "a blob is not what it is called"
            );
        }
        for folder in ["build/work", "store/temporary"] {
            assert_eq!(files_in(&self.root(folder)), [] as [PathBuf; 0], "{folder} is not empty");
        }
    }
}

/// Returns what lies in a folder; nothing where there is none.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Says why a test did not test.
pub fn skip<T>(reason: &str) -> Option<T> {
    // Not by `eprintln`, which is kept from view where a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    None
}

fn can_build() -> Option<()> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let reason = REASON.get_or_init(|| {
        if !Path::new(BUSYBOX).is_file() {
            return Some(format!("{BUSYBOX} (busybox-static) is not there"));
        }
        let trees = tempfile::tempdir().unwrap();
        builder::sandbox::probe(Path::new(BINARY), trees.path()).err().map(|error| error.to_string())
    });
    reason.as_ref().map_or(Some(()), |reason| skip(reason))
}

fn base_image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let tar = programs(TarBuilder::new().directory("bin"));
        let tar = tar.directory("etc").file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
        tar.directory("tmp").finish()
    })
}

fn open_image() -> Vec<u8> {
    programs(TarBuilder::new()).file("srv/deep/file", b"from the base\n").finish()
}

fn programs(tar: TarBuilder) -> TarBuilder {
    let busybox = Header { mode: 0o755, ..Header::file("bin/busybox") };
    let tar = tar.entry(&busybox, &std::fs::read(BUSYBOX).unwrap());
    APPLETS.iter().fold(tar, |tar, name| tar.symlink(&format!("bin/{name}"), "busybox"))
}
