//! `save`, `load`, and archives as places.

use std::process::Command;

use insta::assert_snapshot;
use testkit::tar::TarBuilder;

use crate::run::Scene;

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("root.tar", TarBuilder::new().directory("etc").file("etc/a", b"1").finish());
    scene.see("import root.tar local/base:1 --platform linux/amd64");
    scene
}

#[test]
fn an_image_travels_by_archive() {
    let scene = scene();
    let digest = scene.see_raw("digest local/base:1");
    assert_snapshot!(scene.see("save local/base:1 -o base.tar"), @"
    exit code: 0
    --- stdout
    [DIGEST] as local/base:1
    wrote base.tar, 1.35 KiB
    ");
    assert_eq!(scene.see_raw("digest docker-archive:base.tar"), digest);
    scene.see_raw("rm local/base:1");
    assert_snapshot!(scene.see("load base.tar"), @"
    exit code: 0
    --- stdout
    local/base:1 is [DIGEST], 0 B new
    --- stderr
    base.tar: 2 blobs, 395 B
    ");
    assert_eq!(scene.see_raw("digest local/base:1"), digest);
    assert_snapshot!(scene.see("load oci-archive:base.tar --tag local/other:2 --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.load/1",
      "images": [
        {
          "name": "local/other:2",
          "digest": "[DIGEST]",
          "bytes_moved": 0
        }
      ],
      "dry_run": false
    }
    --- stderr
    base.tar: 2 blobs, 395 B
    "#);
    assert_eq!(scene.see_raw("digest local/other:2"), digest);
}

#[test]
fn an_image_known_by_digest_travels_as_local() {
    let scene = scene();
    let digest = scene.see_raw("digest local/base:1");
    assert_snapshot!(scene.see(&format!("save local/base@{digest} -o base.tar")), @"
    exit code: 0
    --- stdout
    [DIGEST] as docker.io/library/base:local
    wrote base.tar, 1.36 KiB
    ");
    assert_snapshot!(scene.see("inspect docker-archive:base.tar:base:local"), @"
    exit code: 0
    --- stdout
    name         docker-archive:base.tar:docker.io/library/base:local
    digest       [DIGEST]
    type         application/vnd.oci.image.manifest.v1+json
    platforms    linux/amd64
    created      1970-01-01T00:00:00Z
    size         395 B in 1 layer
    layers       [DIGEST] 121 B
    history      plimsoll import
    ");
    assert_snapshot!(scene.see("copy --dry-run local/base:1 docker-archive:x.tar:api:local"), @"
    exit code: 0
    --- stdout
    would copy [DIGEST] to docker-archive:x.tar:docker.io/library/api:local
    ");
    assert_snapshot!(scene.see("copy local/base:1 docker-archive:x.tar:api:local"), @"
    exit code: 0
    --- stdout
    docker-archive:x.tar:docker.io/library/api:local is [DIGEST]: 6 blobs copied, 1.36 KiB; 0 were there
    ");
    assert_eq!(scene.see_raw("digest docker-archive:x.tar:api:local"), digest);
}

#[test]
fn two_images_in_one_archive() {
    let scene = scene();
    scene.see("import root.tar local/arm:1 --platform linux/arm64");
    assert_snapshot!(scene.see("save local/base:1 local/arm:1 -o both.tar --archive oci-archive"), @"
    exit code: 0
    --- stdout
    [DIGEST] as local/base:1
    [DIGEST] as local/arm:1
    wrote both.tar, 2.06 KiB
    ");
    assert_snapshot!(scene.see("digest oci-archive:both.tar"), @"
    exit code: 2
    --- stderr
    error: oci-archive:both.tar has several images: local/base:1, local/arm:1
    hint: add :NAME:TAG of one of them
    ");
    assert_snapshot!(scene.see("digest oci-archive:both.tar:local/none:1"), @"
    exit code: 1
    --- stderr
    error: oci-archive:both.tar:local/none:1 (it has local/base:1, local/arm:1) does not exist
    ");
    assert_eq!(scene.see_raw("digest oci-archive:both.tar:local/arm:1"), scene.see_raw("digest local/arm:1"));
    assert_snapshot!(scene.see("load both.tar --tag local/x"), @"
    exit code: 2
    --- stderr
    error: both.tar has 2 images, and one name was given
    hint: leave out --tag, or take one image with copy docker-archive:FILE:REF
    ");
    assert_snapshot!(scene.see("save local/base:1 local/arm:1 -o x.tar --tag a:b"), @"
    exit code: 2
    --- stderr
    error: --tag names one image, and several were given
    ");
}

#[test]
fn standard_output_gets_the_archive() {
    let scene = scene();
    let output = scene.command("save local/base:1 -o -").output().unwrap();
    scene.write("out.tar", &output.stdout);
    scene.see_raw("save local/base:1 -o file.tar");
    assert_eq!(std::fs::read(scene.path("out.tar")).unwrap(), std::fs::read(scene.path("file.tar")).unwrap());
}

#[test]
fn damaged_archives() {
    let scene = scene();
    scene.see("save local/base:1 -o base.tar");
    let mut archive = std::fs::read(scene.path("base.tar")).unwrap();
    scene.write("short.tar", &archive[..archive.len() / 2]);
    assert_snapshot!(scene.see("load short.tar"), @"
    exit code: 4
    --- stderr
    error: blobs/sha256/fb8d5d7ec9e82e256c52539d717d4ca5e2ef802cd1accb9a4bb2d2dc4e332f8e in the archive short.tar is corrupt: the archive is truncated: this member ends at byte 3705, the archive at 3584
    ");
    let at = archive.windows(4).position(|window| window == [0x1f, 0x8b, 8, 4]).expect("a gzip layer");
    archive[at + 60] ^= 1;
    scene.write("changed.tar", &archive);
    scene.see("rm local/base:1");
    std::fs::remove_dir_all(scene.root()).unwrap();
    assert_snapshot!(scene.see("-q load changed.tar"), @"
    exit code: 4
    --- stderr
    error: blobs/sha256/fb8d5d7ec9e82e256c52539d717d4ca5e2ef802cd1accb9a4bb2d2dc4e332f8e in the archive changed.tar is corrupt: expected [DIGEST], found [DIGEST]
    ");
    assert_snapshot!(scene.see("load none.tar"), @"
    exit code: 2
    --- stderr
    error: cannot read none.tar
      cause: No such file or directory (os error 2)
    ");
    assert_snapshot!(scene.see("load root.tar"), @"
    exit code: 4
    --- stderr
    error: the archive root.tar is corrupt: it holds no image: neither index.json nor manifest.json lists one (archives of Docker before 1.10 are not supported)
    ");
    assert_snapshot!(scene.see("ls"), @"
    exit code: 0
    --- stdout
    no images
    ");
}

#[test]
fn an_archive_of_images_is_no_root_file_system() {
    let scene = scene();
    let digest = scene.see_raw("digest local/base:1");
    scene.see("save local/base:1 -o base.tar");
    assert_snapshot!(scene.see("import base.tar local/copy:1"), @"
    exit code: 0
    --- stdout
    local/copy:1 is [DIGEST], 0 B new
    --- stderr
    base.tar: 2 blobs, 395 B
    ");
    assert_eq!(scene.see_raw("digest local/copy:1"), digest);
    assert_snapshot!(scene.see("import base.tar local/copy:1 --cmd x"), @"
    exit code: 2
    --- stderr
    error: base.tar is an archive of images, which have configurations of their own
    ");
}

#[test]
fn layouts_in_folders() {
    let scene = scene();
    let digest = scene.see_raw("digest local/base:1");
    assert_snapshot!(scene.see("-q copy local/base:1 oci:out:v1"), @"
    exit code: 0
    --- stdout
    oci:out:v1 is [DIGEST]: 2 blobs copied, 395 B; 0 were there
    ");
    assert_snapshot!(scene.see("-q copy local/base:1 oci:out:v1 --dry-run"), @"
    exit code: 0
    --- stdout
    would copy [DIGEST] to oci:out:v1
    ");
    for place in ["oci:out", "oci:out:v1", &format!("oci:out@{digest}")] {
        assert_eq!(scene.see_raw(&format!("digest {place}")), digest);
    }
    scene.see_raw("copy oci:out:v1 local/back:1");
    assert_eq!(scene.see_raw("digest local/back:1"), digest);
    assert_snapshot!(scene.see("digest oci:out:v2"), @"
    exit code: 1
    --- stderr
    error: tag v2 in the image layout out does not exist
    ");
    assert_snapshot!(scene.see("digest oci:none"), @"
    exit code: 1
    --- stderr
    error: the image layout none does not exist
    ");
    scene.write("other/file", "");
    assert_snapshot!(scene.see("copy local/base:1 oci:other"), @"
    exit code: 4
    --- stderr
    error: other/index.json is corrupt: it is not there, so the folder is no image layout
    ");
}

/// skopeo reads what we save, and we load what it writes.
#[test]
fn skopeo_and_we_read_each_other() {
    let scene = scene();
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let skopeo = |arguments: &[&str]| {
        let mut command = Command::new("skopeo");
        let output = command.args(arguments).current_dir(scene.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    scene.see_raw("save local/base:1 -o base.tar --tag api:local");
    skopeo(&["copy", "docker-archive:base.tar:api:local", "oci-archive:oci.tar:v1"]);
    skopeo(&["copy", "oci-archive:oci.tar:v1", "docker-archive:docker.tar:docker.io/library/api:v2"]);
    scene.see_raw("load oci.tar --tag local/from-oci:1");
    assert_snapshot!(scene.see("load oci.tar"), @"
    exit code: 2
    --- stderr
    error: the image [DIGEST] of oci.tar has no name that the local store can use
    hint: give it one with --tag NAME:TAG
    ");
    scene.see_raw("load docker.tar");
    let layer = |name: &str| {
        let text = scene.see_raw(&format!("inspect {name} --format json"));
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["layers"][0]["diff_id"].clone()
    };
    assert_eq!(layer("local/from-oci:1"), layer("local/base:1"));
    assert_eq!(layer("api:v2"), layer("local/base:1"));
}
