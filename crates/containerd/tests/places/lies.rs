//! A containerd that lies, refuses, or is none.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use containerd::ConnectError;
use oci::Digest;
use proptest::prelude::*;

use super::*;
use crate::fake::Lie;

/// Reads a layer of a fake that tells `lie`.
fn read(lie: Lie) -> Result<Vec<u8>, String> {
    let (fake, image) = (Fake::start(), image(&[100_000]));
    send(&image, repository(&fake)).unwrap();
    fake.lie(lie);
    let layer = Digest::of(&noise(100_000, 100_000));
    let mut content = Vec::new();
    let mut blob = repository(&fake).open_blob(&layer).map_err(|error| error.to_string())?;
    blob.read_to_end(&mut content).map_err(|error| format!("{:?}: {error}", error.kind()))?;
    Ok(content)
}

#[test]
fn content_that_is_not_what_it_was_is_refused() {
    assert_eq!(read(Lie::Honest).unwrap().len(), 100_000);
    for lie in [
        Lie::OtherBytes,
        Lie::EndlessBytes,
        Lie::EmptyPieces,
        Lie::HalfOfIt,
        Lie::Size(7),
        Lie::Size(i64::MAX),
    ] {
        let error = read(lie).unwrap_err();
        assert!(error.starts_with("InvalidData"), "{lie:?}: {error}");
    }
    let error = read(Lie::Size(-1)).unwrap_err();
    assert!(error.contains("-1 bytes long"), "{error}");
}

#[test]
fn manifests_are_checked_and_bounded() {
    for lie in [Lie::OtherBytes, Lie::EndlessBytes, Lie::HalfOfIt, Lie::Size(i64::MAX), Lie::Size(-1)] {
        let (fake, image) = (Fake::start(), image(&[10]));
        send(&image, repository(&fake)).unwrap();
        fake.lie(lie);
        let error = repository(&fake).document(&image.document.digest()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{lie:?}: {error}");
    }
}

#[test]
fn a_name_that_does_not_lead_to_what_was_sent_is_an_error() {
    for (lie, words) in [(Lie::ForgetsNames, "does not have it"), (Lie::OtherTarget, "instead of")] {
        let fake = Fake::start();
        fake.lie(lie);
        let error = send(&image(&[10]), repository(&fake)).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_full_disk_and_a_refusal_are_told_in_its_words() {
    let fake = Fake::start();
    fake.lie(Lie::FullDisk);
    for layers in [[10], [1_000_000]] {
        let error = send(&image(&layers), repository(&fake)).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("no space left on device"), "{cause}");
        assert!(error.to_string().contains("in namespace default of containerd"), "{error}");
    }
    fake.lie(Lie::Denies);
    let error = send(&image(&[10]), repository(&fake)).unwrap_err();
    assert!(matches!(&error, StoreError::Denied { reason, .. } if reason == "not you"), "{error}");
}

#[test]
fn what_is_no_containerd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [absent, other, file] = ["absent", "other", "file"].map(|name| folder.path().join(name));
    let error = Containerd::connect(&[absent.clone(), other.clone()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no containerd: there is no socket at {} or {}", absent.display(), other.display())
    );
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Containerd::connect(&[absent, file]), Err(ConnectError::Unreachable { .. })));
    let error = answered(&other, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
    assert!(matches!(error, ConnectError::Other { .. }), "{error}");
}

#[test]
fn addresses() {
    for (text, expected) in
        [("/run/x.sock", Some("/run/x.sock")), ("unix:///x", Some("/x")), ("tcp://h:1", None), ("x", None)]
    {
        let found = containerd::socket_of(text).ok();
        assert_eq!(found.as_deref(), expected.map(std::path::Path::new), "{text}");
    }
}

/// Connects to somebody who says `words` and leaves.
fn answered(socket: &std::path::Path, words: &[u8]) -> Result<Containerd, ConnectError> {
    let listener = UnixListener::bind(socket).unwrap();
    let words = words.to_vec();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(stream.write_all(&words));
    });
    let answer = Containerd::connect(&[socket.to_owned()]);
    thread.join().unwrap();
    answer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_answers_connecting_ends(words in proptest::collection::vec(any::<u8>(), 0..200), is_http2: bool) {
        let folder = tempfile::tempdir().unwrap();
        // A frame of settings lets the rest be read as frames.
        let head: &[u8] = if is_http2 { b"\0\0\0\x04\0\0\0\0\0" } else { b"" };
        let connected = answered(&folder.path().join("s"), &[head, &words].concat());
        let is_refused = matches!(connected, Err(ConnectError::Other { .. }));
        prop_assert!(is_refused, "{:?}", connected.err());
    }

    #[test]
    fn whatever_a_name_points_to_is_read_or_refused(media_type in ".*", digest in ".*", size: i64) {
        let fake = Fake::start();
        let target = containerd::protocol::Target { media_type, digest, size };
        fake.state().images.insert(key("default", NAME), target);
        let resolved = repository(&fake).resolve(&"1".parse().unwrap());
        let is_refused = matches!(resolved, Err(StoreError::Corrupt { .. }));
        prop_assert!(is_refused, "{resolved:?}");
        prop_assert!(repository(&fake).tags().is_err());
    }
}
