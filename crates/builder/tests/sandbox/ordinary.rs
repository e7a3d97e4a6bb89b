//! All these tests once more, as an ordinary user: with a single id, and with subordinate ids.
//!
//! Root is needed to become one. The lists of subordinate ids are put over the machine's in a mount
//! namespace of the test's own, so that nothing of the machine is changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use builder::sandbox::Mode;
use tempfile::TempDir;

use crate::rooms::{MODE_FILE, RUNNER, RUNNER_NAME, beside, skip};

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
fn a_container_that_allows_nothing_gets_a_changed_root() {
    // Root of many ids that may do what root of an ordinary container may, and make no user namespaces.
    let wrapper = "unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && \
                   exec setpriv --bounding-set -sys_admin,-net_admin,-sys_ptrace --inh-caps -all \"$@\"' sh";
    let filter = "chroot::layers chroot::the_con chroot::nothing chroot::what_is chroot::what_needs commands::exit commands::output commands::a_time";
    let Some((_folder, output)) =
        run(&format!("{wrapper} ./tests --test-threads 2 {filter}"), Mode::Chroot.name(), "")
    else {
        return;
    };
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
}

#[test]
fn what_forbids_user_namespaces_is_named() {
    // In a user namespace its root may forbid them, and give up all capabilities to need one.
    let forbid = "unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set -all --inh-caps -all \"$@\"' sh";
    let Some((folder, output)) = run(&format!("{forbid} ./{RUNNER_NAME} probe ."), "", "") else { return };
    assert!(output.status.success(), "{}", said(&output));
    let found = fs::read_to_string(folder.path().join("probe")).unwrap();
    assert!(
        found.starts_with("no sandbox can be made on this machine: root without CAP_SYS_ADMIN"),
        "{found}"
    );
    assert!(found.contains("allow user namespaces (sysctl -w user.max_user_namespaces=15000)"), "{found}");
}

/// Runs all these tests within `wrapper`, where they have to find this kind of sandbox.
fn run_all(mode: &str, list: &str, wrapper: &str) {
    let Some((_folder, output)) = run(&format!("{wrapper} ./tests --test-threads 2"), mode, list) else {
        return;
    };
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("test result: ok") && !said.contains(" 0 passed"), "{said}");
}

/// Runs a command as nobody, in a folder with these tests and the runner, and with lists of subordinate ids.
fn run(command: &str, mode: &str, list: &str) -> Option<(TempDir, Output)> {
    if !rustix::process::geteuid().is_root() || beside(MODE_FILE).is_some() {
        return skip("only root of the machine can become an ordinary user");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(std::env::current_exe().unwrap(), at("tests")).unwrap();
    fs::copy(RUNNER, at(RUNNER_NAME)).unwrap();
    fs::write(at(MODE_FILE), mode).unwrap();
    fs::write(at("ids"), list).unwrap();
    fs::set_permissions(at("ids"), fs::Permissions::from_mode(0o644)).unwrap();
    chown(folder.path(), Some(USER), Some(USER)).unwrap();
    let script = format!(
        "for list in /etc/subuid /etc/subgid; do mount --bind ids $list || {{ echo cannot be mounted here; exit 1; }}; done
         exec setpriv --reuid {USER} --regid {USER} --clear-groups {command}"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).current_dir(&folder).env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    let said = said(&output);
    if said.contains("cannot be mounted here") { skip(&said) } else { Some((folder, output)) }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
