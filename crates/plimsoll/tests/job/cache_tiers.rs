//! Caches outside this machine: what one machine built another does not build again, nor fetch without need.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

const DOCKERFILE: &str = "\
FROM scratch
COPY big /big
WORKDIR /work
COPY late /work/late
";

/// What a registry was asked for, as `METHOD /path`.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// Notes the requests from now on.
    fn of(registry: &Unreliable) -> Self {
        let asked = Self::default();
        let lines = asked.0.clone();
        registry.does(move |line| {
            lines.lock().unwrap().push(line.to_owned());
            Fault::None
        });
        asked
    }

    /// Returns the digests of blobs that were fetched.
    fn blobs(&self) -> BTreeSet<String> {
        let lines = self.0.lock().unwrap();
        let fetched = lines.iter().filter_map(|line| line.strip_prefix("GET ")?.split_once("/blobs/"));
        fetched.map(|(_, digest)| digest.to_owned()).collect()
    }

    /// Returns how many blobs were sent.
    fn uploads(&self) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.starts_with("PUT ") && line.contains("/uploads/"))
            .count()
    }
}

struct Machines {
    shop: Shop,
    registry: Unreliable,
    _folder: tempfile::TempDir,
}

impl Machines {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::with(Shop::without_base(files))
    }

    fn with(shop: Shop) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Unreliable::start(folder.path());
        Self { shop, registry, _folder: folder }
    }

    /// The same project on a machine that knows nothing.
    fn another(mut self) -> Self {
        self.shop = self.shop.with_empty_root();
        self
    }

    /// Builds with the cache of a tag, pushes, and returns the digest and what was said.
    #[track_caller]
    fn build(&self, more: &str) -> (String, crate::seen::Seen) {
        let registry = &self.registry.address;
        let line = format!(
            "build -f Dockerfile -t {registry}/acme/app:1 --push --progress plain --format json {more} ."
        )
        .replace("CACHE", &format!("ref={registry}/acme/app"));
        let seen = self.shop.call(&line).exits(0);
        let services = seen.json()["services"].clone();
        (services["acme/app"]["digest"].as_str().unwrap().to_owned(), seen)
    }

    /// The digest of a build that nobody helped.
    #[track_caller]
    fn alone(self) -> String {
        let seen = self.another().shop.call("build -f Dockerfile -t local/alone --format json .").exits(0);
        seen.json()["services"]["alone"]["digest"].as_str().unwrap().to_owned()
    }

    fn layers(&self, reference: &str) -> Vec<String> {
        let seen =
            self.shop.call(&format!("inspect {}/{reference} --format json", self.registry.address)).exits(0);
        let layers = seen.json()["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
    }
}

fn files() -> [(&'static str, &'static str); 3] {
    [("Dockerfile", DOCKERFILE), ("big", "a large file"), ("late", "one")]
}

const BOTH: &str = "--cache-from type=registry,CACHE:cache --cache-to type=registry,CACHE:cache,mode=max";

#[test]
fn a_copied_file_changes_and_nothing_of_the_rest_is_fetched() {
    let first = Machines::new(&files());
    let (before, _) = first.build(BOTH);
    let parents = first.layers("acme/app:1");
    let second = first.another();
    second.shop.write("late", "two");
    let asked = Asked::of(&second.registry);
    let (digest, seen) = second.build(BOTH);
    assert_ne!(digest, before);
    let seen = seen.says("cached in registry:");
    for layer in &parents {
        assert!(!asked.blobs().contains(layer), "{layer} was fetched\n{seen}");
    }
    // The new layer, the image's configuration, the index of the layer's files and the cache's configuration.
    assert_eq!(asked.uploads(), 4, "{:?}", asked.0.lock().unwrap());
    assert_eq!(second.layers("acme/app:1")[..2], parents[..2]);
    second.shop.check_root();
    let asked = Asked::of(&second.registry);
    let third = second.another();
    let (again, seen) = third.build(BOTH);
    assert_eq!(again, digest, "{seen}");
    assert_eq!(asked.uploads(), 0, "all of it is there: {:?}", asked.0.lock().unwrap());
    assert_eq!(third.alone(), digest, "the cache changes nothing");
}
