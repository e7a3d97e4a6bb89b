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

static TAKEN_MIB: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// Compresses into a sink.
pub(super) struct ZstdWriter<W: Write> {
    encoder: Encoder<'static, W>,
    _memory: Memory,
}

impl<W: Write> ZstdWriter<W> {
    /// Returns a writer for a level, with up to `workers` threads.
    pub fn new(sink: W, level: i32, workers: usize) -> io::Result<Self> {
        let workers = workers.min((MEMORY_MIB - FRAME_MIB) / thread_mib(level)).max(1);
        let memory = Memory::take(FRAME_MIB + workers * thread_mib(level));
        let mut encoder = Encoder::new(sink, level)?;
        encoder.include_checksum(true)?;
        // Without workers libzstd gives other bytes; with them their number does not matter.
        encoder.multithread(workers as u32)?;
        encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
        if level >= FIRST_LEVEL_WITH_LIMIT {
            encoder.window_log(MAX_WINDOW_LOG)?;
        }
        Ok(Self { encoder, _memory: memory })
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

/// Memory that one frame has taken.
struct Memory(usize);

impl Memory {
    fn take(mib: usize) -> Self {
        let is_full = |taken: &mut usize| *taken > 0 && *taken + mib > MEMORY_MIB;
        let taken = GIVEN_BACK.wait_while(taken(), is_full);
        *taken.unwrap_or_else(PoisonError::into_inner) += mib;
        Self(mib)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        *taken() -= self.0;
        GIVEN_BACK.notify_all();
    }
}

fn taken() -> MutexGuard<'static, usize> {
    TAKEN_MIB.lock().unwrap_or_else(PoisonError::into_inner)
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
        let all = Memory::take(MEMORY_MIB);
        let waiting = std::thread::spawn(|| drop(Memory::take(1)));
        assert!(*taken() >= MEMORY_MIB);
        drop(all);
        waiting.join().unwrap();
    }
}
