//! How commands start and end, as whom, with which environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use builder::sandbox::{Command, SandboxError, Status};

use crate::rooms::{Room, shell};

#[test]
fn exit_codes_and_signals_arrive() {
    let Some(room) = Room::new() else { return };
    let status = |script: &str| room.run(&shell(script)).unwrap().exit.status;
    assert_eq!(status("exit 0"), Status::Code(0));
    assert_eq!(status("exit 42"), Status::Code(42));
    assert_eq!(status("kill -TERM $$"), Status::Signal(15));
    assert_eq!(status("kill -KILL $$"), Status::Signal(9));
}

#[test]
fn output_arrives_whole_and_apart() {
    let Some(room) = Room::new() else { return };
    let ran = room.run(&shell("seq 1 100000; echo wrong >&2")).unwrap();
    assert_eq!(ran.stdout.lines().count(), 100_000);
    assert_eq!(ran.stderr, "wrong\n");
}

#[test]
fn what_a_command_leaves_running_does_not_hold_it_up() {
    let Some(room) = Room::new() else { return };
    let started = Instant::now();
    let ran = room.run(&shell("sleep 60 & sleep 60 & echo done")).unwrap();
    assert_eq!((ran.stdout.as_str(), ran.exit.status), ("done\n", Status::Code(0)));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_environment_is_the_commands_alone() {
    let Some(room) = Room::new() else { return };
    let mut command = Command::new(&["env"]);
    command.environment = vec![("PATH".into(), "/bin".into()), ("A".into(), "b c".into())];
    assert_eq!(room.run(&command).unwrap().stdout, "PATH=/bin\nA=b c\nHOME=/root\n");
    command.user = "app".to_owned();
    command.environment.push(("HOME".into(), "/elsewhere".into()));
    assert_eq!(room.run(&command).unwrap().stdout, "PATH=/bin\nA=b c\nHOME=/elsewhere\n");
}

#[test]
fn users_are_those_of_the_image() {
    let Some(room) = Room::new() else { return };
    let id = |user: &str| {
        let mut command = shell("id -u; id -g; id -G");
        command.user = user.to_owned();
        room.run(&command).unwrap().stdout.replace('\n', " ")
    };
    // An ordinary user with one id can be in no further group.
    let wheel = if room.is_single() { "" } else { "10 " };
    assert_eq!(id(""), format!("0 0 0 {wheel}"));
    assert_eq!(id("app"), format!("1000 1001 1001 {wheel}"));
    assert_eq!(id("app:wheel"), "1000 10 10 ");
    assert_eq!(id("65532:65533"), "65532 65533 65533 ");
    let mut command = shell("true");
    command.user = "ghost".to_owned();
    assert_eq!(room.run(&command).unwrap_err(), SandboxError::UnknownUser { name: "ghost".into() });
}

#[test]
fn standard_input_is_empty_or_as_given() {
    let Some(room) = Room::new() else { return };
    assert_eq!(room.script("readlink /proc/self/fd/0; cat"), "/dev/null\n");
    let mut command = shell("cat");
    command.stdin = Some(b"x".repeat(200_000));
    assert_eq!(room.run(&command).unwrap().stdout.len(), 200_000);
}

#[test]
fn the_command_starts_in_its_folder_and_holds_no_other_files() {
    let Some(room) = Room::new() else { return };
    let mut command = shell("pwd; ls /proc/self/fd; umask");
    command.working_directory = "/srv/app".to_owned();
    // The fourth is the folder that `ls` itself lists.
    assert_eq!(room.run(&command).unwrap().stdout, "/srv/app\n0\n1\n2\n3\n0022\n");
    command.working_directory = "/nowhere".to_owned();
    let error = room.run(&command).unwrap_err();
    assert_eq!(error.to_string(), "cannot enter working directory /nowhere in the image");
}

#[test]
fn programs_that_cannot_start_say_why() {
    let Some(room) = Room::new() else { return };
    let at = |name: &str| room.root.upper.join(name);
    let program = |name: &str, content: &[u8], mode: u32| {
        fs::write(at(name), content).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut foreign = fs::read("/proc/self/exe").unwrap();
    foreign.truncate(4096);
    foreign[18..20].copy_from_slice(&[183, 0]);
    program("foreign", &foreign, 0o755);
    program("text", b"just words", 0o755);
    program("script", b"#!/bin/bash -e\nexit 0\n", 0o755);
    program("locked", b"#!/bin/sh\n", 0o644);
    let check = |name: &str, message: &str, code: i32| {
        let mut command = Command::new(&[name]);
        command.environment = vec![("PATH".into(), "/bin:/sbin".into())];
        let error = room.run(&command).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.shell_code()), (message, Some(code)));
    };
    let host = std::env::consts::ARCH;
    check("nothing", "program nothing is not in the image (looked in PATH=/bin:/sbin)", 127);
    check("/bin/nothing", "program /bin/nothing is not in the image (no such file)", 127);
    check("/locked", "program /locked cannot be executed: its mode 0644 has no execute bit", 126);
    check("/tmp", "program /tmp cannot be executed: it is a folder", 126);
    check("/script", "program /script cannot start: its interpreter /bin/bash is not in the image", 127);
    let foreign = format!(
        "program /foreign cannot run here: it is an ELF program for aarch64, this machine runs {host}"
    );
    check("/foreign", &foreign, 126);
    let text = format!(
        "program /text cannot run here: it is neither an ELF program nor a script with #!, this machine runs {host}"
    );
    check("/text", &text, 126);
    assert_eq!(room.run(&Command::new(&[])).unwrap_err(), SandboxError::EmptyCommand);
    let nul = room.run(&Command::new(&["/bin/echo", "a\0b"])).unwrap_err();
    assert_eq!(nul.to_string(), r#"argument "a\0b" holds a NUL byte, which no program can be given"#);
}

#[test]
fn a_time_limit_ends_the_whole_tree() {
    let Some(room) = Room::new() else { return };
    // Thirty processes that ignore what can be ignored, in sessions of their own.
    let mut command = shell("trap '' TERM INT HUP; for n in $(seq 30); do sleep 1000 & done; echo up; wait");
    command.limits.timeout = Some(Duration::from_millis(700));
    let started = Instant::now();
    let ran = room.run(&command).unwrap();
    assert!(ran.exit.timed_out && !ran.exit.success());
    assert_eq!((ran.stdout.as_str(), ran.exit.code()), ("up\n", 137));
    assert!(started.elapsed() < Duration::from_secs(20));
}
