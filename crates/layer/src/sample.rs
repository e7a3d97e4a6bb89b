//! Layers for tests, in a short notation.

use std::collections::BTreeMap;

use oci::Digest;

use crate::{Entry, Kind, TarWriter};

/// Returns the entries of words such as `etc/ etc/a=text b->target c=>hard -gone !opaque`, each with its
/// content. Folders have mode 0700, all else 0644.
pub(crate) fn entries(words: &str) -> Vec<(Entry, Vec<u8>)> {
    words.split_whitespace().map(entry).collect()
}

/// Returns the tar of such entries.
pub(crate) fn tar(words: &str) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, content) in entries(words) {
        writer.append(&entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn entry(word: &str) -> (Entry, Vec<u8>) {
    let mut content = Vec::new();
    let (path, kind) = if let Some((path, target)) = word.split_once("->") {
        (path, Kind::Symlink(target.into()))
    } else if let Some((path, target)) = word.split_once("=>") {
        (path, Kind::Hardlink(target.into()))
    } else if let Some((path, text)) = word.split_once('=') {
        content = text.as_bytes().to_vec();
        (path, Kind::File { size: text.len() as u64, digest: Some(Digest::of(&content)), offset: 0 })
    } else if let Some(path) = word.strip_prefix('-') {
        (path, Kind::Whiteout)
    } else if let Some(path) = word.strip_prefix('!') {
        (path, Kind::Opaque)
    } else {
        (word.trim_end_matches('/'), Kind::Directory)
    };
    let mode = if kind == Kind::Directory { 0o700 } else { 0o644 };
    (
        Entry {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_600_000_000,
            xattrs: BTreeMap::new(),
        },
        content,
    )
}
