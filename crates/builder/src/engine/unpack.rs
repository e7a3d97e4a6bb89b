//! ADD of an archive: its entries become the layer's, below the destination.
//!
//! What is an archive is told by content, as for BuildKit: plain or compressed tar. Owners and times
//! are the archive's own, unless `--chown` says otherwise.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use layer::{Entry, FollowLast, Kind, LayerPath, TarReader, TarWriter, Tree};

use super::fill::{Fill, Sources};
use super::items::{Content, Group, ItemKind};
use super::place::{Attributes, folder, made_folder};
use super::placed::{Placed, PlacedList};
use super::workspace::{LayerRef, Workspace};
use crate::BuildError;
use crate::context::Context;

/// An archive: of the context, or one that was fetched.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    content: Content,
    name: String,
    digest: oci::Digest,
}

impl Archive {
    /// Returns what of the archive is part of a key.
    pub fn field(&self) -> Vec<u8> {
        self.digest.to_string().into_bytes()
    }
}

/// Tells the archives among single files from everything else; `unpacks` says whether they are wanted, given
/// whether a file is of the context.
pub(crate) fn split<'a>(
    context: Option<&Context>,
    groups: Vec<Group<'a>>,
    unpacks: impl Fn(bool) -> bool,
) -> Result<(Vec<Archive>, Vec<Group<'a>>), BuildError> {
    let (mut archives, mut plain) = (Vec::new(), Vec::new());
    for group in groups {
        let found = single_file(&group).filter(|file| unpacks(matches!(file.content, Content::Context(_))));
        match found {
            Some(file) if is_archive(context, &file)? => archives.push(file),
            _ => plain.push(group),
        }
    }
    Ok((archives, plain))
}

fn single_file(group: &Group<'_>) -> Option<Archive> {
    let ItemKind::File { digest, content, .. } = group.single()?.kind else { return None };
    let name = match &content {
        Content::Context(path) => String::from_utf8_lossy(path).into_owned(),
        _ => String::from_utf8_lossy(&group.name).into_owned(),
    };
    Some(Archive { content, name, digest })
}

/// Whether a file decompresses to something that starts with a tar header.
fn is_archive(context: Option<&Context>, archive: &Archive) -> Result<bool, BuildError> {
    let file = open(context, archive)?;
    let Ok(tar) = layer::decompress(file) else { return Ok(false) };
    let mut head = Vec::new();
    // What cannot be decompressed is copied as a file, as BuildKit does.
    if tar.take(512).read_to_end(&mut head).is_err() || head.len() < 512 {
        return Ok(false);
    }
    Ok(checksum_is_right(&head))
}

/// The header checksum of POSIX tar: all bytes summed, its own field as spaces.
fn checksum_is_right(header: &[u8]) -> bool {
    let digits: String = header[148..156].iter().map(|byte| *byte as char).collect();
    let Ok(stored) = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8) else { return false };
    let sum = |range: &[u8]| range.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&header[..148]) + sum(&header[156..]) + 8 * u64::from(b' ') == stored
}

fn open(context: Option<&Context>, archive: &Archive) -> Result<std::fs::File, BuildError> {
    let file = match (&archive.content, context) {
        (Content::Context(path), Some(context)) => context.open_file(path),
        (Content::File(path), _) => std::fs::File::open(path),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    file.map_err(|error| BuildError::layer(format!("read {}", archive.name), error))
}

/// Where archives are unpacked to.
pub(crate) struct Unpacking<'a> {
    pub workspace: &'a Workspace,
    pub context: Option<&'a Context>,
    pub below: &'a Tree,
    pub destination: &'a str,
    pub attributes: &'a Attributes,
}

