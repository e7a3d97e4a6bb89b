//! Steps as the host describes them, with the fields of its payloads that matter.

use pipeline::event::GitRef;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const SHA: &str = "1111111111111111111111111111111111111111";
const HEAD: &str = "2222222222222222222222222222222222222222";

fn step(event: &str, reference: &str, payload: &Value) -> Result<Event, ForgeError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("event.json");
    std::fs::write(&path, payload.to_string()).unwrap();
    let path = path.display().to_string();
    let variables = [
        ("GITHUB_EVENT_NAME", event),
        ("GITHUB_REF", reference),
        ("GITHUB_SHA", SHA),
        ("GITHUB_REPOSITORY", "Acme/Shop"),
        ("GITHUB_SERVER_URL", "https://github.com"),
        ("GITHUB_RUN_ID", "77"),
        ("GITHUB_RUN_ATTEMPT", "2"),
        ("GITHUB_ACTOR", "octocat"),
        ("GITHUB_EVENT_PATH", &path),
    ];
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read(Host::GitHub, &environment, folder.path())
}

fn with_time(mut payload: Value) -> Value {
    payload["commits"] = json!([
        { "id": SHA, "timestamp": "2026-11-06T16:04:05+01:00" }, { "id": HEAD, "timestamp": "2026-11-06T15:00:00Z" }
    ]);
    payload["repository"] = json!({
        "default_branch": "trunk", "html_url": "https://github.com/Acme/Shop", "description": "Sells",
        "license": { "spdx_id": "MIT" }
    });
    payload
}

fn pull_request(head_repository: Value) -> Value {
    with_time(json!({ "pull_request": {
        "number": 42,
        "head": { "sha": HEAD, "ref": "feature/x", "repo": head_repository },
        "base": { "ref": "trunk", "repo": { "full_name": "Acme/Shop" } }
    } }))
}

#[test]
fn a_push_is_its_branch_or_tag() {
    let event = step("push", "refs/heads/feature/a", &with_time(json!({}))).unwrap();
    assert_eq!(event.kind, Kind::Branch { branch: "feature/a".to_owned() });
    assert_eq!(event.revision.as_str(), SHA);
    assert_eq!(event.committed.to_string(), "2026-11-06T15:04:05Z");
    assert_eq!(event.default_branch.as_deref(), Some("trunk"));
    assert_eq!(event.source.licenses.as_deref(), Some("MIT"));
    let run = event.run.unwrap();
    assert_eq!((run.id.as_str(), run.attempt), ("77", 2));
    assert_eq!(run.url.as_deref(), Some("https://github.com/Acme/Shop/actions/runs/77"));
    let event = step("push", "refs/tags/v1.2.3", &with_time(json!({}))).unwrap();
    assert_eq!(event.kind, Kind::Tag { tag: "v1.2.3".to_owned() });
    let event = step("push", "", &with_time(json!({ "ref": "refs/heads/b" }))).unwrap();
    assert_eq!(event.branch(), Some("b"));
    assert_eq!(event.trigger.as_deref(), Some("push"));
    assert_eq!(event.fields["ref"], "refs/heads/b");
}

#[track_caller]
fn check(event: &str, reference: &str, payload: Value, expected: &str) {
    let read = step(event, reference, &with_time(payload)).unwrap();
    assert_eq!(read.kind.to_string(), expected, "{event}");
}

