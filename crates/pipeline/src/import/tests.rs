//! Tars and folders become images, damaged ones do not.

use std::io::Write as _;

use store::LayoutStore;
use testkit::tar::TarBuilder;

use super::*;

struct Scene {
    folder: tempfile::TempDir,
    repository: LayoutRepository,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(&folder.path().join("store")).unwrap();
        let repository = store.repository(&"local/base".parse().unwrap());
        Self { folder, repository }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn import(&self, path: &Path) -> Result<Imported, ImportError> {
        import().run(path, &self.repository)
    }

    /// Returns path, kind, owner and time of each entry of the only layer.
    fn entries(&self, imported: &Imported) -> Vec<String> {
        let layer = &imported.document.as_image().unwrap().layers[0];
        let blob = self.repository.open_blob(&layer.digest).unwrap();
        let mut reader = TarReader::new(decompress(blob).unwrap());
        let mut lines = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let kind = match &entry.kind {
                layer::Kind::File { size, .. } => format!("file of {size}"),
                layer::Kind::Hardlink(target) => format!("link to {}", String::from_utf8_lossy(target)),
                other => format!("{other:?}").to_lowercase(),
            };
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            lines.push(format!("{path} {kind} {}:{} {}", entry.uid, entry.gid, entry.mtime));
        }
        lines
    }
}

fn import() -> Import {
    Import {
        platform: "linux/amd64".parse().unwrap(),
        created: Timestamp::UNIX_EPOCH,
        runtime: RuntimeConfig::default(),
        compression: Compression::Gzip,
        owners: Owners::Root,
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut compressor = layer::compressor(Settings::new(Compression::Gzip), Vec::new()).unwrap();
    compressor.write_all(content).unwrap();
    compressor.finish().unwrap()
}

#[test]
fn a_tar_gives_the_same_image_however_it_is_compressed() {
    let scene = Scene::new();
    let tar = TarBuilder::new().file("./etc/os-release", b"ID=x\n").finish();
    let plain = scene.import(&scene.file("a.tar", &tar)).unwrap();
    let zipped = scene.import(&scene.file("b.tar.gz", &gzip(&tar))).unwrap();
    assert_eq!(plain.document.digest(), zipped.document.digest());
    assert!(scene.entries(&plain)[0].starts_with("etc/os-release file of 5"), "{:?}", scene.entries(&plain));
    let found = crate::image::Image::open(&scene.repository, &plain.document, None).unwrap();
    assert_eq!(found.config.platform().to_string(), "linux/amd64");
    assert_eq!(found.config.created.as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(found.config.rootfs.diff_ids.len(), 1);
}

#[test]
fn a_folder_is_sorted_with_its_links_and_without_its_owner() {
    let scene = Scene::new();
    let root = scene.folder.path().join("root");
    scene.file("root/b/file", b"12345");
    scene.file("root/a-file", b"");
    std::os::unix::fs::symlink("b/file", root.join("c")).unwrap();
    std::fs::hard_link(root.join("b/file"), root.join("b/same")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let imported = scene.import(&root).unwrap();
    let expected = [
        "a-file file of 0 0:0 0",
        "b directory 0:0 0",
        "b/file file of 5 0:0 0",
        "b/same link to b/file 0:0 0",
        "c symlink([98, 47, 102, 105, 108, 101]) 0:0 0",
    ];
    assert_eq!(scene.entries(&imported), expected);
    assert_eq!(imported.skipped, [Path::new("socket")]);
    assert_eq!(imported.entries, expected.len());
}

#[track_caller]
fn check_refused(content: &[u8], expected: &str) {
    let scene = Scene::new();
    let error = scene.import(&scene.file("x", content)).unwrap_err();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    assert!(text.contains(expected), "{text}");
    assert!(scene.repository.manifests().unwrap().is_empty());
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    let tar = TarBuilder::new().file("a", &[7; 3000]).finish();
    check_refused(&tar[..2000], "breaks off");
    check_refused(&gzip(&tar)[..60], "the gzip stream breaks off");
    check_refused(&TarBuilder::new().finish(), "there are no files in");
    check_refused(b"", "there are no files in");
    check_refused(&[b'x'; 2048], "damaged tar at byte 0");
    check_refused(&TarBuilder::new().file("../../etc/passwd", b"x").finish(), "lead out of the layer");
    let absent = Scene::new();
    let error = absent.import(&absent.folder.path().join("none")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read"), "{error}");
}
