//! Events of every kind, by rules of their own and by the defaults; fields of the event; own labels.

use super::*;
use crate::event::GitRef;

fn called(trigger: &str, event: Event) -> Event {
    Event { trigger: Some(trigger.to_owned()), ..event }
}

fn release() -> Event {
    called("release", event(Kind::Release { tag: "v1.2.3".to_owned(), prerelease: false }))
}

fn workflow_run(conclusion: &str, on: Option<GitRef>, number: Option<u64>) -> Event {
    let (workflow, conclusion) = ("CI".to_owned(), Some(conclusion.to_owned()));
    event(Kind::WorkflowRun { workflow, conclusion, on, number, proposed: number.is_some(), fork: false })
}

#[track_caller]
fn check_default(event: &Event, expected: &str) {
    assert_eq!(tags(&named(&IdentityRules::default(), event, &[])), expected);
}

#[test]
fn defaults_know_what_the_forge_tells() {
    check_default(&release(), "v1.2.3 1.2.3 1.2 1 latest");
    check_default(&called("create", assumed("tag:v1.2.3")), "v1.2.3 1.2.3 1.2 1 latest");
    check_default(&called("pull_request_target", assumed("pr:7")), "pr-7 pr-7-abc1234");
    check_default(&event(Kind::Delete { on: GitRef::Branch("main".to_owned()) }), "");
    let branch = |name: &str| Some(GitRef::Branch(name.to_owned()));
    check_default(&workflow_run("success", branch("fix/y"), None), "fix-y-abc1234 sha-abc1234");
    check_default(&workflow_run("success", None, Some(7)), "pr-7-abc1234 sha-abc1234");
    check_default(&workflow_run("failure", branch("main"), None), "");
    check_default(&event(Kind::Dispatch { on: None }), "sha-abc1234");
}

#[test]
fn rules_by_the_forges_words() {
    let rules = rules(
        r#"
        [[identity.tag]]
        on = "event:issue_comment"
        tags = ["comment-{sha}"]
        [[identity.tag]]
        on = "delete"
        tags = ["{branch|slug}", "{tag}"]
        [[identity.tag]]
        on = "create:release/**"
        tags = ["cut-{branch|slug}"]
        [[identity.tag]]
        on = "workflow_run:CI"
        tags = ["ci-{sha}"]
        [[identity.tag]]
        on = ["release", "pull_request_target"]
        parse = "semver"
        tags = ["released-{version}"]
        "#,
    );
    let check = |event: &Event, expected: &str| assert_eq!(tags(&named(&rules, event, &[])), expected);
    check(&called("issue_comment", assumed("branch:main")), "comment-abc1234");
    check(&event(Kind::Delete { on: GitRef::Branch("feature/x".to_owned()) }), "feature-x");
    check(&event(Kind::Delete { on: GitRef::Tag("v1".to_owned()) }), "v1");
    check(&called("create", assumed("branch:release/1.x")), "cut-release-1-x");
    check(&assumed("branch:release/1.x"), "");
    check(&workflow_run("success", None, None), "ci-abc1234");
    check(&release(), "released-1.2.3 latest");
    let no_tag = named(&rules, &called("pull_request_target", assumed("pr:1")), &[]);
    check_dropped(&no_tag, "", "has no git tag to read a version from");
}

#[test]
fn what_the_forge_calls_a_pre_release_is_one() {
    let pre = event(Kind::Release { tag: "v1.2.3".to_owned(), prerelease: true });
    check_default(&pre, "v1.2.3 1.2.3");
    let auto = rules("[identity]\nlatest = \"auto\"\n");
    assert_eq!(tags(&named(&auto, &pre, &[])), "v1.2.3 1.2.3");
    check_dropped(&named(&auto, &pre, &[]), "latest", "the forge calls 1.2.3 a pre-release");
}

#[test]
fn fields_of_the_event_are_scalars() {
    let rules = rules(
        r#"
        [[identity.tag]]
        on = "branch:**"
        tags = ["{event:sender.login|slug}", "n{event:numbers.1}", "{event:flag}", "{event:sender}", "{event:none.x}",
            "{event:empty}", "{event:null}", "{event:flag.x}", "{event:evil}", "{event:evil|slug}", "{event:huge|slug}"]
        "#,
    );
    let fields = serde_json::json!({
        "sender": { "login": "Octo_Cat" }, "numbers": [1, 22], "flag": true, "empty": "", "null": null,
        "evil": "a\n$(b):c", "huge": "x".repeat(100_000),
    });
    let event = Event { fields: serde_json::from_value(fields).unwrap(), ..assumed("branch:main") };
    let identity = named(&rules, &event, &[]);
    assert_eq!(tags(&identity), "octo-cat n22 true a-b-c");
    check_dropped(&identity, "{event:sender}", "more than one value");
    check_dropped(&identity, "{event:none.x}", "does not tell it");
    check_dropped(&identity, "{event:empty}", "has nothing there");
    check_dropped(&identity, "{event:null}", "does not tell it");
    check_dropped(&identity, "{event:flag.x}", "does not tell it");
    check_dropped(&identity, "{event:evil}", "is not a tag");
    check_dropped(&identity, "{event:huge|slug}", "too much");
}

#[test]
fn later_rules_for_the_same_event_say_that_they_were_not_used() {
    let identity = named(&IdentityRules::default(), &assumed("branch:main"), &[]);
    let last = identity.explained.last().unwrap();
    assert_eq!(last.rule, "branch:**");
    assert_eq!(last.dropped.as_deref(), Some("the rule default-branch comes first and names the image"));
}

fn own_labels(text: &str, event: &Event) -> String {
    let labels = named(&rules(text), event, &[]).labels;
    let own = labels.iter().filter(|(key, _)| !key.starts_with("org.opencontainers."));
    own.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn labels_of_the_project_have_its_prefix() {
    let run = Run { id: "9".to_owned(), attempt: 1, url: Some("https://ci/9".to_owned()) };
    let event = Event { run: Some(run), ..assumed("branch:feature/x") };
    assert_eq!(own_labels("", &event), "acme.shop.feature.branch=feature/x");
    assert_eq!(own_labels("", &assumed("branch:main")), "");
    assert_eq!(own_labels("[identity]\nlabel-prefix = \"\"\n", &event), "");
    assert_eq!(
        own_labels("[identity]\nlabel-prefix = \"dev.acme\"\nrun-url = true\n", &event),
        "dev.acme.feature.branch=feature/x dev.acme.run.url=https://ci/9"
    );
    let request = event.assume(&Assumed::PullRequest(7));
    assert_eq!(own_labels("", &request), "acme.shop.feature.branch=feature/x acme.shop.pull.request=7");
    let queue = crate::event::tests::event(Kind::MergeGroup { number: Some(7), base_ref: "main".to_owned() });
    assert_eq!(own_labels("", &queue), "acme.shop.pull.request=7");
}

#[test]
fn a_forks_branch_names_nothing() {
    let mut event = assumed("branch:latest").assume(&Assumed::PullRequest(7));
    if let Kind::PullRequest(pull_request) = &mut event.kind {
        pull_request.fork = true;
    }
    assert_eq!(own_labels("", &event), "acme.shop.pull.request=7");
    let rules = rules("[[identity.tag]]\non = \"pull_request\"\ntags = [\"{branch|slug}\"]\n");
    check_dropped(&named(&rules, &event, &[]), "{branch|slug}", "no branch of this repository");
}
