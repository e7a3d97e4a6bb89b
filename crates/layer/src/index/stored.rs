//! An index that stays where it is kept and is read entry by entry, as often as somebody asks.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use oci::DiffId;

use super::encoding::Cursor;
use super::{BUFFER_BYTES, FirstLine, LayerIndex, MAX_BODY_BYTES, damaged, read_first_line};
use crate::entry::{Entry, Kind};
use crate::error::LayerError;
use crate::path::split;

/// No entry is larger: the decoder of tars takes no more of names and attributes.
const MAX_ENTRY_BYTES: usize = 16 << 20;

/// The entries of a layer, one after the other and as often as asked.
pub trait Listing {
    /// Returns how many entries there are, where that is known to be true or nearly so.
    fn count(&self) -> u64;

    /// Shows every entry, in the order of the tar; a path may occur more than once.
    ///
    /// # Errors
    /// Those of reading them.
    fn each(&self, see: &mut dyn FnMut(&Entry)) -> Result<(), LayerError>;

    /// Whether every folder that an entry lies in has an entry of its own, in this layer. Such a
    /// layer can be unpacked without knowing the layers below it.
    ///
    /// # Errors
    /// Those of reading the entries.
    fn is_closed(&self) -> Result<bool, LayerError> {
        let mut folders = UsedFolders::default();
        self.each(&mut |entry| folders.see(entry))?;
        Ok(folders.all_named())
    }
}

/// Which folders of a layer are named and which are used only. Of a path 128 bits stand for it that nobody can foresee:
/// so many folders fit into little memory.
#[derive(Debug, Default)]
pub struct UsedFolders {
    hashes: (RandomState, RandomState),
    last_used: Vec<u8>,
    named: HashSet<(u64, u64)>,
    missing: HashSet<(u64, u64)>,
}

impl UsedFolders {
    /// Whether every folder that was used until now was named too.
    pub fn all_named(&self) -> bool {
        self.missing.is_empty()
    }

    /// Sees the next entry of the layer.
    pub fn see(&mut self, entry: &Entry) {
        let used = match entry.kind {
            Kind::Opaque => &entry.path,
            _ => split(&entry.path).map_or(&[][..], |(parent, _)| parent),
        };
        if used != self.last_used {
            self.last_used = used.to_vec();
            let used = self.short(used);
            if !self.last_used.is_empty() && !self.named.contains(&used) {
                self.missing.insert(used);
            }
        }
        if entry.kind == Kind::Directory {
            let named = self.short(&entry.path);
            self.missing.remove(&named);
            self.named.insert(named);
        }
    }

    fn short(&self, path: &[u8]) -> (u64, u64) {
        (self.hashes.0.hash_one(path), self.hashes.1.hash_one(path))
    }
}

impl Listing for LayerIndex {
    fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    fn each(&self, see: &mut dyn FnMut(&Entry)) -> Result<(), LayerError> {
        self.entries.iter().for_each(see);
        Ok(())
    }
}

/// An index in a file.
#[derive(Debug)]
pub struct StoredIndex {
    file: File,
    first: FirstLine,
}

impl StoredIndex {
    /// Opens the index in a file; what comes after its first line is read later.
    ///
    /// # Errors
    /// `Index` where the file does not begin as one, or is of a version we do not know; `Stream` where it
    /// cannot be read.
    pub fn open(path: &Path) -> Result<Self, LayerError> {
        File::open(path).map_err(LayerError::read).and_then(Self::new)
    }

    /// Does the same with a file that is open.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn new(file: File) -> Result<Self, LayerError> {
        let first = read_first_line(&mut BufReader::with_capacity(1024, FromStart { file: &file, at: 0 }))?;
        Ok(Self { file, first })
    }

    /// Returns which layer it is of.
    pub fn diff_id(&self) -> DiffId {
        self.first.diff_id
    }

    /// Returns the size of the uncompressed tar in bytes.
    pub fn size(&self) -> u64 {
        self.first.size
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As for [`LayerIndex::read_from`].
    pub fn whole(&self) -> Result<LayerIndex, LayerError> {
        LayerIndex::read_from(FromStart { file: &self.file, at: 0 })
    }

    /// Reads all of it and keeps nothing.
    ///
    /// # Errors
    /// As for [`LayerIndex::read_from`].
    pub fn check(&self) -> Result<(), LayerError> {
        self.each(&mut |_| {})
    }
}

impl Listing for StoredIndex {
    fn count(&self) -> u64 {
        self.first.entries
    }

    fn each(&self, see: &mut dyn FnMut(&Entry)) -> Result<(), LayerError> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, FromStart { file: &self.file, at: 0 });
        let first = read_first_line(&mut input)?;
        let decoder = zstd::Decoder::with_buffer(input).map_err(LayerError::read)?;
        each_in_body(decoder.take(MAX_BODY_BYTES), first.entries, see)
    }
}

