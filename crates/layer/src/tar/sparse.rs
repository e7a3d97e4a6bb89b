//! Sparse files of GNU tar: a map says where the bytes in the archive belong, the rest is zeros.
//!
//! | form | the map is |
//! |---|---|
//! | old GNU, type `S` | in the header, and in blocks behind it where it is long |
//! | pax 0.0 | records `GNU.sparse.offset` and `.numbytes` in turn |
//! | pax 0.1 | the record `GNU.sparse.map`, numbers between commas |
//! | pax 1.0 | decimal lines at the beginning of the content, padded to a block |
//!
//! Only pulling readers expand them: a layer's index says where content lies, and theirs lies nowhere.
//! Source: GNU tar manual, "Storing Sparse Files".

use super::header::{BLOCK, Field, Header};

/// Maps of more pieces than this are refused.
const MAX_SEGMENTS: usize = 1 << 20;
/// Files that become larger than this are refused: a few bytes could fill any disk.
const MAX_BYTES: u64 = 64 << 30;

/// A piece of content that is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its place in the file.
    offset: u64,
    length: u64,
}

/// What a file looks like: pieces in ascending order with zeros between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    segments: Vec<Segment>,
    size: u64,
}

impl Map {
    /// Returns the size of the file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the map where its pieces lie in the file one after the other and are what is `stored`.
    fn checked(segments: Vec<Segment>, size: u64, stored: u64) -> Result<Self, &'static str> {
        let (mut end, mut sum) = (0, 0);
        for segment in &segments {
            if segment.offset < end {
                return Err("the pieces of the sparse file overlap");
            }
            end = segment.offset.checked_add(segment.length).ok_or("the sparse file is too large")?;
            sum += segment.length;
        }
        if end > size {
            return Err("the pieces of the sparse file lie behind its end");
        }
        if size > MAX_BYTES {
            return Err("the sparse file is larger than 64 GiB");
        }
        if sum != stored {
            return Err("the pieces of the sparse file are not what is stored");
        }
        Ok(Self { segments, size })
    }
}

/// What the records of the pax forms say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseRecords {
    pub(crate) name: Option<Vec<u8>>,
    size: u64,
    segments: Vec<Segment>,
    offset: Option<u64>,
    major: u64,
}

impl SparseRecords {
    /// Takes a record whose key begins with `GNU.sparse.`, which `key` is without.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = decimal(value)?,
            b"major" => self.major = decimal(value)?,
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or("a sparse file has a length without an offset")?;
                push(&mut self.segments, offset, decimal(value)?)?;
            }
            b"map" => {
                let numbers: Vec<&[u8]> = value.split(|byte| *byte == b',').collect();
                let (pairs, rest) = numbers.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err("the map of a sparse file has an odd number of numbers");
                }
                self.segments.clear();
                for [offset, length] in pairs {
                    push(&mut self.segments, decimal(offset)?, decimal(length)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn push(segments: &mut Vec<Segment>, offset: u64, length: u64) -> Result<(), &'static str> {
    if segments.len() == MAX_SEGMENTS {
        return Err("the sparse file has more than a million pieces");
    }
    segments.push(Segment { offset, length });
    Ok(())
}

fn decimal(digits: &[u8]) -> Result<u64, &'static str> {
    const BROKEN: &str = "a number of a sparse file is not decimal";
    let text = std::str::from_utf8(digits).map_err(|_| BROKEN)?;
    text.parse().ok().filter(|number: &u64| number >> 62 == 0).ok_or(BROKEN)
}

/// A map that is being read.
#[derive(Debug)]
pub(super) struct MapReader {
    segments: Vec<Segment>,
    size: u64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Everything is read.
    Complete,
    /// Another block of pairs of numbers follows.
    Blocks,
    /// Blocks of lines follow: how many numbers are still to come, where that is known, and what has
    /// come of the line and the pair.
    Lines { missing: Option<u64>, line: Vec<u8>, offset: Option<u64> },
}

