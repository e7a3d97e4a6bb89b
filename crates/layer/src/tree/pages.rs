//! Bytes by position, in pages of which a bounded number is in memory: the others lie in a file without a name,
//! where there is a folder for one.
//!
//! Copies share their pages until one of them writes. A file that cannot be written is no error: the pages
//! then stay in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Small, so that a name that lies alone costs little reading.
pub(super) const PAGE_BYTES: usize = 16 << 10;

/// The pages.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    pages: Vec<Page>,
    length: u64,
    in_memory: usize,
    limit: usize,
    /// Where the search for a page to lay aside goes on.
    hand: usize,
    aside: Option<Arc<Aside>>,
}

#[derive(Clone, Debug, Default)]
struct Page {
    bytes: Option<Arc<Vec<u8>>>,
    /// Where it lies in the file.
    stored: Option<u64>,
    /// Whether it is another one than the file has.
    is_changed: bool,
    was_used: bool,
}

/// The file that pages are laid aside in.
#[derive(Debug)]
struct Aside {
    folder: PathBuf,
    file: OnceLock<Option<File>>,
    end: AtomicU64,
}

impl Pages {
    /// Returns no bytes, all of which will be in memory.
    pub(super) fn new() -> Self {
        Self { pages: Vec::new(), length: 0, in_memory: 0, limit: usize::MAX, hand: 0, aside: None }
    }

    /// Returns no bytes, of which as many as `limit` will be in memory.
    pub(super) fn aside(folder: &Path, limit: usize) -> Self {
        let (folder, file, end) = (folder.to_owned(), OnceLock::new(), AtomicU64::new(0));
        let limit = (limit / PAGE_BYTES).max(4);
        Self { limit, aside: Some(Arc::new(Aside { folder, file, end })), ..Self::new() }
    }

