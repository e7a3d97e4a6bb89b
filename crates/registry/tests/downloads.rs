//! Blobs that come in parts: over several connections, and over several lives of the process.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::path::Path;
use std::time::Duration;

use oci::Digest;
use registry::client::{Ranges, RetryPolicy};
use store::{BlobStore, LayoutStore, Put, StoreError};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise, read};

/// The bytes that a request asks for.
fn range(asked: &Asked, length: usize) -> Option<(usize, usize)> {
    let (first, last) = asked.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().unwrap(), last.parse::<usize>().map_or(length, |last| last + 1)))
}

fn part(content: &[u8], (first, end): (usize, usize)) -> Answer {
    let range = format!("bytes {first}-{}/{}", end - 1, content.len());
    Answer::status(206).header("Content-Range", range).body(&content[first..end])
}

/// Serves `content` whole and in ranges, unless `act` has another answer.
fn blob_server(
    content: &[u8],
    mut act: impl FnMut(Option<(usize, usize)>) -> Option<Act> + Send + 'static,
) -> Scripted {
    let content = content.to_vec();
    Scripted::start(move |asked: &Asked| {
        let range = range(asked, content.len());
        act(range).unwrap_or_else(|| match range {
            Some(range) => part(&content, range).into(),
            None => Answer::status(200).body(content.clone()).into(),
        })
    })
}

fn ranges_asked(server: &Scripted) -> Vec<String> {
    server.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect()
}

/// A client for which no host is near.
fn far() -> TestClient {
    TestClient::new(|options| {
        options.ranges = Ranges { parts: 3, part_bytes: 100_000, near: Duration::ZERO };
    })
}

fn pull(server: &Scripted, test: &TestClient, content: &[u8]) -> std::io::Result<Vec<u8>> {
    read(test.client.repository(&server.repository("a")).open_blob(&Digest::of(content)).unwrap())
}

fn into_store(
    server: &Scripted,
    test: &TestClient,
    folder: &Path,
    content: &[u8],
) -> Result<Put, StoreError> {
    let store = LayoutStore::open(folder).unwrap();
    let remote = test.client.repository(&server.repository("a"));
    store.put_blob(&descriptor(content), remote.open_blob(&Digest::of(content)).unwrap())
}

fn partial_files(folder: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(folder.join("partial")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).collect()
}

#[test]
fn a_large_blob_from_far_away_comes_in_parts() {
    let content = noise(1, 1_050_000);
    let server = blob_server(&content, |_| None);
    assert!(pull(&server, &far(), &content).unwrap() == content);
    let mut asked = ranges_asked(&server);
    asked.sort_by_key(|range| {
        range.trim_start_matches("bytes=").split('-').next().unwrap().parse::<u64>().unwrap()
    });
    let expected: Vec<String> = (1..=10)
        .map(|part| format!("bytes={}-{}", part * 100_000, (part * 100_000 + 99_999).min(1_049_999)))
        .collect();
    assert_eq!(asked, expected);
}

#[test]
fn near_and_small_blobs_come_over_one_connection() {
    let content = noise(1, 1_050_000);
    let server = blob_server(&content, |_| None);
    let near = TestClient::new(|options| options.ranges.part_bytes = 100_000);
    assert!(pull(&server, &near, &content).unwrap() == content);
    let small = noise(2, 290_000);
    let other = blob_server(&small, |_| None);
    assert!(pull(&other, &far(), &small).unwrap() == small);
    assert_eq!((ranges_asked(&server).len(), ranges_asked(&other).len()), (0, 0));
}

#[test]
fn one_download_at_a_time_has_several_connections() {
    let content = noise(1, 1_050_000);
    let server = blob_server(&content, |_| None);
    let test = far();
    let remote = test.client.repository(&server.repository("a"));
    let mut first = remote.open_blob(&Digest::of(&content)).unwrap();
    std::io::Read::read_exact(&mut first, &mut [0; 1000]).unwrap();
    assert!(read(remote.open_blob(&Digest::of(&content)).unwrap()).unwrap() == content);
    let asked = ranges_asked(&server).len();
    assert!(asked <= 3, "no more than what is kept in memory: {asked}");
    drop(first);
    assert!(read(remote.open_blob(&Digest::of(&content)).unwrap()).unwrap() == content);
    assert!(ranges_asked(&server).len() > asked);
}

#[test]
fn a_server_that_gives_no_parts_loses_nothing() {
    let content = noise(1, 1_050_000);
    for odd in [200_u16, 416, 403, 500] {
        let whole = content.clone();
        let server = blob_server(&content, move |range| {
            let answer = Answer::status(odd).body(if odd == 200 { whole.clone() } else { Vec::new() });
            range.map(|_| answer.into())
        });
        assert!(pull(&server, &far(), &content).unwrap() == content, "{odd}");
        let whole = server.asked().iter().filter(|asked| asked.header("range").is_none()).count();
        assert_eq!(whole, 1, "the first connection goes on");
    }
}

