//! What we write, byte by byte and read back.

use std::os::unix::fs::PermissionsExt;

use layer::{Kind, TarReader};
use oci::{ImageIndex, Platform, Reference};
use serde_json::{Value, json};

use super::*;
use crate::LayoutStore;

fn named(store: &dyn ImageStore, document: &Document, names: &[&str]) -> Vec<Reference> {
    assert!(store.document(&document.digest()).is_ok());
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn save(images: &[ArchiveImage<'_>], format: ArchiveFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_archive(images, format, &ArchiveOptions::default(), Output::Stream(&mut bytes)).unwrap();
    bytes
}

/// Name and content of every member, in order, after checking that nothing else differs.
fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut reader = TarReader::new(bytes);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert!(matches!(entry.kind, Kind::File { .. }));
        assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0o444, 0, 0, 0));
        let mut content = Vec::new();
        std::io::copy(&mut reader.content(), &mut content).unwrap();
        members.push((String::from_utf8(entry.path).unwrap(), content));
    }
    members
}

fn value(members: &[(String, Vec<u8>)], name: &str) -> Value {
    let (_, content) = members.iter().find(|(member, _)| member == name).unwrap();
    serde_json::from_slice(content).unwrap()
}

#[test]
fn the_hybrid_has_its_lists_first_and_both_name_the_same() {
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let names = named(&store, &document, &["api:local", "ghcr.io/acme/api:main", "plain"]);
    let image = ArchiveImage { source: &store, descriptor: document.descriptor().clone(), names };
    let members = members(&save(&[image], ArchiveFormat::DockerArchive));
    let order: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order[..3], ["oci-layout", "index.json", "manifest.json"]);
    assert!(members[3..].is_sorted_by_key(|(_, content)| content.len()));
    for (name, content) in &members[3..] {
        assert_eq!(*name, format!("blobs/sha256/{}", Digest::of(content).hex()));
    }
    let manifest = document.as_image().unwrap();
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    assert_eq!(
        value(&members, "manifest.json"),
        json!([{
            "Config": path(&manifest.config.digest),
            "RepoTags": ["api:local", "ghcr.io/acme/api:main", "plain:latest"],
            "Layers": [path(&manifest.layers[0].digest)],
        }])
    );
    let entry = |name: &str, tag: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": document.digest().to_string(),
            "size": document.raw().len(),
            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag},
        })
    };
    assert_eq!(
        value(&members, "index.json")["manifests"],
        json!([
            entry("docker.io/library/api:local", "local"),
            entry("ghcr.io/acme/api:main", "main"),
            entry("docker.io/library/plain:latest", "latest"),
        ])
    );
}

#[test]
fn several_images_come_back_with_their_digests_and_names() {
    let (one, two) = (MemoryStore::new(), MemoryStore::new());
    let documents = [image(&one, "one"), image(&two, "two")];
    let images = [
        ArchiveImage {
            source: &one,
            descriptor: documents[0].descriptor().clone(),
            names: named(&one, &documents[0], &["api:local"]),
        },
        ArchiveImage { source: &two, descriptor: documents[1].descriptor().clone(), names: Vec::new() },
    ];
    for format in [ArchiveFormat::DockerArchive, ArchiveFormat::OciArchive] {
        let bytes = save(&images, format);
        assert_eq!(bytes, save(&images, format), "the same images give the same bytes");
        let place = Place::new();
        let archive = place.open(&bytes).unwrap();
        assert_eq!(archive.images().len(), 2);
        assert_eq!(names(&archive.images()[0]), ["docker.io/library/api:local"]);
        for (image, document) in archive.images().iter().zip(&documents) {
            assert_eq!(&load(&archive, image).unwrap().1, document);
        }
    }
}

#[test]
fn of_an_index_docker_gets_the_image_for_the_platform_asked_for() {
    let store = MemoryStore::new();
    let child = |text: &str, platform: &str| {
        image(&store, text).descriptor().clone().for_platform(platform.parse().unwrap())
    };
    let children = vec![child("0", "unknown/unknown"), child("1", "linux/amd64"), child("2", "linux/arm64")];
    let index = Document::from_index(ImageIndex::new(children));
    store.put_document(&index).unwrap();
    let saved = ArchiveImage { source: &store, descriptor: index.descriptor().clone(), names: Vec::new() };
    let check = |platform: &str, expected: usize| {
        let options =
            ArchiveOptions { platform: platform.parse::<Platform>().unwrap(), ..ArchiveOptions::default() };
        let mut bytes = Vec::new();
        let images = std::slice::from_ref(&saved);
        write_archive(images, ArchiveFormat::DockerArchive, &options, Output::Stream(&mut bytes)).unwrap();
        let members = members(&bytes);
        let child = &index.as_index().unwrap().manifests[expected];
        let config = &store.document(&child.digest).unwrap().as_image().unwrap().config.clone();
        let path = format!("blobs/sha256/{}", config.digest.hex());
        assert_eq!(value(&members, "manifest.json")[0]["Config"], json!(path));
        assert_eq!(value(&members, "manifest.json")[0]["RepoTags"], Value::Null);
        assert_eq!(
            value(&members, "index.json")["manifests"][0]["digest"],
            json!(index.digest().to_string())
        );
        // Three lists, and of each child its manifest, configuration and layer, and the index itself.
        assert_eq!(members.len(), 3 + 3 * 3 + 1);
    };
    check("linux/arm64", 2);
    check("linux/amd64", 1);
    check("linux/s390x", 1);
}

