//! Archives that are written, observed and read again, damaged ones too.

mod programs;

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use oci::Digest;
use proptest::prelude::*;

use crate::{Entry, Kind, LayerError, Observed, Observer, TarReader, TarWriter};

pub(super) fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 1_700_000_000,
        xattrs: BTreeMap::new(),
    }
}

pub(super) fn file(size: u64) -> Kind {
    Kind::File { size, digest: None, offset: 0 }
}

/// Returns content of a file that depends on its path alone.
fn content(entry: &Entry) -> Vec<u8> {
    match entry.kind {
        Kind::File { size, .. } => entry.path.iter().copied().cycle().take(size as usize).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries {
        writer.append(entry, &mut &content(entry)[..]).unwrap();
    }
    writer.finish().unwrap()
}

pub(super) fn observe(bytes: &[u8], piece: usize) -> Result<Observed, LayerError> {
    let mut observer = Observer::new();
    for piece in bytes.chunks(piece.max(1)) {
        if observer.write_all(piece).is_err() {
            break;
        }
    }
    observer.finish()
}

pub(super) fn pull(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut reader = TarReader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).map_err(LayerError::read)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

/// Returns `entry` as it is read back, but for the place of its content.
fn with_digest(entry: &Entry) -> Entry {
    let mut observed = entry.clone();
    if let Kind::File { digest, .. } = &mut observed.kind {
        *digest = Some(Digest::of(&content(entry)));
    }
    observed
}

fn without_offset(mut entry: Entry) -> Entry {
    if let Kind::File { offset, .. } = &mut entry.kind {
        *offset = 0;
    }
    entry
}

#[track_caller]
fn check_round_trip(entries: &[Entry]) {
    let bytes = archive(entries);
    assert_eq!(bytes.len() % 512, 0);
    let observed = observe(&bytes, 1000).unwrap();
    assert_eq!(observed.diff_id.0, Digest::of(&bytes));
    assert_eq!(observed.size, bytes.len() as u64);
    let expected: Vec<_> = entries.iter().map(with_digest).collect();
    for entry in &observed.index.entries {
        if let Kind::File { size, digest, offset } = entry.kind {
            let place = offset as usize..(offset + size) as usize;
            assert_eq!(Some(Digest::of(&bytes[place])), digest);
        }
    }
    let found: Vec<_> = observed.index.entries.into_iter().map(without_offset).collect();
    assert_eq!(found, expected);
    for ((pulled, bytes), expected) in pull(&bytes).unwrap().iter().zip(entries) {
        assert_eq!(pulled.path, expected.path);
        assert_eq!(*bytes, content(expected));
    }
}

#[test]
fn seeking_over_content_gives_the_same_entries_as_reading_it() {
    let entries = [entry("small", file(3)), entry("large", file(700_000)), entry("last", file(512))];
    let bytes = archive(&entries);
    let mut reader = TarReader::new(Cursor::new(&bytes));
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        reader.skip_content().unwrap();
        found.push(entry);
    }
    let read: Vec<Entry> = pull(&bytes).unwrap().into_iter().map(|(entry, _)| entry).collect();
    assert_eq!(found, read);
}

#[test]
fn content_copied_by_the_caller_makes_the_same_archive() {
    let entries = [entry("one", file(700)), entry("two", file(0))];
    let mut writer = TarWriter::new(Vec::new());
    for entry in &entries {
        writer.append_with(entry, |output| output.write_all(&content(entry))).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), archive(&entries));
    let refused = TarWriter::new(Vec::new()).append_with(&entry("folder", Kind::Directory), |_| Ok(()));
    assert!(matches!(refused, Err(LayerError::Unwritable { .. })));
}

#[test]
fn every_kind_comes_back() {
    let mut attributes = entry("usr/bin/ping", file(3));
    attributes.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02=\n".to_vec());
    check_round_trip(&[
        entry("", Kind::Directory),
        entry("a", Kind::Directory),
        entry("a/empty", file(0)),
        entry("a/file", file(1000)),
        entry("a/link", Kind::Symlink(b"/etc/../x".to_vec())),
        entry("a/second", Kind::Hardlink(b"a/file".to_vec())),
        entry("dev/null", Kind::CharDevice { major: 1, minor: 3 }),
        entry("dev/sda", Kind::BlockDevice { major: 8, minor: 1_048_575 }),
        entry("run/pipe", Kind::Fifo),
        entry("a/gone", Kind::Whiteout),
        entry("a", Kind::Opaque),
        entry("", Kind::Opaque),
        attributes,
    ]);
}

#[test]
fn what_ustar_cannot_say_goes_into_records() {
    let deep = "d/".repeat(120) + "file";
    let mut numbers = entry("numbers", file(1));
    (numbers.uid, numbers.gid, numbers.mtime) = (u32::MAX, 2_097_152, -5);
    let mut far = entry("far", file(1));
    far.mtime = 1 << 40;
    check_round_trip(&[
        entry(&"n".repeat(100), file(1)),
        entry(&"n".repeat(101), file(1)),
        entry(&format!("{}/{}", "p".repeat(155), "n".repeat(100)), file(1)),
        entry(&format!("{}/{}", "p".repeat(156), "n".repeat(100)), file(1)),
        entry(&format!("{}/{}", "p".repeat(155), "n".repeat(99)), Kind::Directory),
        entry(&format!("{}/{}", "p".repeat(155), "n".repeat(100)), Kind::Directory),
        entry(&deep, file(2)),
        entry("größe/ü", file(2)),
        entry("link", Kind::Symlink(vec![b'x'; 300])),
        entry("lïnk", Kind::Symlink("ä".into())),
        entry("hard", Kind::Hardlink(deep.into_bytes())),
        numbers,
        far,
    ]);
}

