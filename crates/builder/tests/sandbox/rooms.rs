//! A root file system of busybox, and running commands on it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use builder::sandbox::{
    Command, Exit, Mode, OutputStream, RootFs, Sandbox, SandboxError, Wanted, probe, probe_once,
};
use tempfile::TempDir;

/// Where distributions put the static busybox.
const BUSYBOX: [&str; 3] = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"];

const APPLETS: &str = "adduser awk cat chmod chown chroot cp cut dd df echo env false find free grep head hostname \
    httpd id ip kill ln ls mkdir mkfifo mknod mount mv nc nproc printenv ps pwd readlink rm rmdir sed seq sh \
    sleep sort stat su sync tail tar test touch tr true ulimit uname wc wget";

/// Where cargo puts the program that becomes the sandbox.
pub const RUNNER: &str = env!("CARGO_BIN_EXE_sandbox-runner");
/// Its name where it was copied beside these tests, for a user who may not read cargo's folder.
pub const RUNNER_NAME: &str = "sandbox-runner";
/// A file beside these tests may say which kind of sandbox is expected.
pub const MODE_FILE: &str = "expected-mode";

/// A place for one sandbox, removed with the value.
pub struct Room {
    pub sandbox: Arc<Sandbox>,
    pub root: RootFs,
    folder: TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl Room {
    /// A room on the busybox image; `None`, with a word about it, where this machine cannot have one.
    pub fn new() -> Option<Self> {
        let image = image()?;
        let mut room = Self::empty()?;
        room.root.lowers.push(image.to_owned());
        Some(room)
    }

    /// A room on the busybox image in this kind of sandbox.
    pub fn of_kind(wanted: Wanted) -> Option<Self> {
        let image = image()?;
        let folder = tempfile::tempdir().unwrap();
        let found = probe_once(&runner(), folder.path(), &folder.path().join("note"), wanted);
        let mode = found.map(|found| found.mode).or_else(|error| skip(&error.to_string()).ok_or(())).ok()?;
        let sandbox = Arc::new(Sandbox::new(runner(), mode).unwrap());
        let mut room = Self::of(sandbox, folder);
        room.root.lowers.push(image.to_owned());
        Some(room)
    }

    /// A room with no layers at all.
    pub fn empty() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Arc::new(sandbox(folder.path())?);
        Some(Self::of(sandbox, folder))
    }

    fn of(sandbox: Arc<Sandbox>, folder: TempDir) -> Self {
        let [upper, work] = ["upper", "work"].map(|name| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        let root = RootFs { lowers: Vec::new(), upper, work, read_only: false, merged: None };
        Self { sandbox, root, folder }
    }

    /// Whether the only user inside is root.
    pub fn is_single(&self) -> bool {
        matches!(self.sandbox.mode(), Mode::UserSingle | Mode::NamespaceRoot { ids: 1 })
    }

    /// A room in the same kind of sandbox, on the same layers.
    pub fn another(&self) -> Self {
        let mut room = Self::of(Arc::clone(&self.sandbox), tempfile::tempdir().unwrap());
        room.root.lowers.clone_from(&self.root.lowers);
        room
    }

    /// A new folder of this room.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Puts what the last command changed below the next one, as the engine does between steps.
    pub fn next_step(&mut self) {
        let upper = self.folder(&format!("upper{}", self.root.lowers.len()));
        self.root.lowers.push(std::mem::replace(&mut self.root.upper, upper));
    }

    pub fn run(&self, command: &Command) -> Result<Ran, SandboxError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exit = self.sandbox.run(&self.root, command, &mut |stream, bytes| match stream {
            OutputStream::Stdout => stdout.extend_from_slice(bytes),
            OutputStream::Stderr => stderr.extend_from_slice(bytes),
        })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran { exit, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Runs a script that must succeed and returns what it wrote to standard output.
    #[track_caller]
    pub fn script(&self, script: &str) -> String {
        let ran = self.run(&shell(script)).unwrap();
        assert!(ran.exit.success(), "{script}: {} {}", ran.exit, ran.stderr);
        ran.stdout
    }

    /// What lies in the upper folder, sorted, as relative paths.
    pub fn changed(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.root.upper, &self.root.upper, &mut found);
        found.sort();
        found
    }
}

/// A script for the image's shell, with a search path.
pub fn shell(script: &str) -> Command {
    let mut command = Command::new(&["/bin/sh", "-c", script]);
    command.environment.push(("PATH".to_owned(), "/bin".to_owned()));
    command
}

/// The program that becomes the sandbox.
pub fn runner() -> PathBuf {
    beside(RUNNER_NAME).unwrap_or_else(|| PathBuf::from(RUNNER))
}

/// The best sandbox this machine allows.
fn sandbox(folder: &Path) -> Option<Sandbox> {
    let program = runner();
    match probe(&program, folder) {
        Err(error) => skip(&error.to_string()),
        Ok(found) => {
            if let Some(expected) = beside(MODE_FILE) {
                assert_eq!(found.mode.name(), fs::read_to_string(expected).unwrap(), "{}", found.reason);
            }
            Some(Sandbox::new(program, found.mode).unwrap())
        }
    }
}

/// A file in the folder of these tests.
pub fn beside(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().unwrap().with_file_name(name)).filter(|path| path.is_file())
}

/// Says why a test did not test.
pub fn skip<T>(reason: &str) -> Option<T> {
    // Not by `eprintln`, which is kept from view where a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    None
}

fn list(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.strip_prefix(root).unwrap().display().to_string());
        if path.symlink_metadata().unwrap().is_dir() {
            list(root, &path, found);
        }
    }
}

/// The image's only layer, made once per run of the tests.
fn image() -> Option<&'static Path> {
    static IMAGE: OnceLock<Option<TempDir>> = OnceLock::new();
    let made = IMAGE.get_or_init(|| {
        let busybox = BUSYBOX.iter().find(|path| Path::new(path).exists())?;
        Some(make_image(Path::new(busybox)))
    });
    made.as_ref().map(TempDir::path).or_else(|| skip("no static busybox on this machine"))
}

fn make_image(busybox: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    let at = |path: &str| image.path().join(path);
    for folder in ["bin", "etc", "root", "tmp", "var", "srv/app"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::copy(busybox, at("bin/busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", at("bin").join(applet)).unwrap();
    }
    symlink("/run", at("var/run")).unwrap();
    fs::write(at("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\n").unwrap();
    fs::write(at("etc/group"), "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n").unwrap();
    fs::write(at("etc/motd"), "welcome\n").unwrap();
    let open = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(image.path(), open(0o755)).unwrap();
    fs::set_permissions(at("tmp"), open(0o1777)).unwrap();
    image
}
