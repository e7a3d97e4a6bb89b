//! Workflows as people write them, and as nobody should.

use pipeline::moving_in::{FoundService, choose};
use proptest::prelude::*;

use super::*;

fn surroundings() -> Surroundings {
    Surroundings {
        repository: "acme/shop".to_owned(),
        default_branch: "main".to_owned(),
        now: "2026-11-06T15:04:05Z".parse().unwrap(),
    }
}

fn found(text: &str) -> Found {
    read(text, &surroundings()).unwrap()
}

/// Returns a workflow with one job of one build, whose inputs are `with`.
fn build(on: &str, with: &str) -> String {
    let lines: String = with.lines().map(|line| format!("          {line}\n")).collect();
    format!(
        "on: {on}\njobs:\n  app:\n    steps:\n      - uses: docker/build-push-action@v6\n        with:\n{lines}"
    )
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    assert_eq!(read(text, &surroundings()).unwrap_err().to_string(), expected);
}

#[test]
fn what_is_no_workflow_is_named_with_its_line() {
    check_refused(
        "on: push\njobs:\n  a: [\n",
        "line 4, column 1: while parsing a node, did not find expected node content",
    );
    check_refused("name: x\n", "line 1, column 1: it has no `on:`, so it is no workflow");
    check_refused("on: push\njobs: 7\n", "line 2, column 7: `jobs:` is a scalar and should be a mapping");
    check_refused(
        "on: push\njobs:\n  a:\n    steps: x\n",
        "line 4, column 12: `steps:` is a scalar and should be a list",
    );
    check_refused(
        "on: push\njobs:\n  a:\n    steps: []\n",
        "no step of it uses docker/build-push-action, docker/metadata-action or docker/bake-action",
    );
    check_refused(
        &build("push", "push: true\ntags: |\n  a/b:1\n  a/b:${{ github. }}"),
        "line 10: \" github. \" is no expression: after a point comes a name",
    );
    assert!(matches!(read(&" ".repeat(2 << 20), &surroundings()), Err(WorkflowError::TooLarge { .. })));
}

#[test]
fn bombs_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        text += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    assert!(read(&text, &surroundings()).unwrap_err().to_string().contains("more than"));
    let legs = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
    let matrix = format!("strategy: {{matrix: {{a: {legs}, b: {legs}, c: {legs}, d: {legs}}}}}");
    let text =
        build("push", "push: true\ntags: a/b:1").replace("    steps:", &format!("    {matrix}\n    steps:"));
    assert!(found(&text).not_taken[0].reason.contains("more than 256 legs"));
}

fn only(found: &Found) -> &FoundService {
    let [service] = found.services.as_slice() else { panic!("{:?}", found.services) };
    service
}

