//! Clones that the git program made.

use testkit::git::GitRepository;

use super::*;
use crate::event::CommitId;

fn open(repository: &GitRepository) -> Checkout {
    Checkout::open(repository.path()).unwrap()
}

fn commit(repository: &GitRepository, path: &str, message: &str) -> CommitId {
    repository.write(path, message);
    repository.commit(message).parse().unwrap()
}

#[test]
fn a_branch_is_a_branch_event() {
    let repository = GitRepository::empty();
    let revision = commit(&repository, "a", "one");
    repository.git(&["remote", "add", "origin", "https://user:secret@github.com/acme/shop.git"]);
    repository.git(&["tag", "v1.0.0"]);
    let event = open(&repository).event().unwrap();
    assert_eq!(event.kind, Kind::Branch { branch: "main".to_owned() });
    assert_eq!(event.revision, revision);
    assert_eq!(event.committed, Timestamp::from_second(testkit::git::FIRST_COMMIT_SECONDS).unwrap());
    assert_eq!(event.default_branch.as_deref(), Some("main"));
    assert_eq!(event.source.url.as_deref(), Some("https://github.com/acme/shop"));
}

#[test]
fn a_detached_head_is_the_highest_tag_at_it_or_nothing() {
    let repository = GitRepository::empty();
    commit(&repository, "a", "one");
    repository.git(&["checkout", "-q", "--detach"]);
    assert_eq!(open(&repository).event().unwrap().kind, Kind::Detached);
    for tag in ["v1.9.0", "v1.10.0", "zeta"] {
        repository.git(&["tag", "-a", tag, "-m", "annotated"]);
    }
    assert_eq!(open(&repository).event().unwrap().kind, Kind::Tag { tag: "v1.10.0".to_owned() });
    assert_eq!(open(&repository).tags().unwrap(), ["v1.10.0", "v1.9.0", "zeta"]);
    commit(&repository, "a", "two");
    assert_eq!(open(&repository).event().unwrap().kind, Kind::Detached);
}

#[test]
fn packed_references_are_read_too() {
    let repository = GitRepository::empty();
    commit(&repository, "a", "one");
    repository.git(&["tag", "v1.0.0"]);
    repository.git(&["pack-refs", "--all"]);
    repository.git(&["gc", "-q"]);
    repository.git(&["checkout", "-q", "--detach"]);
    assert_eq!(open(&repository).event().unwrap().kind, Kind::Tag { tag: "v1.0.0".to_owned() });
}

#[test]
fn no_repository_and_no_commit_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkout::open(folder.path()).unwrap_err();
    assert!(matches!(error, GitError::NotARepository { .. }), "{error}");
    assert!(error.to_string().contains("git init"));
    let repository = GitRepository::empty();
    let error = open(&repository).event().unwrap_err();
    assert!(matches!(error, GitError::NoCommit { .. }), "{error}");
    std::fs::write(repository.path().join(".git/HEAD"), "garbage").unwrap();
    let error = Checkout::open(repository.path()).and_then(|checkout| checkout.event()).unwrap_err();
    assert!(matches!(error, GitError::Unreadable { .. }), "{error}");
}

#[test]
fn a_folder_inside_a_work_tree_a_linked_one_and_a_bare_one() {
    let repository = GitRepository::empty();
    let revision = commit(&repository, "services/api/Dockerfile", "one");
    let inner = repository.path().join("services/api");
    let checkout = Checkout::open(&inner).unwrap();
    assert_eq!(checkout.head().unwrap().revision, revision);
    assert_eq!(
        checkout.path_in_repository(&inner.join("Dockerfile")).as_deref(),
        Some("services/api/Dockerfile")
    );
    assert_eq!(checkout.path_in_repository(Path::new("/")), None);
    let aside = tempfile::tempdir().unwrap();
    let linked = aside.path().join("linked");
    repository.git(&["worktree", "add", "-q", "-b", "topic", linked.to_str().unwrap()]);
    assert_eq!(
        Checkout::open(&linked).unwrap().event().unwrap().kind,
        Kind::Branch { branch: "topic".to_owned() }
    );
    let bare = aside.path().join("bare.git");
    repository.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    assert_eq!(Checkout::open(&bare).unwrap().head().unwrap().revision, revision);
}

