//! ADD of an archive: its entries become the layer's, below the destination.
//!
//! What is an archive is told by content, as for BuildKit: plain or compressed tar. Owners and times
//! are the archive's own, unless `--chown` says otherwise.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use layer::{Entry, FollowLast, Kind, LayerPath, TarReader, TarWriter, Tree};

use super::fill::{Fill, Sources};
use super::items::{Content, Group, ItemKind};
use super::place::{Attributes, folder};
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
        let file = open(self.context, archive)?;
        let input = layer::decompress(file).map_err(|error| BuildError::layer(action(), error))?;
        let mut paths = match Paths::new(self, made) {
            Ok(paths) => paths,
            Err(reason) => return Ok(Err(reason)),
        };
        for placed in std::mem::take(&mut paths.parents) {
            tar.append(&placed.entry, &mut io::empty())
                .map_err(|error| BuildError::layer(action(), error))?;
        }
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
            if let Err(reason) = paths.rebase(&mut entry) {
                return Ok(Err(reason));
            }
            if let Some((uid, gid)) = self.attributes.owner {
                (entry.uid, entry.gid) = (uid, gid);
            }
            tar.append(&entry, &mut reader.content()).map_err(|error| BuildError::layer(action(), error))?;
        }
    }
}

/// Where entries of one archive go.
struct Paths<'a> {
    below: &'a Tree,
    root: LayerPath,
    /// Folders to be made above the root.
    parents: Vec<Placed>,
    /// Symbolic links of the archive itself.
    links: BTreeSet<LayerPath>,
}

impl<'a> Paths<'a> {
    fn new(unpacking: &Unpacking<'a>, made: &BTreeSet<LayerPath>) -> Result<Self, String> {
        let mut parents = folder(unpacking.below, unpacking.destination, unpacking.attributes)?;
        parents.retain(|placed| !made.contains(&placed.entry.path));
        let resolved = unpacking
            .below
            .resolve(unpacking.destination.as_bytes(), FollowLast::Yes)
            .map_err(|error| error.to_string())?;
        Ok(Self { below: unpacking.below, root: resolved.path, parents, links: BTreeSet::new() })
    }

    /// Gives an entry its path in the image. Links of the image on the way are followed inside it;
    /// a link of the archive itself on the way is refused, because what it means depends on the
    /// program that unpacks.
    fn rebase(&mut self, entry: &mut Entry) -> Result<(), String> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        if matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            return Err(format!("the entry {shown} is a whiteout, which only layers have"));
        }
        let path = self.place(&entry.path).map_err(|reason| format!("the entry {shown}: {reason}"))?;
        if let Kind::Hardlink(target) = &mut entry.kind {
            *target = self.place(target).map_err(|reason| format!("the link {shown}: {reason}"))?;
        }
        if matches!(entry.kind, Kind::Symlink(_)) {
            self.links.insert(path.clone());
        } else {
            self.links.remove(&path);
        }
        entry.path = path;
        Ok(())
    }

    fn place(&self, path: &[u8]) -> Result<LayerPath, String> {
        let full = match self.root.is_empty() {
            true => path.to_vec(),
            false => [&self.root[..], b"/", path].concat(),
        };
        let resolved = self.below.resolve(&full, FollowLast::No).map_err(|error| error.to_string())?;
        let slashes = resolved.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        match slashes.map(|(at, _)| &resolved.path[..at]).find(|parent| self.links.contains(*parent)) {
            Some(link) => Err(format!("it goes through the symbolic link {}", String::from_utf8_lossy(link))),
            None => Ok(resolved.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
