//! Documents that hosts write about events, read with bounds.
//!
//! Bytes that are no text become U+FFFD, as they do in names that come from git: a name is made
//! into a tag by `identity`, and an ugly one must not stop a build.

use std::io::{self, Read as _};
use std::path::Path;

use pipeline::event::{CommitId, InvalidCommitId};
use serde_json::Value;

/// The largest document, in bytes: what GitHub sends at most.
pub(crate) const MAX_BYTES: u64 = 25 << 20;

/// How much of somebody's text an error repeats, in characters.
const SHOWN: usize = 200;

/// Reads a file of at most [`MAX_BYTES`].
///
/// # Errors
/// As of the file; `InvalidData` where it is larger.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("it is larger than {} MiB", MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(bytes)
}

/// Reads JSON; nothing but blanks is `null`.
///
/// # Errors
/// What is wrong with it, with line and column.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

/// Returns the text at a JSON pointer, where there is one and it is not empty.
pub(crate) fn text_at<'a>(document: &'a Value, pointer: &str) -> Option<&'a str> {
    document.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// Reads a commit id. An id of zeros is none: hosts write it where there is no commit.
///
/// # Errors
/// A text that is neither.
pub(crate) fn commit(text: &str) -> Result<Option<CommitId>, InvalidCommitId> {
    if !text.is_empty() && text.bytes().all(|byte| byte == b'0') {
        return Ok(None);
    }
    text.parse().map(Some)
}

/// Returns `text` in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_hosts_and_editors_write() {
        assert_eq!(parse(b" \n").unwrap(), Value::Null);
        assert_eq!(parse(b"\xef\xbb\xbf{}").unwrap(), serde_json::json!({}));
        assert_eq!(parse(b"\"caf\xe9\"").unwrap(), "caf\u{fffd}");
        assert!(parse(b"{").unwrap_err().contains("it is not JSON: EOF"));
        // Depth is bounded by the reader, not by the stack.
        assert!(parse("[".repeat(100_000).as_bytes()).unwrap_err().contains("recursion"));
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert_eq!(read(file.path()).unwrap_err().to_string(), "it is larger than 25 MiB");
    }

    #[test]
    fn zeros_are_no_commit() {
        assert_eq!(commit(&"0".repeat(40)), Ok(None));
        assert!(commit(&"a".repeat(40)).unwrap().is_some());
        assert!(commit("").is_err() && commit("abc").is_err());
        assert_eq!(quoted(&"é".repeat(300)).chars().count(), 205);
    }
}
