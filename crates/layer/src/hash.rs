//! Hashing a long stream on a thread of its own, while the caller's goes on with the same bytes.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use oci::{Digest, Hasher};

/// Up to here a thread costs more than it gives: on a busy machine every block that changes threads waits for a
/// processor twice.
const INLINE_BYTES: u64 = 8 << 20;
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that wait for the thread.
const BLOCKS_AHEAD: usize = 4;

/// Computes the digest of bytes that arrive in pieces: here while they are few, on a thread from then on.
#[derive(Debug)]
pub(crate) struct StreamHasher {
    size: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(Hasher),
    Thread { block: Vec<u8>, full: Sender<Vec<u8>>, spare: Receiver<Vec<u8>>, thread: JoinHandle<Digest> },
}

impl StreamHasher {
    /// Starts with no content.
    pub(crate) fn new() -> Self {
        Self { size: 0, place: Place::Here(Hasher::default()) }
    }

    /// Adds the next piece.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if let Place::Here(hasher) = &mut self.place {
            if self.size <= INLINE_BYTES {
                return hasher.update(bytes);
            }
            match start(hasher.clone()) {
                Some(thread) => self.place = thread,
                None => return hasher.update(bytes),
            }
        }
        let Place::Thread { block, full, spare, .. } = &mut self.place else { return };
        while !bytes.is_empty() {
            let count = bytes.len().min(BLOCK_BYTES - block.len());
            block.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if block.len() == BLOCK_BYTES {
                let next = spare.try_recv().unwrap_or_default();
                full.send(std::mem::replace(block, next)).expect("the thread listens until we are gone");
            }
        }
    }

    /// Returns the digest of all pieces.
    pub(crate) fn finish(self) -> Digest {
        match self.place {
            Place::Here(hasher) => hasher.finish(),
            Place::Thread { block, full, thread, .. } => {
                full.send(block).expect("the thread listens until we are gone");
                drop(full);
                thread.join().expect("hashing does not panic")
            }
        }
    }
}

/// Starts a thread that goes on with `hasher`; `None` where there is no second processor for it.
fn start(mut hasher: Hasher) -> Option<Place> {
    if std::thread::available_parallelism().map_or(1, usize::from) == 1 {
        return None;
    }
    let (full, blocks) = crossbeam_channel::bounded::<Vec<u8>>(BLOCKS_AHEAD);
    let (used, spare) = crossbeam_channel::bounded(BLOCKS_AHEAD + 2);
    let work = move || {
        for mut block in blocks {
            hasher.update(&block);
            block.clear();
            // More blocks than fit are not needed.
            let _ = used.try_send(block);
        }
        hasher.finish()
    };
    let thread = std::thread::Builder::new().name("layer-hash".to_owned()).spawn(work).ok()?;
    Some(Place::Thread { block: Vec::with_capacity(BLOCK_BYTES), full, spare, thread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(size: usize, piece: usize) {
        let content: Vec<u8> = (0..size).map(|number| (number / 251) as u8).collect();
        let mut hasher = StreamHasher::new();
        content.chunks(piece).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), Digest::of(&content), "{size} bytes in pieces of {piece}");
    }

    #[test]
    fn the_digest_is_that_of_the_whole() {
        check(0, 1);
        check(1 << 20, 4096);
        check((1 << 20) + 1, 1 << 20);
        check(INLINE_BYTES as usize, 100_000);
        check(INLINE_BYTES as usize + 1, 1 << 20);
        check(11_000_000, 100_000);
        check(9 << 20, 9 << 20);
        check((9 << 20) + 77, 3333);
    }

    #[test]
    fn one_that_is_given_up_leaves_nothing_behind() {
        let mut hasher = StreamHasher::new();
        hasher.update(&vec![1; 13 << 20]);
        let Place::Thread { full, thread, .. } = hasher.place else { return };
        drop(full);
        assert!(thread.join().is_ok());
    }
}
