//! What the walk found, kept small: a context of a million files takes some fifty bytes for each.
//!
//! A name is kept once, without the folders it lies in; the names of one folder follow each other in
//! ascending order, so that a path is found by one search per component. What `stat` said of a file is kept
//! as a stamp, which tells a file that changed from one that did not, and says nothing else.

use std::cmp::Ordering;
use std::ops::Range;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::tree::NodeKind;

/// Which record.
pub(super) type Index = u32;
/// The folder of what lies in the context's own folder.
const ROOT: Index = Index::MAX;

/// Tells two states of a file apart: the first half of the SHA-256 of device, inode, size and the times of the
/// last changes of content and attributes, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(pub [u8; Stamp::BYTES]);

impl Stamp {
    pub const BYTES: usize = 16;

    pub fn of(stat: &Stat) -> Self {
        let size = stat.st_size.cast_unsigned();
        let numbers = [
            stat.st_dev,
            stat.st_ino,
            size,
            nanoseconds(stat.st_mtime, stat.st_mtime_nsec).cast_unsigned(),
            change_time(stat).cast_unsigned(),
        ];
        let mut hasher = oci::Hasher::default();
        numbers.iter().for_each(|number| hasher.update(&number.to_le_bytes()));
        let digest = hasher.finish();
        Self(digest.as_bytes()[..Self::BYTES].try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Returns the time of the last change of content or attributes, in nanoseconds since 1970.
pub(super) fn change_time(stat: &Stat) -> i64 {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}

fn nanoseconds(seconds: i64, rest: u64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest as i64)
}

/// Everything found.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: Vec<Record>,
    /// The bytes of all names, and of all targets of links.
    texts: Vec<u8>,
    /// What lies in the context's own folder.
    top: Range<Index>,
    gone: usize,
    /// Of each file that has several names here, its names in ascending order with the first of them.
    names: Vec<(Index, Index)>,
}

/// One name. Three fields depend on what it is:
///
/// | kind | `numbers` |
/// |---|---|
/// | file | its size, low half first |
/// | folder | its first record and the one after its last |
/// | link | where the target begins and how long it is |
/// | device | major and minor |
#[derive(Clone, Copy, Debug)]
struct Record {
    name_start: u32,
    folder: Index,
    numbers: [u32; 2],
    stamp: Stamp,
    mode: u16,
    name_bytes: u8,
    kind: Kind,
    /// Whether its last change lies far enough back for the stamp to be trusted next time.
    settled: bool,
    /// Whether the file has other names, here or elsewhere.
    linked: bool,
    /// A folder that was left out and in which nothing was found.
    gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// One name on its way into the records.
pub(super) struct New<'a> {
    pub name: &'a [u8],
    pub kind: &'a NodeKind,
    pub mode: u32,
    pub stamp: Stamp,
    pub settled: bool,
    /// Whether the file has other names, here or elsewhere.
    pub linked: bool,
}

impl Records {
    /// Returns the number of names.
    pub fn len(&self) -> usize {
        self.all.len() - self.gone
    }

    /// Returns a number above that of every record.
    pub fn end(&self) -> usize {
        self.all.len()
    }

    pub fn kind(&self, index: Index) -> NodeKind {
        let Record { kind, numbers: [first, second], .. } = *self.get(index);
        match kind {
            Kind::File => NodeKind::File { size: self.size(index) },
            Kind::Directory => NodeKind::Directory,
            Kind::Symlink => NodeKind::Symlink(self.texts[first as usize..][..second as usize].to_vec()),
            Kind::Fifo => NodeKind::Fifo,
            Kind::CharDevice => NodeKind::CharDevice { major: first, minor: second },
            Kind::BlockDevice => NodeKind::BlockDevice { major: first, minor: second },
        }
    }

    pub fn is_file(&self, index: Index) -> bool {
        self.get(index).kind == Kind::File
    }

    pub fn is_folder(&self, index: Index) -> bool {
        self.get(index).kind == Kind::Directory
    }