#[test]
fn parts_that_break_or_lie_do_not_spoil_the_whole() {
    let content = noise(1, 1_050_000);
    type Fault = fn(&[u8], (usize, usize)) -> Act;
    let faults: [Fault; 4] = [
        |content, (first, end)| {
            part(content, (first, end)).announcing(end - first).body(&content[first..end - 10]).into()
        },
        |content, (first, end)| part(content, (first + 1, end + 1)).into(),
        |content, (first, end)| part(content, (first, end)).body(&content[first..end + 10]).into(),
        |_, _| Act::BreakAfter(0),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let served = content.clone();
        let server = blob_server(&content, move |range| {
            range
                .filter(|(first, end)| *first == 300_000 && *end == 400_000)
                .map(|range| fault(&served, range))
        });
        match pull(&server, &far(), &content) {
            Ok(pulled) => assert!(pulled == content, "{number}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{number}: {error}"),
        }
    }
}

#[test]
fn another_process_goes_on_where_one_was_broken_off() {
    let content = noise(1, 8_000_000);
    let folder = tempfile::tempdir().unwrap();
    let served = content.clone();
    let mut broken = 0;
    let server = blob_server(&content, move |range| {
        broken += 1;
        (broken <= 3).then(|| match range {
            None => Answer::status(200).announcing(served.len()).body(&served[..3_000_000]).into(),
            Some(_) => Act::BreakAfter(0),
        })
    });
    let test = TestClient::new(|_| {});
    let error = into_store(&server, &test, folder.path(), &content).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(partial_files(folder.path()), [3_000_000]);
    let before = server.asked().len();
    let put = into_store(&server, &TestClient::new(|_| {}), folder.path(), &content).unwrap();
    assert_eq!((put, partial_files(folder.path())), (Put::Written, Vec::new()));
    let store = LayoutStore::open(folder.path()).unwrap();
    assert_eq!(store.verify_blob(&Digest::of(&content)).unwrap(), 8_000_000);
    let last = &server.asked()[before..];
    assert_eq!(last.last().unwrap().header("range"), Some("bytes=3000000-"));
    assert_eq!(last.len(), 2, "one answer to know the size, one with the rest");
}

#[test]
fn what_arrived_before_is_not_believed() {
    let content = noise(1, 3_000_000);
    let digest = Digest::of(&content);
    let name = format!("partial/sha256-{}", digest.hex());
    let mut spoiled = content[..2_000_000].to_vec();
    spoiled[1_000_000..].fill(0);
    for part in [spoiled, noise(2, 3_000_000), noise(3, 4_000_000), content.clone()] {
        let folder = tempfile::tempdir().unwrap();
        LayoutStore::open(folder.path()).unwrap();
        std::fs::write(folder.path().join(&name), &part).unwrap();
        let server = blob_server(&content, |_| None);
        let put = into_store(&server, &TestClient::new(|_| {}), folder.path(), &content).unwrap();
        assert_eq!((put, partial_files(folder.path())), (Put::Written, Vec::new()));
        let store = LayoutStore::open(folder.path()).unwrap();
        assert_eq!(store.verify_blob(&digest).unwrap(), 3_000_000);
        assert_eq!(server.asked().len(), if part == content { 1 } else { server.asked().len() });
    }
}

#[test]
fn nothing_is_kept_of_what_is_wrong() {
    let content = noise(1, 3_000_000);
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = content.clone();
    wrong[2_500_000] ^= 1;
    let server = blob_server(&wrong, |_| None);
    let error = into_store(&server, &TestClient::new(|_| {}), folder.path(), &content).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(partial_files(folder.path()), [0_u64; 0]);
}

#[test]
fn two_at_once_do_not_write_one_file() {
    let content = noise(1, 4_000_000);
    let folder = tempfile::tempdir().unwrap();
    let server = blob_server(&content, |_| None);
    let puts: Vec<Put> = std::thread::scope(|scope| {
        let pull = || into_store(&server, &TestClient::new(|_| {}), folder.path(), &content).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(pull)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(puts.contains(&Put::Written), "{puts:?}");
    let store = LayoutStore::open(folder.path()).unwrap();
    assert_eq!(store.verify_blob(&Digest::of(&content)).unwrap(), 4_000_000);
    assert_eq!(partial_files(folder.path()), [0_u64; 0]);
}

#[test]
fn parts_that_nobody_fetches_the_rest_of_are_collected() {
    let content = noise(1, 3_000_000);
    let folder = tempfile::tempdir().unwrap();
    let served = content.clone();
    let server = blob_server(&content, move |range| match range {
        None => Some(Answer::status(200).announcing(served.len()).body(&served[..1_500_000]).into()),
        Some(_) => Some(Act::BreakAfter(0)),
    });
    let test = TestClient::new(|options| {
        options.retry = RetryPolicy { attempts: 1, ..options.retry.clone() };
    });
    into_store(&server, &test, folder.path(), &content).unwrap_err();
    let store = LayoutStore::open(folder.path()).unwrap();
    let collect = |grace| {
        let options = store::CollectOptions { grace, patience: Duration::from_secs(5) };
        let plan = store.plan_collection(&options, &|_| false).unwrap();
        store.apply_collection(plan, &options).unwrap().bytes
    };
    assert_eq!(collect(Duration::from_secs(3600)), 0);
    assert_eq!(partial_files(folder.path()), [1_500_000]);
    // Files are a whole second old before they go.
    while collect(Duration::ZERO) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(partial_files(folder.path()), [0_u64; 0]);
}