impl Unpacking<'_> {
    /// Makes a layer of `plain` and then the content of `archives`. The inner error is the user's to
    /// mend: an archive that cannot be unpacked here.
    pub fn write_layer(
        &self,
        plain: &PlacedList,
        archives: &[Archive],
        what: &str,
    ) -> Result<Result<LayerRef, String>, BuildError> {
        let mut refused = None;
        let layer = self.workspace.write_layer(what, |output| {
            let mut tar = TarWriter::new(output);
            let sources = Sources { context: self.context, layers: &[] };
            Fill::new(self.workspace, sources).append(&mut tar, plain)?;
            let path = |placed: io::Result<Cow<'_, Placed>>| placed.map(|placed| placed.entry.path.clone());
            let made = plain.iter().map(path).collect::<io::Result<BTreeSet<LayerPath>>>();
            let made = made.map_err(|error| BuildError::layer("read the list of what is copied", error))?;
            for archive in archives {
                if let Err(reason) = self.unpack(&mut tar, archive, &made)? {
                    refused = Some(format!("cannot unpack {}: {reason}", archive.name));
                    return Err(BuildError::layer("unpack an archive", io::Error::other("refused")));
                }
            }
            tar.finish().map_err(|error| BuildError::layer("end the tar", error))?;
            Ok::<(), BuildError>(())
        });
        match (layer, refused) {
            (_, Some(reason)) => Ok(Err(reason)),
            (layer, None) => layer.map(Ok),
        }
    }

    fn unpack(
        &self,
        tar: &mut TarWriter<&mut dyn Write>,
        archive: &Archive,
        made: &BTreeSet<LayerPath>,
    ) -> Result<Result<(), String>, BuildError> {
        let action = || format!("unpack {}", archive.name);
        let failed = |error: layer::LayerError| BuildError::layer(action(), error);
        let file = open(self.context, archive)?;
        let input = layer::decompress(file).map_err(|error| BuildError::layer(action(), error))?;
        let mut paths = match Paths::new(self, made) {
            Ok(paths) => paths,
            Err(reason) => return Ok(Err(reason)),
        };
        for placed in std::mem::take(&mut paths.parents) {
            tar.append(&placed.entry, &mut io::empty()).map_err(failed)?;
        }
        // Not the owner's that entries get: BuildKit gives it to entries only.
        let roots = Attributes { owner: None, ..self.attributes.clone() };
        let mut reader = TarReader::new(input);
        loop {
            let mut entry = match reader.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error.to_string())),
            };
            if entry.path.is_empty() {
                continue;
            }
            let above = match paths.rebase(&mut entry) {
                Ok(above) => above,
                Err(reason) => return Ok(Err(reason)),
            };
            for folder in above {
                let placed = made_folder(&folder, &roots);
                tar.append(&placed.entry, &mut io::empty()).map_err(failed)?;
            }
            if let Some((uid, gid)) = self.attributes.owner {
                (entry.uid, entry.gid) = (uid, gid);
            }
            tar.append(&entry, &mut reader.content()).map_err(failed)?;
        }
    }
}

/// Where entries of one archive go. Links on the way to an entry are followed, those of the image and those of the
/// archive, as if the destination were the root of all files: BuildKit unpacks in such a root.
struct Paths<'a> {
    below: &'a Tree,
    root: LayerPath,
    /// Folders to be made above the root.
    parents: Vec<Placed>,
    /// What the archive itself brings, as far as the layers below do not say the same.
    own: BTreeMap<LayerPath, Way>,
}

/// What is at a path, for whoever goes through it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Folder,
    Link(Vec<u8>),
    /// Nothing can lie in it.
    Closed,
}

/// How many links may be on the way to an entry, as for the kernel.
const MAX_LINKS: usize = 40;

impl Way {
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Directory => Self::Folder,
            Kind::Symlink(target) => Self::Link(target.clone()),
            _ => Self::Closed,
        }
    }
}

impl<'a> Paths<'a> {
    fn new(unpacking: &Unpacking<'a>, made: &BTreeSet<LayerPath>) -> Result<Self, String> {
        let mut parents = folder(unpacking.below, unpacking.destination, unpacking.attributes)?;
        parents.retain(|placed| !made.contains(&placed.entry.path));
        let resolved = unpacking
            .below
            .resolve(unpacking.destination.as_bytes(), FollowLast::Yes)
            .map_err(|error| error.to_string())?;
        Ok(Self { below: unpacking.below, root: resolved.path, parents, own: BTreeMap::new() })
    }

