//! skopeo reads what we write and we read what skopeo writes. Skips, saying so, where skopeo is not
//! installed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci::{Compression, Descriptor, Document, ImageConfig, ImageManifest, MediaType, Repository};
use store::archive::{ArchiveOptions, save_to_path};
use store::{
    ArchiveFormat, ArchiveImage, ArchiveStore, ArchivedName, Blob, BlobStore, CopyOptions, FlatFolder,
    ImageStore, LayoutRepository, LayoutStore, OciFolder, copy_image,
};
use testkit::image::TinyImage;

const NAME: &str = "ghcr.io/acme/api";

/// A local store with one image under [`NAME`]`:main`, its layers gzip.
struct Place {
    folder: tempfile::TempDir,
    repository: LayoutRepository,
    document: Document,
}

impl Place {
    /// Returns nothing where there is no skopeo to compare with.
    fn new() -> Option<Self> {
        if Command::new("skopeo").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: skopeo is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(&folder.path().join("store")).unwrap();
        let repository = store.repository(&NAME.parse::<Repository>().unwrap());
        let document = put_gzip_image(&repository);
        repository.tag(&"main".parse().unwrap(), &document).unwrap();
        Some(Self { folder, repository, document })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self) -> String {
        format!("oci:{}:{NAME}:main", self.path("store").display())
    }

    fn save(&self, format: ArchiveFormat) -> PathBuf {
        let path = self.path("ours.tar");
        let image = ArchiveImage {
            source: &self.repository,
            descriptor: self.document.descriptor().clone(),
            names: vec!["api:local".parse().unwrap()],
        };
        save_to_path(&[image], format, &ArchiveOptions::default(), &path).unwrap();
        path
    }

    fn load(&self, path: &Path) -> (Vec<ArchivedName>, Document) {
        let archive = ArchiveStore::open(path, self.folder.path()).unwrap();
        let [image] = archive.images() else { panic!("{:?}", archive.images()) };
        let store = LayoutStore::open(&self.path("loaded")).unwrap();
        let target = store.repository(&"local/loaded".parse().unwrap());
        copy_image(&archive, &target, &image.descriptor, &CopyOptions::default(), &|_| {}).unwrap();
        (image.names.clone(), target.document(&image.descriptor.digest).unwrap())
    }
}

fn put_gzip_image(repository: &LayoutRepository) -> Document {
    let tiny = TinyImage::of_layers(&[&[("etc/one", "1")], &[("etc/two", "2")]]);
    let put = |media_type: MediaType, content: Vec<u8>| {
        let descriptor = Descriptor::of(media_type, &content);
        repository.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        descriptor
    };
    let layers = tiny.layers.iter().map(|tar| put(MediaType::OciLayerGzip, gzip(tar))).collect();
    Document::from_manifest(ImageManifest::new(put(MediaType::OciConfig, tiny.config.clone()), layers))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = layer::compressor(layer::Settings::new(Compression::Gzip), Vec::new()).unwrap();
    std::io::Write::write_all(&mut compressor, bytes).unwrap();
    compressor.finish().unwrap()
}

#[track_caller]
fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").arg("--insecure-policy").args(arguments).output().unwrap();
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn digest_of(image: &str) -> String {
    skopeo(&["inspect", "--format", "{{.Digest}}", image])
}

fn diff_ids(document: &Document, store: &dyn BlobStore) -> Vec<oci::DiffId> {
    let config = document.as_image().unwrap().config.digest;
    let config: ImageConfig = serde_json::from_reader(store.open_blob(&config).unwrap()).unwrap();
    config.rootfs.diff_ids
}

#[test]
fn skopeo_finds_images_of_the_local_store_by_name() {
    let Some(place) = Place::new() else { return };
    assert_eq!(digest_of(&place.source()), place.document.digest().to_string());
    let other = place.repository.store().repository(&"local/other".parse().unwrap());
    other.tag(&"v1".parse().unwrap(), &put_gzip_image(&other)).unwrap();
    let root = place.path("store");
    assert_eq!(
        digest_of(&format!("oci:{}:local/other:v1", root.display())),
        place.document.digest().to_string()
    );
    let raw = skopeo(&["inspect", "--raw", &place.source()]);
    assert_eq!(raw.as_bytes(), place.document.raw().as_ref());
}