#[test]
fn every_kind_of_event_is_one_of_ours() {
    let tag = "refs/tags/v1";
    check("create", tag, json!({ "ref": "v1", "ref_type": "tag" }), "tag \"v1\"");
    check("create", "", json!({ "ref": "b", "ref_type": "branch" }), "branch \"b\"");
    check(
        "delete",
        "refs/heads/trunk",
        json!({ "ref": "a/b", "ref_type": "branch" }),
        "deletion of branch \"a/b\"",
    );
    check("delete", "refs/heads/trunk", json!({ "ref": "v1", "ref_type": "tag" }), "deletion of tag \"v1\"");
    check("push", tag, json!({ "ref": tag, "deleted": true }), "deletion of tag \"v1\"");
    check("push", "refs/notes/commits", json!({}), "detached head");
    check(
        "push",
        "refs/heads/gh-readonly-queue/a/b/pr-7-abc",
        json!({}),
        "merge queue of \"a/b\", pull request 7",
    );
    for action in ["published", "prereleased", "created", "edited", "released", "deleted"] {
        let release = json!({ "action": action, "release": { "tag_name": "v1", "prerelease": action == "prereleased" } });
        let expected =
            if action == "prereleased" { "pre-release of tag \"v1\"" } else { "release of tag \"v1\"" };
        check("release", tag, release, expected);
    }
    check("release", tag, json!({}), "release of tag \"v1\"");
    check("workflow_call", "refs/heads/trunk", json!({}), "dispatch on branch \"trunk\"");
    check("", "refs/heads/trunk", json!({}), "branch \"trunk\"");
    check("workflow_dispatch", "refs/pull/7/merge", json!({}), "pull request 7 of a fork");
    let others = "repository_dispatch issue_comment issues discussion discussion_comment check_run check_suite status \
                  deployment deployment_status registry_package page_build gollum fork watch label milestone public \
                  not_known_yet";
    for other in others.split_whitespace() {
        check(other, "refs/heads/trunk", json!({}), "dispatch on branch \"trunk\"");
        check(other, tag, json!({}), "dispatch on tag \"v1\"");
        check(other, "", json!({}), "dispatch");
    }
}

fn workflow_run(head_repository: &str, pull_requests: Value) -> Value {
    json!({
        "repository": { "full_name": "Acme/Shop", "default_branch": "trunk" },
        "workflow_run": {
            "name": "CI", "conclusion": "success", "event": "push", "head_branch": "feature/x", "head_sha": HEAD,
            "head_commit": { "id": HEAD, "timestamp": "2026-11-06T15:00:00Z" },
            "head_repository": { "full_name": head_repository }, "pull_requests": pull_requests
        }
    })
}

#[test]
fn the_end_of_a_workflow_is_at_the_commit_it_ran_for() {
    let ours = workflow_run("acme/shop", json!([{ "number": 7 }]));
    let event = step("workflow_run", "refs/heads/trunk", &ours).unwrap();
    assert_eq!(event.revision.as_str(), HEAD);
    assert_eq!(event.committed.to_string(), "2026-11-06T15:00:00Z");
    assert_eq!((event.branch(), event.pull_request()), (Some("feature/x"), Some(7)));
    assert!(!event.is_fork() && !event.is_proposal());
    let Kind::WorkflowRun { workflow, conclusion, .. } = &event.kind else { panic!("{event:?}") };
    assert_eq!((workflow.as_str(), conclusion.as_deref()), ("CI", Some("success")));
    // The branch of a fork is nobody's, whatever it is called.
    let event =
        step("workflow_run", "refs/heads/trunk", &workflow_run("mallory/shop", json!([{ "number": 7 }])));
    let event = event.unwrap();
    assert_eq!((event.branch(), event.tag(), event.pull_request()), (None, None, None));
    assert!(event.is_fork() && !event.is_proposal());
    let several = workflow_run("acme/shop", json!([{ "number": 7 }, { "number": 8 }]));
    assert_eq!(step("workflow_run", "", &several).unwrap().pull_request(), None);
}

#[test]
fn what_a_workflow_ran_for_is_no_more_trusted_at_its_end() {
    for (trigger, proposed) in
        [("pull_request", true), ("pull_request_target", true), ("merge_group", true), ("push", false)]
    {
        let mut payload = workflow_run("acme/shop", json!([]));
        payload["workflow_run"]["event"] = json!(trigger);
        assert_eq!(
            step("workflow_run", "refs/heads/trunk", &payload).unwrap().is_proposal(),
            proposed,
            "{trigger}"
        );
    }
    let mut gone = workflow_run("x", json!([]));
    gone["workflow_run"]["head_repository"] = Value::Null;
    assert!(step("workflow_run", "refs/heads/trunk", &gone).unwrap().is_fork());
}

