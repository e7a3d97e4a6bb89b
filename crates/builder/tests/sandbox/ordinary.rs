//! All these tests once more, as an ordinary user: with a single id, and with subordinate ids.
//!
//! Root is needed to become one. The lists of subordinate ids are put over the machine's in a mount
//! namespace of the test's own, so that nothing of the machine is changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use builder::sandbox::{Mode, probe};

use crate::rooms::{MODE_FILE, RUNNER, RUNNER_NAME, beside, runner, skip};

/// Nobody's number everywhere.
const USER: u32 = 65534;

#[test]
fn everything_holds_with_a_single_id() {
    // Lists without an entry, so that none is used where the machine has one.
    run_all(Mode::UserSingle.name(), "", "");
}

#[test]
fn everything_holds_with_subordinate_ids() {
    if !["newuidmap", "newgidmap"].iter().all(|name| Path::new("/usr/bin").join(name).exists()) {
        return skip("newuidmap and newgidmap are not installed (package uidmap)").unwrap_or(());
    }
    let list = format!("nobody:300000:65536\n{USER}:300000:65536\n{USER}:400000:10");
    run_all("a user namespace with subordinate ids", &list, "");
}

#[test]
fn everything_holds_as_root_of_a_user_namespace_of_others() {
    run_all("root of a user namespace", "", "unshare --user --map-root-user");
}

#[test]
fn what_forbids_user_namespaces_is_named() {
    // In a user namespace its root may forbid them, and give up all capabilities to need one.
    let forbid = "unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set -all --inh-caps -all \"$@\"' sh";
    let expected = "forbidden: user.max_user_namespaces=15000";
    run(expected, "", forbid, "--exact ordinary::a_machine_that_allows_nothing_says_so");
}

#[test]
fn a_machine_that_allows_nothing_says_so() {
    let Some(expected) = beside(MODE_FILE).map(|file| fs::read_to_string(file).unwrap()) else {
        return skip("only for the test above").unwrap_or(());
    };
    let Some(expected) = expected.strip_prefix("forbidden: ") else { return };
    let folder = tempfile::tempdir().unwrap();
    let error = probe(&runner(), folder.path()).unwrap_err().to_string();
    assert!(
        error.starts_with("no sandbox can be made on this machine: root without CAP_SYS_ADMIN"),
        "{error}"
    );
    assert!(error.contains(expected), "{error}");
}

fn run_all(mode: &str, list: &str, wrapper: &str) {
    run(mode, list, wrapper, "");
}

/// Runs these tests, or those that `filter` names, as nobody, within `wrapper`.
fn run(mode: &str, list: &str, wrapper: &str, filter: &str) {
    if !rustix::process::geteuid().is_root() || beside(MODE_FILE).is_some() {
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
    let output = in_private(folder.path(), wrapper, filter);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("cannot be mounted here") {
        return skip(&said).unwrap_or(());
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
}

fn in_private(folder: &Path, wrapper: &str, filter: &str) -> Output {
    let script = format!(
        "for list in /etc/subuid /etc/subgid; do mount --bind ids $list || {{ echo cannot be mounted here; exit 1; }}; done
         exec setpriv --reuid {USER} --regid {USER} --clear-groups {wrapper} ./tests --test-threads 2 {filter}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).current_dir(folder).env("TMPDIR", folder);
    command.output().unwrap()
}
