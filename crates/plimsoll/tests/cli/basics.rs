//! Help, mistakes on the command line, colours, closed pipes, signals.

use std::process::Stdio;

use insta::assert_snapshot;

use crate::run::Scene;

#[test]
fn a_misspelt_command_gets_a_suggestion() {
    assert_snapshot!(Scene::new().see("completion bash"), @"
    exit code: 2
    --- stderr
    error: unrecognized subcommand 'completion'

      tip: a similar subcommand exists: 'completions'

    Usage: plimsoll [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn a_misspelt_flag_gets_a_suggestion() {
    assert_snapshot!(Scene::new().see("completions bash --formt json"), @"
    exit code: 2
    --- stderr
    error: unexpected argument '--formt' found

      tip: a similar argument exists: '--format'

    Usage: plimsoll completions --format <FORMAT> <SHELL>

    For more information, try '--help'.
    ");
}

#[test]
fn mistakes_are_json_where_json_is_asked_for() {
    assert_snapshot!(Scene::new().see("--format json completion bash"), @r#"
    exit code: 2
    --- stderr
    {"causes":[],"code":2,"hint":"a similar subcommand exists: 'completions'","message":"unrecognized subcommand 'completion'","schema":"plimsoll.error/1"}
    "#);
}

#[test]
fn a_folder_that_is_not_there() {
    assert_snapshot!(Scene::new().see("-C nowhere completions bash"), @"
    exit code: 2
    --- stderr
    error: cannot enter nowhere
      cause: No such file or directory (os error 2)
    ");
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    assert_snapshot!(Scene::new().see("-C nowhere completions bash --format json"), @r#"
    exit code: 2
    --- stderr
    {"causes":["No such file or directory (os error 2)"],"code":2,"hint":null,"message":"cannot enter nowhere","schema":"plimsoll.error/1"}
    "#);
}

#[test]
fn quiet_and_verbose_contradict_each_other() {
    assert_snapshot!(Scene::new().see("-q -v completions bash"), @"
    exit code: 2
    --- stderr
    error: the argument '--quiet' cannot be used with '--verbose...'

    Usage: plimsoll --quiet <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn colour_is_off_without_a_terminal_and_on_when_asked_for() {
    let scene = Scene::new();
    assert!(!scene.see("-C nowhere completions bash").contains('\x1b'));
    assert!(scene.see("-C nowhere --color always completions bash").contains('\x1b'));
    assert!(scene.see("--color always completion").contains('\x1b'));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let scene = Scene::new();
    let mut child =
        scene.command("completions bash").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn completions_name_every_command() {
    let script = Scene::new().see("completions bash");
    assert!(script.starts_with("exit code: 0") && script.contains("completions"), "{script}");
}

#[test]
fn the_doctor_looks_at_the_machine() {
    let scene = Scene::with_files(&[("a", "")]);
    let output =
        scene.command("doctor --format json").env("DOCKER_HOST", "unix:///nowhere").output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let state = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["state"].as_str().unwrap().to_owned()
    };
    assert_eq!((state("store").as_str(), state("git").as_str()), ("ok", "ok"));
    assert_eq!((state("daemon").as_str(), state("credentials").as_str()), ("absent", "absent"));
    let expected = if state("sandbox") == "ok" { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{report}");
}

#[test]
fn the_doctor_says_what_is_wrong() {
    let scene = Scene::new();
    scene.write("file", "");
    let seen = scene.see("doctor --root file/below");
    assert!(seen.starts_with("exit code: 1\n--- stdout\nFAILED  store        cannot "), "{seen}");
    assert!(seen.contains("absent  git"), "{seen}");
}

#[test]
fn dry_runs_do_nothing_or_say_that_there_is_none() {
    let scene = Scene::new();
    scene.write("root.tar", testkit::tar::TarBuilder::new().file("a", b"1").finish());
    assert_snapshot!(scene.see("import root.tar local/x --dry-run"), @"
    exit code: 2
    --- stderr
    error: what import does is only known by doing it; leave out --dry-run
    ");
    scene.see_raw("import root.tar local/x");
    scene.see_raw("save local/x -o x.tar");
    assert_snapshot!(scene.see("load x.tar --tag local/y:1 --dry-run"), @"
    exit code: 0
    --- stdout
    would load local/y:1, [DIGEST]
    ");
    assert_snapshot!(scene.see("save local/x -o y.tar --dry-run"), @"
    exit code: 0
    --- stdout
    [DIGEST] as local/x:latest
    would write y.tar
    ");
    assert_snapshot!(scene.see("logout ghcr.io --dry-run"), @"
    exit code: 0
    --- stdout
    would take ghcr.io out of [DIR]/home/.docker/config.json
    ");
    assert!(!scene.path("y.tar").exists());
    assert!(!scene.see("ls").contains("local/y"));
}

#[test]
fn locked_is_refused_while_there_is_no_lock() {
    let scene = Scene::with_files(&[("Dockerfile", "FROM scratch\n")]);
    assert_snapshot!(scene.see("plan --locked"), @"
    exit code: 2
    --- stderr
    error: this version writes no plimsoll.lock, so --locked has nothing to hold to
    hint: name base images by digest, FROM name@sha256:..., and leave out --locked
    ");
}

#[test]
fn a_signal_ends_a_build_and_its_steps() {
    use rustix::process::{Pid, Signal, kill_process};
    let scene = Scene::with_files(&[("Dockerfile", "FROM local/busybox\nRUN echo pid=$$ && sleep 600\n")]);
    if !scene.has_shell() {
        return;
    }
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = scene.command("build --progress plain --no-cache");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        let started = lines.by_ref().map(Result::unwrap).find(|line| line.contains("pid="));
        assert!(started.is_some(), "the step never started");

        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        // The pipe closes when the last process of the step is gone.
        lines.for_each(drop);
    }
}
