//! What a command cannot see or do, and that nothing of it stays.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use builder::sandbox::{Command, Mode, Network, Wanted};
use rustix::fs::{CWD, FileType, mknodat};

use crate::rooms::{Room, shell, skip};

#[test]
fn only_its_own_processes_are_seen() {
    let Some(room) = Room::new() else { return };
    // A title, init, the shell, and ps itself.
    let seen = room.script("ps -o pid,comm; true");
    assert_eq!(seen.lines().count(), 4, "{seen}");
    assert_eq!(room.script("echo $$"), "2\n");
}

#[test]
fn init_gives_nothing_of_the_machine_away() {
    let Some(room) = Room::new() else { return };
    // Neither the program nor the files of init can be reached, also by root inside.
    let ran =
        room.run(&shell("readlink /proc/1/exe /proc/1/fd/5; ls /proc/1/root/; cat /proc/1/environ")).unwrap();
    assert_eq!((ran.stdout.as_str(), ran.exit.success()), ("", false), "{}", ran.stderr);
    // Mount options and sources name no folder of the machine.
    let mounts = room.script("cat /proc/self/mountinfo /proc/mounts");
    let folder = room.root.upper.parent().unwrap().display().to_string();
    assert!(!mounts.contains(&folder), "{mounts}");
    assert_eq!(room.script("ls -A /.old /oldroot 2>/dev/null; pwd; ls -d /bin/../.."), "/\n/bin/../..\n");
}

#[test]
fn capabilities_are_dockers_default_set() {
    let Some(room) = Room::new() else { return };
    let of = |user: &str| {
        let mut command = shell("grep ^Cap /proc/self/status");
        command.user = user.to_owned();
        room.run(&command).unwrap().stdout.replace('\t', "")
    };
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD
    // AUDIT_WRITE SETFCAP, as `docker run alpine grep Cap /proc/self/status` shows.
    let set = "00000000a80425fb";
    let none = "0000000000000000";
    assert_eq!(of(""), format!("CapInh:{none}\nCapPrm:{set}\nCapEff:{set}\nCapBnd:{set}\nCapAmb:{none}\n"));
    assert_eq!(
        of("1000"),
        format!("CapInh:{none}\nCapPrm:{none}\nCapEff:{none}\nCapBnd:{set}\nCapAmb:{none}\n")
    );
}

#[test]
fn the_machine_cannot_be_changed_from_inside() {
    let Some(room) = Room::new() else { return };
    for forbidden in [
        "echo 1 > /proc/sys/kernel/domainname",
        "echo b > /proc/sysrq-trigger",
        "mount -t tmpfs none /tmp",
        "hostname other",
        "mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk",
        "mknod /tmp/null c 1 3 && echo x > /tmp/null",
        "mknod /null c 1 3 && echo x > /null",
        "mknod /dev/other c 1 3 && echo x > /dev/other",
        "echo x > /sys/kernel/uevent_seqnum",
        "cat /proc/kcore | head -c 1 | grep -q .",
    ] {
        let ran = room.run(&shell(forbidden)).unwrap();
        assert!(!ran.exit.success(), "{forbidden} went through");
    }
}

#[test]
fn devices_and_names_are_those_of_a_container() {
    let Some(room) = Room::new() else { return };
    let mut command = shell(
        "head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/null && echo void; \
         echo x > /dev/full || echo full; ls /dev/pts/ptmx /dev/shm -d; stat -c %a /dev /dev/shm; \
         hostname; cat /etc/hostname; cat /etc/hosts; ls -l /dev/stdin | grep -o '[^ ]*$'",
    );
    command.hosts.push(("10.1.2.3".parse().unwrap(), "database".to_owned()));
    let expected = "3\n3\nvoid\nfull\n/dev/pts/ptmx\n/dev/shm\n755\n1777\nbuildkitsandbox\nbuildkitsandbox\n\
                    127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                    10.1.2.3\tdatabase\n/proc/self/fd/0\n";
    assert_eq!(room.run(&command).unwrap().stdout, expected);
}

#[test]
fn networks_are_the_machines_or_none() {
    let Some(room) = Room::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let run = |network: Network, script: &str| room.run(&Command { network, ..shell(script) }).unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    let reach = format!("nc -w 1 127.0.0.1 {port} </dev/null");
    assert!(run(Network::Host, &reach).exit.success());
    for network in [Network::None, Network::Private] {
        assert!(!run(network, &reach).exit.success());
        let interfaces = run(network, "ls /sys/class/net; ip -o link | wc -l; cat /etc/resolv.conf");
        let only_loopback = interfaces.stdout.lines().filter(|line| line.contains("lo")).count() == 1;
        assert!(only_loopback && !interfaces.stdout.contains("eth"), "{}", interfaces.stdout);
        // Its own loopback works.
        let own = "nc -l -p 9 -e true & until nc -w 1 127.0.0.1 9 </dev/null 2>/dev/null; do :; done";
        assert!(run(network, own).exit.success());
    }
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(run(Network::Host, "cat /etc/resolv.conf").stdout, resolver);
}

