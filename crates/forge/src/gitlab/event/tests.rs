//! Jobs as the host describes them.

use proptest::prelude::*;

use super::*;

const SHA: &str = "1111111111111111111111111111111111111111";
const HEAD: &str = "2222222222222222222222222222222222222222";

fn job(variables: &[(&str, &str)]) -> Result<Event, ForgeError> {
    let common = [
        ("GITLAB_CI", "true"),
        ("CI_COMMIT_SHA", SHA),
        ("CI_COMMIT_SHORT_SHA", "11111111"),
        ("CI_COMMIT_TIMESTAMP", "2026-11-06T16:04:05+01:00"),
        ("CI_DEFAULT_BRANCH", "trunk"),
        ("CI_PROJECT_NAME", "shop"),
        ("CI_PROJECT_URL", "https://gitlab.com/acme/shop"),
        ("CI_PROJECT_DESCRIPTION", "Sells"),
        ("CI_PIPELINE_ID", "77"),
        ("CI_PIPELINE_URL", "https://gitlab.com/acme/shop/-/pipelines/77"),
        ("CI_JOB_TOKEN", "secret"),
        ("GITLAB_USER_LOGIN", "tanuki"),
    ];
    let all = common.iter().chain(variables);
    let environment = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read(&environment, Path::new("/nowhere"))
}

#[track_caller]
fn check(source: &str, variables: &[(&str, &str)], expected: Kind) {
    let variables = [&[("CI_PIPELINE_SOURCE", source)], variables].concat();
    let event = job(&variables).unwrap();
    assert_eq!((event.kind, event.revision.as_str()), (expected, SHA), "{source}");
}

#[test]
fn sources_of_pipelines() {
    let branch = || Kind::Branch { branch: "feature/x".to_owned() };
    let dispatch = || Kind::Dispatch { on: Some(GitRef::Branch("feature/x".to_owned())) };
    let on = [("CI_COMMIT_BRANCH", "feature/x")];
    for source in ["push", "webide", "parent_pipeline", ""] {
        check(source, &on, branch());
    }
    for source in ["web", "api", "trigger", "pipeline", "chat", "external", "not_known_yet"] {
        check(source, &on, dispatch());
    }
    check("schedule", &on, Kind::Schedule { branch: Some("feature/x".to_owned()) });
    check("push", &[("CI_COMMIT_TAG", "v1.2.3")], Kind::Tag { tag: "v1.2.3".to_owned() });
    check("web", &[("CI_COMMIT_TAG", "v1")], Kind::Dispatch { on: Some(GitRef::Tag("v1".to_owned())) });
    check("schedule", &[("CI_COMMIT_TAG", "v1")], Kind::Schedule { branch: None });
    check("push", &[], Kind::Detached);
    check("api", &[], Kind::Dispatch { on: None });
}

fn merge_request(variables: &[(&str, &str)]) -> Event {
    let common = [
        ("CI_PIPELINE_SOURCE", "merge_request_event"),
        ("CI_MERGE_REQUEST_IID", "42"),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "feature/x"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "trunk"),
        ("CI_MERGE_REQUEST_PROJECT_ID", "1"),
    ];
    job(&[&common, variables].concat()).unwrap()
}

#[test]
fn a_merge_request_is_a_pull_request_named_after_its_head() {
    let ours = ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "1");
    let event = merge_request(&[ours, ("CI_MERGE_REQUEST_EVENT_TYPE", "detached")]);
    assert_eq!((event.revision.as_str(), event.branch()), (SHA, Some("feature/x")));
    let event = merge_request(&[
        ours,
        ("CI_MERGE_REQUEST_EVENT_TYPE", "merged_result"),
        ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", HEAD),
    ]);
    assert_eq!(event.revision.as_str(), HEAD);
    let Kind::PullRequest(pull_request) = event.kind else { panic!("{event:?}") };
    assert_eq!((pull_request.number, pull_request.fork), (42, false));
    assert_eq!(pull_request.merge_sha.unwrap().as_str(), SHA);
    assert_eq!(pull_request.base_ref.as_deref(), Some("trunk"));
}