    /// Returns the size of a file in bytes; of others nothing that means anything.
    pub fn size(&self, index: Index) -> u64 {
        let [low, high] = self.get(index).numbers;
        u64::from(high) << 32 | u64::from(low)
    }

    pub fn mode(&self, index: Index) -> u32 {
        u32::from(self.get(index).mode)
    }

    pub fn stamp(&self, index: Index) -> Stamp {
        self.get(index).stamp
    }

    pub fn is_settled(&self, index: Index) -> bool {
        self.get(index).settled
    }

    /// Returns the first name of a file that has several in this context.
    pub fn first_name(&self, index: Index) -> Option<Index> {
        let at = self.names.binary_search_by_key(&index, |(name, _)| *name).ok()?;
        Some(self.names[at].1)
    }

    pub fn name(&self, index: Index) -> &[u8] {
        self.name_of(self.get(index))
    }

    /// Returns the path from the context's folder.
    pub fn path(&self, index: Index) -> Vec<u8> {
        let folder = |at: &Index| Some(self.get(*at).folder).filter(|folder| *folder != ROOT);
        let chain: Vec<Index> = std::iter::successors(Some(index), folder).collect();
        let names: Vec<&[u8]> = chain.iter().rev().map(|at| self.name(*at)).collect();
        names.join(&b'/')
    }

    pub fn find(&self, path: &[u8]) -> Option<Index> {
        let mut found = None;
        let mut among = self.top.clone();
        for name in path.split(|byte| *byte == b'/') {
            let all = &self.all[among.start as usize..among.end as usize];
            let at = all.binary_search_by(|record| self.name_of(record).cmp(name)).ok()?;
            let index = among.start + at as u32;
            if all[at].gone {
                return None;
            }
            (found, among) = (Some(index), self.inside(index));
        }
        found
    }

    /// Returns what a folder holds, names ascending; the empty path is the context's own folder.
    pub fn children(&self, folder: &[u8]) -> impl Iterator<Item = Index> {
        self.range(folder).filter(|index| !self.get(*index).gone)
    }

    /// Goes through all below a folder: folders before what they hold, names ascending.
    pub fn below(&self, folder: &[u8]) -> Below<'_> {
        Below { records: self, path: Vec::new(), open: vec![(self.range(folder), 0)] }
    }

    fn range(&self, folder: &[u8]) -> Range<Index> {
        match folder {
            b"" => self.top.clone(),
            _ => self.find(folder).map_or(0..0, |index| self.inside(index)),
        }
    }

    fn inside(&self, index: Index) -> Range<Index> {
        match self.get(index) {
            Record { kind: Kind::Directory, numbers: [start, end], .. } => *start..*end,
            _ => 0..0,
        }
    }

    fn get(&self, index: Index) -> &Record {
        &self.all[index as usize]
    }

    fn name_of(&self, record: &Record) -> &[u8] {
        &self.texts[record.name_start as usize..][..usize::from(record.name_bytes)]
    }
}

