//! A test binary that serves in a process of its own, to be killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use oci::Registry;

/// The test `part_serving` of the same binary as a process; killed when it is dropped.
pub struct Served {
    child: Child,
    pub registry: Registry,
}

impl Served {
    /// Starts it in `folder` and waits until it says its address.
    pub fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "part_serving", "--nocapture", "--test-threads=1"]).current_dir(folder);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("address ")?.to_owned()));
        Self { child, registry: address.unwrap().parse().unwrap() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