#[test]
fn zstd_layers_get_gzip_twins_where_old_readers_are_asked_for() {
    let store = MemoryStore::new();
    let tar = layer_tar("text");
    let config = put(&store, MediaType::OciConfig, config(&[&tar]));
    let layer = put(&store, MediaType::OciLayerZstd, compress(Compression::Zstd, &tar));
    let document = Document::from_manifest(oci::ImageManifest::new(config, vec![layer.clone()]));
    store.put_document(&document).unwrap();
    let place = Place::new();
    let saved =
        [ArchiveImage { source: &store, descriptor: document.descriptor().clone(), names: Vec::new() }];
    let spool = place.folder.path().to_owned();
    let options =
        ArchiveOptions { old_readers: OldReaders::GzipTwins { spool }, ..ArchiveOptions::default() };
    let mut bytes = Vec::new();
    write_archive(&saved, ArchiveFormat::DockerArchive, &options, Output::Stream(&mut bytes)).unwrap();
    let members = members(&bytes);
    let twin = value(&members, "manifest.json")[0]["Layers"][0].as_str().unwrap().to_owned();
    let (_, content) = members.iter().find(|(name, _)| *name == twin).unwrap();
    assert_eq!(*content, compress(Compression::Gzip, &tar));
    let archive = place.open(&bytes).unwrap();
    assert_eq!(archive.images()[0].descriptor.digest, document.digest(), "the image keeps its digest");
    assert!(archive.blob_size(&layer.digest).unwrap().is_some());

    let plain = save(&saved, ArchiveFormat::DockerArchive);
    let kept = format!("blobs/sha256/{}", layer.digest.hex());
    assert_eq!(value(&super::ours::members(&plain), "manifest.json")[0]["Layers"][0], json!(kept));
}

#[test]
fn a_file_gets_the_same_bytes_as_a_stream_and_is_readable_by_others() {
    let place = Place::new();
    let layout = LayoutStore::open(&place.path("store")).unwrap();
    let repository = layout.repository(&"local/api".parse().unwrap());
    let document = image(&repository, &"text".repeat(100_000));
    let images =
        [ArchiveImage { source: &repository, descriptor: document.descriptor().clone(), names: Vec::new() }];
    let path = place.path("api.tar");
    fs::write(&path, b"an older archive").unwrap();
    save_to_path(&images, ArchiveFormat::DockerArchive, &ArchiveOptions::default(), &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), save(&images, ArchiveFormat::DockerArchive));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o444, 0o444);
}

#[test]
fn a_failed_save_leaves_the_older_archive_and_nothing_else() {
    let place = Place::new();
    let layout = LayoutStore::open(&place.path("store")).unwrap();
    let repository = layout.repository(&"local/api".parse().unwrap());
    let document = image(&repository, "text");
    let layer = &document.as_image().unwrap().layers[0];
    fs::remove_file(place.path("store/blobs/sha256").join(layer.digest.hex())).unwrap();
    let images =
        [ArchiveImage { source: &repository, descriptor: document.descriptor().clone(), names: Vec::new() }];
    let folder = place.path("out");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("api.tar");
    fs::write(&path, b"older").unwrap();
    let result = save_to_path(&images, ArchiveFormat::DockerArchive, &ArchiveOptions::default(), &path);
    assert!(matches!(result, Err(StoreError::NotFound { .. })), "{result:?}");
    assert_eq!(fs::read(&path).unwrap(), b"older");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let nowhere = place.path("no/such/folder/api.tar");
    let result = save_to_path(&images, ArchiveFormat::DockerArchive, &ArchiveOptions::default(), &nowhere);
    assert!(matches!(&result, Err(error) if error.to_string().contains("no/such/folder")), "{result:?}");
}

#[test]
fn a_saved_archive_takes_no_more_room_than_it_has_bytes() {
    use std::os::unix::fs::MetadataExt as _;
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    for _ in 0..2 {
        let names = named(&store, &document, &["api:local"]);
        let image = ArchiveImage { source: &store, descriptor: document.descriptor().clone(), names };
        save_to_path(&[image], ArchiveFormat::OciArchive, &ArchiveOptions::default(), &path).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        let whole = metadata.len().next_multiple_of(metadata.blksize());
        assert!(
            metadata.blocks() * 512 <= whole,
            "{} blocks for {} bytes",
            metadata.blocks(),
            metadata.len()
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
