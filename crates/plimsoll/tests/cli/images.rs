//! Images of the local store: `import`, `ls`, `digest`, `inspect`, `tag`, `rm`.

use insta::assert_snapshot;
use testkit::tar::TarBuilder;

use crate::run::Scene;

const IMPORT: &str = "import root.tar local/base:1 --platform linux/amd64";

fn scene() -> Scene {
    let scene = Scene::new();
    let tar = TarBuilder::new().directory("etc").file("etc/os-release", b"ID=test\n").finish();
    scene.write("root.tar", &tar);
    scene
}

#[test]
fn import_prints_the_digest() {
    let scene = scene();
    assert_snapshot!(scene.see(IMPORT), @"
    exit code: 0
    --- stdout
    [DIGEST]
    --- stderr
    imported local/base:1 for linux/amd64: 2 files and folders, 2.50 KiB in 143 B
    ");
    let first = scene.see_raw("digest local/base:1");
    scene.see(IMPORT);
    assert_eq!(scene.see_raw("digest local/base:1"), first, "the same content has the same digest");
    assert_eq!(scene.see_raw(&format!("-q {IMPORT}")), first);
}

#[test]
fn import_sets_the_configuration() {
    let scene = scene();
    scene.see(&format!(
        "{IMPORT} --cmd [\"/bin/sh\"] --env A=b --label x=y --workdir /w --user 1:2 --created 5"
    ));
    assert_snapshot!(scene.see("inspect local/base:1 --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.inspect/1",
      "name": "local/base:1",
      "digest": "[DIGEST]",
      "media_type": "application/vnd.oci.image.manifest.v1+json",
      "manifest_digest": "[DIGEST]",
      "config_media_type": "application/vnd.oci.image.config.v1+json",
      "platform": "linux/amd64",
      "platforms": [
        "linux/amd64"
      ],
      "created": "1970-01-01T00:00:05Z",
      "size": 498,
      "config": {
        "User": "1:2",
        "Env": [
          "A=b"
        ],
        "Cmd": [
          "/bin/sh"
        ],
        "WorkingDir": "/w",
        "Labels": {
          "x": "y"
        }
      },
      "labels": {
        "x": "y"
      },
      "annotations": {},
      "layers": [
        {
          "digest": "[DIGEST]",
          "size": 143,
          "diff_id": "[DIGEST]",
          "media_type": "application/vnd.oci.image.layer.v1.tar+gzip"
        }
      ],
      "history": [
        {
          "created": "1970-01-01T00:00:05Z",
          "created_by": "plimsoll import"
        }
      ],
      "referrers": []
    }
    "#);
    assert_snapshot!(scene.see("inspect local/base:1"), @r#"
    exit code: 0
    --- stdout
    name         local/base:1
    digest       [DIGEST]
    type         application/vnd.oci.image.manifest.v1+json
    platforms    linux/amd64
    created      1970-01-01T00:00:05Z
    size         498 B in 1 layer
    command      ["/bin/sh"]
    user         1:2
    workdir      /w
    environment  A=b
    labels       x=y
    layers       [DIGEST] 143 B
    history      plimsoll import
    "#);
}

#[test]
fn a_folder_is_a_root_file_system_too() {
    let scene = Scene::new();
    scene.write("root/bin/sh", "#!");
    assert_snapshot!(scene.see("import root local/base --platform linux/amd64 --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.import/1",
      "image": "local/base",
      "digest": "[DIGEST]",
      "platform": "linux/amd64",
      "entries": 2,
      "size": 125,
      "uncompressed_size": 2560
    }
    --- stderr
    imported local/base for linux/amd64: 2 files and folders, 2.50 KiB in 125 B
    "#);
}

#[test]
fn what_cannot_be_imported() {
    let scene = Scene::new();
    scene.write("text.tar", "not a tar\n".repeat(100));
    assert_snapshot!(scene.see("import text.tar local/x"), @"
    exit code: 1
    --- stderr
    error: cannot make a layer of text.tar
      cause: damaged tar at byte 0: a number in the header is not octal
    ");
    assert_snapshot!(scene.see("import none.tar local/x"), @"
    exit code: 2
    --- stderr
    error: cannot read none.tar
      cause: No such file or directory (os error 2)
    ");
    assert_snapshot!(scene.see("import text.tar Local/X"), @r#"
    exit code: 2
    --- stderr
    error: invalid value 'Local/X' for '<REF>': "Local/X" is not an image reference: a repository is lower case

    For more information, try '--help'.
    "#);
    let digest = oci::Digest::of(b"");
    assert_snapshot!(scene.see(&format!("import text.tar local/x@{digest}")), @"
    exit code: 2
    --- stderr
    error: an image gets its digest from its content; give a name with a tag
    ");
}

#[test]
fn listings() {
    let scene = scene();
    assert_snapshot!(scene.see("ls"), @"
    exit code: 0
    --- stdout
    no images
    ");
    scene.see(IMPORT);
    scene.see("import root.tar ghcr.io/acme/api:main --platform linux/arm64");
    assert_snapshot!(scene.see("ls"), @"
    exit code: 0
    --- stdout
    IMAGE                  DIGEST        PLATFORMS     SIZE
    ghcr.io/acme/api:main  6d9c18338d7f  linux/arm64  417 B
    local/base:1           2a3fe915f8cf  linux/amd64  417 B
    ");
    assert_snapshot!(scene.see("ls local/base --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.images/1",
      "images": [
        {
          "repository": "local/base",
          "tag": "1",
          "digest": "[DIGEST]",
          "platforms": [
            "linux/amd64"
          ],
          "size": 417
        }
      ]
    }
    "#);
    assert_snapshot!(scene.see("ls local/none"), @"
    exit code: 0
    --- stdout
    no images
    ");
}

#[test]
fn tags_come_and_go() {
    let scene = scene();
    scene.see(IMPORT);
    let digest = scene.see_raw("digest local/base:1");
    let digest = digest.trim();
    assert_snapshot!(scene.see(&format!("tag --dry-run local/base@{digest} v1")), @"
    exit code: 0
    --- stdout
    would tag local/base:v1 -> [DIGEST]
    ");
    assert_snapshot!(scene.see(&format!("tag local/base@{digest} v1 latest")), @"
    exit code: 0
    --- stdout
    local/base:v1 -> [DIGEST]
    local/base:latest -> [DIGEST]
    ");
    assert_snapshot!(scene.see("rm --dry-run local/base:v1"), @"
    exit code: 0
    --- stdout
    would remove local/base:v1
    ");
    assert_snapshot!(scene.see("rm local/base:v1 local/base"), @"
    exit code: 0
    --- stdout
    removed local/base:v1
    removed local/base
    ");
    assert_snapshot!(scene.see("rm local/base:v1"), @"
    exit code: 1
    --- stderr
    error: tag local/base:v1 in the store at [DIR]/root/store does not exist
    ");
    assert_snapshot!(scene.see("tag local/base:1 v2"), @r#"
    exit code: 2
    --- stderr
    error: invalid value 'local/base:1' for '<NAME@DIGEST>': "local/base:1" is not an image reference: it has no @sha256:... digest

    For more information, try '--help'.
    "#);
    assert_snapshot!(scene.see(&format!("rm local/base@{digest}")), @"
    exit code: 0
    --- stdout
    removed local/base@[DIGEST]
      with tag 1
    ");
    assert_snapshot!(scene.see("digest local/base:1"), @"
    exit code: 1
    --- stderr
    error: local/base:1 in the local store at [DIR]/root/store does not exist
    ");
}

#[test]
fn another_platform_than_there_is() {
    let scene = scene();
    scene.see(IMPORT);
    assert_snapshot!(scene.see("inspect local/base:1 --platform linux/s390x"), @"
    exit code: 1
    --- stderr
    error: [DIGEST] has no image for linux/s390x; it has linux/amd64
    hint: choose one of them with --platform
    ");
}

#[test]
fn a_digest_is_found_under_any_name() {
    let scene = scene();
    scene.see(IMPORT);
    let digest = scene.see_raw("digest local/base:1");
    assert_eq!(scene.see_raw(&format!("digest 127.0.0.1:1/other@{digest}")), digest);
}

#[test]
fn a_corrupt_blob_is_the_wrong_image() {
    let scene = scene();
    scene.see(IMPORT);
    let hex = scene.see_raw("digest local/base:1").trim().replace("sha256:", "");
    let blob = scene.root().join("store/blobs/sha256").join(hex);
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "{}").unwrap();
    assert_snapshot!(scene.see("inspect local/base:1"), @"
    exit code: 4
    --- stderr
    error: blob [DIGEST] in the store at [DIR]/root/store is corrupt: expected [DIGEST], found [DIGEST]; moved to [DIR]/root/store/quarantine/sha256-2a3fe915f8cfb0461009e0c5a96d1cb60d7a8f933ff2b7528cd7a441597ae02b, fetch or build it again
    ");
}

#[test]
fn layers_show_what_is_stored_for_nothing() {
    let scene = Scene::new();
    let store = store::LayoutStore::open(&scene.root().join("store")).unwrap();
    let image = testkit::image::TinyImage::of_layers(&[&[("a", "12345"), ("b", "1")], &[("a", "123")]]);
    image.put(&store.repository(&"local/twice".parse().unwrap()), "1");
    drop(store);
    assert_snapshot!(scene.see("layers local/twice:1"), @"
    exit code: 0
    --- stdout
    LAYER             SIZE  UNPACKED  FILES  INSTRUCTION
    4b351a873102  3.00 KiB  3.00 KiB      2  COPY files / # test
    8cb5486ab06f  2.00 KiB  2.00 KiB      1  COPY files / # test

    efficiency   44.4 %
    wasted       8 B
    reclaimable  5 B
             8 B  a in 2 layers
    ");
    assert_snapshot!(scene.see("layers local/twice:1 --base-layers 1 --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.layers/1",
      "image": "local/twice:1",
      "digest": "[DIGEST]",
      "layers": [
        {
          "digest": "[DIGEST]",
          "size": 3072,
          "uncompressed_size": 3072,
          "entries": 2,
          "instruction": "COPY files / # test"
        },
        {
          "digest": "[DIGEST]",
          "size": 2048,
          "uncompressed_size": 2048,
          "entries": 1,
          "instruction": "COPY files / # test"
        }
      ],
      "efficiency": 0.4444444444444444,
      "wasted_bytes": 8,
      "reclaimable_bytes": 5,
      "user_wasted_ratio": 2.6666666666666665,
      "files": [
        {
          "path": "a",
          "occurrences": 2,
          "stored_bytes": 8,
          "reclaimable_bytes": 5
        }
      ]
    }
    "#);
    assert_snapshot!(scene.see("layers local/none"), @"
    exit code: 1
    --- stderr
    error: local/none in the local store at [DIR]/root/store does not exist
    ");
}

#[test]
fn two_images_are_compared() {
    let scene = Scene::new();
    let tar = |content: &[u8]| testkit::tar::TarBuilder::new().file("same", b"1").file("changed", content);
    scene.write("one.tar", tar(b"old").file("gone", b"").finish());
    scene.write("two.tar", tar(b"newer").file("new", b"2").finish());
    for name in ["one", "two"] {
        scene.see_raw(&format!("import {name}.tar local/{name}:1 --platform linux/amd64"));
    }
    let seen = scene.see("diff local/one:1 local/two:1");
    for words in [
        "exit code: 0",
        "0 layers shared",
        "C changed file 3 ",
        "-> file 5 ",
        "D gone",
        "A new file 1 ",
        "3 files differ",
    ] {
        assert!(seen.contains(words), "{words}: {seen}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&scene.see_raw("diff local/one:1 local/two:1 --format json")).unwrap();
    assert_eq!((&json["schema"], &json["same"]), (&"plimsoll.diff/1".into(), &false.into()));
    assert!(scene.see_raw("diff local/one:1 local/one:1").starts_with("both are sha256:"));
    let shallow = scene.see("diff --no-files local/one:1 local/two:1");
    assert!(shallow.contains("layers shared") && !shallow.contains("files differ"), "{shallow}");
}