    /// Gives an entry its path in the image. Returns the folders above it that nobody made yet.
    fn rebase(&mut self, entry: &mut Entry) -> Result<Vec<LayerPath>, String> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        if matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            return Err(format!("the entry {shown} is a whiteout, which only layers have"));
        }
        let path = self.place(&entry.path).map_err(|reason| format!("the entry {shown}: {reason}"))?;
        match &mut entry.kind {
            Kind::Hardlink(target) => {
                *target = self.place(target).map_err(|reason| format!("the link {shown}: {reason}"))?;
            }
            // What permissions a link has is the file system's to say.
            Kind::Symlink(_) => entry.mode = 0o777,
            _ => {}
        }
        let above = self.missing_above(&path);
        for folder in &above {
            self.own.insert(folder.clone(), Way::Folder);
        }
        let way = Way::of(&entry.kind);
        match self.at_below(&path) == Some(way.clone()) {
            true => drop(self.own.remove(&path)),
            false => drop(self.own.insert(path.clone(), way)),
        }
        entry.path = path;
        Ok(above)
    }

    fn place(&self, path: &[u8]) -> Result<LayerPath, String> {
        let mut at = self.root.clone();
        let mut rest: Vec<Vec<u8>> = components(path).rev().collect();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0).max(self.root.len()));
                continue;
            }
            let next = if at.is_empty() { name } else { [&at[..], b"/", &name].concat() };
            let is_last = rest.is_empty();
            match self.at(&next) {
                _ if is_last => at = next,
                None | Some(Way::Folder) => at = next,
                Some(Way::Link(_)) if links == MAX_LINKS => {
                    return Err("it goes through too many symbolic links".to_owned());
                }
                Some(Way::Link(target)) => {
                    links += 1;
                    if target.starts_with(b"/") {
                        at.truncate(self.root.len());
                    }
                    rest.extend(components(&target).rev());
                }
                Some(Way::Closed) => return Err(format!("/{} is no folder", String::from_utf8_lossy(&next))),
            }
        }
        Ok(at)
    }

    /// Returns the folders above a path that are not there, outermost first.
    fn missing_above(&self, path: &[u8]) -> Vec<LayerPath> {
        let ends = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > self.root.len());
        let above = ends.map(|(at, _)| path[..at].to_vec());
        above.filter(|folder| self.at(folder).is_none()).collect()
    }

    fn at(&self, path: &[u8]) -> Option<Way> {
        self.own.get(path).cloned().or_else(|| self.at_below(path))
    }

    fn at_below(&self, path: &[u8]) -> Option<Way> {
        self.below.get(path).map(|node| Way::of(&node.entry.kind))
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use layer::LayerIndex;
    use oci::{DiffId, Digest};

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        let (path, xattrs) = (path.as_bytes().to_vec(), BTreeMap::new());
        Entry { path, kind, mode: 0o640, uid: 0, gid: 0, mtime: 0, xattrs }
    }

    fn file() -> Kind {
        Kind::File { size: 0, digest: None, offset: 0 }
    }

    fn link(target: &str) -> Kind {
        Kind::Symlink(target.into())
    }

    /// Unpacks entries at /x over an image; returns what each becomes, with the folders made for it.
    fn unpacked(entries: Vec<(&str, Kind)>) -> Vec<Result<String, String>> {
        let image = [
            ("x", Kind::Directory),
            ("x/file", file()),
            ("x/out", link("/etc")),
            ("x/up", link("../..")),
            ("x/loop", link("loop")),
            ("etc", Kind::Directory),
        ];
        let entries_of_image = image.into_iter().map(|(path, kind)| entry(path, kind)).collect();
        let index = LayerIndex { diff_id: DiffId(Digest::of(b"")), size: 0, entries: entries_of_image };
        let below = Tree::new(&[Arc::new(index)]);
        let mut paths =
            Paths { below: &below, root: b"x".to_vec(), parents: Vec::new(), own: BTreeMap::new() };
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let mut one = |(path, kind)| {
            let mut entry = entry(path, kind);
            let above = paths.rebase(&mut entry)?;
            let above: Vec<String> = above.iter().map(|path| text(path)).collect();
            let target = match &entry.kind {
                Kind::Hardlink(target) => format!(" = {}", text(target)),
                _ => String::new(),
            };
            Ok(format!("{} {}{target}", above.join(","), text(&entry.path)).trim().to_owned())
        };
        entries.into_iter().map(&mut one).collect()
    }

    #[track_caller]
    fn check(entries: Vec<(&str, Kind)>, expected: &[&str]) {
        let unpacked: Vec<String> = unpacked(entries)
            .into_iter()
            .map(|one| one.unwrap_or_else(|reason| format!("error: {reason}")))
            .collect();
        assert_eq!(unpacked, expected);
    }

    #[test]
    fn folders_that_nobody_made_are_made() {
        let entries = vec![("a/b/f", file()), ("a/c/f", file()), ("d", Kind::Directory), ("d/f", file())];
        check(entries, &["x/a,x/a/b x/a/b/f", "x/a/c x/a/c/f", "x/d", "x/d/f"]);
    }

    #[test]
    fn links_are_followed_as_if_the_destination_were_the_root() {
        check(vec![("out/f", file()), ("up/f", file())], &["x/etc x/etc/f", "x/f"]);
        let own = vec![
            ("d", Kind::Directory),
            ("l", link("d")),
            ("l/f", file()),
            ("m", link("/l/.")),
            ("m/g", file()),
            ("h", Kind::Hardlink(b"m/g".to_vec())),
        ];
        check(own, &["x/d", "x/l", "x/d/f", "x/m", "x/d/g", "x/h = x/d/g"]);
        check(
            vec![("loop/f", file())],
            &["error: the entry loop/f: it goes through too many symbolic links"],
        );
    }

    #[test]
    fn what_the_archive_brings_takes_the_place_of_what_was_there() {
        let over = vec![
            ("file", Kind::Directory),
            ("file/f", file()),
            ("out", Kind::Directory),
            ("out/f", file()),
            ("l", link("out")),
            ("l", file()),
            ("l/f", file()),
        ];
        let expected = [
            "x/file",
            "x/file/f",
            "x/out",
            "x/out/f",
            "x/l",
            "x/l",
            "error: the entry l/f: /x/l is no folder",
        ];
        check(over, &expected);
        let whiteout = unpacked(vec![("f", Kind::Whiteout)]).remove(0).unwrap_err();
        assert!(whiteout.contains("only layers have"), "{whiteout}");
    }

    #[test]
    fn a_tar_header_is_known_by_its_checksum() {
        let mut header = vec![0; 512];
        header[..4].copy_from_slice(b"name");
        let sum = header.iter().map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ');
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(checksum_is_right(&header));
        header[0] = b'x';
        assert!(!checksum_is_right(&header));
        assert!(!checksum_is_right(&[0; 512]));
    }
}