#[test]
fn entries_that_no_tar_can_say_are_refused() {
    let unwritable = [
        entry("../a", file(0)),
        entry("/a", file(0)),
        entry("a/.wh.b", file(0)),
        entry("", file(0)),
        entry("a", Kind::Symlink(Vec::new())),
        entry("a", Kind::Hardlink(b"../b".to_vec())),
        entry("a", Kind::CharDevice { major: u32::MAX, minor: 0 }),
    ];
    for entry in unwritable {
        let result = TarWriter::new(Vec::new()).append(&entry, &mut &b""[..]);
        assert!(matches!(result, Err(LayerError::Unwritable { .. })), "{entry:?}: {result:?}");
    }
}

#[test]
fn content_of_another_size_is_noticed() {
    for content in [&b"12"[..], b"1234"] {
        let result = TarWriter::new(Vec::new()).append(&entry("a", file(3)), &mut &content[..]);
        assert!(matches!(result, Err(LayerError::Unwritable { .. })), "{result:?}");
    }
}

#[test]
fn bytes_are_those_of_the_format() {
    let bytes = archive(&[entry("etc/hostname", file(3))]);
    assert_eq!(bytes.len(), 4 * 512);
    assert_eq!(&bytes[..12], b"etc/hostname");
    assert_eq!(&bytes[100..156], b"0000644\x000000000\x000000000\x0000000000003\x0014524770400\x00010314\0 ");
    assert_eq!(&bytes[257..265], b"ustar\x0000");
    assert_eq!(&bytes[512..515], b"etc");
    assert!(bytes[515..].iter().all(|byte| *byte == 0));
}

#[test]
fn an_archive_that_breaks_off_is_an_error() {
    let bytes = archive(&[entry(&"n".repeat(300), file(700)), entry("b", file(0))]);
    // Between entries, and after one block of zeros, an archive may end; everywhere else it may not.
    let first = 512 + 512 + 512 + 1024;
    let boundaries = [0, first, first + 512, first + 1024];
    for keep in 0..bytes.len() {
        let complete = boundaries.contains(&keep);
        assert_eq!(observe(&bytes[..keep], 512).is_ok(), complete, "observed {keep} of {}", bytes.len());
        assert_eq!(pull(&bytes[..keep]).is_ok(), complete, "pulled {keep} of {}", bytes.len());
    }
}

#[test]
fn names_that_escape_are_refused_by_name() {
    let mut bytes = archive(&[entry("xx/evil", file(0))]);
    bytes[..2].copy_from_slice(b"..");
    // The checksum is a sum: `.` instead of `x` twice.
    let sum = u32::from_str_radix(std::str::from_utf8(&bytes[148..154]).unwrap(), 8).unwrap();
    let sum = sum - 2 * (u32::from(b'x') - u32::from(b'.'));
    bytes[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    let message = observe(&bytes, 512).unwrap_err().to_string();
    assert!(message.contains("../evil"), "{message}");
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let component = prop_oneof![
        4 => "[a-z]{1,8}",
        1 => "[a-zäß .-]{1,60}".prop_filter("not special", |name| !matches!(name.as_str(), "." | "..") ),
    ];
    prop::collection::vec(component, 1..6).prop_map(|parts| parts.join("/").into_bytes())
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (0_u64..3000).prop_map(file),
        2 => Just(Kind::Directory),
        1 => prop::collection::vec(1_u8.., 1..200).prop_map(Kind::Symlink),
        1 => any_path().prop_map(Kind::Hardlink),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        1 => (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Whiteout),
        1 => Just(Kind::Opaque),
    ]
}

fn any_xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let name = "(user|security|trusted)\\.[a-z]{1,9}".prop_map(String::into_bytes);
    prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..80), 0..3)
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let numbers = (0_u32..0o10000, any::<u32>(), any::<u32>(), any::<i64>());
    (any_path(), any_kind(), numbers, any_xattrs()).prop_map(
        |(path, kind, (mode, uid, gid, mtime), xattrs)| Entry { path, kind, mode, uid, gid, mtime, xattrs },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_entries_come_back(entries in prop::collection::vec(any_entry(), 0..12)) {
        check_round_trip(&entries);
    }

    #[test]
    fn pieces_do_not_matter(entries in prop::collection::vec(any_entry(), 0..6), piece in 1_usize..2000) {
        let bytes = archive(&entries);
        prop_assert_eq!(observe(&bytes, piece).unwrap(), observe(&bytes, bytes.len()).unwrap());
    }

    #[test]
    fn changed_bytes_never_panic(
        entries in prop::collection::vec(any_entry(), 1..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        piece in 1_usize..2000,
    ) {
        let mut bytes = archive(&entries);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let observed = observe(&bytes, piece);
        prop_assert_eq!(observed.is_ok(), pull(&bytes).is_ok());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000), piece in 1_usize..600) {
        prop_assert_eq!(observe(&bytes, piece).is_ok(), pull(&bytes).is_ok());
    }
}
