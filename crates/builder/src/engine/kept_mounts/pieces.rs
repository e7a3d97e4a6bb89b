//! A stream cut into pieces where its content says so, each compressed by itself into a file without a name.
//!
//! A rolling hash over the last bytes decides, so that what is inserted or taken away moves the cuts near it and no
//! others. Pieces are large: a registry and a cache service count requests.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use layer::{Compressor, Hashed, Settings};
use oci::{Compression, Descriptor};

use crate::cache::MOUNT_TYPE;

/// How large pieces are.
const SIZES: Sizes = Sizes { least: 8 << 20, more_bits: 24, most: 128 << 20 };

/// Uncompressed sizes of pieces in bytes: no less, on average two to the power of this more, no more.
#[derive(Clone, Copy)]
struct Sizes {
    least: usize,
    more_bits: u32,
    most: usize,
}

/// A number for each byte, by a generator with a fixed start: cuts must be the same everywhere.
const GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let mut numbers = [0; 256];
    let mut state: u64 = 0x706c_696d_736f_6c6c;
    let mut at = 0;
    while at < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        numbers[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    numbers
}

/// A piece and the file that has it.
#[derive(Debug)]
pub(super) struct Piece {
    pub descriptor: Descriptor,
    pub file: File,
}

/// Is written a stream and cuts it.
pub(super) struct Pieces {
    folder: PathBuf,
    sizes: Sizes,
    open: Option<Compressor<Hashed<File>>>,
    /// Bytes of the open piece.
    length: usize,
    hash: u64,
    done: Vec<Piece>,
}

impl Pieces {
    /// Returns a cutter whose files are on the file system of `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), sizes: SIZES, open: None, length: 0, hash: 0, done: Vec::new() }
    }

    /// Returns all pieces in their order.
    ///
    /// # Errors
    /// The last cannot be written.
    pub fn finish(mut self) -> io::Result<Vec<Piece>> {
        self.close()?;
        Ok(self.done)
    }

    fn open(&mut self) -> io::Result<&mut Compressor<Hashed<File>>> {
        if self.open.is_none() {
            let file = tempfile::tempfile_in(&self.folder)?;
            let sink = Hashed::new(file);
            // It is done beside other work and must not take the processors from it.
            let settings = Settings::new(Compression::Zstd).with_workers(1);
            self.open = Some(layer::compressor(settings, sink)?);
            self.length = 0;
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (file, digest, size) = open.finish()?.finish();
        let descriptor = Descriptor::new(MOUNT_TYPE.into(), digest, size);
        self.done.push(Piece { descriptor, file });
        Ok(())
    }

    /// Returns how many of `bytes` belong to the open piece, and whether it ends with them.
    fn cut(&mut self, bytes: &[u8]) -> (usize, bool) {
        let Sizes { least, more_bits, most } = self.sizes;
        for (at, byte) in bytes.iter().enumerate() {
            self.hash = (self.hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
            let length = self.length + at + 1;
            // The upper bits are those that the last 64 bytes decide.
            if length >= most || length >= least && self.hash >> (u64::BITS - more_bits) == 0 {
                return (at + 1, true);
            }
        }
        (bytes.len(), false)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?;
        let (count, ends) = self.cut(bytes);
        self.open()?.write_all(&bytes[..count])?;
        self.length += count;
        if ends {
            self.close()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    fn noise(seed: u64, count: usize) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        std::iter::repeat_with(next).take(count / 8).flat_map(u64::to_le_bytes).collect()
    }

    fn pieces(parts: &[&[u8]]) -> Vec<Piece> {
        let folder = tempfile::tempdir().unwrap();
        let mut pieces = Pieces::new(folder.path());
        pieces.sizes = Sizes { least: 8 << 10, more_bits: 14, most: 128 << 10 };
        parts.iter().for_each(|part| pieces.write_all(part).unwrap());
        pieces.finish().unwrap()
    }

    #[test]
    fn a_change_moves_the_cuts_near_it_and_no_others() {
        let (head, tail) = (noise(7, 20 << 10), noise(9, 400 << 10));
        let before = pieces(&[&head, &tail]);
        let after = pieces(&[&head, b"something new", &tail]);
        assert!(before.len() > 2, "{}", before.len());
        let same = |piece: &&Piece| after.iter().any(|other| other.descriptor == piece.descriptor);
        let kept = before.iter().filter(same).count();
        assert!(kept >= before.len() / 2, "{kept} of {}", before.len());
    }

    #[test]
    fn pieces_hold_the_stream() {
        let (head, tail) = (noise(7, 12 << 10), noise(9, 300 << 10));
        let mut whole = Vec::new();
        for Piece { descriptor, mut file } in pieces(&[&head, &tail]) {
            file.rewind().unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert_eq!(Descriptor::of(MOUNT_TYPE.into(), &bytes), descriptor);
            layer::decompress(io::Cursor::new(bytes)).unwrap().read_to_end(&mut whole).unwrap();
        }
        assert!(whole == [head, tail].concat());
        assert!(pieces(&[]).is_empty());
    }
}
