//! Whiteouts: how a tar layer says that something of the layers below is gone.
//!
//! Source: image-spec v1.1, layer.md, "Whiteouts" and "Opaque Whiteout".

use crate::path::{join, split};
use crate::{Kind, LayerPath};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that AUFS kept its own records under; extractors leave them out.
const RESERVED: &[u8] = b".wh..wh.";

/// What a name in a tar means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The name of the entry itself.
    Plain(LayerPath),
    /// A whiteout of this path.
    Whiteout(LayerPath),
    /// This folder hides what is below it.
    Opaque(LayerPath),
    /// A record of AUFS, to be left out.
    Reserved,
}

/// Returns what the normalised name `path` means.
///
/// # Errors
/// The reason as text where a whiteout names no file.
pub(crate) fn decode(path: LayerPath) -> Result<Meaning, &'static str> {
    let Some((parent, name)) = split(&path) else { return Ok(Meaning::Plain(path)) };
    if name == OPAQUE {
        return Ok(Meaning::Opaque(parent.to_vec()));
    }
    if name.starts_with(RESERVED) {
        return Ok(Meaning::Reserved);
    }
    match name.strip_prefix(PREFIX) {
        Some(b"" | b"." | b"..") => Err("the whiteout names no file"),
        Some(hidden) => Ok(Meaning::Whiteout(join(parent, hidden))),
        None => Ok(Meaning::Plain(path)),
    }
}

/// Returns the name under which an entry stands in a tar.
///
/// # Errors
/// The reason as text where the path would be read back as something else.
pub(crate) fn encode(path: &[u8], kind: &Kind) -> Result<LayerPath, &'static str> {
    if *kind == Kind::Opaque {
        return Ok(join(path, OPAQUE));
    }
    let (parent, name) = split(path).unwrap_or_default();
    if name.starts_with(PREFIX) {
        return Err("names that begin with .wh. are whiteouts in a layer");
    }
    if *kind != Kind::Whiteout {
        return Ok(path.to_vec());
    }
    match name {
        b"" => Err("the root folder cannot be whited out"),
        _ => Ok(join(parent, &[PREFIX, name].concat())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Meaning) {
        assert_eq!(decode(name.as_bytes().to_vec()), Ok(expected));
    }

    #[test]
    fn names_are_told_apart() {
        check("a/b", Meaning::Plain(b"a/b".to_vec()));
        check("", Meaning::Plain(Vec::new()));
        check("a/.wh.b", Meaning::Whiteout(b"a/b".to_vec()));
        check(".wh.b", Meaning::Whiteout(b"b".to_vec()));
        check("a/.wh..wh..opq", Meaning::Opaque(b"a".to_vec()));
        check(".wh..wh..opq", Meaning::Opaque(Vec::new()));
        check(".wh..wh.plnk", Meaning::Reserved);
        check(".wh.a/b", Meaning::Plain(b".wh.a/b".to_vec()));
        check("a.wh.b", Meaning::Plain(b"a.wh.b".to_vec()));
    }

    #[test]
    fn whiteouts_of_nothing_are_refused() {
        for name in ["a/.wh.", ".wh..", ".wh..."] {
            assert!(decode(name.as_bytes().to_vec()).is_err(), "{name}");
        }
    }

    #[test]
    fn encode_is_the_opposite_of_decode() {
        for (path, kind) in [("a/b", Kind::Whiteout), ("b", Kind::Whiteout), ("a", Kind::Opaque)] {
            let name = encode(path.as_bytes(), &kind).unwrap();
            let expected = match kind {
                Kind::Opaque => Meaning::Opaque(path.into()),
                _ => Meaning::Whiteout(path.into()),
            };
            assert_eq!(decode(name), Ok(expected));
        }
        assert!(encode(b"a/.wh.b", &Kind::Directory).is_err());
        assert!(encode(b"", &Kind::Whiteout).is_err());
    }
}
