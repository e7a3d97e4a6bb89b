//! Compression of layers while they stream, on several threads, with the same bytes whatever the
//! number of threads, and decompression of whatever others use.
//!
//! | format | what is written |
//! |---|---|
//! | none | the tar as it is |
//! | gzip | one member per MiB of input, made by libdeflate; each names its own length (see `gzip`) |
//! | zstd | one frame with a checksum, in libzstd's multi-threaded form even where one thread works (see `frame`) |
//!
//! Source: RFC 1952 (gzip), RFC 8878 (zstd).

mod ahead;
mod backlog;
mod decompress;
mod frame;
mod gzip;
mod ordered;
mod pool;
mod told;

use std::io::{self, Write};

use oci::Compression;

pub use decompress::{Format, decompress};
use frame::ZstdWriter;
use gzip::GzipWriter;
pub use told::told_bytes;

use crate::error::LayerError;

/// At most this many threads work for one layer; more do not pay against disk and hashing.
const MAX_WORKERS: usize = 16;

const GZIP_LEVELS: (i32, i32) = (1, 12);
const ZSTD_LEVELS: (i32, i32) = (1, 19);
const DEFAULT_GZIP_LEVEL: i32 = 2;
const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// How to compress. Format and level decide the bytes, the number of workers does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    format: Compression,
    level: i32,
    workers: usize,
}

impl Settings {
    /// Returns the default level of `format` with a worker for every processor.
    pub fn new(format: Compression) -> Self {
        let level = match format {
            Compression::None => 0,
            Compression::Gzip => DEFAULT_GZIP_LEVEL,
            Compression::Zstd => DEFAULT_ZSTD_LEVEL,
        };
        Self { format, level, workers: processors() }
    }

    /// Returns these settings with another level: 1 to 12 for gzip, 1 to 19 for zstd. Without
    /// compression the level is of no meaning.
    ///
    /// # Errors
    /// `Level` where the format does not have it.
    pub fn with_level(self, level: i32) -> Result<Self, LayerError> {
        let (format, (lowest, highest)) = match self.format {
            Compression::None => return Ok(self),
            Compression::Gzip => ("gzip", GZIP_LEVELS),
            Compression::Zstd => ("zstd", ZSTD_LEVELS),
        };
        if !(lowest..=highest).contains(&level) {
            return Err(LayerError::Level { format, level, lowest, highest });
        }
        Ok(Self { level, ..self })
    }

    /// Returns these settings with another number of threads, at least one.
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers: workers.clamp(1, MAX_WORKERS), ..self }
    }

    /// Returns the format.
    pub fn format(&self) -> Compression {
        self.format
    }

    /// Returns the level; 0 without compression.
    pub fn level(&self) -> i32 {
        self.level
    }
}

/// `FORMAT` or `FORMAT:LEVEL`: `gzip`, `zstd:9`, `none`.
impl std::str::FromStr for Settings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, level) = match text.split_once(':') {
            Some((format, level)) => (format, Some(level)),
            None => (text, None),
        };
        let unknown = || {
            format!("{text:?} is no compression; there are gzip, zstd and none, with a level as in zstd:9")
        };
        let settings = Self::new(match format {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            "none" | "uncompressed" => Compression::None,
            _ => return Err(unknown()),
        });
        match level {
            None => Ok(settings),
            Some(_) if settings.format == Compression::None => Err(unknown()),
            Some(level) => {
                let level = level.parse().map_err(|_| unknown())?;
                settings.with_level(level).map_err(|error| error.to_string())
            }
        }
    }
}

/// As it is read; the number of workers is not part of it.
impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.format {
            Compression::None => f.write_str("none"),
            Compression::Gzip => write!(f, "gzip:{}", self.level),
            Compression::Zstd => write!(f, "zstd:{}", self.level),
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

/// Compresses what is written to it into a sink.
pub struct Compressor<W: Write>(Kind<W>);

enum Kind<W: Write> {
    Plain(W),
    Gzip(GzipWriter<W>),
    Zstd(Box<ZstdWriter<W>>),
}

/// Returns a compressor into `sink`.
///
/// # Errors
/// Where the zstd library has no memory.
///
/// Waits where other frames have taken the memory that zstd may use: who has several compressors must not need them to
/// end one after the other.
pub fn compressor<W: Write>(settings: Settings, sink: W) -> io::Result<Compressor<W>> {
    Ok(Compressor(match settings.format {
        Compression::None => Kind::Plain(sink),
        Compression::Gzip => Kind::Gzip(GzipWriter::new(sink, settings.level, settings.workers)),
        Compression::Zstd => Kind::Zstd(Box::new(ZstdWriter::new(sink, settings.level, settings.workers)?)),
    }))
}

impl<W: Write> Compressor<W> {
    /// Writes the end of the compressed stream and returns the sink, which is not flushed.
    ///
    /// # Errors
    /// Where the sink fails.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Kind::Plain(sink) => Ok(sink),
            Kind::Gzip(gzip) => gzip.finish(),
            Kind::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(sink) => sink.write(bytes),
            Kind::Gzip(gzip) => gzip.write(bytes),
            Kind::Zstd(zstd) => zstd.write(bytes),
        }
    }

    /// Does nothing: cutting blocks short would make the bytes depend on who flushes when.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> std::fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Plain(_) => "Compressor(none)",
            Kind::Gzip(_) => "Compressor(gzip)",
            Kind::Zstd(_) => "Compressor(zstd)",
        })
    }
}

#[cfg(test)]
mod tests;
