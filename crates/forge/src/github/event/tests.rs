//! Steps as the host describes them, with the fields of its payloads that matter.

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
    read(&environment, folder.path())
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
    let event = step("release", "refs/tags/v1.2.3", &with_time(json!({}))).unwrap();
    assert_eq!(event.tag(), Some("v1.2.3"));
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
    check_refused("push", "refs/heads/x", &json!({ "deleted": true, "ref": "refs/heads/x" }), "was deleted");
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
    let event = read(&environment(&repository.head()), repository.path()).unwrap();
    assert_eq!(event.committed.as_second(), testkit::git::FIRST_COMMIT_SECONDS);
    assert_eq!(event.default_branch.as_deref(), Some("main"));
    // A commit that a shallow clone lacks has the time of what is checked out.
    let event = read(&environment(HEAD), repository.path()).unwrap();
    assert_eq!(event.committed.as_second(), testkit::git::FIRST_COMMIT_SECONDS);
}

#[test]
fn an_unreadable_payload_is_named_with_its_variable() {
    let environment = Environment::from([("GITHUB_EVENT_PATH".to_owned(), "/nowhere/event.json".to_owned())]);
    let error = read(&environment, Path::new("/")).unwrap_err().to_string();
    assert_eq!(error, "cannot read /nowhere/event.json (GITHUB_EVENT_PATH)");
}
