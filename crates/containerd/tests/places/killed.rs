//! A client that is killed in the middle leaves no broken image, and the next one goes on behind it.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Where the child finds its containerd; only it has this variable.
const SOCKET: &str = "PLIMSOLL_TEST_CONTAINERD_SOCKET";
const LAYERS: [usize; 4] = [1_500_000, 900_000, 300_000, 20_000];
const KILLS: u64 = 25;

/// Sends the image, in a process of its own; nothing where it is not the child.
#[test]
#[allow(clippy::disallowed_methods, reason = "a process is told what it is for")]
fn the_child_that_is_killed() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let containerd = Containerd::connect(&[socket.into()]).unwrap();
    let to = containerd.repository(&Namespace::usual(), &"acme/api".parse().unwrap());
    send(&image(&LAYERS), to).unwrap();
}

fn child(fake: &Fake) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::the_child_that_is_killed"]).env(SOCKET, fake.socket());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_client_killed_at_any_byte_leaves_no_broken_image() {
    let image = image(&LAYERS);
    let manifest = image.document.as_image().unwrap();
    let size: u64 = manifest.blobs().map(|blob| blob.size).sum::<u64>() + image.document.descriptor().size;
    for kill in 1..=KILLS {
        let fake = Fake::start();
        let (sender, receiver) = mpsc::channel();
        fake.state().at_bytes =
            Some((size * kill / KILLS, Box::new(move || sender.send(()).unwrap_or_default())));
        let mut running = child(&fake).spawn().unwrap();
        receiver.recv_timeout(Duration::from_secs(300)).unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
        check_whole_or_absent(&fake, &image);
        let before = fake.received();

        send(&image, repository(&fake)).unwrap();
        check_whole_or_absent(&fake, &image);
        assert!(fake.state().images.contains_key(&key("default", NAME)));
        let after = fake.received();
        // What had arrived of a large blob does not come again; a small one goes in one message.
        assert!(before + after <= size + 300_000, "kill {kill}: {before} and {after} bytes for {size}");
        // What the killed one held ends by itself.
        let state = fake.state();
        assert!(state.leases.values().all(|lease| lease.labels.contains_key("containerd.io/gc.expire")));
    }
}

/// Whether a name leads only to an image with all its parts.
fn check_whole_or_absent(fake: &Fake, image: &Image) {
    let state = fake.state();
    if state.images.is_empty() {
        return;
    }
    let manifest = image.document.as_image().unwrap();
    for part in manifest.blobs().chain([image.document.descriptor()]) {
        let kept = &state.blobs[&key("default", &part.digest.to_string())];
        assert_eq!(kept.bytes.len() as u64, part.size);
    }
}