#[test]
fn the_clone_knows_that_a_workflow_ran_for_a_tag() {
    let repository = testkit::git::GitRepository::with_files(&[("a", "1")]);
    repository.tag("v1");
    let mut payload = workflow_run("Acme/Shop", json!([]));
    payload["workflow_run"]["head_branch"] = json!("v1");
    let environment = Environment::from([("GITHUB_EVENT_NAME".to_owned(), "workflow_run".to_owned())]);
    let step = Step::new(Host::GitHub, &environment, payload, repository.path()).unwrap();
    assert_eq!(step.event().unwrap().0.tag(), Some("v1"));
}

#[test]
fn a_deletion_is_at_the_commit_that_was_there() {
    let payload =
        with_time(json!({ "ref": "refs/heads/x", "deleted": true, "before": HEAD, "after": "0".repeat(40) }));
    let event = step("push", "refs/heads/x", &payload).unwrap();
    assert_eq!(event.revision.as_str(), HEAD);
}

#[test]
fn names_that_no_tag_may_have_are_kept_as_they_came() {
    let long = "x/".repeat(5000);
    for name in ["a\nb", "a\0b", "caf\u{fffd}", "日本語", long.as_str(), "-", "::error::x"] {
        let event = step("push", &format!("refs/heads/{name}"), &with_time(json!({}))).unwrap();
        assert_eq!(event.branch(), Some(name));
    }
    let odd = json!({ "pull_request": { "number": "42" }, "number": [1], "ref": 7, "deleted": "yes" });
    let error = step("pull_request", "refs/heads/x", &odd).unwrap_err().to_string();
    assert!(error.len() < 200 && error.contains("no /pull_request/number"), "{error}");
}

#[test]
fn a_pull_request_is_named_after_its_head() {
    let event =
        step("pull_request", "refs/pull/42/merge", &pull_request(json!({ "full_name": "acme/shop" })))
            .unwrap();
    assert_eq!(event.revision.as_str(), HEAD);
    assert_eq!(event.branch(), Some("feature/x"));
    let Kind::PullRequest(pull_request) = event.kind else { panic!("{event:?}") };
    assert_eq!((pull_request.number, pull_request.fork), (42, false));
    assert_eq!(pull_request.merge_sha.unwrap().as_str(), SHA);
    assert_eq!(pull_request.base_ref.as_deref(), Some("trunk"));
}

#[test]
fn a_head_elsewhere_or_gone_is_a_fork() {
    for repository in [json!({ "full_name": "mallory/shop" }), Value::Null] {
        let event = step("pull_request", "refs/pull/42/merge", &pull_request(repository)).unwrap();
        assert!(event.is_fork());
        assert_eq!(event.branch(), None);
    }
}

#[test]
fn a_target_run_has_no_tried_merge() {
    let payload = pull_request(json!({ "full_name": "Acme/Shop" }));
    let event = step("pull_request_target", "refs/heads/trunk", &payload).unwrap();
    let Kind::PullRequest(pull_request) = event.kind else { panic!("{event:?}") };
    assert_eq!(pull_request.merge_sha, None);
}

#[test]
fn the_merge_queue_names_its_pull_request() {
    let payload = with_time(json!({ "merge_group": {
        "head_sha": HEAD, "base_ref": "refs/heads/trunk",
        "head_ref": format!("refs/heads/gh-readonly-queue/trunk/pr-42-{SHA}")
    } }));
    let event = step("merge_group", "refs/heads/gh-readonly-queue/trunk/pr-42-1", &payload).unwrap();
    assert_eq!(event.kind, Kind::MergeGroup { number: Some(42), base_ref: "trunk".to_owned() });
    assert_eq!(event.revision.as_str(), HEAD);
}

