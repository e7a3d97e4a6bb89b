//! `copy`, `push`, `pull`, `login`, `logout`.

use insta::assert_snapshot;
use testkit::tar::TarBuilder;

use crate::run::Scene;

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("root.tar", TarBuilder::new().file("a", b"1").finish());
    scene.see("import root.tar local/base:1 --platform linux/amd64");
    scene
}

#[test]
fn within_the_local_store_no_bytes_move() {
    let scene = scene();
    assert_snapshot!(scene.see("copy --dry-run local/base:1 local/other:2"), @"
    exit code: 0
    --- stdout
    would copy [DIGEST] to local/other:2
    ");
    assert_snapshot!(scene.see("copy local/base:1 local/other:2"), @"
    exit code: 0
    --- stdout
    local/other:2 is [DIGEST]: 0 blobs copied, 0 B; 2 were there
    --- stderr
    local/other:2: 2 blobs, 365 B
    ");
    assert_snapshot!(scene.see("copy local/base:1 local/other:2 --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.copy/1",
      "source": "local/base:1",
      "destination": "local/other:2",
      "digest": "[DIGEST]",
      "blobs_moved": 0,
      "blobs_present": 2,
      "blobs_mounted": 0,
      "bytes_moved": 0,
      "referrers": 0,
      "left_out": [],
      "dry_run": false
    }
    --- stderr
    local/other:2: 2 blobs, 365 B
    "#);
    assert_eq!(scene.see_raw("digest local/other:2"), scene.see_raw("digest local/base:1"));
}

#[test]
fn what_cannot_be_copied() {
    let scene = scene();
    let digest = oci::Digest::of(b"");
    assert_snapshot!(scene.see(&format!("copy local/base:1 local/other@{digest}")), @"
    exit code: 4
    --- stderr
    error: [DIGEST] would be stored as [DIGEST]
    ");
    assert_snapshot!(scene.see("copy local/none local/other"), @"
    exit code: 1
    --- stderr
    error: local/none in the local store at [DIR]/root/store does not exist
    ");
    assert_snapshot!(scene.see("copy local/base:1 local/x --platform linux/s390x"), @"
    exit code: 1
    --- stderr
    error: [DIGEST] has no image for linux/s390x; it has linux/amd64
    hint: choose one of them with --platform
    ");
    assert_snapshot!(scene.see("push local/base:1"), @"
    exit code: 2
    --- stderr
    error: local/base:1 names no registry to push to
    hint: name one: plimsoll copy local/base:1 REGISTRY/PATH:TAG
    ");
    assert_snapshot!(scene.see("push ghcr.io/acme/none"), @"
    exit code: 1
    --- stderr
    error: ghcr.io/acme/none in the local store at [DIR]/root/store does not exist
    ");
    assert_snapshot!(scene.see("pull local/base:1"), @"
    exit code: 2
    --- stderr
    error: local/base:1 is in the local store already, if it is anywhere
    ");
}

#[test]
fn offline_asks_no_other_machine() {
    let scene = scene();
    assert_snapshot!(scene.see("pull --offline ghcr.io/acme/api:1"), @"
    exit code: 2
    --- stderr
    error: ghcr.io is on another machine, and only this one may be asked
    hint: leave out --offline
    ");
    assert_snapshot!(scene.see("copy --offline local/base:1 ghcr.io/acme/api:1"), @"
    exit code: 2
    --- stderr
    error: ghcr.io is on another machine, and only this one may be asked
    hint: leave out --offline
    ");
}

#[test]
fn login_wants_a_name_and_a_password() {
    let scene = scene();
    assert_snapshot!(scene.see("login ghcr.io"), @"
    exit code: 2
    --- stderr
    error: cannot ask for user name: standard input is not a terminal
    hint: give it on the command line, the password with --password-stdin
    ");
    assert_snapshot!(scene.see("login ghcr.io -u x --password-stdin"), @"
    exit code: 2
    --- stderr
    error: neither user name nor password may be empty
    ");
    assert_snapshot!(scene.see("logout ghcr.io"), @"
    exit code: 0
    --- stdout
    there are no credentials for ghcr.io in [DIR]/home/.docker/config.json
    ");
}

#[test]
fn a_credential_file_that_is_broken_is_named() {
    let scene = scene();
    scene.write("docker/config.json", "{\"auths\": 5}");
    let folder = scene.path("docker");
    let output = scene.command("pull 127.0.0.1:1/x").env("DOCKER_CONFIG", folder).output().unwrap();
    assert_snapshot!(scene.shown(&output), @"
    exit code: 2
    --- stderr
    error: the credential file [PROJECT]/docker/config.json is not valid: line 1 column 11: Data error
    ");
}

/// A repository of three tags and two images.
fn repository() -> Scene {
    let scene = scene();
    scene.write("other.tar", TarBuilder::new().file("b", b"2").finish());
    scene.see_raw("import other.tar local/base:release-2 --platform linux/amd64");
    let digest = scene.see_raw("digest local/base:1");
    scene.see_raw(&format!("tag local/base@{} latest", digest.trim()));
    scene
}

#[test]
fn all_tags_of_a_repository_go_and_the_second_time_nothing_does() {
    let scene = repository();
    assert_snapshot!(scene.see("copy -q --all-tags local/base oci:out"), @"
    exit code: 0
    --- stdout
    1 [DIGEST] copied
    latest [DIGEST] copied
    release-2 [DIGEST] copied
    3 of 3 tags are in oci:out and complete; 4 blobs copied, 731 B; 0 referrers
    ");
    assert_snapshot!(scene.see("copy -q --all-tags local/base oci:out"), @"
    exit code: 0
    --- stdout
    1 [DIGEST] was there
    latest [DIGEST] was there
    release-2 [DIGEST] was there
    3 of 3 tags are in oci:out and complete; 0 blobs copied, 0 B; 0 referrers
    ");
    assert_eq!(scene.see_raw("digest oci:out:latest"), scene.see_raw("digest local/base:1"));
}

#[test]
fn a_folder_holds_one_image_and_hands_it_on() {
    let scene = repository();
    scene.see_raw("copy -q local/base:release-2 dir:out");
    scene.see_raw("copy -q local/base:1 dir:out");
    assert_eq!(std::fs::read_dir(scene.path("out")).unwrap().count(), 4, "version, manifest, config, layer");
    assert_eq!(scene.see_raw("digest dir:out"), scene.see_raw("digest local/base:1"));
    scene.see_raw("copy -q dir:out local/again:1");
    assert_eq!(scene.see_raw("digest local/again:1"), scene.see_raw("digest local/base:1"));
    assert_snapshot!(scene.see("copy -q --all-tags local/base dir:all"), @"
    exit code: 2
    --- stderr
    error: dir:all is no repository: it holds one image; oci:DIR holds several
    ");
    assert_snapshot!(scene.see("digest dir:none"), @"
    exit code: 1
    --- stderr
    error: the image folder none does not exist
    ");
}

#[test]
fn a_migration_is_planned_and_gives_tags_new_names() {
    let scene = repository();
    let line = "migrate -q local/base local/new --retag release-*=v* --only release-*";
    assert_snapshot!(scene.see(&format!("{line} --dry-run")), @"
    exit code: 0
    --- stdout
    release-2 as v2 [DIGEST] would be copied
    1 tag of local/base for local/new
    1 image of 2 blobs, 366 B; 0 blobs, 0 B, not there yet
    ");
    assert_snapshot!(scene.see(&format!("{line} --format json")), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.migration/1",
      "source": "local/base",
      "destination": "local/new",
      "with_referrers": true,
      "tags": [
        {
          "tag": "release-2",
          "to": "v2",
          "digest": "[DIGEST]",
          "action": "copy",
          "verified": true
        }
      ],
      "bytes_moved": 0,
      "blobs_moved": 0,
      "referrers": 0,
      "left_out": [],
      "changed": [],
      "complete": true,
      "dry_run": false
    }
    "#);
    let check = |line: &str, code: i32, words: &str| {
        let seen = scene.see(line);
        assert!(seen.starts_with(&format!("exit code: {code}\n")) && seen.contains(words), "{line}: {seen}");
    };
    check("migrate -q local/base local/new --retag *=v2", 2, "would both become v2");
    check("migrate -q local/base local/new --retag *=-*", 2, "which is no tag");
    check("migrate -q local/base local/new --only x*", 1, "local/base has no tag that is wanted (it has 3)");
    check("migrate -q local/base:1 local/new", 2, "leave out the tag");
    check("migrate -q local/base docker-archive:x.tar", 2, "is no repository");
    check("migrate -q local/base local/new --retag a", 2, "write PATTERN=REPLACEMENT");
}

#[test]
fn what_was_meant_as_something_else_is_told_before_anything_is_asked() {
    let scene = scene();
    let check = |line: &str, words: &str| {
        let seen = scene.see(line);
        assert!(seen.starts_with("exit code: 2\n") && seen.contains(words), "{line}: {seen}");
    };
    check("copy local/base:1 out.tar", "a file or folder oci-archive:out.tar, oci:out.tar or dir:out.tar");
    check("copy --dry-run local/base:1 oci", "is one of Docker's own images");
    check("copy local/base:1 ./out", "a folder is written oci:./out or dir:./out");
    check("copy local/base:1 docker-achive:x.tar:base:1", "did you mean docker-archive:?");
    check("login localhost:1 -u me -p secret", "--password-stdin");
    assert!(!scene.see("login localhost:1 -u me -p secret").contains("secret\n"));
}

#[test]
fn what_cannot_hold_referrers_is_not_given_an_image_without_them() {
    let scene = scene();
    for destination in ["docker-archive:out.tar", "docker-daemon:base:1"] {
        let seen = scene.see(&format!("copy --referrers local/base:1 {destination}"));
        assert!(seen.starts_with("exit code: 2\n") && seen.contains("cannot hold referrers"), "{seen}");
    }
    assert!(!scene.path("out.tar").exists());
}

/// Runs the binary with these variables and returns what a user sees, with the folder masked.
fn see_with(scene: &Scene, line: &str, variables: &[(&str, &str)]) -> String {
    let output = scene.command(line).envs(variables.iter().copied()).output().unwrap();
    scene.shown(&output)
}

#[test]
fn a_containerd_that_is_not_there_is_told_with_how_to_name_it() {
    let scene = scene();
    let socket = scene.path("x.sock");
    let absent = [("CONTAINERD_ADDRESS", socket.to_str().unwrap())];
    for line in [
        "copy local/base:1 containerd:base:1",
        "copy containerd:base:1 local/base:2",
        "digest containerd:base",
        "inspect containerd:k8s.io//base",
        "ls containerd:",
        "rm containerd:base:1",
    ] {
        let seen = see_with(&scene, line, &absent);
        assert!(
            seen.starts_with("exit code: 1\n") && seen.contains("there is no socket at"),
            "{line}: {seen}"
        );
        assert!(seen.contains("x.sock") && seen.contains("hint: set CONTAINERD_ADDRESS"), "{line}: {seen}");
    }
    std::os::unix::net::UnixListener::bind(&socket).map(drop).unwrap();
    let seen = see_with(&scene, "digest containerd:base", &absent);
    assert!(seen.starts_with("exit code: 1\n") && seen.contains("no containerd answers at"), "{seen}");
    // Planned without asking anybody.
    let seen = see_with(&scene, "copy --dry-run local/base:1 containerd:base:1", &absent);
    assert!(seen.contains("would copy [DIGEST] to containerd:docker.io/library/base:1"), "{seen}");
}

#[test]
fn what_cannot_be_a_containerd_or_a_namespace_is_told() {
    let scene = scene();
    for (variables, line, words) in [
        (
            &[("CONTAINERD_ADDRESS", "tcp://host:1")][..],
            "digest containerd:base",
            "is no address of containerd",
        ),
        (&[("CONTAINERD_NAMESPACE", "a b")][..], "ls containerd:", "is not a namespace of containerd"),
        (&[][..], "ls containerd:a..b//", "is not a namespace of containerd"),
        (&[][..], "digest containerd:-//base", "is not a namespace of containerd"),
        (&[][..], "ls containerd:default//Base", "lower case"),
    ] {
        let seen = see_with(&scene, line, variables);
        assert!(seen.starts_with("exit code: 2\n") && seen.contains(words), "{line}: {seen}");
    }
}
