//! Several processes on one store, one that is killed, and a disk that is full.
//!
//! A test starts this very program again to get another process, and leaves a file in its working
//! folder that says which part to play. The parts are tests themselves when nobody asks for them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use oci::{Descriptor, Digest, MediaType};
use store::{Blob, BlobStore, ImageStore, LayoutRepository, LayoutStore, StoreError};
use testkit::image::TinyImage;

/// Where a started process finds its store, in its working folder.
const STORE: &str = "store-of-the-test";

fn repository(folder: &Path) -> LayoutRepository {
    LayoutStore::open(&folder.join(STORE)).unwrap().repository(&"local/a".parse().unwrap())
}

fn tiny(number: usize) -> TinyImage {
    TinyImage::of_layers(&[&[("shared", "by all")], &[("own", &number.to_string())]])
}

/// Starts this program to play one part in `folder`.
fn start(part: &str, folder: &Path) -> Child {
    fs::create_dir_all(folder.join(STORE)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", part, "--nocapture", "--test-threads=1"]).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Returns the folder to play a part in: the one given, else one of its own.
fn stage(own: &tempfile::TempDir) -> &Path {
    if Path::new(STORE).exists() { Path::new(".") } else { own.path() }
}

#[test]
fn part_writing_images() {
    let own = tempfile::tempdir().unwrap();
    let repository = repository(stage(&own));
    for round in 0..4 {
        tiny(round).put(&repository, "moving");
        tiny(round).put(&repository, &format!("t{round}"));
    }
    assert_eq!(repository.resolve(&"t3".parse().unwrap()).unwrap().digest, tiny(3).digest());
}

#[test]
fn processes_that_write_the_same_things_at_once_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (0..4).map(|_| start("part_writing_images", folder.path())).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let repository = repository(folder.path());
    assert_eq!(repository.tags().unwrap().len(), 5);
    for number in 0..4 {
        let tag = format!("t{number}").parse().unwrap();
        let document = repository.document(&repository.resolve(&tag).unwrap().digest).unwrap();
        assert_eq!(document, tiny(number).document);
        for blob in document.as_image().unwrap().blobs() {
            assert_eq!(repository.store().verify_blob(&blob.digest).unwrap(), blob.size);
        }
    }
    let index = fs::read_to_string(repository.store().root().join("index.json")).unwrap();
    assert_eq!(index.matches("ref.name").count(), 5, "{index}");
    assert_eq!(fs::read_dir(repository.store().root().join("temporary")).unwrap().count(), 0);
}

#[test]
fn part_half_way_through_a_blob() {
    let own = tempfile::tempdir().unwrap();
    let folder = stage(&own);
    let repository = repository(folder);
    let mut ingest = repository.store().ingest().unwrap();
    ingest.write_all(b"half of a blob").unwrap();
    if folder == Path::new(".") {
        println!("\nhalf way");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
    drop(ingest);
    assert_eq!(fs::read_dir(repository.store().root().join("temporary")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_wrote_is_cleared_away_and_the_next_one_completes() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("part_half_way_through_a_blob", folder.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.trim() == "half way"));
    let left = || fs::read_dir(folder.path().join(STORE).join("temporary")).unwrap().count();
    repository(folder.path());
    assert_eq!(left(), 1, "the file of a process that is running is left alone");
    child.kill().unwrap();
    child.wait().unwrap();
    let repository = repository(folder.path());
    assert_eq!(left(), 0);
    tiny(1).put(&repository, "main");
    assert_eq!(repository.document(&tiny(1).digest()).unwrap(), tiny(1).document);
}

#[test]
fn part_on_a_disk_of_one_megabyte() {
    if !Path::new(STORE).exists() {
        // Without the small disk the same blob fits.
        let own = tempfile::tempdir().unwrap();
        assert!(put_large(&repository(own.path())).is_ok());
        return;
    }
    let repository = repository(Path::new("."));
    let text = match put_large(&repository) {
        Err(StoreError::Unreachable { what, source, .. }) => format!("{what}: {source}"),
        other => panic!("expected no space, found {other:?}"),
    };
    assert!(text.contains("nothing of this blob was kept") && text.contains(STORE), "{text}");
    assert_eq!(fs::read_dir(Path::new(STORE).join("temporary")).unwrap().count(), 0);
    // What fits is still taken.
    tiny(1).put(&repository, "main");
}

fn put_large(repository: &LayoutRepository) -> Result<store::Put, StoreError> {
    let content = vec![7; 4 << 20];
    let descriptor = Descriptor::new(MediaType::OciLayer, Digest::of(&content), content.len() as u64);
    repository.put_blob(&descriptor, Blob::from_bytes(content))
}

/// Needs user namespaces for a file system of its own; skips, saying so, where there are none.
#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command
    };
    let mount = "mount -t tmpfs -o size=1m none \"$1\"";
    let probe = namespace().args([mount, "sh"]).arg(folder.path()).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no namespace with a tmpfs of its own");
        return;
    }
    let script = format!(
        "{mount} && cd \"$1\" && mkdir {STORE} && exec \"$0\" --exact part_on_a_disk_of_one_megabyte"
    );
    let program = std::env::current_exe().unwrap();
    let output = namespace().arg(script).arg(program).arg(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}
