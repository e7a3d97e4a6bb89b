//! A copy that is killed at any moment: what has a name is whole, and the next try goes on.
//!
//! The test starts this very program again to get a process that can be killed. PLIMSOLL_KILLS says
//! how often; a few dozen times where it does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "how often to kill is told by the environment")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oci::{Descriptor, Digest, Document, ImageIndex};
use store::{
    CopyOptions, Foreign, ImageStore, LayoutStore, OciFolder, PartFolder, StoreError, copy_image,
    missing_parts,
};
use support::{TestClient, TestServer, layer, put_image, read, tag};

/// Holds the repository to copy from.
const JOB: &str = "job-of-the-test";
const STORE: &str = "store";
const LAYOUT: &str = "layout";
const PARTS: &str = "partial";

/// Copies the image into a store, into a layout and to another registry.
#[test]
fn part_copying() {
    let Ok(job) = std::fs::read_to_string(JOB) else { return };
    println!("\nready");
    let (source, destination) = job.split_once(' ').unwrap();
    let client = client();
    let remote = client.client.repository(&source.parse().unwrap());
    let image = remote.resolve(&tag("v1")).unwrap();
    let options = CopyOptions::default();
    let copy = |to: &dyn ImageStore| {
        copy_image(&remote, to, &image, &options, &|_| {}).unwrap();
        to.tag(&tag("v1"), &to.document(&image.digest).unwrap()).unwrap();
    };
    copy(&LayoutStore::open(Path::new(STORE)).unwrap().repository(&"local/app".parse().unwrap()));
    copy(&OciFolder::create(Path::new(LAYOUT)).unwrap());
    copy(&client.client.repository(&destination.parse().unwrap()));
    println!("done");
}

/// A client that leaves to the next process what arrived and what was sent.
fn client() -> TestClient {
    std::fs::create_dir_all(PARTS).unwrap();
    TestClient::new(|options| {
        options.sessions = Some("uploads".into());
        options.parts = Some(PartFolder::new(PARTS));
    })
}

fn start(folder: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "part_copying", "--nocapture", "--test-threads=1"]).current_dir(folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "ready\n" {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it begins");
    }
    (child, lines)
}

/// Whether the image has its name there; where it has, all of it must be there and right.
fn check(store: &dyn ImageStore, image: &Document) -> bool {
    let found = match store.resolve(&tag("v1")) {
        Err(StoreError::NotFound { .. }) => return false,
        found => found.unwrap(),
    };
    assert_eq!(found.digest, image.digest());
    assert_eq!(missing_parts(store, &found, Foreign::LeftOut).unwrap(), []);
    for child in &image.as_index().unwrap().manifests {
        for blob in store.document(&child.digest).unwrap().as_image().unwrap().blobs() {
            assert_eq!(Digest::of(&read(store.open_blob(&blob.digest).unwrap()).unwrap()), blob.digest);
        }
    }
    true
}

/// An index of two images with layers of several MB, on a server.
fn put(server: &TestServer, seed: u64) -> Document {
    let repository = server.store.repository(&"local/app".parse().unwrap());
    let children: Vec<Descriptor> = (0..2)
        .map(|number| {
            let layers: Vec<Vec<u8>> = (0..3)
                .map(|place| {
                    layer(seed + 10 * number + place, 500_000 + 500_000 * usize::try_from(place).unwrap())
                })
                .collect();
            put_image(&repository, &layers).descriptor().clone()
        })
        .collect();
    let index = Document::from_index(ImageIndex::new(children));
    repository.tag(&tag("v1"), &index).unwrap();
    index
}

#[test]
fn a_killed_copy_leaves_no_broken_image() {
    let kills: u64 = std::env::var("PLIMSOLL_KILLS").map_or(24, |text| text.parse().unwrap());
    let (server, other) = (TestServer::start(), TestServer::start());
    let image = put(&server, 1);
    let mut folder = tempfile::tempdir().unwrap();
    let (mut whole, mut begun) = (0, 0);
    for kill in 0..kills {
        // Each folder begins with a repository that has nothing.
        let destination = other.repository(&format!("app-{}", kill / 4));
        let job = format!("{} {destination}", server.repository("app"));
        std::fs::write(folder.path().join(JOB), job).unwrap();
        let (mut child, _lines) = start(folder.path());
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        std::thread::sleep(Duration::from_micros(u64::from_le_bytes(random) % 250_000));
        let _ = child.kill();
        let _ = child.wait();
        begun += 1;
        let store = LayoutStore::open(&folder.path().join(STORE)).unwrap();
        whole += u64::from(check(&store.repository(&"local/app".parse().unwrap()), &image));
        assert_eq!(std::fs::read_dir(folder.path().join(STORE).join("temporary")).unwrap().count(), 0);
        // The layout is made by the copy; whoever comes next must be able to go on with it.
        let layout = OciFolder::create(&folder.path().join(LAYOUT)).unwrap();
        whole += u64::from(check(&layout, &image));
        let reader = TestClient::new(|_| {});
        let copied = reader.client.repository(&destination);
        whole += u64::from(check(&copied, &image));
        if kill % 4 == 3 {
            finish(folder.path(), &image);
            assert!(check(&copied, &image));
            folder = tempfile::tempdir().unwrap();
        }
    }
    eprintln!("{begun} kills, {whole} times the image had its name");
}

/// A copy that nobody kills comes to its end, whatever was left before.
fn finish(folder: &Path, image: &Document) {
    let (mut child, lines) = start(folder);
    let lines: Vec<String> = lines.lines().map(|line| line.unwrap()).collect();
    assert!(lines.contains(&"done".to_owned()), "{lines:?}");
    assert!(child.wait().unwrap().success());
    let store = LayoutStore::open(&folder.join(STORE)).unwrap();
    assert!(check(&store.repository(&"local/app".parse().unwrap()), image));
    assert!(check(&OciFolder::open(&folder.join(LAYOUT)).unwrap(), image));
}
