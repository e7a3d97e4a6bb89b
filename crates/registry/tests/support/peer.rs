//! Other people's programs. A test that needs one says so and ends where it is not installed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use oci::Registry;

/// Whether `program` can be started; says so where it cannot.
pub fn is_installed(program: &str) -> bool {
    let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if started.is_err() {
        eprintln!("skipped: {program} is not installed");
    }
    started.is_ok()
}

/// Runs skopeo and returns what it printed.
#[track_caller]
pub fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").arg("--insecure-policy").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Debian's docker-registry over a folder, on a free port.
pub struct DockerRegistry {
    child: Child,
    registry: Registry,
}

impl DockerRegistry {
    pub fn start(folder: &Path) -> Self {
        let configuration = folder.join("config.yml");
        let data = folder.join("data");
        std::fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
                data.display()
            ),
        )
        .unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut address = None;
        let mut line = String::new();
        while address.is_none() && errors.read_line(&mut line).unwrap() > 0 {
            address = line.split("listening on ").nth(1).map(|rest| {
                let end =
                    rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
                rest[..end].to_owned()
            });
            line.clear();
        }
        // It stops when nobody reads what it says.
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        Self { child, registry: address.expect("it says where it listens").parse().unwrap() }
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