/// A file read from its start by its own position, so that several may do so at once.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Shows the entries of a body that is not in memory.
fn each_in_body(mut body: impl Read, count: u64, see: &mut dyn FnMut(&Entry)) -> Result<(), LayerError> {
    let mut before = Vec::new();
    let mut window = Window::default();
    let mut seen = 0;
    loop {
        let mut cursor = Cursor(window.bytes());
        let entry = if cursor.0.is_empty() { None } else { cursor.entry(&before) };
        let Some(entry) = entry else {
            // Cut off by the end of what was read, or broken, or the end.
            if window.fill(&mut body)? {
                continue;
            }
            if window.bytes().is_empty() {
                break;
            }
            return Err(damaged(&format!("entry {seen} is broken")));
        };
        window.start = window.bytes.len() - cursor.0.len();
        see(&entry);
        seen += 1;
        before = entry.path;
    }
    if seen != count {
        return Err(damaged(&format!("it has {seen} entries instead of {count}")));
    }
    Ok(())
}

/// A part of a body.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    start: usize,
}

impl Window {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Reads on; says whether there was anything.
    fn fill(&mut self, body: &mut impl Read) -> Result<bool, LayerError> {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.len() > MAX_ENTRY_BYTES {
            return Err(damaged("an entry is larger than any"));
        }
        // As much again, so that a long entry is not tried too often.
        let more = self.bytes.len().max(BUFFER_BYTES) as u64;
        let count = body.take(more).read_to_end(&mut self.bytes);
        Ok(count.map_err(|error| damaged(&error.to_string()))? > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use oci::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    fn index(words: &str) -> LayerIndex {
        let entries = sample::entries(words).into_iter().map(|(entry, _)| entry).collect();
        LayerIndex { diff_id: DiffId(Digest::of(b"tar")), size: 7, entries }
    }

    fn stored(bytes: &[u8]) -> Result<StoredIndex, LayerError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        StoredIndex::new(file)
    }

    fn written(index: &LayerIndex) -> Vec<u8> {
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        bytes
    }

    fn entries(stored: &StoredIndex) -> Result<Vec<Entry>, LayerError> {
        let mut entries = Vec::new();
        stored.each(&mut |entry| entries.push(entry.clone())).map(|()| entries)
    }

    #[test]
    fn entries_come_one_after_the_other_and_again() {
        let words: Vec<String> = (0..5000).map(|at| format!("folder/{}/{at}=text", at / 100)).collect();
        let mut index = index(&words.join(" "));
        index.entries[17].xattrs.insert(b"user.long".to_vec(), vec![7; 300_000]);
        let stored = stored(&written(&index)).unwrap();
        assert_eq!((stored.diff_id(), stored.size(), stored.count()), (index.diff_id, 7, 5000));
        for _ in 0..2 {
            assert_eq!(entries(&stored).unwrap(), index.entries);
        }
        assert_eq!(stored.whole().unwrap(), index);
        stored.check().unwrap();
    }

    #[test]
    fn cut_indexes_are_refused() {
        let bytes = written(&index("a/ a/b=1 c->d"));
        for keep in 0..bytes.len() {
            let read = stored(&bytes[..keep]).and_then(|stored| entries(&stored));
            assert!(read.is_err(), "cut at {keep}");
        }
    }

    #[test]
    fn a_layer_is_closed_where_it_names_all_its_folders() {
        for (words, expected) in [
            ("", true),
            ("a=1 -b", true),
            ("a/ a/b=1", true),
            ("a/b=1 a/", true),
            ("a/b=1", false),
            ("a/b/ a/b/c=1", false),
            ("a/ !a -a/b", true),
            ("!a", false),
            ("-a/b", false),
            ("a/b=1 a/c=1 a/ a/d=1", true),
        ] {
            assert_eq!(index(words).is_closed().unwrap(), expected, "{words}");
        }
    }

    proptest! {
        #[test]
        fn random_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..600), count in 0_u64..9) {
            let mut seen = 0;
            if each_in_body(&body[..], count, &mut |_| seen += 1).is_ok() {
                prop_assert_eq!(seen, count);
            }
        }

        #[test]
        fn what_is_read_in_pieces_is_what_is_read_at_once(
            body in prop::collection::vec(prop_oneof![Just(0_u8), 1_u8..4, any::<u8>()], 0..200),
            count in 0_u64..30,
        ) {
            let mut seen = Vec::new();
            let pieces = each_in_body(&body[..], count, &mut |entry| seen.push(entry.clone()));
            match super::super::read_entries(&body, count) {
                Ok(entries) => prop_assert_eq!((pieces.is_ok(), seen), (true, entries)),
                Err(_) => prop_assert!(pieces.is_err()),
            }
        }
    }
}
