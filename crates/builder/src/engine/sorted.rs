//! Sorting more than memory is to hold: pieces are sorted as they fill up and laid aside in one file, and merged
//! when they are read.
//!
//! What has the same key stays in the order in which it was added.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Bytes of keys and values that are sorted at a time.
const PIECE_BYTES: usize = 8 << 20;
const BUFFER_BYTES: usize = 32 << 10;

/// Keys with values, on their way to being sorted.
pub(crate) struct Sorter<'a> {
    folder: &'a Path,
    limit: usize,
    bytes: Vec<u8>,
    /// Where in `bytes` each begins, and the bytes of its key and value.
    places: Vec<(usize, u32, u32)>,
    file: Option<File>,
    /// Where in the file each piece begins and ends.
    pieces: Vec<(u64, u64)>,
}

/// What was added, in the order of keys.
pub(crate) struct Merged {
    sources: Vec<Source>,
    next: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    values: Vec<Vec<u8>>,
}

enum Source {
    File(BufReader<Slice>),
    Memory { bytes: Vec<u8>, places: std::vec::IntoIter<(usize, u32, u32)> },
}

impl<'a> Sorter<'a> {
    /// Returns a sorter that lays pieces aside in `folder`.
    pub fn new(folder: &'a Path) -> Self {
        let (bytes, places, pieces) = (Vec::new(), Vec::new(), Vec::new());
        Self { folder, limit: PIECE_BYTES, bytes, places, file: None, pieces }
    }

    #[cfg(test)]
    fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.bytes.len() + key.len() + value.len() > self.limit && !self.bytes.is_empty() {
            self.lay_aside()?;
        }
        self.places.push((self.bytes.len(), key.len() as u32, value.len() as u32));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Whether everything was and is in memory.
    pub fn is_small(&self) -> bool {
        self.pieces.is_empty()
    }

    pub fn finish(mut self) -> io::Result<Merged> {
        self.sort();
        let file = self.file.map(Arc::new);
        let piece = |(start, end): &(u64, u64)| {
            let file = Arc::clone(file.as_ref().expect("pieces lie in the file"));
            Source::File(BufReader::with_capacity(BUFFER_BYTES, Slice { file, at: *start, end: *end }))
        };
        let mut sources: Vec<Source> = self.pieces.iter().map(piece).collect();
        sources.push(Source::Memory { bytes: self.bytes, places: self.places.into_iter() });
        let values = vec![Vec::new(); sources.len()];
        let mut merged = Merged { sources, next: BinaryHeap::new(), values };
        (0..merged.sources.len()).try_for_each(|source| merged.advance(source))?;
        Ok(merged)
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |(start, key, _): &(usize, u32, u32)| &bytes[*start..*start + *key as usize];
        self.places.sort_by(|left, right| key(left).cmp(key(right)));
    }

    fn lay_aside(&mut self) -> io::Result<()> {
        self.sort();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(self.folder)?),
        };
        let start = self.pieces.last().map_or(0, |(_, end)| *end);
        let mut output = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut end = start;
        for (at, key, value) in self.places.drain(..) {
            output.write_all(&key.to_le_bytes())?;
            output.write_all(&value.to_le_bytes())?;
            let length = key as usize + value as usize;
            output.write_all(&self.bytes[at..at + length])?;
            end += 8 + length as u64;
        }
        output.flush()?;
        drop(output);
        self.pieces.push((start, end));
        self.bytes.clear();
        Ok(())
    }
}

impl Merged {
    fn advance(&mut self, at: usize) -> io::Result<()> {
        let value = &mut self.values[at];
        let key = match &mut self.sources[at] {
            Source::Memory { bytes, places } => places.next().map(|(start, key, length)| {
                let (key, rest) = bytes[start..].split_at(key as usize);
                value.clear();
                value.extend_from_slice(&rest[..length as usize]);
                key.to_vec()
            }),
            Source::File(input) => read(input, value)?,
        };
        self.next.extend(key.map(|key| Reverse((key, at))));
        Ok(())
    }
}

fn read(input: &mut BufReader<Slice>, value: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    if input.buffer().is_empty() && input.get_ref().is_empty() {
        return Ok(None);
    }
    let mut lengths = [[0; 4]; 2];
    lengths.iter_mut().try_for_each(|length| input.read_exact(length))?;
    let [key, length] = lengths.map(|length| u32::from_le_bytes(length) as usize);
    let mut bytes = vec![0; key];
    input.read_exact(&mut bytes)?;
    value.resize(length, 0);
    input.read_exact(value)?;
    Ok(Some(bytes))
}

impl Iterator for Merged {
    type Item = io::Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((key, at)) = self.next.pop()?;
        let value = std::mem::take(&mut self.values[at]);
        Some(self.advance(at).map(|()| (key, value)))
    }
}

/// A part of a file that several read at the same time.
pub(crate) struct Slice {
    pub file: Arc<File>,
    pub at: u64,
    pub end: u64,
}

impl Slice {
    fn is_empty(&self) -> bool {
        self.at >= self.end
    }
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_laid_aside_comes_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for limit in [1, 10, 100, 1 << 20] {
            let mut sorter = Sorter::new(folder.path()).with_limit(limit);
            let words = ["b", "a", "", "c", "a", "abc", "b", "a"];
            for (number, word) in words.iter().enumerate() {
                sorter.push(word.as_bytes(), number.to_string().as_bytes()).unwrap();
            }
            assert_eq!(sorter.is_small(), limit >= 100);
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let merged = sorter.finish().unwrap().map(Result::unwrap);
            let found: Vec<String> = merged.map(|(key, value)| text(key) + &text(value)).collect();
            assert_eq!(found, ["2", "a1", "a4", "a7", "abc5", "b0", "b6", "c3"], "{limit}");
        }
    }
}
