//! Looking at the tar of a folder while it streams by: how large it is, and what is in it without times.

use std::io::{self, Write};

use layer::observe::Tap;
use layer::{Entry, Kind, LayerError, Observer};
use oci::{Digest, Hasher};

use super::MAX_ENTRIES;

/// What may not be in a tar, or how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Most bytes of the tar.
    pub bytes: u64,
    /// Whether devices and whiteouts are refused: what comes from elsewhere may hold none.
    pub foreign: bool,
}

/// Is written the tar of a folder, and fails where it goes beyond the bounds.
pub(super) struct Watch {
    observer: Observer<Look>,
    look: Look,
    bounds: Bounds,
    bytes: u64,
}

/// What was found; shared with the observer that calls it.
#[derive(Clone, Default)]
struct Look(std::rc::Rc<std::cell::RefCell<Seen>>);

#[derive(Default)]
struct Seen {
    hasher: Hasher,
    entries: u64,
    refused: Option<&'static str>,
}

impl Tap for Look {
    fn end_entry(&mut self, entry: &Entry) {
        let mut seen = self.0.borrow_mut();
        seen.entries += 1;
        match entry.kind {
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => seen.refused = Some("it holds a device"),
            Kind::Whiteout | Kind::Opaque => seen.refused = Some("it holds a whiteout"),
            _ => {}
        }
        describe(entry, &mut seen.hasher);
    }
}

/// Adds to a hash all that an entry is but its time.
fn describe(entry: &Entry, hasher: &mut Hasher) {
    let (kind, detail) = match &entry.kind {
        Kind::File { size, digest, .. } => ("file", format!("{size} {digest:?}").into_bytes()),
        Kind::Directory => ("folder", Vec::new()),
        Kind::Symlink(target) => ("link", target.clone()),
        Kind::Hardlink(target) => ("name", target.clone()),
        other => ("special", format!("{other:?}").into_bytes()),
    };
    let numbers = format!("{:o} {} {} {}", entry.mode, entry.uid, entry.gid, entry.xattrs.len());
    let attributes = entry.xattrs.iter().flat_map(|(name, value)| [&name[..], &value[..]]);
    for part in [&entry.path[..], kind.as_bytes(), &detail, numbers.as_bytes()].into_iter().chain(attributes)
    {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
}

impl Watch {
    pub fn new(bounds: Bounds) -> Self {
        let look = Look::default();
        Self { observer: Observer::with_tap(look.clone()), look, bounds, bytes: 0 }
    }

    /// Returns the digest of the content, and the size of the tar in bytes.
    ///
    /// # Errors
    /// The tar breaks off.
    pub fn finish(self) -> Result<(Digest, u64), LayerError> {
        self.observer.finish()?;
        let seen = self.look.0.take();
        Ok((seen.hasher.finish(), self.bytes))
    }
}

impl Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.bounds.bytes {
            let most = self.bounds.bytes;
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {most} bytes"),
            ));
        }
        self.observer.write_all(bytes)?;
        let seen = self.look.0.borrow();
        if seen.entries > MAX_ENTRIES {
            let reason = format!("it holds more than {MAX_ENTRIES} files");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        match seen.refused.filter(|_| self.bounds.foreign) {
            Some(reason) => Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::tar::TarBuilder;

    use super::*;

    fn look(tar: &[u8], bytes: u64, foreign: bool) -> Result<(Digest, u64), String> {
        let mut watch = Watch::new(Bounds { bytes, foreign });
        watch.write_all(tar).map_err(|error| error.to_string())?;
        watch.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn content_is_names_bytes_and_modes() {
        let digest = |name: &str, bytes: &str| {
            let tar = TarBuilder::new().directory("data").file(name, bytes.as_bytes()).finish();
            look(&tar, 1 << 20, true).unwrap().0
        };
        assert_eq!(digest("data/a", "1"), digest("data/a", "1"));
        assert_ne!(digest("data/a", "1"), digest("data/a", "2"));
        assert_ne!(digest("data/a", "1"), digest("data/b", "1"));
    }

    proptest! {
        #[test]
        fn damaged_tars_never_panic(at in 0_usize..3000, byte in any::<u8>(), piece in 1_usize..700) {
            let mut tar = TarBuilder::new().directory("data").file("data/a", b"content").finish();
            let at = at % tar.len();
            tar[at] = byte;
            let mut watch = Watch::new(Bounds { bytes: 1 << 20, foreign: true });
            if tar.chunks(piece).all(|piece| watch.write_all(piece).is_ok()) {
                let _ = watch.finish();
            }
        }
    }

    #[test]
    fn too_much_and_what_steps_must_not_get_is_refused() {
        let tar = TarBuilder::new().directory("data").file("data/.wh.a", b"").finish();
        assert!(look(&tar, 1 << 20, true).unwrap_err().contains("whiteout"));
        assert!(look(&tar, 1 << 20, false).is_ok());
        assert!(look(&tar, 100, false).unwrap_err().contains("larger than 100 bytes"));
    }
}