const OLD_MAP: usize = 386;
const OLD_PAIRS: usize = 4;
const OLD_CONTINUES: usize = 482;
const OLD_SIZE: Field = Field(483, 12);
const PAIR_BYTES: usize = 24;
const BLOCK_PAIRS: usize = 21;
const BLOCK_CONTINUES: usize = 504;

impl MapReader {
    /// Starts with the header of the old form.
    pub(super) fn old(header: &Header<'_>) -> Result<Self, &'static str> {
        let size = u64::try_from(header.number(OLD_SIZE)?).map_err(|_| "the sparse file has no size")?;
        let mut reader = Self { segments: Vec::new(), size, form: Form::Complete };
        reader.pairs(header, OLD_MAP, OLD_PAIRS, OLD_CONTINUES)?;
        Ok(reader)
    }

    /// Starts with what the records of a pax form say.
    pub(super) fn pax(records: SparseRecords) -> Self {
        let form = match records.major {
            0 => Form::Complete,
            _ => Form::Lines { missing: None, line: Vec::new(), offset: None },
        };
        Self { segments: records.segments, size: records.size, form }
    }

    /// Whether the next block belongs to the map.
    pub(super) fn wants_block(&self) -> bool {
        !matches!(self.form, Form::Complete)
    }

    /// Whether the blocks of the map count as content.
    pub(super) fn is_in_content(&self) -> bool {
        matches!(self.form, Form::Lines { .. })
    }

    /// Takes the next block.
    pub(super) fn block(&mut self, block: &[u8; BLOCK]) -> Result<(), &'static str> {
        match self.form {
            Form::Complete => Ok(()),
            Form::Blocks => self.pairs(&Header::unchecked(block), 0, BLOCK_PAIRS, BLOCK_CONTINUES),
            Form::Lines { .. } => block.iter().try_for_each(|byte| self.character(*byte)),
        }
    }

    /// Returns the map of a file of which `stored` bytes follow.
    pub(super) fn finish(self, stored: u64) -> Result<Map, &'static str> {
        Map::checked(self.segments, self.size, stored)
    }

    fn pairs(
        &mut self,
        block: &Header<'_>,
        at: usize,
        count: usize,
        continues: usize,
    ) -> Result<(), &'static str> {
        for pair in 0..count {
            let at = at + pair * PAIR_BYTES;
            let (offset, length) = (Field(at, 12), Field(at + 12, 12));
            if block.is_empty(offset) && block.is_empty(length) {
                break;
            }
            let number =
                |field| u64::try_from(block.number(field)?).map_err(|_| "a sparse file goes below zero");
            push(&mut self.segments, number(offset)?, number(length)?)?;
        }
        self.form = if block.byte(continues) == 0 { Form::Complete } else { Form::Blocks };
        Ok(())
    }

    fn character(&mut self, byte: u8) -> Result<(), &'static str> {
        let Form::Lines { missing, line, offset } = &mut self.form else { return Ok(()) };
        if byte != b'\n' {
            line.push(byte);
            return if line.len() > 20 { Err("a number of a sparse file is too long") } else { Ok(()) };
        }
        let number = decimal(line)?;
        line.clear();
        let left = match (*missing, offset.take()) {
            (None, _) => number.checked_mul(2).ok_or("the sparse file has too many pieces")?,
            (Some(left), None) => {
                *offset = Some(number);
                left - 1
            }
            (Some(left), Some(offset)) => {
                push(&mut self.segments, offset, number)?;
                left - 1
            }
        };
        *missing = Some(left);
        if left == 0 {
            // The rest of the block is padding.
            self.form = Form::Complete;
        }
        Ok(())
    }
}

/// What comes next of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// So many zeros.
    Zeros(u64),
    /// So many bytes of the archive.
    Stored(u64),
}

/// A place in a sparse file.
#[derive(Debug)]
pub(super) struct Expansion {
    segments: std::vec::IntoIter<Segment>,
    size: u64,
    at: u64,
}

impl Expansion {
    pub(super) fn new(map: Map) -> Self {
        Self { segments: map.segments.into_iter(), size: map.size, at: 0 }
    }

