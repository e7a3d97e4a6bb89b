//! What the steps of a build may use together.

use std::time::{Duration, Instant};

use builder::sandbox::{Allowance, Command, ResourceGroup};

use crate::rooms::{Room, shell, skip};

/// A group with this allowance, where this machine lets one be made.
fn group(allowance: Allowance) -> Option<ResourceGroup> {
    let (group, unkept) = ResourceGroup::make(allowance);
    group.or_else(|| skip(&format!("no control group can be made: {unkept:?}")))
}

fn within(group: &ResourceGroup, script: &str) -> Command {
    let mut command = shell(script);
    command.limits.group = Some(group.for_step());
    command.limits.timeout = Some(Duration::from_secs(60));
    command
}

#[test]
fn a_bomb_is_ended_and_the_next_step_runs() {
    let Some(room) = Room::new() else { return };
    let Some(group) = group(Allowance { processes: Some(64), memory: None }) else { return };
    let begun = Instant::now();
    let bomb = "bomb() { bomb | bomb & }; bomb; while true; do sleep 1; done";
    let ran = room.run(&within(&group, bomb)).unwrap();
    assert!(ran.exit.too_many_processes && !ran.exit.success() && !ran.exit.timed_out, "{ran:?}");
    assert_eq!(ran.exit.to_string(), "too many processes at once");
    assert!(begun.elapsed() < Duration::from_secs(50));
    let ran = room
        .another()
        .run(&within(&group, "for n in $(seq 20); do sleep 0.2 & done; wait; echo all"))
        .unwrap();
    assert_eq!((ran.stdout.as_str(), ran.exit.too_many_processes), ("all\n", false));
}

#[test]
fn memory_that_runs_out_is_told_whatever_the_shell_makes_of_it() {
    let Some(room) = Room::new() else { return };
    let Some(group) = group(Allowance { memory: Some(48 << 20), processes: None }) else { return };
    let greedy = "dd if=/dev/zero of=/dev/null bs=200M count=1 || exit 3";
    let ran = room.run(&within(&group, greedy)).unwrap();
    assert!(ran.exit.out_of_memory && ran.exit.code() == 3, "{ran:?}");
    let ran =
        room.another().run(&within(&group, "dd if=/dev/zero of=/dev/null bs=1M count=9; exit 3")).unwrap();
    assert!(!ran.exit.out_of_memory && ran.exit.code() == 3, "{ran:?}");
}

#[test]
fn numbers_of_processes_are_bounded_inside_and_not_outside() {
    let Some(room) = Room::new() else { return };
    let outside = || std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let before = outside();
    let inside = room.script("cat /proc/sys/kernel/pid_max");
    assert!(inside == "16384\n" || inside == before, "{inside}");
    assert_eq!(outside(), before);
}

#[test]
fn a_step_sees_no_groups_but_its_own() {
    let Some(room) = Room::new() else { return };
    let Some(group) = group(Allowance { memory: Some(1 << 30), processes: Some(1000) }) else { return };
    let seen =
        room.run(&within(&group, "cat /proc/self/cgroup; ls /sys/fs/cgroup 2>/dev/null; true")).unwrap();
    assert!(!seen.stdout.contains("plimsoll"), "{}", seen.stdout);
}
