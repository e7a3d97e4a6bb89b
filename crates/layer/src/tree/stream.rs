//! A merged view on its way to another process: blocks of entries, each after its length; one of no length ends it.
//! What the layers hid, and which of them an entry is of, is not told.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Mutex;

use super::merge::Merge;
use super::slots::Slots;
use super::{Node, Tree};
use crate::entry::Entry;
use crate::index::encoding::{Cursor, put_entry};

const BLOCK_BYTES: usize = 32 << 10;
/// An entry is kept whole.
const MAX_BLOCK_BYTES: usize = 32 << 20;

impl Tree {
    /// Writes the view.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_to(&self, mut output: impl Write) -> io::Result<()> {
        let mut block = vec![0; 4];
        let mut before = Vec::new();
        for (path, Node { content, .. }) in self.walk(b"") {
            let entry = Entry { path, ..Entry::clone(&content) };
            put_entry(&mut block, &before, &entry);
            before = entry.path;
            if block.len() > BLOCK_BYTES {
                write_block(&mut output, &mut block)?;
                before.clear();
            }
        }
        if block.len() > 4 {
            write_block(&mut output, &mut block)?;
        }
        write_block(&mut output, &mut block)
    }

    /// Reads the view that [`Self::write_to`] wrote and not a byte more, as one layer. Much of it is kept in a
    /// file in `folder`.
    ///
    /// # Errors
    /// `InvalidData` where it is something else, and those of `input`.
    pub fn read_from(mut input: impl Read, folder: &Path) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the view of layers is damaged");
        let mut slots = Slots::new(Some(folder));
        let mut merge = Merge::new(&mut slots, 0);
        let mut block = Vec::new();
        loop {
            let mut length = [0; 4];
            input.read_exact(&mut length)?;
            let length = u32::from_le_bytes(length) as usize;
            if length > MAX_BLOCK_BYTES {
                return Err(damaged());
            }
            block.clear();
            if (&mut input).take(length as u64).read_to_end(&mut block)? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if block.is_empty() {
                break;
            }
            let (mut cursor, mut before) = (Cursor(&block), Vec::new());
            while !cursor.0.is_empty() {
                let entry = cursor.entry(&before).ok_or_else(damaged)?;
                merge.place(&entry);
                before = entry.path;
            }
        }
        Ok(Self { layers: 1, slots: Mutex::new(slots) })
    }
}

fn write_block(output: &mut impl Write, block: &mut Vec<u8>) -> io::Result<()> {
    let length = (block.len() - 4) as u32;
    block[..4].copy_from_slice(&length.to_le_bytes());
    output.write_all(block)?;
    block.truncate(4);
    Ok(())
}