#[test]
fn a_shallow_clone_says_what_it_cannot_know() {
    let repository = GitRepository::empty();
    let first = commit(&repository, "a", "one");
    let second = commit(&repository, "b", "two");
    let aside = tempfile::tempdir().unwrap();
    let shallow = aside.path().join("shallow");
    let address = format!("file://{}", repository.path().display());
    repository.git(&["clone", "-q", "--depth", "1", &address, shallow.to_str().unwrap()]);
    let checkout = Checkout::open(&shallow).unwrap();
    let event = checkout.event().unwrap();
    assert_eq!((event.revision.clone(), event.default_branch.as_deref()), (second.clone(), Some("main")));
    assert_eq!(checkout.changed_paths(&first, &second).unwrap(), None);
    assert_eq!(checkout.commit_subject(&first).unwrap(), None);
    assert_eq!(checkout.commit_subject(&second).unwrap().as_deref(), Some("two"));
    assert!(checkout.commit_time(&first).is_err());
}

#[test]
fn changed_paths_name_both_ends_of_a_rename() {
    let repository = GitRepository::empty();
    let first = commit(&repository, "services/api/a.py", "one");
    commit(&repository, "libs/x/y.py", "two");
    repository.git(&["mv", "services/api/a.py", "services/web.py"]);
    let last = commit(&repository, "README.md", "three");
    let checkout = open(&repository);
    let changed = checkout.changed_paths(&first, &last).unwrap().unwrap();
    assert_eq!(changed, ["README.md", "libs/x/y.py", "services/api/a.py", "services/web.py"]);
    assert_eq!(checkout.changed_paths(&last, &last).unwrap().unwrap(), [""; 0]);
    assert_eq!(checkout.changed_paths(&"0".repeat(40).parse().unwrap(), &last).unwrap(), None);
    assert_eq!(checkout.changed_paths(&"0".repeat(64).parse().unwrap(), &last).unwrap(), None);
}

#[test]
fn a_subject_is_the_first_line_with_something_on_it() {
    let repository = GitRepository::empty();
    let chore = commit(&repository, "a", "chore: a\n\nbody");
    assert_eq!(open(&repository).commit_subject(&chore).unwrap().as_deref(), Some("chore: a"));
    repository.git(&["commit", "--quiet", "--allow-empty", "--allow-empty-message", "--message", ""]);
    let empty = repository.head().parse().unwrap();
    assert_eq!(open(&repository).commit_subject(&empty).unwrap().as_deref(), Some(""));
}

#[test]
fn names_that_are_no_text_become_tags_all_the_same() {
    let repository = GitRepository::empty();
    let revision = commit(&repository, "a", "one");
    let git = repository.path().join(".git");
    let raw = b"refs/heads/caf\xe9/\xff\xfe x";
    let name = raw.to_os_str().unwrap();
    std::fs::create_dir_all(git.join(name).parent().unwrap()).unwrap();
    std::fs::write(git.join(name), format!("{revision}\n")).unwrap();
    // git itself refuses the blank; without it, the bytes alone are allowed.
    let allowed = b"refs/heads/caf\xe9/\xff\xfe".to_os_str().unwrap();
    std::fs::write(git.join(allowed), format!("{revision}\n")).unwrap();
    std::fs::write(git.join("HEAD"), [b"ref: ".as_slice(), b"refs/heads/caf\xe9/\xff\xfe", b"\n"].concat())
        .unwrap();
    let event = open(&repository).event().unwrap();
    assert_eq!(event.branch(), Some("caf\u{fffd}/\u{fffd}\u{fffd}"));
    let rules = crate::configuration::IdentityRules::default();
    let subject = crate::identity::Subject::new(&event, "api", event.committed);
    let identity = crate::identity::identify(&rules, &subject);
    assert_eq!(identity.tags[0].tag.as_str(), format!("caf-{}", revision.short(7)));
}