    /// Adds bytes at the end and returns their position.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> u64 {
        let at = self.length;
        while !bytes.is_empty() {
            let start = (self.length % PAGE_BYTES as u64) as usize;
            let number = (self.length / PAGE_BYTES as u64) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(PAGE_BYTES - start));
            self.page_mut(number)[start..start + now.len()].copy_from_slice(now);
            self.length += now.len() as u64;
            bytes = rest;
        }
        at
    }

    /// Reads bytes that were written.
    pub(super) fn read(&mut self, at: u64, bytes: &mut [u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let piece = self.piece(at + done as u64, bytes.len() - done);
            bytes[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
    }

    /// Whether the bytes at a position are these.
    pub(super) fn holds(&mut self, at: u64, bytes: &[u8]) -> bool {
        let mut done = 0;
        while done < bytes.len() {
            let piece = self.piece(at + done as u64, bytes.len() - done);
            let count = piece.len();
            if *piece != bytes[done..done + count] {
                return false;
            }
            done += count;
        }
        true
    }

    /// Writes over bytes, which lie in one page.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        let start = (at % PAGE_BYTES as u64) as usize;
        let page = self.page_mut((at / PAGE_BYTES as u64) as usize);
        page[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Returns as many of the bytes at a position as lie in one page.
    fn piece(&mut self, at: u64, count: usize) -> &[u8] {
        let start = (at % PAGE_BYTES as u64) as usize;
        let page = self.page((at / PAGE_BYTES as u64) as usize);
        &page[start..(start + count).min(PAGE_BYTES)]
    }

    fn page(&mut self, number: usize) -> &[u8] {
        self.bring(number);
        let page = &mut self.pages[number];
        page.was_used = true;
        page.bytes.as_deref().expect("the page was brought")
    }

    fn page_mut(&mut self, number: usize) -> &mut [u8] {
        if number == self.pages.len() {
            self.pages.push(Page { bytes: Some(Arc::new(vec![0; PAGE_BYTES])), ..Page::default() });
            self.hold(number);
        }
        self.bring(number);
        let page = &mut self.pages[number];
        (page.was_used, page.is_changed) = (true, true);
        let bytes: &mut Vec<u8> = Arc::make_mut(page.bytes.as_mut().expect("the page was brought"));
        bytes
    }

    /// Sees to it that a page is in memory.
    fn bring(&mut self, number: usize) {
        if self.pages[number].bytes.is_some() {
            return;
        }
        let stored = self.pages[number].stored.expect("a page is in memory or in the file");
        let file = self.aside.as_ref().and_then(|aside| aside.file()).expect("the page was written to it");
        let mut bytes = vec![0; PAGE_BYTES];
        // A file without a name, of this process, that was written a moment ago: as good as memory.
        file.read_exact_at(&mut bytes, stored)
            .expect("what was written to the file of the pages can be read");
        self.pages[number].bytes = Some(Arc::new(bytes));
        self.hold(number);
    }

    /// Counts a page that came into memory, and lays others aside where there are too many.
    fn hold(&mut self, number: usize) {
        self.in_memory += 1;
        while self.in_memory > self.limit {
            if self.lay_aside(number).is_err() {
                self.limit = usize::MAX;
            }
        }
    }

    /// Lays aside a page that was not used for a while, and not the one of this number.
    fn lay_aside(&mut self, spared: usize) -> io::Result<()> {
        loop {
            self.hand = (self.hand + 1) % self.pages.len();
            let page = &mut self.pages[self.hand];
            if page.bytes.is_none() || self.hand == spared || std::mem::take(&mut page.was_used) {
                continue;
            }
            let bytes = page.bytes.as_ref().expect("it was asked above");
            if page.is_changed || page.stored.is_none() {
                let aside = self.aside.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                // What a copy has in the file as well is not written over.
                let is_shared = Arc::strong_count(aside) > 1;
                let at = match page.stored.filter(|_| !is_shared) {
                    Some(at) => at,
                    None => aside.end.fetch_add(PAGE_BYTES as u64, Ordering::Relaxed),
                };
                aside.file().ok_or(io::ErrorKind::Unsupported)?.write_all_at(bytes, at)?;
                page.stored = Some(at);
            }
            (page.bytes, page.is_changed) = (None, false);
            self.in_memory -= 1;
            return Ok(());
        }
    }
}

impl Aside {
    fn file(&self) -> Option<&File> {
        self.file.get_or_init(|| tempfile::tempfile_in(&self.folder).ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(folder: &Path) -> Pages {
        Pages::aside(folder, 4 * PAGE_BYTES)
    }

    fn whole(pages: &mut Pages) -> Vec<u8> {
        let mut bytes = vec![0; pages.length as usize];
        pages.read(0, &mut bytes);
        bytes
    }

    #[test]
    fn few_pages_are_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut pages = pages(folder.path());
        let bytes: Vec<u8> = (0..20 * PAGE_BYTES).map(|at| (at / 7 % 251) as u8).collect();
        bytes.chunks(1000).for_each(|piece| _ = pages.append(piece));
        assert_eq!(pages.pages.iter().filter(|page| page.bytes.is_some()).count(), 4);
        assert_eq!(whole(&mut pages), bytes);
        assert!(pages.in_memory == 4 && pages.holds(777, &bytes[777..5 * PAGE_BYTES]));
        assert!(!pages.holds(778, &bytes[777..5 * PAGE_BYTES]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_takes_no_file_costs_memory_and_nothing_else() {
        let mut pages = pages(Path::new("/nowhere/at/all"));
        let bytes = vec![5; 10 * PAGE_BYTES];
        assert_eq!(pages.append(&bytes), 0);
        assert_eq!((whole(&mut pages), pages.in_memory), (bytes, 10));
    }

    proptest! {
        #[test]
        fn copies_are_what_they_were(
            writes in prop::collection::vec((any::<bool>(), 0..12_u64, any::<u8>()), 1..80),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut one = pages(folder.path());
            one.append(&vec![0; 12 * PAGE_BYTES]);
            let mut other = one.clone();
            let mut expected = (whole(&mut one), whole(&mut other));
            for (is_one, page, value) in writes {
                let at = page * PAGE_BYTES as u64 + u64::from(value);
                let (pages, bytes) = if is_one { (&mut one, &mut expected.0) } else { (&mut other, &mut expected.1) };
                pages.write(at, &[value]);
                bytes[at as usize] = value;
            }
            prop_assert_eq!(whole(&mut one), expected.0);
            drop(one);
            other.write(0, b"x");
            expected.1[0] = b'x';
            prop_assert_eq!(whole(&mut other), expected.1);
        }
    }
}
