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
