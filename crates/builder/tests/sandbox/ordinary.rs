//! All these tests once more, as an ordinary user: with a single id, and with subordinate ids.
//!
//! Root is needed to become one. The lists of subordinate ids are put over the machine's in a mount
//! namespace of the test's own, so that nothing of the machine is changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use builder::sandbox::Mode;

use crate::rooms::{MODE_FILE, RUNNER, RUNNER_NAME, skip};

/// Nobody's number everywhere.
const USER: u32 = 65534;

#[test]
fn everything_holds_with_a_single_id() {
    // Lists without an entry, so that none is used where the machine has one.
    run_as_user(Mode::UserSingle.name(), "");
}

#[test]
fn everything_holds_with_subordinate_ids() {
    if !["newuidmap", "newgidmap"].iter().all(|name| Path::new("/usr/bin").join(name).exists()) {
        return skip("newuidmap and newgidmap are not installed (package uidmap)").unwrap_or(());
    }
    run_as_user(
        "a user namespace with subordinate ids",
        &format!("nobody:300000:65536\n{USER}:300000:65536\n{USER}:400000:10"),
    );
}

fn run_as_user(mode: &str, list: &str) {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become an ordinary user").unwrap_or(());
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(std::env::current_exe().unwrap(), at("tests")).unwrap();
    fs::copy(RUNNER, at(RUNNER_NAME)).unwrap();
    fs::write(at(MODE_FILE), mode).unwrap();
    fs::write(at("ids"), list).unwrap();
    fs::set_permissions(at("ids"), fs::Permissions::from_mode(0o644)).unwrap();
    chown(folder.path(), Some(USER), Some(USER)).unwrap();
    let output = in_private(folder.path());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("cannot be mounted here") {
        return skip(&said).unwrap_or(());
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
}

fn in_private(folder: &Path) -> Output {
    let script = format!(
        "for list in /etc/subuid /etc/subgid; do mount --bind ids $list || {{ echo cannot be mounted here; exit 1; }}; done
         exec setpriv --reuid {USER} --regid {USER} --clear-groups ./tests --test-threads 2"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).current_dir(folder).env("TMPDIR", folder);
    command.output().unwrap()
}