/// Adding to them, folder by folder.
impl Records {
    /// Adds a name in `folder`; the context's own is `None`. A folder's name keeps `note` until
    /// the folder is closed.
    ///
    /// # Errors
    /// There are more names, or longer ones, than the records can hold.
    pub fn push(&mut self, folder: Option<Index>, new: &New<'_>, note: u32) -> Result<(), Errno> {
        let (kind, numbers) = match new.kind {
            NodeKind::File { size } => (Kind::File, [*size as u32, (*size >> 32) as u32]),
            NodeKind::Directory => (Kind::Directory, [note, note]),
            NodeKind::Symlink(target) => {
                let start = self.text(target)?;
                (Kind::Symlink, [start, target.len() as u32])
            }
            NodeKind::Fifo => (Kind::Fifo, [0; 2]),
            NodeKind::CharDevice { major, minor } => (Kind::CharDevice, [*major, *minor]),
            NodeKind::BlockDevice { major, minor } => (Kind::BlockDevice, [*major, *minor]),
        };
        if self.all.len() >= ROOT as usize {
            return Err(Errno::OVERFLOW);
        }
        let name_start = self.text(new.name)?;
        self.all.push(Record {
            name_start,
            folder: folder.unwrap_or(ROOT),
            numbers,
            stamp: new.stamp,
            mode: (new.mode & 0o7777) as u16,
            name_bytes: u8::try_from(new.name.len()).map_err(|_| Errno::NAMETOOLONG)?,
            kind,
            settled: new.settled,
            linked: new.linked,
            gone: false,
        });
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<u32, Errno> {
        let start = u32::try_from(self.texts.len()).map_err(|_| Errno::OVERFLOW)?;
        self.texts.extend_from_slice(text);
        Ok(start)
    }

    /// Puts in order what was added since `start`, all of it in one folder, and returns the folders
    /// among them with their notes.
    pub fn close(&mut self, folder: Option<Index>, start: usize) -> Vec<(Index, u32)> {
        let texts = &self.texts;
        let name = |record: &Record| &texts[record.name_start as usize..][..usize::from(record.name_bytes)];
        self.all[start..].sort_unstable_by(|left, right| name(left).cmp(name(right)));
        let range = start as Index..self.all.len() as Index;
        match folder {
            None => self.top = range.clone(),
            Some(folder) => self.all[folder as usize].numbers = [range.start, range.end],
        }
        let folders = range.filter(|index| self.is_folder(*index));
        let folders: Vec<_> = folders.map(|index| (index, self.get(index).numbers[0])).collect();
        // Until they are entered they are empty.
        folders.iter().for_each(|(index, _)| self.all[*index as usize].numbers = [0; 2]);
        folders
    }

    /// Finds the files that have several names here. Two names with one stamp are one file: a stamp holds the inode.
    pub fn find_names(&mut self) {
        let linked = self.all.iter().zip(0..).filter(|(record, _)| record.linked);
        let mut linked: Vec<(Stamp, Index)> = linked.map(|(record, index)| (record.stamp, index)).collect();
        linked.sort_unstable_by_key(|(stamp, index)| (stamp.0, *index));
        let files = linked.chunk_by(|(left, _), (right, _)| left == right).filter(|names| names.len() > 1);
        self.names = files.flat_map(|names| names.iter().map(|(_, name)| (*name, names[0].1))).collect();
        self.names.sort_unstable();
    }

    /// Takes away a folder in which nothing is.
    pub fn remove_if_empty(&mut self, folder: Index) {
        if self.inside(folder).all(|index| self.get(index).gone) {
            self.all[folder as usize].gone = true;
            self.gone += 1;
        }
    }
}

/// Records one after the other, with their paths below where it began.
#[derive(Debug)]
pub(super) struct Below<'a> {
    records: &'a Records,
    path: Vec<u8>,
    /// What is left of each folder, with the bytes of its path.
    open: Vec<(Range<Index>, usize)>,
}

impl Below<'_> {
    /// Goes to the next record.
    pub fn advance(&mut self) -> Option<Index> {
        loop {
            let (rest, path_bytes) = self.open.last_mut()?;
            self.path.truncate(*path_bytes);
            let Some(index) = rest.next() else {
                self.open.pop();
                continue;
            };
            if self.records.get(index).gone {
                continue;
            }
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(self.records.name(index));
            let inside = self.records.inside(index);
            if !inside.is_empty() {
                self.open.push((inside, self.path.len()));
            }
            return Some(index);
        }
    }

    /// Returns the path of the record it stands at.
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

impl Iterator for Below<'_> {
    type Item = (Index, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|index| (index, self.path.clone()))
    }
}

/// The order in which they are gone through: a folder comes directly before what it holds.
pub(super) fn order(left: &[u8], right: &[u8]) -> Ordering {
    let shared = left.iter().zip(right).position(|(left, right)| left != right);
    let rank =
        |path: &[u8], at: usize| path.get(at).map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) });
    let at = shared.unwrap_or_else(|| left.len().min(right.len()));
    rank(left, at).cmp(&rank(right, at))
}
