//! What a collection takes and what it leaves.

use oci::{Descriptor, ImageIndex, ImageManifest, MediaType, Tag};

use super::*;
use crate::{Blob, BlobStore as _, ImageStore as _, LayoutRepository};

const NOW: CollectOptions = CollectOptions { grace: Duration::ZERO, patience: Duration::ZERO };
const LATER: CollectOptions = CollectOptions { grace: Duration::from_secs(3600), patience: Duration::ZERO };

struct Scene {
    folder: tempfile::TempDir,
    store: LayoutStore,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        Self { folder, store }
    }

    fn repository(&self, name: &str) -> LayoutRepository {
        self.store.repository(&format!("local/{name}").parse().unwrap())
    }

    /// Files are older than `grace` zero only in the next second.
    fn collect(&self, options: &CollectOptions, keep: &dyn Fn(&Digest) -> bool) -> Collected {
        let now = self.store.now().unwrap();
        while self.store.now().unwrap() == now {
            std::thread::yield_now();
        }
        let plan = self.store.plan_collection(options, keep).unwrap();
        let (count, bytes) = (plan.blobs.len() as u64, plan.bytes());
        let collected = self.store.apply_collection(plan, options).unwrap();
        assert_eq!((collected.blobs, collected.bytes), (count, bytes), "the plan is what is done");
        collected
    }
}

fn put(repository: &LayoutRepository, content: &str) -> Descriptor {
    let descriptor = Descriptor::of(MediaType::OciLayerGzip, content.as_bytes());
    repository.put_blob(&descriptor, Blob::from_bytes(content.to_owned())).unwrap();
    descriptor
}

fn image(repository: &LayoutRepository, layer: &str) -> Document {
    let config = put(repository, "{}");
    let layers = vec![put(repository, layer)];
    let document = Document::from_manifest(ImageManifest::new(config, layers));
    repository.put_document(&document).unwrap();
    document
}

fn no(_: &Digest) -> bool {
    false
}

#[test]
fn only_what_nothing_needs_goes() {
    let scene = Scene::new();
    let (one, two) = (scene.repository("one"), scene.repository("deep/two"));
    let kept = image(&one, "kept");
    let child = image(&two, "child");
    let index = Document::from_index(ImageIndex::new(vec![child.descriptor().clone()]));
    let tag: Tag = "v1".parse().unwrap();
    two.tag(&tag, &index).unwrap();
    let gone = image(&two, "gone");
    two.delete_document(&gone.digest()).unwrap();
    let uploaded = put(&one, "uploaded and forgotten");
    let cached = put(&one, "a step of a build");
    assert_eq!(scene.collect(&LATER, &no).blobs, 0, "everything is young");
    let keep = |digest: &Digest| *digest == cached.digest;
    let collected = scene.collect(&NOW, &keep);
    // The manifest, its layer, and the upload.
    assert_eq!(collected.blobs, 3);
    let has = |digest: &Digest| scene.store.blob_size(digest).unwrap().is_some();
    assert!(!has(&gone.digest()) && !has(&uploaded.digest) && has(&cached.digest));
    for document in [&kept, &child] {
        let layers = &document.as_image().unwrap().layers;
        assert!(has(&document.digest()) && layers.iter().all(|layer| has(&layer.digest)));
    }
    assert_eq!(two.resolve(&tag).unwrap().digest, index.digest());
    assert!(!one.has_blob(&uploaded.digest).unwrap());
    assert_eq!(scene.collect(&NOW, &keep).blobs, 0, "twice is no more than once");
}

#[test]
fn what_is_put_between_plan_and_turn_stays() {
    let scene = Scene::new();
    let one = scene.repository("one");
    let layer = put(&one, "layer");
    let config = put(&one, "{}");
    let now = scene.store.now().unwrap();
    while scene.store.now().unwrap() == now {
        std::thread::yield_now();
    }
    let plan = scene.store.plan_collection(&NOW, &no).unwrap();
    assert_eq!(plan.blobs.len(), 2);
    let document = Document::from_manifest(ImageManifest::new(config, vec![layer.clone()]));
    scene.repository("two").put_document(&document).unwrap();
    assert_eq!(scene.store.apply_collection(plan, &NOW).unwrap().blobs, 0);
    assert!(scene.store.blob_size(&layer.digest).unwrap().is_some());
}

#[test]
fn a_blob_that_was_asked_for_is_young_again() {
    let scene = Scene::new();
    let one = scene.repository("one");
    let blob = put(&one, "blob");
    let old = std::time::SystemTime::UNIX_EPOCH;
    let mark = names::RepositoryFolder::new(&scene.folder.path().join("repositories"), one.name())
        .blob(&blob.digest);
    fs::File::options().write(true).open(&mark).unwrap().set_modified(old).unwrap();
    let before = fs::metadata(&mark).unwrap().mtime();
    one.refresh_blob(&blob.digest);
    assert!(fs::metadata(&mark).unwrap().mtime() > before);
    scene.repository("two").refresh_blob(&blob.digest);
}

#[test]
fn nobody_is_disturbed_who_holds_the_store() {
    let scene = Scene::new();
    put(&scene.repository("one"), "blob");
    let now = scene.store.now().unwrap();
    while scene.store.now().unwrap() == now {
        std::thread::yield_now();
    }
    let plan = scene.store.plan_collection(&NOW, &no).unwrap();
    let lock = scene.store.lock_shared().unwrap();
    let collected = scene.store.apply_collection(plan.clone(), &NOW).unwrap();
    assert_eq!((collected.blobs, collected.interrupted), (0, true));
    drop(lock);
    assert_eq!(scene.store.apply_collection(plan, &NOW).unwrap().blobs, 1);
}

#[test]
fn a_manifest_that_cannot_be_read_keeps_everything() {
    let scene = Scene::new();
    let one = scene.repository("one");
    let document = image(&one, "layer");
    put(&one, "other");
    let path = scene.store.blob_path(&document.digest());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "damaged").unwrap();
    let error = scene.store.plan_collection(&NOW, &no).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    // It lies in quarantine now; what it needs is not known any more, and is said.
    let plan = scene.store.plan_collection(&LATER, &no).unwrap();
    assert_eq!(plan.unreadable, [document.digest().to_string()]);
}