#[test]
fn a_tree_of_processes_ends_with_the_command() {
    let Some(room) = Room::new() else { return };
    // Two hundred children that have children; init has them all when their parents end.
    let script = "for n in $(seq 200); do (sleep 100 & sleep 100 & ) ; done; ps | wc -l";
    let ran = room.run(&shell(script)).unwrap();
    assert!(ran.stdout.trim().parse::<u32>().unwrap() > 400, "{}", ran.stdout);
    // Orphans that end are reaped while the command runs.
    let script =
        "for n in $(seq 50); do (true & ) ; done; while ps -o stat | grep -q Z; do :; done; echo reaped";
    assert_eq!(room.script(script), "reaped\n");
}

#[test]
fn a_limit_of_processes_and_files_holds() {
    let Some(room) = Room::new() else { return };
    let mut command = shell("ulimit -n; ulimit -Hn; ulimit -c");
    let usual = room.run(&command).unwrap().stdout;
    assert!(usual.starts_with("1024\n") && usual.ends_with("\n0\n"), "{usual}");
    command.limits.open_files = Some(u64::MAX);
    command.limits.processes = Some(10_000);
    command.limits.file_size = Some(4096);
    command.arguments[2] = "ulimit -n; head -c 10000 /dev/zero > /tmp/large".to_owned();
    let ran = room.run(&command).unwrap();
    assert!(!ran.exit.success() && ran.stdout.trim().parse::<u64>().unwrap() >= 1024, "{}", ran.stdout);
}

#[test]
fn nothing_outlives_a_caller_that_is_killed() {
    let Some(room) = Room::new() else { return };
    for how in ["run", "start"] {
        let room = room.another();
        let fifo = room.folder("pipe").join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o666), 0).unwrap();
        // Every process of it holds the pipe open for writing.
        let script = "exec 3>/tmp/file; trap '' TERM HUP; sleep 1000 & (sleep 1000 & ); echo up >&3; wait";
        let mut caller = std::process::Command::new(crate::rooms::runner());
        caller.arg(how).arg(&room.root.lowers[0]).arg(&room.root.upper).arg(&room.root.work);
        let mut caller = caller.arg(&fifo).arg(script).spawn().unwrap();
        let mut pipe = File::open(&fifo).unwrap();
        let mut up = [0; 3];
        pipe.read_exact(&mut up).unwrap();
        assert_eq!(&up, b"up\n");
        caller.kill().unwrap();
        caller.wait().unwrap();
        // Ends when the last writer does.
        assert_eq!(pipe.read(&mut up).unwrap(), 0);
    }
}

#[test]
fn a_command_killed_for_want_of_memory_says_so() {
    let Some(room) = Room::new() else { return };
    let Some(group) = MemoryGroup::new(64 << 20) else { return };
    let nothing = room.folder("source").join("nothing");
    fs::write(&nothing, "").unwrap();
    let mut caller = std::process::Command::new("/bin/sh");
    caller.arg("-c").arg("echo $$ > \"$0/cgroup.procs\" && exec \"$@\"").arg(&group.folder);
    caller.arg(crate::rooms::runner()).arg("run").args([
        &room.root.lowers[0],
        &room.root.upper,
        &room.root.work,
    ]);
    let greedy = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    assert_eq!(caller.arg(&nothing).arg(greedy).status().unwrap().code(), Some(99));
}

/// A control group with a limit of memory, removed with the value.
struct MemoryGroup {
    folder: PathBuf,
}

impl MemoryGroup {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("plimsoll-test-{}", std::process::id());
        for (controller, limit) in [("memory", "memory.limit_in_bytes"), ("", "memory.max")] {
            let folder = Path::new("/sys/fs/cgroup").join(controller).join(&name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self { folder };
            if fs::write(group.folder.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        skip("no control group for memory can be made")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

#[test]
fn a_listener_that_panics_leaves_nothing_behind() {
    let Some(room) = Room::new() else { return };
    let command = shell("echo up; sleep 1000");
    let run = || room.sandbox.run(&room.root, &command, &mut |_, _| panic!("the listener's own fault"));
    let before = std::time::Instant::now();
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_was_rehearsed_is_not_rehearsed_again_in_the_same_circumstances() {
    let Some(room) = Room::new() else { return };
    let (runner, note) = (crate::rooms::runner(), room.root.work.join("note"));
    let nowhere = room.root.work.join("nothing-is-here");
    builder::sandbox::probe_once(&runner, &nowhere, &note, Wanted::Auto).unwrap_err();
    let found = builder::sandbox::probe_once(&runner, &room.root.work, &note, Wanted::Auto).unwrap();
    let known = builder::sandbox::probe_once(&runner, &nowhere, &note, Wanted::Auto).unwrap();
    assert_eq!(known.mode, found.mode);
    fs::write(&note, "other circumstances").unwrap();
    builder::sandbox::probe_once(&runner, &nowhere, &note, Wanted::Auto).unwrap_err();
}

#[test]
fn the_kind_of_sandbox_is_explained() {
    let Some(room) = Room::new() else { return };
    let found = builder::sandbox::probe(&crate::rooms::runner(), &room.root.work).unwrap();
    assert_eq!(found.mode.name(), room.sandbox.mode().name());
    if found.mode == Mode::Root {
        assert_eq!(found.reason, "root with CAP_SYS_ADMIN");
    }
    assert!(fs::read_dir(&room.root.work).unwrap().next().is_none(), "the rehearsal left something");
}