#[test]
fn inputs_of_a_build() {
    let with = "context: ./app/\nfile: app/Dockerfile.prod\ntarget: run\nplatforms: linux/amd64, linux/arm64\n\
        push: ${{ github.event_name != 'pull_request' }}\ntags: ghcr.io/Acme/App:v1, localhost:5000/app\n\
        build-args: |\n  # no argument\n  A=1\n  B=\"two words\"\n  C\ncache-to: type=azblob,name=x\nssh: default\nunheard-of: 1";
    let found = found(&build("[push, pull_request]", with));
    let service = only(&found);
    assert_eq!(service.name, "app");
    assert_eq!(service.images, ["ghcr.io/acme/app", "localhost:5000/app"]);
    assert_eq!(
        (service.context.as_deref(), service.dockerfile.as_deref()),
        (Some("app"), Some("app/Dockerfile.prod"))
    );
    assert_eq!(service.platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(
        service.args.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
        ["A=1", "B=two words"]
    );
    for (trial, pushes) in found.trials.iter().zip(&service.pushes) {
        assert_eq!(*pushes, trial.context.event_name == "push", "{}", trial.title);
    }
    let lines: Vec<(usize, &str)> = found.not_taken.iter().map(|not| (not.line, not.what.as_str())).collect();
    assert_eq!(
        lines,
        [
            (17, "the argument `C`"),
            (18, "`cache-to: type=azblob,name=x`"),
            (19, "`ssh`"),
            (20, "`unheard-of`")
        ]
    );
}

#[test]
fn trials_are_the_events_that_start_the_workflow() {
    let titles = |on: &str| -> Vec<String> {
        let found = found(&build(on, "push: true\ntags: a/b:1"));
        let mut titles: Vec<String> = found.trials.iter().map(|trial| trial.title.clone()).collect();
        titles.truncate(titles.len() / 2);
        titles
    };
    assert_eq!(titles("{push: {branches: [main, 'release/*']}}"), ["push to main", "push to release/Wide_r"]);
    assert_eq!(
        titles("{push: {tags: ['v0.*']}}"),
        [
            "push of tag v0.47.19",
            "push of tag v0.52.31",
            "push of tag v0.61.0-beta.3",
            "push of tag v0.13.27.58",
            "push of tag v0.21.34.60",
            "push of tag v0.0.47.19",
            "push of tag v0.19.0.0-rc.2",
            "push of tag v0.Wide_r"
        ]
    );
    assert_eq!(titles("{schedule: [{cron: '0 1 * * *'}]}"), ["schedule \"0 1 * * *\""]);
    assert_eq!(titles("merge_group"), ["merge_group"]);
    assert_eq!(
        titles("{release: {types: [published]}}"),
        ["release of v13.27.58", "release of v21.34.60", "release of v0.47.19", "release of v19.0.0-rc.2"]
    );
    assert_eq!(
        titles("{pull_request: {branches: [next]}}"),
        ["pull_request into next", "pull_request into next of a fork"]
    );
    assert!(titles("workflow_call").len() > 20);
}

#[test]
fn every_trial_is_the_same_event_to_both() {
    let found = found(&build(
        "[push, pull_request, pull_request_target, schedule, release, workflow_dispatch]",
        "push: true\ntags: a/b:1",
    ));
    assert!(found.trials.len() > 50);
    let mut commits = std::collections::BTreeSet::new();
    for trial in &found.trials {
        assert_eq!(trial.event.tag(), trial.context.tag(), "{}", trial.title);
        assert_eq!(trial.event.trigger.as_deref(), Some(trial.context.event_name.as_str()));
        assert!(commits.insert(trial.context.sha.clone()), "{}", trial.title);
        if trial.event.pull_request().is_none() {
            assert_eq!(trial.event.branch(), trial.context.branch(), "{}", trial.title);
        }
    }
}

#[test]
fn tags_by_expressions_alone_become_rules() {
    let found = found(&build(
        "push",
        "push: true\ntags: ghcr.io/a/b:${{ github.ref == 'refs/heads/main' && 'latest' || github.sha }}",
    ));
    let chosen = choose(only(&found), &found);
    let rules: Vec<String> = chosen
        .rules
        .tag
        .iter()
        .map(|rule| {
            format!(
                "{}: {}",
                rule.name(),
                rule.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    assert_eq!(rules, ["default-branch: latest", "branch:**: {sha:long}", "tag:**: {sha:long}"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_workflow_makes_it_panic(
        on in r"(push|\[push, x\]|\{push: \{branches: (\[main\]|'\*'|7)\}\}|\{workflow_call: \{inputs: (x|\{a: \{default: 1\}\})\}\}|~)",
        with in r"((tags|push|context|build-args|secrets|cache-from|platforms|labels): (\$\{\{ [a-z.()' =!&|]{0,12} \}\}|[a-z:/=,]{0,12}|\[a, b\]|\{a: b\}|~)\n){0,4}",
        matrix in r"(|strategy: \{matrix: (x|\{a: \[1, b\]\}|\{include: [a-z]\}|\[\])\}\n    )"
    ) {
        let text = build(&on, &with).replace("    steps:", &format!("    {matrix}steps:"));
        if let Ok(found) = read(&text, &surroundings()) {
            prop_assert!(found.services.len() <= 256 && found.trials.len() <= 400);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in r"(on|jobs|steps|uses|with|: |\n|  |- |docker/build-push-action|\$\{\{|\}\}|[a-z\[\]{}&*'|]){0,40}") {
        let _ = read(&text, &surroundings());
    }
}
