//! What other programs write, in the shapes that were observed (registry reference, section 5.1).

use oci::{ImageIndex, ImageManifest, Tag};

use super::*;

/// An image of two layers, the second of which has the same content as the first.
struct Sample {
    layers: [Vec<u8>; 2],
    config: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let layers = [layer_tar("one"), layer_tar("two")];
        let config = config(&[&layers[0], &layers[1]]);
        Self { layers, config }
    }

    fn hex(&self) -> String {
        Digest::of(&self.config).hex()
    }

    /// `manifest.json` with these names and layers.
    fn list(&self, config: &str, tags: &str, layers: &[&str]) -> String {
        format!(r#"[{{"Config":"{config}","RepoTags":{tags},"Layers":{layers:?}}}]"#)
    }
}

#[track_caller]
fn check(archive: &[u8], expected_names: &[&str], expected_layers: &[MediaType]) -> Document {
    let place = Place::new();
    let archive = place.open(archive).unwrap();
    let [image] = archive.images() else { panic!("{:?}", archive.images()) };
    assert_eq!(names(image), expected_names);
    assert_eq!(image.platforms, ["linux/amd64".parse().unwrap()]);
    let (target, document) = load(&archive, image).unwrap();
    let manifest = document.as_image().unwrap();
    let types: Vec<MediaType> = manifest.layers.iter().map(|layer| layer.media_type.clone()).collect();
    assert_eq!(types, expected_layers);
    let read = target.open_blob(&manifest.config.digest).unwrap();
    let config: ImageConfig = serde_json::from_reader(read).unwrap();
    assert_eq!(config.rootfs.diff_ids.len(), manifest.layers.len());
    document
}

#[test]
fn docker_20_with_a_symlinked_layer() {
    let layer = layer_tar("same");
    let config = config(&[&layer, &layer]);
    let name = format!("{}.json", Digest::of(&config).hex());
    let list = format!(
        r#"[{{"Config":"{name}","RepoTags":["app:v1","app:v2"],"Layers":["aa/layer.tar","bb/layer.tar"],"Parent":"x"}}]"#
    );
    let archive = RawTar::default()
        .file(&name, &config)
        .folder("aa/")
        .file("aa/VERSION", "1.0")
        .file("aa/json", "{}")
        .file("aa/layer.tar", &layer)
        .folder("bb/")
        .file("bb/VERSION", "1.0")
        .file("bb/json", "{}")
        .symlink("bb/layer.tar", "../aa/layer.tar")
        .file("manifest.json", list)
        .file("repositories", "{}")
        .end();
    let names = ["docker.io/library/app:v1", "docker.io/library/app:v2"];
    let document = check(&archive, &names, &[MediaType::OciLayer, MediaType::OciLayer]);
    assert_eq!(document.as_image().unwrap().layers[0].digest, Digest::of(&layer));
    // The same archive gives the same manifest every time.
    let again = check(&archive, &names, &[MediaType::OciLayer, MediaType::OciLayer]);
    assert_eq!(again.digest(), document.digest());
}

#[test]
fn entries_in_any_order_with_a_dot_in_front_and_no_end() {
    let sample = Sample::new();
    let list = sample.list("./c.json", "[\"x/y:z\"]", &["./1/layer.tar", "2/./layer.tar"]);
    let archive = RawTar::default()
        .file("./manifest.json", list)
        .file("./2/layer.tar", &sample.layers[1])
        .file("./c.json", &sample.config)
        .file("./1/layer.tar", &sample.layers[0]);
    check(&archive.0, &["docker.io/x/y:z"], &[MediaType::OciLayer, MediaType::OciLayer]);
}