#[test]
fn another_project_or_an_unknown_one_is_a_fork() {
    for source in [&[("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "2")][..], &[]] {
        let event = merge_request(source);
        assert!(event.is_fork(), "{source:?}");
        assert_eq!(event.branch(), None);
    }
    let by_path = [
        ("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "acme/shop"),
        ("CI_MERGE_REQUEST_PROJECT_PATH", "Acme/Shop"),
    ];
    assert!(!merge_request(&by_path).is_fork());
}

#[test]
fn a_merge_train_is_a_merge_group() {
    let event = merge_request(&[("CI_MERGE_REQUEST_EVENT_TYPE", "merge_train")]);
    assert_eq!(event.kind, Kind::MergeGroup { number: Some(42), base_ref: "trunk".to_owned() });
    assert_eq!(event.revision.as_str(), SHA);
}

#[test]
fn a_pull_request_of_another_host() {
    let event = job(&[
        ("CI_PIPELINE_SOURCE", "external_pull_request_event"),
        ("CI_EXTERNAL_PULL_REQUEST_IID", "7"),
        ("CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY", "acme/shop"),
        ("CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY", "acme/shop"),
        ("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME", "topic"),
        ("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA", HEAD),
    ])
    .unwrap();
    assert_eq!((event.pull_request(), event.branch(), event.is_fork()), (Some(7), Some("topic"), false));
    assert_eq!(event.revision.as_str(), HEAD);
}

#[test]
fn what_surrounds_the_event() {
    let event = job(&[("CI_PIPELINE_SOURCE", "push"), ("CI_COMMIT_BRANCH", "trunk")]).unwrap();
    assert_eq!(event.committed.to_string(), "2026-11-06T15:04:05Z");
    assert!(event.is_default_branch());
    assert_eq!(event.source.url.as_deref(), Some("https://gitlab.com/acme/shop"));
    let run = event.run.unwrap();
    assert_eq!((run.id.as_str(), run.url.is_some()), ("77", true));
    assert_eq!((event.actor.as_deref(), event.trigger.as_deref()), (Some("tanuki"), Some("push")));
    assert_eq!(event.fields["CI_COMMIT_BRANCH"], "trunk");
    assert!(!event.fields.contains_key("CI_JOB_TOKEN"));
}

#[test]
fn what_is_wrong_is_named_and_the_clone_helps_out() {
    let error = |variables: &[(&str, &str)]| job(variables).unwrap_err().to_string();
    assert!(error(&[("CI_COMMIT_SHA", "11111111")]).contains("CI_COMMIT_SHA"));
    assert!(error(&[("CI_MERGE_REQUEST_IID", "x")]).contains("CI_MERGE_REQUEST_IID is \"x\""));
    assert!(error(&[("CI_COMMIT_SHA", "")]).contains("no clone"));
    assert!(error(&[("CI_COMMIT_TIMESTAMP", "yesterday")]).contains("CI_COMMIT_TIMESTAMP"));
    let repository = testkit::git::GitRepository::with_files(&[("a", "1")]);
    let event = read(&Environment::new(), repository.path()).unwrap();
    assert_eq!(event.kind, Kind::Branch { branch: "main".to_owned() });
    assert_eq!(event.revision.as_str(), repository.head());
}

proptest! {
    #[test]
    fn no_variable_makes_it_panic(
        source in any::<String>(), branch in any::<String>(), tag in any::<String>(), number in any::<String>(), sha in any::<String>()
    ) {
        let _ = job(&[
            ("CI_PIPELINE_SOURCE", &source), ("CI_COMMIT_BRANCH", &branch), ("CI_COMMIT_TAG", &tag),
            ("CI_MERGE_REQUEST_IID", &number), ("CI_COMMIT_SHA", &sha),
        ]);
    }
}
