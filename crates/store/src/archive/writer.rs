//! Writing images into one file that every program loads.
//!
//! `oci-layout`, `index.json` and `manifest.json` come first, so that a reader of a stream knows what is
//! to come; blobs follow, small to large. Times, owners and modes are fixed: the same images give the
//! same bytes. Names stand in both lists, full in one and as Docker shows them in the other.
//!
//! Docker 20.10 cannot read zstd layers. It reads `manifest.json` only, so [`OldReaders::GzipTwins`]
//! has that list name gzip copies, which are added to the archive; the image itself keeps its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use bytes::Bytes;
use layer::{Entry, LayerError, TarWriter};
use oci::annotations::{CONTAINERD_IMAGE_NAME, REF_NAME};
use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType, Platform, Reference};
use rustix::fs::{FallocateFlags, fallocate};
use serde::Serialize;

use super::name::full_name;
use super::twin::Twins;
use crate::copy::{Company, Platforms};
use crate::graph::Graph;
use crate::layout::copy_in_kernel;
use crate::{Blob, ImageStore, Source, StoreError};

/// Size of the buffer for content that the kernel cannot copy by itself.
const BUFFER: usize = 256 << 10;
/// What tar rounds up to.
const TAR_BLOCK: u64 = 512;
/// More than an archive's lists and its end take.
const LISTS_BYTES: u64 = 256 << 10;

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// An OCI layout with Docker's list beside it: for `docker load`, podman, skopeo, containerd.
    DockerArchive,
    /// The OCI layout alone.
    OciArchive,
}

/// An image to be written.
#[derive(Clone)]
pub struct ArchiveImage<'a> {
    /// Where it is.
    pub source: &'a dyn ImageStore,
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// Its names; one without tag and digest gets `latest`. May be empty.
    pub names: Vec<Reference>,
}

/// How to write an archive.
#[derive(Clone, Debug)]
pub struct ArchiveOptions {
    /// The image of an index that Docker's list names, for readers that know no indexes.
    pub platform: Platform,
    /// What to do for readers that cannot read zstd.
    pub old_readers: OldReaders,
    /// Blobs that are left out: the receiver has them, or gets them from elsewhere.
    pub omit: BTreeSet<Digest>,
    /// What comes along with each image.
    pub company: Company,
}

/// What to do for readers that cannot read zstd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldReaders {
    /// Nothing: layers are as they are.
    Ignore,
    /// A gzip copy of each zstd layer is added, made in the folder `spool`.
    GzipTwins {
        /// Where the copies lie until they are written.
        spool: PathBuf,
    },
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            old_readers: OldReaders::Ignore,
            omit: BTreeSet::new(),
            company: Company::Alone,
        }
    }
}

