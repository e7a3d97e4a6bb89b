//! Round trips, settings and damaged streams of every compression.

use std::io::{Cursor, Read, Write};

use oci::Compression;
use proptest::prelude::*;

use super::{Settings, compressor, decompress};

/// Returns bytes that compress a little, the same every time.
fn sample(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        let word = next();
        if word % 3 == 0 {
            bytes.extend_from_slice(&word.to_le_bytes())
        } else {
            bytes.extend_from_slice(b"the same words ")
        }
    }
    bytes.truncate(size);
    bytes
}

fn compressed(settings: Settings, content: &[u8], piece: usize) -> Vec<u8> {
    let mut output = compressor(settings, Vec::new()).unwrap();
    for piece in content.chunks(piece.max(1)) {
        output.write_all(piece).unwrap();
    }
    output.finish().unwrap()
}

fn opened(bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decompress(Cursor::new(bytes))?.read_to_end(&mut content)?;
    Ok(content)
}

const FORMATS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

#[test]
fn every_format_gives_back_what_went_in() {
    for format in FORMATS {
        for size in [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20, (11 << 20) + 3] {
            let content = sample(size);
            let bytes = compressed(Settings::new(format), &content, 100_000);
            assert_eq!(opened(bytes).unwrap(), content, "{format:?} of {size} bytes");
        }
    }
}

#[test]
fn bytes_do_not_depend_on_workers_or_pieces() {
    let content = sample(9 << 20);
    for format in [Compression::Gzip, Compression::Zstd] {
        let expected = compressed(Settings::new(format).with_workers(1), &content, content.len());
        for (workers, piece) in [(1, 4096), (2, 1_000_003), (4, 777), (3, 2 << 20)] {
            let bytes = compressed(Settings::new(format).with_workers(workers), &content, piece);
            assert!(bytes == expected, "{format:?} with {workers} workers in pieces of {piece}");
        }
    }
}

#[test]
fn any_gzip_reader_takes_our_members() {
    let content = sample((2 << 20) + 77);
    let bytes = compressed(Settings::new(Compression::Gzip), &content, 65536);
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, content);
}

#[test]
fn foreign_formats_are_told_by_their_first_bytes() {
    let content = sample(300_000);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&content).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&content).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&content).unwrap();
    let twice = [&gzip[..], &gzip].concat();
    for bytes in [gzip, xz.finish().unwrap(), bzip2.finish().unwrap(), content.clone()] {
        assert!(opened(bytes).unwrap() == content);
    }
    assert!(opened(twice).unwrap() == [&content[..], &content].concat());
    let skippable =
        [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd::encode_all(&content[..], 1).unwrap()]
            .concat();
    assert!(opened(skippable).unwrap() == content);
}

#[test]
fn truncated_streams_are_errors() {
    let content = sample(3 << 20);
    for format in [Compression::Gzip, Compression::Zstd] {
        let bytes = compressed(Settings::new(format), &content, 1 << 20);
        for keep in [bytes.len() - 1, bytes.len() - 9, bytes.len() / 2, 30] {
            assert!(opened(bytes[..keep].to_vec()).is_err(), "{format:?} cut at {keep} of {}", bytes.len());
        }
    }
}

#[test]
fn damaged_members_are_errors() {
    let bytes = compressed(Settings::new(Compression::Gzip), &sample(2 << 20), 1 << 20);
    for at in [1000, bytes.len() - 3, bytes.len() / 2, 17] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        assert!(opened(damaged).is_err(), "byte {at}");
    }
}

#[test]
fn levels_that_do_not_exist_are_refused() {
    for (format, level) in [(Compression::Gzip, 0), (Compression::Gzip, 13), (Compression::Zstd, 20)] {
        assert!(Settings::new(format).with_level(level).is_err());
    }
    assert_eq!(Settings::new(Compression::Gzip).with_level(9).unwrap().level(), 9);
}

#[test]
fn settings_are_read_and_written_as_words() {
    for (text, expected) in [("gzip", "gzip:2"), ("gzip:9", "gzip:9"), ("zstd", "zstd:3"), ("none", "none")] {
        assert_eq!(text.parse::<Settings>().unwrap().to_string(), expected);
    }
    for text in ["", "gz", "gzip:", "gzip:x", "gzip:13", "zstd:0", "none:1", "zstd:3:4"] {
        assert!(text.parse::<Settings>().is_err(), "{text}");
    }
}

#[test]
fn higher_levels_are_smaller() {
    let content = sample(2 << 20);
    let size = |level| {
        compressed(Settings::new(Compression::Gzip).with_level(level).unwrap(), &content, 1 << 20).len()
    };
    assert!(size(9) <= size(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changed_streams_never_panic(
        format in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
    ) {
        let content = sample(2000);
        let mut bytes = match format {
            0 => compressed(Settings::new(Compression::Gzip), &content, 999),
            1 => compressed(Settings::new(Compression::Zstd), &content, 999),
            2 => written(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()), &content).finish().unwrap(),
            3 => written(liblzma::write::XzEncoder::new(Vec::new(), 1), &content).finish().unwrap(),
            _ => written(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()), &content).finish().unwrap(),
        };
        let whole = bytes.clone();
        bytes.truncate(keep.index(bytes.len()) + 1);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let unchanged = bytes == whole;
        match opened(bytes) {
            // Not every byte is covered by a checksum, and a few first bytes alone are no stream.
            Ok(found) if !unchanged => prop_assert!(found.len() < 16 << 20),
            Ok(found) => prop_assert!(found == content),
            Err(_) => prop_assert!(!unchanged),
        }
    }
}

fn written<W: Write>(mut encoder: W, content: &[u8]) -> W {
    encoder.write_all(content).unwrap();
    encoder
}