    /// Returns what comes next; `None` at the end.
    pub(super) fn run(&mut self) -> Option<Run> {
        loop {
            match self.segments.as_slice().first() {
                Some(segment) if self.at < segment.offset => {
                    return Some(Run::Zeros(segment.offset - self.at));
                }
                Some(segment) if self.at < segment.offset + segment.length => {
                    return Some(Run::Stored(segment.offset + segment.length - self.at));
                }
                Some(_) => _ = self.segments.next(),
                None => return (self.at < self.size).then(|| Run::Zeros(self.size - self.at)),
            }
        }
    }

    /// Goes on by `count` bytes of the run.
    pub(super) fn advance(&mut self, count: u64) {
        self.at += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(records: &[(&str, &str)], blocks: &[&str], stored: u64, expected: Result<&[Run], &str>) {
        let found = (|| {
            let mut sparse = SparseRecords::default();
            for (key, value) in records {
                sparse.set(key.as_bytes(), value.as_bytes())?;
            }
            let mut reader = MapReader::pax(sparse);
            for text in blocks {
                assert!(reader.wants_block());
                let mut block = [0; BLOCK];
                block[..text.len()].copy_from_slice(text.as_bytes());
                reader.block(&block)?;
            }
            assert!(!reader.wants_block());
            reader.finish(stored)
        })();
        let runs = found.map(|map| {
            let mut expansion = Expansion::new(map);
            let mut runs = Vec::new();
            while let Some(run) = expansion.run() {
                let (Run::Zeros(count) | Run::Stored(count)) = run;
                expansion.advance(count);
                runs.push(run);
            }
            runs
        });
        assert_eq!(runs.as_deref().map_err(|reason| *reason), expected);
    }

    #[test]
    fn the_pax_forms_are_read() {
        use Run::{Stored, Zeros};
        let expected: &[Run] = &[Zeros(10), Stored(5), Zeros(5), Stored(2), Zeros(78)];
        let pairs =
            [("size", "100"), ("offset", "10"), ("numbytes", "5"), ("offset", "20"), ("numbytes", "2")];
        check(&pairs, &[], 7, Ok(expected));
        check(&[("size", "100"), ("map", "10,5,20,2")], &[], 7, Ok(expected));
        check(&[("major", "1"), ("realsize", "100")], &["2\n10\n5\n20\n2\n"], 7, Ok(expected));
        check(&[("major", "1"), ("realsize", "3")], &["0\n"], 0, Ok(&[Zeros(3)]));
        check(&[("size", "0"), ("map", "0,0")], &[], 0, Ok(&[]));
    }

    #[test]
    fn lines_may_be_cut_by_blocks() {
        let pairs: String = (0..100).map(|at| format!("{}\n1\n", 2 * at)).collect();
        let text = format!("100\n{pairs}");
        let (first, second) = text.split_at(BLOCK);
        let expected = [Run::Stored(1), Run::Zeros(1)].repeat(100);
        check(&[("major", "1"), ("realsize", "200")], &[first, second], 100, Ok(&expected));
    }

    #[test]
    fn maps_that_lie_are_refused() {
        check(&[("size", "9"), ("map", "0,5,4,5")], &[], 10, Err("the pieces of the sparse file overlap"));
        check(
            &[("size", "8"), ("map", "0,5,5,5")],
            &[],
            10,
            Err("the pieces of the sparse file lie behind its end"),
        );
        check(
            &[("size", "9"), ("map", "0,5")],
            &[],
            6,
            Err("the pieces of the sparse file are not what is stored"),
        );
        check(&[("size", "99999999999")], &[], 0, Err("the sparse file is larger than 64 GiB"));
        check(&[("map", "0,5,1")], &[], 5, Err("the map of a sparse file has an odd number of numbers"));
        check(&[("numbytes", "5")], &[], 5, Err("a sparse file has a length without an offset"));
        check(&[("map", "a,b")], &[], 5, Err("a number of a sparse file is not decimal"));
        check(
            &[("major", "1")],
            &["123456789012345678901234"],
            0,
            Err("a number of a sparse file is too long"),
        );
    }
}
