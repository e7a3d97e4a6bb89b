//! Reading a stream on a thread of its own, a few blocks ahead: decompression and what is done with its
//! result then share the time.

use std::io::{self, Read};

use crossbeam_channel::{Receiver, Sender};

const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that wait between the two threads.
const BLOCKS_AHEAD: usize = 4;

/// The reading end. When it is dropped the thread ends with the block it is at.
pub(crate) struct ReadAhead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    spare: Sender<Vec<u8>>,
    block: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl ReadAhead {
    /// Starts to read `input`.
    pub(crate) fn new(input: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, blocks) = crossbeam_channel::bounded(BLOCKS_AHEAD);
        let (spare, spares) = crossbeam_channel::bounded(BLOCKS_AHEAD);
        let read = move || read_blocks(input, &sender, &spares);
        std::thread::Builder::new().name("layer-read".to_owned()).spawn(read)?;
        Ok(Self { blocks, spare, block: io::Cursor::default(), ended: false })
    }

    fn next_block(&mut self) -> io::Result<()> {
        let next =
            self.blocks.recv().unwrap_or_else(|_| Err(io::Error::other("the reading thread ended early")));
        self.ended = next.as_ref().map_or(true, Vec::is_empty);
        let used = std::mem::replace(&mut self.block, io::Cursor::new(next?));
        // Where enough spare blocks wait, or the thread has ended, it is not needed.
        let _ = self.spare.try_send(used.into_inner());
        Ok(())
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() || self.ended {
                return Ok(count);
            }
            self.next_block()?;
        }
    }
}

/// Sends blocks until the input ends, which an empty block says, or fails, or nobody listens.
fn read_blocks(mut input: impl Read, blocks: &Sender<io::Result<Vec<u8>>>, spares: &Receiver<Vec<u8>>) {
    loop {
        let mut block = spares.try_recv().unwrap_or_default();
        block.clear();
        let read = (&mut input).take(BLOCK_BYTES as u64).read_to_end(&mut block);
        let last = read.as_ref().map_or(true, |count| *count == 0);
        if !block.is_empty() && read.is_err() && blocks.send(Ok(std::mem::take(&mut block))).is_err() {
            return;
        }
        if blocks.send(read.map(|_| block)).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 7) as u8).collect();
        let mut found = Vec::new();
        ReadAhead::new(io::Cursor::new(content.clone())).unwrap().read_to_end(&mut found).unwrap();
        assert!(found == content);
    }

    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "broken"));
            }
            let count = self.0.min(buffer.len());
            self.0 -= count;
            buffer[..count].fill(1);
            Ok(count)
        }
    }

    #[test]
    fn what_was_read_before_an_error_arrives_before_it() {
        let mut found = Vec::new();
        let error = ReadAhead::new(Failing(300_000)).unwrap().read_to_end(&mut found).unwrap_err();
        assert_eq!((found.len(), error.kind()), (300_000, io::ErrorKind::InvalidData));
    }

    #[test]
    fn an_endless_stream_may_be_left() {
        let mut reader = ReadAhead::new(io::repeat(5)).unwrap();
        let mut some = [0; 1000];
        reader.read_exact(&mut some).unwrap();
        assert_eq!(some, [5; 1000]);
    }
}