#[test]
fn crane_with_colons_and_gzip_layers() {
    let sample = Sample::new();
    let gzip = sample.layers.each_ref().map(|layer| compress(Compression::Gzip, layer));
    let files = gzip.each_ref().map(|layer| format!("{}.tar.gz", Digest::of(layer).hex()));
    let config = format!("sha256:{}", sample.hex());
    let list = sample.list(&config, "[\"ghcr.io/acme/api:main\"]", &[&files[0], &files[1]]);
    let archive = RawTar::default()
        .file(&config, &sample.config)
        .file(&files[0], &gzip[0])
        .file(&files[1], &gzip[1])
        .file("manifest.json", list)
        .end();
    let types = [MediaType::OciLayerGzip, MediaType::OciLayerGzip];
    let document = check(&archive, &["ghcr.io/acme/api:main"], &types);
    assert_eq!(document.as_image().unwrap().layers[1].digest, Digest::of(&gzip[1]));
}

#[test]
fn skopeo_docker_archive_without_a_name_and_with_hard_links() {
    let sample = Sample::new();
    let list = sample.list("c.json", "[]", &["one/layer.tar", "two.tar"]);
    let archive = RawTar::default()
        .file("one.tar", &sample.layers[0])
        .hard_link("one/layer.tar", "one.tar")
        .file("two.tar", &sample.layers[1])
        .file("c.json", &sample.config)
        .file("manifest.json", list)
        .end();
    check(&archive, &[], &[MediaType::OciLayer, MediaType::OciLayer]);
}

#[test]
fn several_images_share_layers_and_may_have_no_name() {
    let (one, two) = (layer_tar("one"), layer_tar("two"));
    let configs = [config(&[&one]), config(&[&one, &two])];
    let list = r#"[{"Config":"a.json","RepoTags":null,"Layers":["1.tar"]},
        {"Config":"b.json","RepoTags":["b:1","B:2"],"Layers":["1.tar","2.tar"]}]"#;
    let archive = RawTar::default()
        .file("manifest.json", list)
        .file("a.json", &configs[0])
        .file("b.json", &configs[1])
        .file("1.tar", &one)
        .file("2.tar", &two)
        .end();
    let place = Place::new();
    let archive = place.open(&archive).unwrap();
    let [first, second] = archive.images() else { panic!("{:?}", archive.images()) };
    assert!(first.names.is_empty());
    assert_eq!(names(second), ["docker.io/library/b:1", "B:2"]);
    assert!(matches!(second.names[1], ArchivedName::Other(_)));
    load(&archive, first).unwrap();
    load(&archive, second).unwrap();
    let tag: Tag = "1".parse().unwrap();
    assert_eq!(archive.resolve(&tag).unwrap(), second.descriptor);
    assert_eq!(archive.tags().unwrap(), [tag]);
}

/// An OCI layout as a tar; `annotations` are those of the only entry of its index.
fn oci(document: &Document, store: &MemoryStore, annotations: &[(&str, &str)]) -> RawTar {
    let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let entry = Descriptor { annotations: pairs.collect(), ..document.descriptor().clone() };
    let mut tar = RawTar::default().folder("blobs/").folder("blobs/sha256/");
    for blob in document.as_image().unwrap().blobs() {
        let mut content = Vec::new();
        std::io::copy(&mut store.open_blob(&blob.digest).unwrap(), &mut content).unwrap();
        tar = tar.file(&format!("blobs/sha256/{}", blob.digest.hex()), content);
    }
    tar.file(&format!("blobs/sha256/{}", document.digest().hex()), document.raw())
        .file("index.json", serde_json::to_vec(&ImageIndex::new(vec![entry])).unwrap())
        .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
}

#[test]
fn oci_archives_keep_the_manifest_and_may_name_a_tag_alone() {
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let gzip = [MediaType::OciLayerGzip];
    let archive = oci(&document, &store, &[("org.opencontainers.image.ref.name", "v1")]).end();
    assert_eq!(check(&archive, &["v1"], &gzip), document);
    let full = [
        ("io.containerd.image.name", "docker.io/library/app:v1"),
        ("org.opencontainers.image.ref.name", "v1"),
    ];
    check(&oci(&document, &store, &full).end(), &["docker.io/library/app:v1"], &gzip);
    check(&oci(&document, &store, &[]).end(), &[], &gzip);
}