#[test]
fn schedules_and_dispatches_know_what_they_run_on() {
    let event = step("schedule", "refs/heads/trunk", &with_time(json!({}))).unwrap();
    assert_eq!(event.kind, Kind::Schedule { branch: Some("trunk".to_owned()) });
    let event = step("workflow_dispatch", "refs/tags/v1", &with_time(json!({}))).unwrap();
    assert_eq!(event.kind, Kind::Dispatch { on: Some(GitRef::Tag("v1".to_owned())) });
    let event = step("issues", "refs/heads/trunk", &with_time(json!({}))).unwrap();
    assert_eq!(event.branch(), Some("trunk"));
}

#[track_caller]
fn check_refused(event: &str, reference: &str, payload: &Value, message: &str) {
    let error = step(event, reference, payload).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    check_refused("push", "refs/heads/x", &json!({}), "run actions/checkout before");
    check_refused("pull_request", "", &json!({}), "no /pull_request/number");
    check_refused("push", "", &json!({}), "neither GITHUB_REF nor the payload");
    check_refused("delete", "refs/heads/main", &json!({ "ref": "x" }), "no /ref that is a branch or a tag");
    check_refused("release", "refs/heads/main", &json!({}), "/release/tag_name");
    check_refused("push", "refs/heads/x", &json!([1]), "no JSON object");
    check_refused("", "", &json!({}), "neither GITHUB_EVENT_NAME");
    let odd = json!({ "pull_request": { "number": 1, "head": { "sha": "abc" } } });
    check_refused("pull_request", "refs/pull/1/merge", &odd, "not a commit id");
}

#[test]
fn times_come_from_the_clone_where_the_payload_has_none() {
    let repository = testkit::git::GitRepository::with_files(&[("a", "1")]);
    let environment = |sha: &str| -> Environment {
        let variables = [("GITHUB_EVENT_NAME", "push"), ("GITHUB_REF", "refs/heads/x"), ("GITHUB_SHA", sha)];
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let event = read(Host::GitHub, &environment(&repository.head()), repository.path()).unwrap();
    assert_eq!(event.committed.as_second(), testkit::git::FIRST_COMMIT_SECONDS);
    assert_eq!(event.default_branch.as_deref(), Some("main"));
    // A commit that a shallow clone lacks has the time of what is checked out.
    let event = read(Host::GitHub, &environment(HEAD), repository.path()).unwrap();
    assert_eq!(event.committed.as_second(), testkit::git::FIRST_COMMIT_SECONDS);
}

#[test]
fn an_unreadable_payload_is_named_with_its_variable() {
    let environment = Environment::from([("GITHUB_EVENT_PATH".to_owned(), "/nowhere/event.json".to_owned())]);
    let error = read(Host::GitHub, &environment, Path::new("/")).unwrap_err().to_string();
    assert_eq!(error, "cannot read /nowhere/event.json (GITHUB_EVENT_PATH)");
}

/// JSON of the shapes that payloads have, with their keys in the wrong places and of the wrong types.
fn any_payload() -> impl Strategy<Value = Value> {
    let keys = "(ref|ref_type|before|after|deleted|number|pull_request|head|base|repo|full_name|sha|commits|id|\
                timestamp|head_commit|merge_group|head_ref|base_ref|head_sha|workflow_run|head_repository|\
                pull_requests|release|tag_name|repository|default_branch|license|spdx_id|sender|login)";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(refs/(heads|tags|pull)/)?[a-z0-9/\\n]{0,12}".prop_map(Value::from),
        Just(Value::from(SHA)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(
        payload in any_payload(),
        name in "(push|create|delete|pull_request|pull_request_target|merge_group|release|schedule|workflow_run|x)?",
        reference in "(refs/(heads|tags|pull|notes)/)?[a-z0-9/-]{0,12}"
    ) {
        let environment = Environment::from([
            ("GITHUB_EVENT_NAME".to_owned(), name.clone()), ("GITHUB_REF".to_owned(), reference),
            ("GITHUB_SHA".to_owned(), SHA.to_owned()),
        ]);
        let nowhere = Path::new("/nowhere");
        let _ = Step::new(Host::GitHub, &environment, payload.clone(), nowhere).and_then(Step::event);
        let _ = crate::github::webhook::replay(payload, Some(&name), nowhere);
    }
}
