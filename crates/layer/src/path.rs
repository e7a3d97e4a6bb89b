//! Paths inside a layer: the one way a name from a tar becomes a [`LayerPath`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::LayerPath;

/// Names longer than this are refused; Linux takes paths of 4 KiB at once.
pub(crate) const MAX_PATH_BYTES: usize = 64 << 10;

/// Returns `name` relative to the root of the layer and without `.` and empty components.
/// Absolute names become relative, as every extractor does.
///
/// # Errors
/// The reason as text where the name goes up by `..`, holds a NUL byte, or is too long.
pub(crate) fn normalise(name: &[u8]) -> Result<LayerPath, &'static str> {
    if name.len() > MAX_PATH_BYTES {
        return Err("its name is longer than 64 KiB");
    }
    if name.contains(&0) {
        return Err("its name holds a NUL byte");
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("`..` in a name could lead out of the layer"),
            _ => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(component);
            }
        }
    }
    Ok(path)
}

/// Splits a path into its parent and its last component; `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

/// Returns `name` in `parent`.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> LayerPath {
    if parent.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// Returns the components of a path, last first, without the ones that mean nothing.
pub(crate) fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.rev().map(<[u8]>::to_vec).collect()
}

/// Returns a path of a layer as one of the system, for messages and for joining to a folder.
pub(crate) fn shown_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(normalise(name.as_bytes()).unwrap(), expected.as_bytes());
    }

    #[test]
    fn names_become_relative_and_plain() {
        check("a/b", "a/b");
        check("./a//b/", "a/b");
        check("/etc/passwd", "etc/passwd");
        check("///", "");
        check(".", "");
        check("a/./b/...", "a/b/...");
    }

    #[test]
    fn names_that_could_escape_are_refused() {
        for name in ["..", "../a", "a/../../b", "a/..", "/..", "a\0b"] {
            assert!(normalise(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(normalise(&vec![b'a'; MAX_PATH_BYTES + 1]).is_err());
    }

    #[test]
    fn split_and_join_are_opposites() {
        for path in ["a", "a/b", "a/b/c"] {
            let (parent, name) = split(path.as_bytes()).unwrap();
            assert_eq!(join(parent, name), path.as_bytes());
        }
        assert_eq!(split(b""), None);
    }
}
