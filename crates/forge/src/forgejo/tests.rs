//! Steps as these hosts describe them.

use pipeline::event::Kind;
use pipeline::forge::Level;
use serde_json::json;

use super::*;

const HEAD: &str = "2222222222222222222222222222222222222222";

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn check_ours(variables: &[(&str, &str)], expected: bool) {
    assert_eq!(is_ours(&environment(variables)), expected, "{variables:?}");
}

#[test]
fn markers_and_servers_show_the_host() {
    check_ours(&[("GITEA_ACTIONS", "true")], true);
    check_ours(&[("FORGEJO_ACTIONS", "true")], true);
    check_ours(&[("GITHUB_SERVER_URL", "https://codeberg.org/")], true);
    check_ours(&[("GITHUB_SERVER_URL", "https://git.acme.example"), ("FORGEJO_TOKEN", "x")], false);
    check_ours(&[("GITEA_ACTIONS", "")], false);
    check_ours(&[], false);
}

#[test]
fn a_pull_request_has_its_head_and_no_tried_merge() {
    let folder = tempfile::tempdir().unwrap();
    let payload = folder.path().join("event.json");
    let pull_request = json!({
        "number": 7, "head": { "sha": HEAD, "ref": "topic", "repo": { "full_name": "acme/shop" } },
        "base": { "ref": "main", "repo": { "full_name": "acme/shop" } }
    });
    let commits = json!([{ "id": HEAD, "timestamp": "2026-11-06T16:04:05+01:00" }]);
    std::fs::write(&payload, json!({ "pull_request": pull_request, "commits": commits }).to_string())
        .unwrap();
    let forge = Forgejo::new(&environment(&[
        ("GITHUB_ACTIONS", "true"),
        ("FORGEJO_EVENT_NAME", "pull_request"),
        ("GITHUB_REF", "refs/pull/7/head"),
        ("GITHUB_SHA", HEAD),
        ("GITEA_SERVER_URL", "https://codeberg.org/"),
        ("FORGEJO_REPOSITORY", "acme/shop"),
        ("GITHUB_RUN_ID", "4711"),
        ("GITHUB_RUN_NUMBER", "12"),
        ("GITHUB_EVENT_PATH", payload.to_str().unwrap()),
    ]));
    let event = forge.event(folder.path()).unwrap();
    assert_eq!(event.run.unwrap().url.as_deref(), Some("https://codeberg.org/acme/shop/actions/runs/12"));
    assert_eq!(event.source.url.as_deref(), Some("https://codeberg.org/acme/shop"));
    let Kind::PullRequest(pull_request) = event.kind else { panic!() };
    assert_eq!((pull_request.number, pull_request.fork, pull_request.merge_sha), (7, false, None));
    assert_eq!(forge.name(), "forgejo");
}

#[test]
fn a_thin_payload_is_filled_from_the_clone_and_errors_name_the_host() {
    let repository = testkit::git::GitRepository::with_files(&[("a", "1")]);
    let variables = environment(&[("GITHUB_EVENT_NAME", "push"), ("GITHUB_REF", "refs/heads/x")]);
    let event = Forgejo::new(&variables).event(repository.path()).unwrap();
    assert_eq!(event.revision.as_str(), repository.head());
    let error = Forgejo::new(&Environment::new()).event(repository.path()).unwrap_err().to_string();
    assert!(error.contains("Forgejo"), "{error}");
}

#[test]
fn what_the_host_ignores_is_not_said_in_its_commands() {
    let forge = Forgejo::new(&Environment::new());
    let annotation = Annotation { level: Level::Error, title: None, message: "m".to_owned(), place: None };
    assert_eq!(forge.annotation(&annotation), None);
    assert_eq!(forge.group_start("build").as_deref(), Some("::group::build"));
    assert_eq!(forge.harmless("::group::x"), ":\u{200b}:group::x");
}
