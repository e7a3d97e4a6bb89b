//! The entries that a COPY or ADD comes to, in the order in which they are written: in memory while they are few,
//! in a file without a name where they are many.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::Arc;

use layer::Entry;

use super::items::Content;
use super::sorted::Slice;

const BUFFER_BYTES: usize = 64 << 10;

/// An entry of the new layer and where its bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub entry: Entry,
    pub content: Option<Content>,
}

/// Entries in order.
#[derive(Clone, Debug)]
pub(crate) enum PlacedList {
    Few(Vec<Placed>),
    /// Each one's length and bytes.
    Many(Arc<File>, u64),
}

impl PlacedList {
    /// Returns a list of what `placed` gives, in a file in `folder`.
    pub fn in_file<E: From<io::Error>>(
        folder: &Path,
        placed: impl Iterator<Item = Result<Placed, E>>,
    ) -> Result<Self, E> {
        let file = tempfile::tempfile_in(folder)?;
        let mut output = BufWriter::with_capacity(BUFFER_BYTES, &file);
        let (mut bytes, mut end) = (Vec::new(), 0);
        for placed in placed {
            bytes.clear();
            placed?.put(&mut bytes);
            output.write_all(&(bytes.len() as u32).to_le_bytes())?;
            output.write_all(&bytes)?;
            end += 4 + bytes.len() as u64;
        }
        output.flush()?;
        drop(output);
        Ok(Self::Many(Arc::new(file), end))
    }

    /// Goes through the entries.
    pub fn iter(&self) -> Box<dyn Iterator<Item = io::Result<Cow<'_, Placed>>> + '_> {
        match self {
            Self::Few(placed) => Box::new(placed.iter().map(|placed| Ok(Cow::Borrowed(placed)))),
            Self::Many(file, end) => {
                let slice = Slice { file: Arc::clone(file), at: 0, end: *end };
                let mut input = BufReader::with_capacity(BUFFER_BYTES, slice);
                Box::new(std::iter::from_fn(move || {
                    read(&mut input).transpose().map(|one| one.map(Cow::Owned))
                }))
            }
        }
    }
}

fn read(input: &mut BufReader<Slice>) -> io::Result<Option<Placed>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes)?;
    Placed::take(&bytes).map(Some).ok_or_else(|| io::Error::other("the list of entries is damaged"))
}

impl Placed {
    /// Appends it to `bytes`.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        self.entry.put(bytes);
        match &self.content {
            None => bytes.push(b'-'),
            Some(Content::Context(path)) => {
                bytes.push(b'c');
                bytes.extend_from_slice(path);
            }
            Some(Content::Inline(content)) => {
                bytes.push(b'i');
                bytes.extend_from_slice(content);
            }
            Some(Content::File(path)) => {
                bytes.push(b'f');
                bytes.extend_from_slice(path.as_os_str().as_bytes());
            }
            Some(Content::Layer { layer, offset }) => {
                bytes.push(b'l');
                bytes.extend_from_slice(&(*layer as u64).to_le_bytes());
                bytes.extend_from_slice(&offset.to_le_bytes());
            }
        }
    }

    /// Returns what [`Self::put`] appended to nothing; `None` where the bytes are something else.
    pub fn take(mut bytes: &[u8]) -> Option<Self> {
        let entry = Entry::take(&mut bytes)?;
        let (kind, rest) = bytes.split_first()?;
        let content = match kind {
            b'-' => None,
            b'c' => Some(Content::Context(rest.to_vec())),
            b'i' => Some(Content::Inline(rest.to_vec())),
            b'f' => Some(Content::File(std::ffi::OsString::from_vec(rest.to_vec()).into())),
            b'l' => {
                let (layer, offset) = rest.split_at_checked(8)?;
                let layer = usize::try_from(u64::from_le_bytes(layer.try_into().ok()?)).ok()?;
                Some(Content::Layer { layer, offset: u64::from_le_bytes(offset.try_into().ok()?) })
            }
            _ => return None,
        };
        Some(Self { entry, content })
    }
}

#[cfg(test)]
mod tests {
    use layer::Kind;

    use super::*;

    #[test]
    fn entries_come_back_from_a_file() {
        let entry = |path: &str| Entry {
            path: path.into(),
            kind: Kind::Fifo,
            mode: 0o640,
            uid: 1,
            gid: 2,
            mtime: -3,
            xattrs: [(b"user.a".to_vec(), b"\0".to_vec())].into(),
        };
        let contents = [
            None,
            Some(Content::Context(b"a/\xff".to_vec())),
            Some(Content::Inline(Vec::new())),
            Some(Content::File("/x/y".into())),
            Some(Content::Layer { layer: 7, offset: u64::MAX }),
        ];
        let placed: Vec<_> =
            contents.into_iter().map(|content| Placed { entry: entry("p"), content }).collect();
        let folder = tempfile::tempdir().unwrap();
        let list = PlacedList::in_file::<io::Error>(folder.path(), placed.iter().cloned().map(Ok)).unwrap();
        for _ in 0..2 {
            let again: Vec<_> = list.iter().map(|placed| placed.unwrap().into_owned()).collect();
            assert_eq!(again, placed);
        }
        assert_eq!(Placed::take(b""), None);
    }
}