/// Where an archive goes.
pub enum Output<'a> {
    /// A file, from its current position on; the kernel copies blobs into it.
    File(&'a File),
    /// Anything else.
    Stream(&'a mut dyn Write),
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Members of the archive.
    pub members: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Manifests that came along because they refer to an image or a part of one.
    pub referrers: u64,
}

/// Writes `images` as one archive.
///
/// # Errors
/// What the stores say; `Unreachable` where the output fails. What was written is then of no use.
pub fn write_archive(
    images: &[ArchiveImage<'_>],
    format: ArchiveFormat,
    options: &ArchiveOptions,
    output: Output<'_>,
) -> Result<Saved, StoreError> {
    let mut contents = Contents::default();
    let mut twins = Twins::new(&options.old_readers);
    for image in images {
        contents.add(image, options.company)?;
    }
    let mut list = Vec::new();
    if format == ArchiveFormat::DockerArchive {
        for image in images {
            list.extend(listed(image, options, &contents, &mut twins)?);
        }
    }
    contents.blobs.extend(twins.into_blobs());

    contents.blobs.retain(|digest, _| !options.omit.contains(digest));
    output.reserve(contents.archived_bytes());
    let saved = Saved { referrers: contents.referrers, ..Saved::default() };
    let mut entries = index(images);
    entries.manifests.append(&mut contents.company);
    let mut writer = Writer { tar: TarWriter::new(output), saved };
    writer.bytes("oci-layout", Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#))?;
    writer.bytes("index.json", json(&entries))?;
    if format == ArchiveFormat::DockerArchive {
        writer.bytes("manifest.json", json(&list))?;
    }
    for (digest, size, origin) in contents.small_to_large() {
        writer.blob(&digest, size, origin)?;
    }
    writer.finish()
}

/// What the archive consists of, each blob once.
#[derive(Default)]
struct Contents<'a> {
    documents: BTreeMap<Digest, Document>,
    blobs: BTreeMap<Digest, (u64, Origin<'a>)>,
    /// What leads to manifests that say something about others, and to what tools keep under tags made of a digest.
    company: Vec<Descriptor>,
    referrers: u64,
}

/// Where the content of a member comes from.
pub(super) enum Origin<'a> {
    Store(&'a dyn ImageStore),
    Bytes(Bytes),
    File(File),
}

impl<'a> Contents<'a> {
    fn add(&mut self, image: &ArchiveImage<'a>, company: Company) -> Result<(), StoreError> {
        let mut graph = Graph::of(image.source, &image.descriptor, &Platforms::All)?;
        if company == Company::Referrers {
            self.add_company(image.source, &mut graph)?;
        }
        for (digest, part) in graph.blobs {
            // What may be had elsewhere too is written where it is here. Who reads an archive has nothing but the
            // archive, so a layer that registries do not hand on belongs to it.
            if !part.optional || part.foreign || image.source.blob_size(&digest)?.is_some() {
                self.blobs.insert(digest, (part.descriptor.size, Origin::Store(image.source)));
            }
        }
        for document in graph.documents {
            let (digest, raw) = (document.digest(), document.raw().clone());
            self.blobs.insert(digest, (raw.len() as u64, Origin::Bytes(raw)));
            self.documents.insert(digest, document);
        }
        Ok(())
    }

    /// Adds to an image what refers to it, and lists it: nothing else leads to it.
    fn add_company(&mut self, source: &dyn ImageStore, graph: &mut Graph) -> Result<(), StoreError> {
        let own = graph.documents.len();
        let tagged = graph.add_company(source)?;
        self.referrers += (graph.documents.len() - own) as u64;
        let about = graph.documents[own..].iter().filter(|document| document.subject().is_some());
        let mut entries: Vec<Descriptor> = about.map(|document| plain(document.descriptor())).collect();
        entries.extend(tagged.iter().map(|(tag, document)| {
            let mut entry = plain(document.descriptor());
            entry.annotations.insert(REF_NAME.to_owned(), tag.to_string());
            entry
        }));
        // Several images may have the same about them.
        entries.retain(|entry| !self.company.contains(entry));
        self.company.append(&mut entries);
        Ok(())
    }

    /// Returns how much of an archive the blobs take, each with its header and whole blocks of tar.
    fn archived_bytes(&self) -> u64 {
        let member = |(size, _): &(u64, Origin<'_>)| size.saturating_add(2 * TAR_BLOCK);
        self.blobs.values().map(member).fold(LISTS_BYTES, u64::saturating_add)
    }

    fn small_to_large(self) -> Vec<(Digest, u64, Origin<'a>)> {
        let mut blobs: Vec<_> =
            self.blobs.into_iter().map(|(digest, (size, origin))| (digest, size, origin)).collect();
        blobs.sort_by_key(|(digest, size, _)| (*size, *digest));
        blobs
    }

    /// Returns the manifest for `platform`, or the first one that is for any.
    fn manifest(&self, digest: &Digest, platform: &Platform) -> Option<&ImageManifest> {
        let mut document = self.documents.get(digest)?;
        // Every document is met once at most: an index cannot hold itself.
        while let Some(index) = document.as_index() {
            let any = || index.manifests.iter().find(|child| is_runnable(child));
            document = self.documents.get(&index.for_platform(platform).or_else(any)?.digest)?;
        }
        document.as_image()
    }
}

/// Whether a child of an index is an image to run and not an attestation about one.
fn is_runnable(child: &Descriptor) -> bool {
    let media_type = &child.media_type;
    let unknown = child.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !unknown && (media_type.is_manifest() || media_type.is_index())
}

/// An entry of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Returns Docker's entry about an image; `None` where it is nothing that Docker could load.
fn listed(
    image: &ArchiveImage<'_>,
    options: &ArchiveOptions,
    contents: &Contents<'_>,
    twins: &mut Twins,
) -> Result<Option<Listed>, StoreError> {
    let Some(manifest) = contents.manifest(&image.descriptor.digest, &options.platform) else {
        return Ok(None);
    };
    if !matches!(manifest.config.media_type, MediaType::OciConfig | MediaType::DockerConfig) {
        return Ok(None);
    }
    let names: Vec<String> = named(image).iter().map(familiar).collect();
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        layers.push(blob_path(&twins.of(image.source, layer)?));
    }
    let repo_tags = (!names.is_empty()).then_some(names);
    Ok(Some(Listed { config: blob_path(&manifest.config.digest), repo_tags, layers }))
}

fn index(images: &[ArchiveImage<'_>]) -> ImageIndex {
    let mut entries = Vec::new();
    for image in images {
        let names = named(image);
        entries.extend(names.iter().map(|name| annotated(&image.descriptor, name)));
        if names.is_empty() {
            entries.push(plain(&image.descriptor));
        }
    }
    ImageIndex::new(entries)
}

/// Returns the names by which a reader can find the image. Both lists hold exactly these.
fn named(image: &ArchiveImage<'_>) -> Vec<Reference> {
    let named = image
        .names
        .iter()
        .filter_map(|name| name.tag_or_latest().map(|tag| name.repository().clone().tagged(tag)));
    named.collect()
}

fn annotated(descriptor: &Descriptor, name: &Reference) -> Descriptor {
    let mut entry = plain(descriptor);
    entry.annotations.insert(CONTAINERD_IMAGE_NAME.to_owned(), full_name(name));
    let tag = name.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
    entry.annotations.insert(REF_NAME.to_owned(), tag);
    entry
}

fn plain(descriptor: &Descriptor) -> Descriptor {
    let plain = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size);
    Descriptor { platform: descriptor.platform.clone(), ..plain }
}

fn familiar(name: &Reference) -> String {
    let tag = name.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}{tag}", name.repository().familiar())
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("lists have only string keys").into()
}

struct Writer<'a> {
    tar: TarWriter<Output<'a>>,
    saved: Saved,
}

impl Writer<'_> {
    fn bytes(&mut self, path: &str, content: Bytes) -> Result<(), StoreError> {
        self.member(path, Blob::from_bytes(content))
    }

    fn blob(&mut self, digest: &Digest, size: u64, origin: Origin<'_>) -> Result<(), StoreError> {
        let content = match origin {
            Origin::Store(store) => store.open_blob(digest)?,
            Origin::Bytes(bytes) => Blob::from_bytes(bytes),
            Origin::File(file) => Blob::new(size, Source::File(file)),
        };
        if content.size() != size {
            let reason = format!("expected {size} bytes, found {}", content.size());
            return Err(StoreError::Corrupt { what: format!("blob {digest}"), reason });
        }
        self.member(&blob_path(digest), content)
    }

    fn member(&mut self, path: &str, content: Blob) -> Result<(), StoreError> {
        let size = content.size();
        let entry = Entry::member(path, size);
        self.tar.append_with(&entry, |output| copy(content, output)).map_err(|error| failed(path, error))?;
        self.saved.members += 1;
        self.saved.bytes += size;
        Ok(())
    }

    fn finish(self) -> Result<Saved, StoreError> {
        let mut output = self.tar.finish().map_err(|error| failed("its end", error))?;
        output
            .flush()
            .and_then(|()| output.give_back())
            .map_err(|source| StoreError::io("write", "the archive", source))?;
        Ok(self.saved)
    }
}

