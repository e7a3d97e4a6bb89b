//! Commands that move images, killed at any moment: what is there then is what was there before or the whole of what
//! is to come, and the next one completes it.
//!
//! Moments are spread over the time that the command takes when nobody kills it. What is demanded holds at every moment,
//! so no test depends on how many are hit before it ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci::Digest;
use store::{
    ArchiveStore, FlatFolder, Foreign, ImageStore, LayoutStore, OciFolder, StoreError, missing_parts,
};
use testkit::image::TinyImage;

use crate::shop::Shop;
use crate::unreliable::Unreliable;

/// How often each command is killed.
const KILLS: u32 = 36;

/// Runs the command and kills it after this time; whether it was killed.
fn killed_after(mut command: Command, time: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(time);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Kills the command at moments spread over the time it takes; `undo` takes back what a whole one did, `check` looks
/// at what is there after each.
fn kill(command: impl Fn() -> Command, undo: impl Fn(), check: impl Fn()) {
    let begun = Instant::now();
    let mut whole = command();
    assert!(whole.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let takes = begun.elapsed();
    check();
    undo();
    let mut killed = 0;
    for number in 0..KILLS {
        let was_killed = killed_after(command(), takes * number / KILLS);
        check();
        killed += u32::from(was_killed);
        // Where it came to its end the next one would have nothing to do.
        if !was_killed || number % 6 == 5 {
            undo();
        }
    }
    assert!(killed > 0, "the first is killed as soon as it begins");
    let mut whole = command();
    assert!(whole.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    check();
}

/// Demands that an image is all there, and right.
#[track_caller]
fn is_whole(store: &dyn ImageStore, digest: &Digest) {
    let document = store.document(digest).unwrap();
    assert_eq!(missing_parts(store, document.descriptor(), Foreign::Copied).unwrap(), []);
    for blob in document.as_image().unwrap().blobs() {
        std::io::copy(&mut store.open_blob(&blob.digest).unwrap(), &mut std::io::sink()).unwrap();
    }
}

/// Demands that a store has the image under its tag, or no such tag.
#[track_caller]
fn is_whole_or_not_there(store: &dyn ImageStore, digest: &Digest) {
    match store.resolve(&"1".parse().unwrap()) {
        Ok(found) => {
            assert_eq!(found.digest, *digest);
            is_whole(store, digest);
        }
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    assert!(removed.is_ok() || !path.exists());
}

/// A shop with `local/app:1` of several layers, some of them large, and an older `local/old:1`.
struct Scene {
    shop: Shop,
    image: Digest,
    old: Digest,
}

impl Scene {
    fn new() -> Self {
        let shop = Shop::without_base(&[("plimsoll.toml", "[service.app]\n")]);
        let store = LayoutStore::open(&shop.root("store")).unwrap();
        let mut state = 1_u64;
        let mut noise = || {
            let next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap())
            };
            std::iter::repeat_with(next).take(400_000).collect::<String>()
        };
        let contents: Vec<String> = (0..4).map(|_| noise()).collect();
        let files: Vec<[(&str, &str); 1]> = contents.iter().map(|content| [("noise", &**content)]).collect();
        let layers: Vec<&[(&str, &str)]> = files.iter().map(|file| &file[..]).collect();
        let image = TinyImage::of_layers(&layers);
        image.put(&store.repository(&"local/app".parse().unwrap()), "1");
        let old = TinyImage::of_files(&[("old", "1")]);
        old.put(&store.repository(&"local/old".parse().unwrap()), "1");
        Self { shop, image: image.digest(), old: old.digest() }
    }

    fn path(&self, name: &str) -> String {
        self.shop.beside(name).display().to_string()
    }
}

#[test]
fn a_killed_save_leaves_the_old_archive_or_the_new_one() {
    let scene = Scene::new();
    let file = scene.shop.beside("app.tar");
    for (form, is_kept) in [("docker-archive", false), ("oci-archive", true)] {
        let old = format!("save local/old:1 --archive {form} -o {}", file.display());
        let undo = || match is_kept {
            true => drop(scene.shop.call(&old).exits(0)),
            false => remove(&file),
        };
        undo();
        let line = format!("save local/app:1 --archive {form} -o {}", file.display());
        let check = || {
            let archive = match ArchiveStore::open(&file, &scene.shop.beside("")) {
                Err(StoreError::NotFound { .. }) if !is_kept => return,
                archive => archive.unwrap(),
            };
            let [found] = archive.images() else { panic!("{:?}", archive.images()) };
            let found = found.descriptor.digest;
            assert!(found == scene.image || (is_kept && found == scene.old), "{found}");
            is_whole(&archive, &found);
        };
        kill(|| scene.shop.command(&line), undo, check);
    }
}

#[test]
fn a_killed_copy_into_a_folder_leaves_nothing_half() {
    let scene = Scene::new();
    let layout = scene.shop.beside("layout");
    let line = format!("copy local/app:1 oci:{}:1", layout.display());
    kill(
        || scene.shop.command(&line),
        || remove(&layout),
        || is_whole_or_not_there(&OciFolder::create(&layout).unwrap(), &scene.image),
    );
    let folder = scene.shop.beside("folder");
    let line = format!("copy local/app:1 dir:{}", folder.display());
    let check = || {
        if let Ok(found) = FlatFolder::open(&folder)
            && let Ok(document) = found.image()
        {
            assert_eq!(document.digest(), scene.image);
            is_whole(&found, &scene.image);
        }
    };
    kill(|| scene.shop.command(&line), || remove(&folder), check);
}

#[test]
fn a_killed_load_leaves_no_image_or_the_whole_one() {
    let scene = Scene::new();
    scene.shop.call(&format!("save local/app:1 -o {}", scene.path("app.tar"))).exits(0);
    let other = Shop::without_base(&[]);
    let root = other.root("store");
    let line = format!("load {} --tag local/loaded:1", scene.path("app.tar"));
    let check = || {
        let store = LayoutStore::open(&root).unwrap();
        is_whole_or_not_there(&store.repository(&"local/loaded".parse().unwrap()), &scene.image);
    };
    kill(|| other.command(&line), || remove(&root), check);
    other.check_root();
}

#[test]
fn a_killed_handoff_is_completed_by_the_next() {
    let files = [
        ("plimsoll.toml", "[service.app]\n"),
        ("Dockerfile", "FROM scratch\nCOPY one /one\nCOPY two /two\n"),
        ("one", "1"),
    ];
    let shop = Shop::without_base(&files);
    shop.write(
        "two",
        (0..700_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect::<Vec<u8>>(),
    );
    shop.git.commit("two");
    let registry = Unreliable::start(&shop.beside("registry"));
    let ledger = shop.ledger(&format!("run --set registry={}/acme", registry.address), 0);
    let digest: Digest = ledger["services"]["app"]["digest"].as_str().unwrap().parse().unwrap();
    let root = shop.beside("elsewhere");
    let command = |line: &str| {
        let mut command = shop.command(line);
        command.env("PLIMSOLL_ROOT", &root);
        command
    };
    let name = format!("{}/acme/app", registry.address).parse().unwrap();
    let check = || {
        let store = LayoutStore::open(&root.join("store")).unwrap();
        let repository = store.repository(&name);
        match repository.document(&digest) {
            Err(StoreError::NotFound { .. }) => {}
            found => is_whole(&repository, &found.unwrap().digest()),
        }
    };
    // From the registry, then from the archive alone.
    kill(|| command("handoff get"), || remove(&root), check);
    remove(&root);
    let archive = shop.path(".plimsoll/images/app.tar");
    let put = || remove(&archive);
    let check_archive = || {
        if archive.exists() {
            let found = ArchiveStore::open(&archive, &shop.beside("")).unwrap();
            is_whole(&found, &digest);
        }
    };
    kill(|| shop.command("handoff put"), put, check_archive);
}
