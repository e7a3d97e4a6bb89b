//! Files as people have them.

use pipeline::event::Kind;
use serde_json::json;
use testkit::git::GitRepository;

use super::*;

const SHA: &str = "1111111111111111111111111111111111111111";
const HEAD: &str = "2222222222222222222222222222222222222222";

fn replay_text(text: &str, name: Option<&str>) -> Result<Replayed, ForgeError> {
    let repository = GitRepository::with_files(&[("a", "1")]);
    let file = repository.path().join("event.json");
    std::fs::write(&file, text).unwrap();
    replay(&file, name, repository.path())
}

#[track_caller]
fn check(payload: Value, kind: &str) {
    let replayed = replay_text(&payload.to_string(), None).unwrap();
    assert_eq!(replayed.event.kind.to_string(), kind);
}

#[track_caller]
fn check_refused(text: &str, name: Option<&str>, reason: &str) {
    let error = replay_text(text, name).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

fn repository() -> Value {
    json!({ "full_name": "acme/shop", "default_branch": "main", "html_url": "https://github.com/acme/shop" })
}

#[test]
fn the_keys_of_a_payload_show_its_event() {
    let (branch, tag) = ("refs/heads/a/b", "refs/tags/v1");
    check(json!({ "ref": branch, "after": SHA, "repository": repository() }), "branch \"a/b\"");
    check(json!({ "ref": tag, "before": SHA, "after": SHA }), "tag \"v1\"");
    check(
        json!({ "ref": branch, "before": SHA, "after": "0".repeat(40), "deleted": true }),
        "deletion of branch \"a/b\"",
    );
    check(json!({ "ref": "v1", "ref_type": "tag", "master_branch": "main" }), "tag \"v1\"");
    check(json!({ "ref": "v1", "ref_type": "tag" }), "deletion of tag \"v1\"");
    check(json!({ "release": { "tag_name": "v1", "prerelease": true } }), "pre-release of tag \"v1\"");
    check(json!({ "ref": branch, "workflow": "x.yml", "inputs": null }), "dispatch on branch \"a/b\"");
    check(json!({ "client_payload": {}, "branch": "main" }), "dispatch on branch \"main\"");
    check(json!({ "schedule": "0 4 * * *", "repository": repository() }), "schedule on branch \"main\"");
    check(json!({ "issue": {}, "comment": {}, "repository": repository() }), "dispatch on branch \"main\"");
    check(
        json!({ "sha": SHA, "state": "success", "repository": repository() }),
        "dispatch on branch \"main\"",
    );
    check(json!({ "deployment": { "ref": "main", "sha": SHA } }), "dispatch on branch \"main\"");
    let queue = json!({ "head_ref": "refs/heads/gh-readonly-queue/main/pr-7-1", "head_sha": SHA });
    check(json!({ "merge_group": queue }), "merge queue of \"main\", pull request 7");
    check(json!({ "workflow_run": { "name": "CI", "head_sha": SHA } }), "end of workflow \"CI\"");
}

#[test]
fn a_pull_request_needs_nothing_else() {
    let head = json!({ "sha": HEAD, "ref": "topic", "repo": { "full_name": "acme/shop" } });
    let base = json!({ "ref": "main", "repo": { "full_name": "acme/shop" } });
    let pull_request = json!({ "number": 7, "head": head, "base": base, "merge_commit_sha": SHA });
    let replayed = replay_text(&json!({ "pull_request": pull_request }).to_string(), None).unwrap();
    let Kind::PullRequest(found) = &replayed.event.kind else { panic!("{replayed:?}") };
    assert_eq!((found.number, found.fork, replayed.event.revision.as_str()), (7, false, HEAD));
    assert_eq!(found.merge_sha.as_ref().unwrap().as_str(), SHA);
    // What the clone stood in for is told.
    assert_eq!(replayed.missing, ["the time of the commit: that of the clone's head is taken"]);
    let target =
        replay_text(&json!({ "pull_request": pull_request }).to_string(), Some("pull_request_target"));
    let Kind::PullRequest(found) = target.unwrap().event.kind else { panic!() };
    assert_eq!(found.merge_sha, None);
}

#[test]
fn our_own_documents_come_back() {
    let event = replay_text(&json!({ "ref": "refs/heads/a", "after": SHA }).to_string(), None).unwrap().event;
    let own = serde_json::to_value(&event).unwrap();
    let expected = Event { fields: Default::default(), ..event };
    assert_eq!(replay_text(&own.to_string(), None).unwrap().event, expected);
    let plan = json!({ "schema": "plimsoll.plan/1", "event": own });
    assert_eq!(replay_text(&plan.to_string(), None).unwrap().event, expected);
    check_refused(r#"{"kind": "branch", "revision": "abc"}"#, None, "looks like an event of plimsoll, but");
    check_refused(r#"{"schema": "plimsoll.plan/1", "event": {}}"#, None, "looks like an event of plimsoll");
}

#[test]
fn contexts_and_variables_are_read_too() {
    let context = json!({
        "event_name": "push", "ref": "refs/heads/a", "sha": SHA, "repository": "acme/shop", "run_id": "5",
        "event": { "repository": repository() }
    });
    let event = replay_text(&context.to_string(), None).unwrap().event;
    assert_eq!((event.branch(), event.revision.as_str()), (Some("a"), SHA));
    assert_eq!(event.run.unwrap().url.as_deref(), Some("https://github.com/acme/shop/actions/runs/5"));
    let gitlab = json!({ "CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v1", "CI_COMMIT_SHA": SHA });
    check(gitlab, "tag \"v1\"");
    check(
        json!({ "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/a", "GITHUB_SHA": SHA }),
        "branch \"a\"",
    );
    check(
        json!({ "GITHUB_EVENT_NAME": "push", "GITHUB_REF": "refs/heads/a", "GITEA_ACTIONS": "true" }),
        "branch \"a\"",
    );
}

#[test]
fn what_is_no_event_says_why() {
    check_refused("", None, "no JSON object");
    check_refused("[1]", None, "no JSON object");
    check_refused("{", None, "it is not JSON: EOF");
    check_refused("not json", None, "line 1 column");
    check_refused("{}", None, "--event-name");
    check_refused(r#"{"object_kind": "push"}"#, None, "GitLab's webhook \"push\"");
    check_refused("{}", Some("push"), "neither GITHUB_REF nor the payload");
    check_refused("{}", Some("pull_request"), "no /pull_request/number");
    let error = replay(Path::new("/nowhere/x.json"), None, Path::new("/")).unwrap_err().to_string();
    assert_eq!(error, "cannot read /nowhere/x.json (--event)");
}

#[test]
fn a_name_that_nobody_knows_is_a_dispatch() {
    let replayed = replay_text("{}", Some("sub_issues")).unwrap();
    assert_eq!(replayed.event.kind, Kind::Dispatch { on: None });
    assert_eq!(replayed.missing[0], "the commit: the head of the clone is taken");
}