#[test]
fn names_of_a_hybrid_come_from_docker_s_list_where_the_index_has_only_a_tag() {
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let hex = document.as_image().unwrap().config.digest.hex();
    let list = format!(r#"[{{"Config":"blobs/sha256/{hex}","RepoTags":["app:v1"],"Layers":[]}}]"#);
    let tag = [("org.opencontainers.image.ref.name", "v1")];
    let archive = oci(&document, &store, &tag).file("manifest.json", list).end();
    check(&archive, &["docker.io/library/app:v1"], &[MediaType::OciLayerGzip]);
}

#[test]
fn one_entry_for_each_tag_is_one_image_with_all_its_names() {
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let entry = |name: &str| {
        let annotations = [("io.containerd.image.name".to_owned(), name.to_owned())].into();
        Descriptor { annotations, ..document.descriptor().clone() }
    };
    let index =
        ImageIndex::new(vec![entry("docker.io/a/b:1"), entry("docker.io/a/b:2"), entry("docker.io/a/b:1")]);
    let archive = oci(&document, &store, &[]).file("index.json", serde_json::to_vec(&index).unwrap()).end();
    check(&archive, &["docker.io/a/b:1", "docker.io/a/b:2"], &[MediaType::OciLayerGzip]);
}

#[test]
fn archives_compressed_as_a_whole() {
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let archive = oci(&document, &store, &[]).end();
    for format in [Compression::Gzip, Compression::Zstd] {
        assert_eq!(check(&compress(format, &archive), &[], &[MediaType::OciLayerGzip]), document);
    }
}

#[test]
fn zstd_layers_of_a_docker_archive_keep_their_bytes() {
    let layer = layer_tar("text");
    let config = config(&[&layer]);
    let archive = RawTar::default()
        .file("manifest.json", r#"[{"Config":"c","RepoTags":["a:b"],"Layers":["l"]}]"#)
        .file("c", &config)
        .file("l", compress(Compression::Zstd, &layer))
        .end();
    check(&archive, &["docker.io/library/a:b"], &[MediaType::OciLayerZstd]);
}

#[test]
fn an_index_lists_its_platforms_without_attestations() {
    let store = MemoryStore::new();
    let child = |text: &str, platform: &str| {
        image(&store, text).descriptor().clone().for_platform(platform.parse().unwrap())
    };
    let children = vec![child("1", "linux/amd64"), child("2", "linux/arm64"), child("3", "unknown/unknown")];
    let index = Document::from_index(ImageIndex::new(children));
    store.put_document(&index).unwrap();
    let place = Place::new();
    let saved = ArchiveImage { source: &store, descriptor: index.descriptor().clone(), names: Vec::new() };
    let path = place.path("saved.tar");
    save_to_path(&[saved], ArchiveFormat::OciArchive, &ArchiveOptions::default(), &path).unwrap();
    let archive = ArchiveStore::open(&path, place.folder.path()).unwrap();
    let shown: Vec<String> = archive.images()[0].platforms.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["linux/amd64", "linux/arm64"]);
    load(&archive, &archive.images()[0]).unwrap();
}

#[test]
fn artifacts_have_no_platform_and_no_entry_for_docker() {
    let store = MemoryStore::new();
    let config = put(&store, MediaType::OciEmpty, b"{}".to_vec());
    let document = Document::from_manifest(ImageManifest::new(config, Vec::new()));
    store.put_document(&document).unwrap();
    let place = Place::new();
    let path = place.path("saved.tar");
    let saved = ArchiveImage { source: &store, descriptor: document.descriptor().clone(), names: Vec::new() };
    save_to_path(&[saved], ArchiveFormat::DockerArchive, &ArchiveOptions::default(), &path).unwrap();
    let archive = ArchiveStore::open(&path, place.folder.path()).unwrap();
    assert!(archive.images()[0].platforms.is_empty());
    let members = super::super::members::Members::open(&path, place.folder.path()).unwrap();
    assert_eq!(members.read("manifest.json", 100).unwrap().unwrap().as_ref(), b"[]");
}