#[test]
fn skopeo_reads_our_hybrid_as_either_kind() {
    let Some(place) = Place::new() else { return };
    let path = place.save(ArchiveFormat::DockerArchive);
    let as_docker = format!("docker-archive:{}:api:local", path.display());
    let out = format!("oci:{}:x", place.path("from-docker").display());
    skopeo(&["copy", &as_docker, &out]);
    let layers = skopeo(&["inspect", "--format", "{{len .Layers}}", &out]);
    assert_eq!(layers, "2");
    let as_oci = format!("oci-archive:{}:local", path.display());
    assert_eq!(digest_of(&as_oci), place.document.digest().to_string());
}

#[test]
fn skopeo_reads_our_oci_archive_with_its_digest() {
    let Some(place) = Place::new() else { return };
    let path = place.save(ArchiveFormat::OciArchive);
    let source = format!("oci-archive:{}:local", path.display());
    assert_eq!(digest_of(&source), place.document.digest().to_string());
    let out = format!("oci:{}:x", place.path("from-oci").display());
    skopeo(&["copy", &source, &out]);
    assert_eq!(digest_of(&out), place.document.digest().to_string());
}

#[test]
fn we_load_skopeo_s_docker_archive() {
    let Some(place) = Place::new() else { return };
    let path = place.path("theirs.tar");
    skopeo(&["copy", &place.source(), &format!("docker-archive:{}:acme/app:v1", path.display())]);
    let (names, document) = place.load(&path);
    assert_eq!(names, [ArchivedName::Reference("acme/app:v1".parse().unwrap())]);
    let loaded =
        LayoutStore::open(&place.path("loaded")).unwrap().repository(&"local/loaded".parse().unwrap());
    assert_eq!(diff_ids(&document, &loaded), diff_ids(&place.document, &place.repository));
    for (program, ending) in [("gzip", "gz"), ("xz", "xz"), ("bzip2", "bz2")] {
        if Command::new(program).arg("--keep").arg("--force").arg(&path).status().is_err() {
            eprintln!("skipped: {program} is not installed");
            continue;
        }
        let (_, again) = place.load(&path.with_extension(format!("tar.{ending}")));
        assert_eq!(again.digest(), document.digest(), "{program}");
    }
}

#[test]
fn we_load_skopeo_s_oci_archive_with_its_digest() {
    let Some(place) = Place::new() else { return };
    let path = place.path("theirs.tar");
    skopeo(&["copy", &place.source(), &format!("oci-archive:{}:v1", path.display())]);
    let (names, document) = place.load(&path);
    assert_eq!(names, [ArchivedName::Tag("v1".parse().unwrap())]);
    assert_eq!(document, place.document);
}

#[test]
fn folders_go_both_ways() {
    let Some(place) = Place::new() else { return };
    let theirs = place.path("theirs");
    skopeo(&["copy", &place.source(), &format!("oci:{}:v1", theirs.display())]);
    let source = OciFolder::open(&theirs).unwrap();
    let found = source.resolve(&"v1".parse().unwrap()).unwrap();
    assert_eq!(source.document(&found.digest).unwrap(), place.document);

    let ours = OciFolder::create(&place.path("ours")).unwrap();
    copy_image(&source, &ours, &found, &CopyOptions::default(), &|_| {}).unwrap();
    ours.tag(&"v2".parse().unwrap(), &place.document).unwrap();
    let image = format!("oci:{}:v2", place.path("ours").display());
    assert_eq!(digest_of(&image), place.document.digest().to_string());
    skopeo(&["copy", &place.source(), &format!("oci:{}:v3", place.path("ours").display())]);
    assert_eq!(ours.tags().unwrap().len(), 2);
}

#[test]
fn folders_of_one_image_go_both_ways() {
    let Some(place) = Place::new() else { return };
    let theirs = place.path("theirs");
    let as_dir = |folder: &Path| format!("dir:{}", folder.display());
    skopeo(&["copy", &place.source(), &as_dir(&theirs)]);
    let source = FlatFolder::open(&theirs).unwrap();
    assert_eq!(source.image().unwrap(), place.document);

    let ours = place.path("ours");
    let folder = FlatFolder::create(&ours).unwrap();
    copy_image(&source, &folder, place.document.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    folder.set(&place.document).unwrap();
    let list = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(list(&ours), list(&theirs));
    assert_eq!(std::fs::read(ours.join("version")).unwrap(), std::fs::read(theirs.join("version")).unwrap());
    assert_eq!(digest_of(&as_dir(&ours)), place.document.digest().to_string());
    skopeo(&["copy", &as_dir(&ours), &format!("oci:{}:x", place.path("from-dir").display())]);
    // skopeo takes a folder of ours for one of its own.
    skopeo(&["copy", &place.source(), &as_dir(&ours)]);
}
