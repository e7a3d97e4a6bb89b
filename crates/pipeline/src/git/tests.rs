//! Clones made with the git program. Where it is not installed, each test says so and shows nothing.

use std::process::Command;

use super::*;

/// A repository in a temporary folder.
struct Clone {
    folder: tempfile::TempDir,
}

/// Returns an empty repository with `main` as its branch; `None` where there is no git program.
fn repository() -> Option<Clone> {
    let clone = Clone { folder: tempfile::tempdir().unwrap() };
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: no git program to make a repository with");
        return None;
    }
    clone.git(&["init", "-q", "-b", "main"]);
    Some(clone)
}

impl Clone {
    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_DATE", "1700000000 +0900")
            .env("GIT_COMMITTER_DATE", "1700000000 +0900")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, path: &str, message: &str) -> CommitId {
        let file = self.folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, message).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty-message", "-m", message]);
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    fn open(&self) -> Checkout {
        Checkout::open(self.folder.path()).unwrap()
    }
}

#[test]
fn a_branch_is_a_branch_event() {
    let Some(clone) = repository() else { return };
    let revision = clone.commit("a", "one");
    clone.git(&["remote", "add", "origin", "https://user:secret@github.com/acme/shop.git"]);
    clone.git(&["tag", "v1.0.0"]);
    let event = clone.open().event().unwrap();
    assert_eq!(event.kind, Kind::Branch { branch: "main".to_owned() });
    assert_eq!(event.revision, revision);
    assert_eq!(event.committed, Timestamp::from_second(1_700_000_000).unwrap());
    assert_eq!(event.default_branch.as_deref(), Some("main"));
    assert_eq!(event.source.url.as_deref(), Some("https://github.com/acme/shop"));
}

#[test]
fn a_detached_head_is_the_highest_tag_at_it_or_nothing() {
    let Some(clone) = repository() else { return };
    clone.commit("a", "one");
    clone.git(&["checkout", "-q", "--detach"]);
    assert_eq!(clone.open().event().unwrap().kind, Kind::Detached);
    for tag in ["v1.9.0", "v1.10.0", "zeta"] {
        clone.git(&["tag", "-a", tag, "-m", "annotated"]);
    }
    assert_eq!(clone.open().event().unwrap().kind, Kind::Tag { tag: "v1.10.0".to_owned() });
    assert_eq!(clone.open().tags().unwrap(), ["v1.10.0", "v1.9.0", "zeta"]);
    clone.commit("a", "two");
    assert_eq!(clone.open().event().unwrap().kind, Kind::Detached);
}

#[test]
fn packed_references_are_read_too() {
    let Some(clone) = repository() else { return };
    clone.commit("a", "one");
    clone.git(&["tag", "v1.0.0"]);
    clone.git(&["pack-refs", "--all"]);
    clone.git(&["gc", "-q"]);
    clone.git(&["checkout", "-q", "--detach"]);
    assert_eq!(clone.open().event().unwrap().kind, Kind::Tag { tag: "v1.0.0".to_owned() });
}

#[test]
fn no_repository_and_no_commit_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkout::open(folder.path()).unwrap_err();
    assert!(matches!(error, GitError::NotARepository { .. }), "{error}");
    assert!(error.to_string().contains("git init"));
    let Some(clone) = repository() else { return };
    let error = clone.open().event().unwrap_err();
    assert!(matches!(error, GitError::NoCommit { .. }), "{error}");
    std::fs::write(clone.folder.path().join(".git/HEAD"), "garbage").unwrap();
    let error = Checkout::open(clone.folder.path()).and_then(|checkout| checkout.event()).unwrap_err();
    assert!(matches!(error, GitError::Unreadable { .. }), "{error}");
}

