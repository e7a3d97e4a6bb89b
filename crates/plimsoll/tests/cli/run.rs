//! Runs the binary in a folder of its own with an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::git::GitRepository;

/// A project of two services whose images are made of files alone.
pub const SHOP: &[(&str, &str)] = &[
    (
        "plimsoll.toml",
        "[defaults]\nplatforms = [\"linux/amd64\"]\n[service.api]\ncontext = \"api\"\n[service.web]\ncontext = \"web\"\nneeds = { base = \"api\" }\n[suite.names]\nservices = [\"api\", \"web\"]\nhost = \"echo $PLIMSOLL_IMAGE_WEB; test -n \\\"$PLIMSOLL_IMAGE_API\\\"\"\n",
    ),
    ("api/Dockerfile", "FROM scratch\nCOPY hello /hello\n"),
    ("api/hello", "hello\n"),
    ("web/Dockerfile", "FROM base\nCOPY index.html /www/\n"),
    ("web/index.html", "<p>"),
];

/// A folder with a project and a store, gone when dropped.
pub struct Scene {
    folder: tempfile::TempDir,
    repository: Option<GitRepository>,
}

impl Scene {
    /// Makes the folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), repository: None }
    }

    /// Makes the folder, with a git repository of one commit on `main` as the project.
    pub fn with_files(files: &[(&str, &str)]) -> Self {
        Self { repository: Some(GitRepository::with_files(files)), ..Self::new() }
    }

    /// Returns the project's repository.
    pub fn repository(&self) -> &GitRepository {
        self.repository.as_ref().expect("the scene was made with_files")
    }

    /// Returns the path of `name` in the project.
    pub fn path(&self, name: &str) -> PathBuf {
        let project = self.repository.as_ref().map(|repository| repository.path().to_owned());
        project.unwrap_or_else(|| self.folder.path().join("project")).join(name)
    }

    /// Writes a file of the project, with the folders it lies in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Returns the text of a file of the project.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns the binary with words separated by white space as its arguments.
    pub fn command(&self, line: &str) -> Command {
        let project = self.path("");
        std::fs::create_dir_all(&project).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(line.split_whitespace());
        command.current_dir(project).env_clear().env("HOME", self.folder.path().join("home"));
        command.env("PLIMSOLL_ROOT", self.folder.path().join("root")).stdin(Stdio::null());
        command
    }

    /// Runs the binary and returns what a user sees, with digests, times and this folder masked.
    pub fn see(&self, line: &str) -> String {
        self.shown(&self.command(line).output().unwrap())
    }

    /// Runs the binary, which must succeed, and returns its standard output.
    #[track_caller]
    pub fn see_raw(&self, line: &str) -> String {
        let output = self.command(line).output().unwrap();
        assert!(output.status.success(), "{}", self.shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the ledger of the last run.
    pub fn ledger(&self) -> serde_json::Value {
        serde_json::from_str(&self.read(".plimsoll/ledger.json")).unwrap()
    }

    /// Adds `local/busybox` to the store; `false` where steps cannot run here.
    pub fn has_shell(&self) -> bool {
        let busybox = Path::new("/bin/busybox");
        let doctor = self.command("doctor").output().unwrap();
        if !busybox.exists() || !doctor.status.success() {
            eprintln!("skipped: there is no /bin/busybox, or no sandbox (see plimsoll doctor)");
            return false;
        }
        let root = self.root().with_file_name("busybox");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for name in ["sh", "cat", "echo", "test", "false", "sleep", "head", "env", "id"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        self.see_raw(&format!("import {} local/busybox --env PATH=/bin", root.display()));
        true
    }

    /// Returns the folder of the binary's state.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Returns what a user saw.
    pub fn shown(&self, output: &Output) -> String {
        let mut text = match output.status.code() {
            Some(code) => format!("exit code: {code}\n"),
            None => format!("{}\n", output.status),
        };
        for (name, content) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !content.is_empty() {
                text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(content)));
            }
        }
        mask(&mask(&text, self.path("").as_path(), "[PROJECT]"), self.folder.path(), "[DIR]")
    }
}

fn mask(text: &str, folder: &Path, name: &str) -> String {
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    text.replace(folder, name).lines().map(mask_line).collect::<Vec<_>>().join("\n")
}

/// Replaces `sha256:` and 64 digits by `[DIGEST]`.
fn mask_line(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("sha256:") {
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        masked.push_str(before);
        masked.push_str(if digits == 64 { "[DIGEST]" } else { "sha256:" });
        rest = if digits == 64 { &after[64..] } else { after };
    }
    masked + rest
}