fn copy(content: Blob, output: &mut Output<'_>) -> io::Result<()> {
    let size = content.size();
    match (content.into_source(), output) {
        (Source::Bytes(bytes), output) => output.write_all(&bytes),
        (Source::File(mut file), Output::File(target)) => {
            let offset = file.stream_position()?;
            copy_in_kernel(&file, offset, size, target)
        }
        (source, output) => copy_through_memory(Blob::new(size, source), output),
    }
}

fn copy_through_memory(content: Blob, output: &mut Output<'_>) -> io::Result<()> {
    let size = content.size();
    // A stream that checks itself says at its end whether it was right: it is read to the end.
    let mut content = content.take(size.saturating_add(1));
    let mut buffer = vec![0; BUFFER];
    let mut left = size;
    loop {
        let count = match content.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result? as u64,
        };
        if count > left || (count == 0 && left > 0) {
            let reason = format!(
                "expected {size} bytes, found {} than that",
                if count == 0 { "fewer" } else { "more" }
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if count == 0 {
            return Ok(());
        }
        output.write_all(&buffer[..count as usize])?;
        left -= count;
    }
}

fn failed(path: &str, error: LayerError) -> StoreError {
    match error {
        LayerError::Stream { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
            StoreError::Corrupt { what: path.to_owned(), reason: source.to_string() }
        }
        LayerError::Stream { source, .. } => {
            StoreError::io("write", format!("{path} of the archive"), source)
        }
        error => StoreError::Corrupt { what: path.to_owned(), reason: error.to_string() },
    }
}

impl Output<'_> {
    /// Has the file system find room for `bytes` at once. Replacing a file by one whose room it has still to
    /// find makes ext4 write all of it to the disk first. A mere wish: where it fails, writing says why.
    fn reserve(&self, bytes: u64) {
        let Self::File(file) = self else { return };
        let Ok(start) = (&mut &**file).stream_position() else { return };
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, start, bytes);
    }

    /// Gives back room that was not needed.
    fn give_back(&mut self) -> io::Result<()> {
        let Self::File(file) = self else { return Ok(()) };
        match file.metadata()? {
            // Setting the length that it has frees what lies behind.
            regular if regular.is_file() => file.set_len(regular.len()),
            _ => Ok(()),
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Stream(stream) => stream.flush(),
        }
    }
}