#[test]
fn a_folder_inside_a_work_tree_a_linked_one_and_a_bare_one() {
    let Some(clone) = repository() else { return };
    let revision = clone.commit("services/api/Dockerfile", "one");
    let inner = clone.folder.path().join("services/api");
    let checkout = Checkout::open(&inner).unwrap();
    assert_eq!(checkout.head().unwrap().revision, revision);
    assert_eq!(
        checkout.path_in_repository(&inner.join("Dockerfile")).as_deref(),
        Some("services/api/Dockerfile")
    );
    assert_eq!(checkout.path_in_repository(Path::new("/")), None);
    let aside = tempfile::tempdir().unwrap();
    let linked = aside.path().join("linked");
    clone.git(&["worktree", "add", "-q", "-b", "topic", linked.to_str().unwrap()]);
    assert_eq!(
        Checkout::open(&linked).unwrap().event().unwrap().kind,
        Kind::Branch { branch: "topic".to_owned() }
    );
    let bare = aside.path().join("bare.git");
    clone.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    assert_eq!(Checkout::open(&bare).unwrap().head().unwrap().revision, revision);
}

#[test]
fn a_shallow_clone_says_what_it_cannot_know() {
    let Some(clone) = repository() else { return };
    let first = clone.commit("a", "one");
    let second = clone.commit("b", "two");
    let aside = tempfile::tempdir().unwrap();
    let shallow = aside.path().join("shallow");
    let address = format!("file://{}", clone.folder.path().display());
    clone.git(&["clone", "-q", "--depth", "1", &address, shallow.to_str().unwrap()]);
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
    let Some(clone) = repository() else { return };
    let first = clone.commit("services/api/a.py", "one");
    clone.commit("libs/x/y.py", "two");
    clone.git(&["mv", "services/api/a.py", "services/web.py"]);
    let last = clone.commit("README.md", "three");
    let checkout = clone.open();
    let changed = checkout.changed_paths(&first, &last).unwrap().unwrap();
    assert_eq!(changed, ["README.md", "libs/x/y.py", "services/api/a.py", "services/web.py"]);
    assert_eq!(checkout.changed_paths(&last, &last).unwrap().unwrap(), [""; 0]);
    assert_eq!(checkout.changed_paths(&"0".repeat(40).parse().unwrap(), &last).unwrap(), None);
    assert_eq!(checkout.changed_paths(&"0".repeat(64).parse().unwrap(), &last).unwrap(), None);
}

#[test]
fn a_subject_is_the_first_line_with_something_on_it() {
    let Some(clone) = repository() else { return };
    let commit = clone.commit("a", "chore: a\n\nbody");
    assert_eq!(clone.open().commit_subject(&commit).unwrap().as_deref(), Some("chore: a"));
    let empty = clone.commit("b", "");
    assert_eq!(clone.open().commit_subject(&empty).unwrap().as_deref(), Some(""));
}

#[test]
fn names_that_are_no_text_become_tags_all_the_same() {
    let Some(clone) = repository() else { return };
    let revision = clone.commit("a", "one");
    let git = clone.folder.path().join(".git");
    let raw = b"refs/heads/caf\xe9/\xff\xfe x";
    let name = raw.to_os_str().unwrap();
    std::fs::create_dir_all(git.join(name).parent().unwrap()).unwrap();
    std::fs::write(git.join(name), format!("{revision}\n")).unwrap();
    // git itself refuses the blank; without it, the bytes alone are allowed.
    let allowed = b"refs/heads/caf\xe9/\xff\xfe".to_os_str().unwrap();
    std::fs::write(git.join(allowed), format!("{revision}\n")).unwrap();
    std::fs::write(git.join("HEAD"), [b"ref: ".as_slice(), b"refs/heads/caf\xe9/\xff\xfe", b"\n"].concat())
        .unwrap();
    let event = clone.open().event().unwrap();
    assert_eq!(event.branch(), Some("caf\u{fffd}/\u{fffd}\u{fffd}"));
    let rules = crate::configuration::IdentityRules::default();
    let subject =
        crate::identity::Subject { event: &event, service: "api", now: event.committed, existing_tags: &[] };
    let identity = crate::identity::identify(&rules, &subject);
    assert_eq!(identity.tags[0].tag.as_str(), format!("caf-{}", revision.short(7)));
}
