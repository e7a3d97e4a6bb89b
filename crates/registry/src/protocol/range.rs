//! Ranges of bytes: of a blob that is read, of a chunk that is sent, of what a session has.
//! Source: RFC 9110, "Range"; distribution-spec v1.1, "Pushing a blob in chunks".

use std::fmt;
use std::str::FromStr;

/// What a `Range: bytes=...` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first offset on, up to and with the last one where it is given.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

impl ByteRange {
    /// Reads the header. `None` for other units, several ranges, or nonsense: RFC 9110 has a
    /// server ignore those and send everything.
    pub fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match (first.trim(), last.trim()) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?, None)),
            (first, last) => Some(Self::From(number(first)?, Some(number(last)?))),
        }
    }

    /// Returns offset and length within content of `size` bytes; `None` where nothing of it is
    /// there, which is answered with 416.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let (first, last) = match self {
            Self::From(first, last) => (first, last.unwrap_or(u64::MAX)),
            Self::Last(count) => {
                (size.saturating_sub(count), if count == 0 { return None } else { u64::MAX })
            }
        };
        let last = last.min(size.checked_sub(1)?);
        if first > last {
            return None;
        }
        Some((first, last - first + 1))
    }
}

/// First and last offset, as `Content-Range` of a chunk and `Range` of a session write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, which belongs to the range.
    pub last: u64,
}

impl ChunkRange {
    /// Returns the range of `length` bytes from `offset` on. A range of nothing cannot be written;
    /// for that servers write `0-0`, as the distribution project always did.
    pub fn new(offset: u64, length: u64) -> Self {
        Self { first: offset, last: (offset + length).saturating_sub(1).max(offset) }
    }

    /// Returns how many bytes the range has.
    pub fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for ChunkRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The text is not `FIRST-LAST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range is not FIRST-LAST")]
pub struct InvalidRange;

impl FromStr for ChunkRange {
    type Err = InvalidRange;

    /// Reads `FIRST-LAST`, also with `bytes=` or `bytes ` before and `/SIZE` behind, as some
    /// clients and servers write it.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let text = text.trim();
        let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
        let text = text.split_once('/').map_or(text, |(range, _)| range);
        let (first, last) = text.split_once('-').ok_or(InvalidRange)?;
        let number = |text: &str| text.trim().parse().map_err(|_| InvalidRange);
        let range = Self { first: number(first)?, last: number(last)? };
        if range.first > range.last { Err(InvalidRange) } else { Ok(range) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(header: &str, size: u64, expected: Option<(u64, u64)>) {
        assert_eq!(ByteRange::parse(header).and_then(|range| range.within(size)), expected, "{header}");
    }

    #[test]
    fn ranges_of_a_blob() {
        check("bytes=500-1499", 2000, Some((500, 1000)));
        check("bytes=500-", 2000, Some((500, 1500)));
        check("bytes=-500", 2000, Some((1500, 500)));
        check("bytes=-5000", 2000, Some((0, 2000)));
        check("bytes=0-9999", 2000, Some((0, 2000)));
        check("bytes=500-0", 2000, None);
        check("bytes=2000-", 2000, None);
        check("bytes=-0", 2000, None);
        check("bytes=0-", 0, None);
        assert_eq!(ByteRange::parse("items=0-1"), None);
        assert_eq!(ByteRange::parse("bytes=0-1,3-4"), None);
    }

    #[test]
    fn chunks_in_every_spelling() {
        let expected = Ok(ChunkRange { first: 5, last: 9 });
        for text in ["5-9", "bytes=5-9", "bytes 5-9/20", " 5 - 9 "] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["", "9-5", "5-", "a-b", "-5"] {
            assert_eq!(text.parse::<ChunkRange>(), Err(InvalidRange), "{text}");
        }
        assert_eq!(ChunkRange::new(5, 5), ChunkRange { first: 5, last: 9 });
        assert_eq!(ChunkRange::new(0, 0).to_string(), "0-0");
        assert_eq!(ChunkRange::new(5, 5).length(), 5);
    }

    proptest! {
        #[test]
        fn what_is_within_is_within(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Some((offset, length)) = ByteRange::parse(&header).and_then(|range| range.within(size)) {
                prop_assert!(length > 0 && offset.checked_add(length).is_some_and(|end| end <= size));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<ChunkRange>();
            let _ = ByteRange::parse(&text);
        }
    }
}
