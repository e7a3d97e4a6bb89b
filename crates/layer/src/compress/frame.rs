//! Zstd in bounded memory. What a frame needs depends on the level: each thread has tables of its own, and the library
//! by itself cuts the input into jobs of four windows, of which several wait. Here jobs are of one size, windows have a
//! limit, and high levels get fewer threads. All layers of the process share what there is: one that begins waits for
//! memory, where others have taken it.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use zstd::Encoder;
use zstd::zstd_safe::CParameter;

/// Input bytes per job. A constant of the format here: changing it changes every digest.
const JOB_BYTES: u32 = 4 << 20;
/// Likewise. Only levels from 17 on would take more.
const MAX_WINDOW_LOG: u32 = 22;
const FIRST_LEVEL_WITH_LIMIT: i32 = 17;

/// What all layers of the process may take.
const MEMORY_MIB: usize = 88;
/// Jobs that are filled, or wait to be written.
const FRAME_MIB: usize = 12;
/// A job of a thread, and what it gives.
const JOB_MIB: usize = 8;

static TAKEN: Mutex<Share> = Mutex::new(Share { mib: 0, workers: 0 });
static GIVEN_BACK: Condvar = Condvar::new();

/// Compresses into a sink.
pub(super) struct ZstdWriter<W: Write> {
    encoder: Encoder<'static, W>,
    _share: Share,
}

impl<W: Write> ZstdWriter<W> {
    /// Returns a writer for a level, with up to `workers` threads.
    pub fn new(sink: W, level: i32, workers: usize) -> io::Result<Self> {
        let share = Share::take(level, workers);
        let mut encoder = Encoder::new(sink, level)?;
        encoder.include_checksum(true)?;
        // Without workers libzstd gives other bytes; with them their number does not matter.
        encoder.multithread(share.workers as u32)?;
        encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
        if level >= FIRST_LEVEL_WITH_LIMIT {
            encoder.window_log(MAX_WINDOW_LOG)?;
        }
        Ok(Self { encoder, _share: share })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes)
    }

    pub fn finish(self) -> io::Result<W> {
        self.encoder.finish()
    }
}

/// Returns what a thread of a level takes: its tables, as libzstd has them, and its job.
fn thread_mib(level: i32) -> usize {
    let tables = match level {
        ..=5 => 3,
        6..=8 => 6,
        9 => 12,
        10 | 11 => 24,
        13 | 16 => 32,
        15 => 64,
        _ => 48,
    };
    tables + JOB_MIB
}

/// What one frame has taken of what all share.
struct Share {
    mib: usize,
    workers: usize,
}

impl Share {
    /// Takes a share for a frame that would have up to `wanted` threads. It gets one at least, and no more than
    /// there are processors without a thread of another frame; for its memory it waits.
    fn take(level: i32, wanted: usize) -> Self {
        let mut taken = taken();
        loop {
            let free = super::processors().max(wanted).saturating_sub(taken.workers);
            let fitting = (MEMORY_MIB - FRAME_MIB).saturating_sub(taken.mib) / thread_mib(level);
            let workers = wanted.min(fitting).min(free).max(1);
            let mib = FRAME_MIB + workers * thread_mib(level);
            if taken.mib == 0 || taken.mib + mib <= MEMORY_MIB {
                taken.mib += mib;
                taken.workers += workers;
                return Self { mib, workers };
            }
            taken = GIVEN_BACK.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = taken();
        taken.mib -= self.mib;
        taken.workers -= self.workers;
        GIVEN_BACK.notify_all();
    }
}

fn taken() -> MutexGuard<'static, Share> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_fits() {
        for level in 1..=19 {
            assert!(FRAME_MIB + thread_mib(level) <= MEMORY_MIB, "level {level}");
        }
    }

    #[test]
    fn who_finds_no_memory_waits_for_it() {
        // More than half of all: there is never room for two.
        let most = || Share::take(15, 1);
        let one = most();
        let waiting = std::thread::spawn(most);
        assert!(taken().mib <= MEMORY_MIB);
        drop(one);
        drop(waiting.join().unwrap());
    }

    #[test]
    fn frames_share_the_processors() {
        let (first, second) = (Share::take(1, 2), Share::take(1, 2));
        assert_eq!(first.workers, 2);
        assert!(second.workers <= super::super::processors().saturating_sub(2).max(1));
        drop((first, second));
        assert!(taken().mib <= MEMORY_MIB);
    }
}
