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
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// Notes the requests from now on.
    pub fn of(registry: &Unreliable) -> Self {
        let asked = Self::default();
        let lines = asked.0.clone();
        registry.does(move |line| {
            lines.lock().unwrap().push(line.to_owned());
            Fault::None
        });
        asked
    }

    /// Returns the digests of blobs that were fetched.
    pub fn blobs(&self) -> BTreeSet<String> {
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

/// Machines with a project and a registry in common, one after the other.
pub struct Machines {
    /// The one of now.
    pub shop: Shop,
    /// The registry.
    pub registry: Unreliable,
    _folder: tempfile::TempDir,
}

impl Machines {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::with(Shop::without_base(files))
    }

    /// Starts with a machine.
    pub fn with(shop: Shop) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Unreliable::start(folder.path());
        Self { shop, registry, _folder: folder }
    }

    /// The same project on a machine that knows the base image and nothing else.
    pub fn another_with_base(self) -> Self {
        Self { shop: self.shop.with_other_root(), ..self }
    }

    /// The same project on a machine that knows nothing.
    pub fn another(mut self) -> Self {
        self.shop = self.shop.with_empty_root();
        self
    }

    /// Builds with the cache of a tag, pushes, and returns the digest and what was said.
    #[track_caller]
    pub fn build(&self, more: &str) -> (String, crate::seen::Seen) {
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

const ONCE: &str = "--set defaults.push.retry.attempts=1";
/// Reads and writes the registry's cache.
pub const BOTH: &str = "--cache-from type=registry,CACHE:cache --cache-to type=registry,CACHE:cache,mode=max";

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
    // The new layer, the image's configuration, the index of the layer's files, what the steps were made of and the
    // cache's configuration.
    assert_eq!(asked.uploads(), 5, "{:?}", asked.0.lock().unwrap());
    assert_eq!(second.layers("acme/app:1")[..2], parents[..2]);
    second.shop.check_root();
    let asked = Asked::of(&second.registry);
    let third = second.another();
    let (again, seen) = third.build(BOTH);
    assert_eq!(again, digest, "{seen}");
    assert_eq!(asked.uploads(), 0, "all of it is there: {:?}", asked.0.lock().unwrap());
    assert_eq!(third.alone(), digest, "the cache changes nothing");
}

#[test]
fn layers_of_a_base_image_stay_in_their_registry() {
    let machines = Machines::new(&[
        ("Dockerfile", "FROM scratch\nCOPY big /big\n"),
        ("big", "the base"),
        ("late", "one"),
    ]);
    let registry = machines.registry.address.clone();
    machines.shop.call(&format!("build -q -f Dockerfile -t {registry}/acme/base:1 --push .")).exits(0);
    let base = machines.layers("acme/base:1");
    let dockerfile = format!("FROM {registry}/acme/base:1\nWORKDIR /work\nCOPY late /work/late\n");
    machines.shop.write("Dockerfile", dockerfile);
    machines.build(BOTH);
    let second = machines.another();
    second.shop.write("late", "two");
    let asked = Asked::of(&second.registry);
    let (digest, seen) = second.build(BOTH);
    assert!(!asked.blobs().contains(&base[0]), "the base was fetched\n{seen}");
    assert_eq!(second.layers("acme/app:1")[0], base[0]);
    assert_eq!(second.alone(), digest);
}

#[test]
fn a_step_that_runs_gets_what_is_below_it() {
    let dockerfile = "FROM local/base:1\nCOPY big /big\nCOPY late /late\nRUN cat /big /late >/both\n";
    let Some(shop) = Shop::open(&[("Dockerfile", dockerfile), ("big", "a large file"), ("late", "one")])
    else {
        return;
    };
    let first = Machines::with(shop);
    first.build(BOTH);
    let parents = first.layers("acme/app:1");
    let second = Machines { shop: first.shop.with_other_root(), ..first };
    second.shop.write("late", "two");
    let asked = Asked::of(&second.registry);
    let (digest, seen) = second.build(BOTH);
    assert!(asked.blobs().contains(&parents[1]), "{seen}");
    second.shop.check_root();
    let alone = Machines { shop: second.shop.with_other_root(), ..second };
    let seen = alone.shop.call("build -f Dockerfile -t local/alone --format json .").exits(0);
    assert_eq!(seen.json()["services"]["alone"]["digest"], digest.as_str());
}

/// What the blobs with these digests come to.
pub fn lose(registry: &Unreliable, layers: Vec<String>, fault: fn() -> Fault) {
    registry.does(move |line| {
        let is_read = line.starts_with("GET ") && layers.iter().any(|layer| line.contains(layer));
        if is_read { fault() } else { Fault::None }
    });
}

#[test]
fn a_layer_that_cannot_be_had_is_made_again() {
    for fault in [|| Fault::Answer(404, ""), || Fault::Lie, || Fault::Truncate(10)] {
        let first = Machines::new(&files());
        let (digest, _) = first.build(BOTH);
        let layers = first.layers("acme/app:1");
        let second = first.another();
        lose(&second.registry, layers, fault);
        // Without --push all of it has to come here.
        let line = format!(
            "build -f Dockerfile -t local/app --cache-from type=registry,ref={}/acme/app:cache \
             {ONCE} --format json .",
            second.registry.address
        );
        let seen = second.shop.call(&line).exits(0);
        assert_eq!(seen.json()["services"]["app"]["digest"], digest.as_str(), "{seen}");
        seen.says("warning").says("its step runs again").says("registry:");
        second.shop.check_root();
    }
}

#[test]
fn a_cache_that_cannot_be_read_is_a_warning_or_an_error() {
    let machines = Machines::new(&files());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let build = |cache: &str| {
        machines.shop.call(&format!("build -f Dockerfile -t local/app {ONCE} --cache-from {cache} ."))
    };
    build(&format!("type=registry,ref={nobody}/acme/app:cache")).exits(0).says("warning").says("is not used");
    let machines = machines.another();
    let build = |cache: &str| {
        machines.shop.call(&format!("build -f Dockerfile -t local/app {ONCE} --cache-from {cache} ."))
    };
    let failed = build(&format!("type=registry,ref={nobody}/acme/app:cache,ignore-error=false"));
    assert_ne!(failed.code, Some(0), "{failed}");
    failed.says("cannot read the cache registry:");
    // An image is no cache, and a cache that is not there yet is no failure.
    machines.build("");
    let registry = machines.registry.address.clone();
    let machines = Machines { shop: machines.shop.with_empty_root(), ..machines };
    let build = |cache: String| {
        machines.shop.call(&format!("build -f Dockerfile -t local/app {ONCE} --cache-from {cache} ."))
    };
    build(format!("type=registry,ref={registry}/acme/app:nothing")).exits(0).says_not("warning");
    let machines = Machines { shop: machines.shop.with_empty_root(), ..machines };
    let seen = machines.shop.call(&format!(
        "build -f Dockerfile -t local/app {ONCE} --cache-from type=registry,ref={registry}/acme/app:1 ."
    ));
    seen.exits(0).says("warning").says("so it is an image; a cache that is attached");
}

#[test]
fn a_folder_is_a_cache() {
    let first = Machines::new(&files());
    let cache = first.registry_folder("cache");
    let both = format!("--cache-from type=local,src={cache} --cache-to type=local,dest={cache},mode=max");
    let (digest, seen) = first.build(&both);
    seen.says("the cache local:").says_not("warning");
    let second = first.another();
    let (again, seen) = second.build(&both);
    assert_eq!(again, digest);
    seen.says("cached in local:").says("has everything");
}

#[test]
fn records_are_attached_to_an_image() {
    let first = Machines::new(&files());
    let both = "--cache-from type=image,CACHE:1 --cache-to type=image,CACHE:1";
    let (digest, _) = first.build(both);
    let parents = first.layers("acme/app:1");
    let second = first.another();
    second.shop.write("late", "two");
    let asked = Asked::of(&second.registry);
    let (changed, seen) = second.build(both);
    assert_ne!(changed, digest);
    seen.says("cached in image:");
    assert!(parents.iter().all(|layer| !asked.blobs().contains(layer)));
    let third = second.another();
    let (again, seen) = third.build(both);
    assert_eq!(again, changed);
    assert!(seen.json()["services"]["acme/app"]["status"] == "cached", "{seen}");
}

#[test]
fn why_a_step_runs_is_told_by_what_another_machine_built() {
    let dockerfile = "FROM scratch\nARG TOKEN\nCOPY big late /\nWORKDIR /work\n";
    let first = Machines::new(&[("Dockerfile", dockerfile), ("big", "large"), ("late", "one")]);
    first.build(BOTH).1.says_not("compared with");
    let second = first.another();
    second.shop.write("late", "two");
    let (_, seen) = second.build(&format!("{BOTH} --explain"));
    seen.says("files changed: late (compared with registry:");
    // What this machine knows is nearer.
    second.shop.write("big", "larger");
    second.build(&format!("{BOTH} --explain")).1.says("files changed: big").says_not("compared with");
    let third = second.another();
    third.shop.write("Dockerfile", dockerfile.replace("/work", "/home"));
    third
        .build(&format!("{BOTH} --explain"))
        .1
        .says("folder changed from \"/work\" to \"/home\" (compared with");
    let asked = Asked::of(&third.registry);
    third.build(BOTH);
    let before = asked.blobs().len();
    let fourth = third.another();
    fourth.shop.write("late", "four");
    let asked = Asked::of(&fourth.registry);
    fourth.build(BOTH).1.says_not("compared with");
    assert!(asked.blobs().len() <= before + 2, "inputs are read for explanations only: {:?}", asked.blobs());
}

#[test]
fn what_steps_were_made_of_is_damaged_and_only_less_is_said() {
    let first = Machines::new(&files());
    let cache = first.registry_folder("cache");
    let both = format!("--cache-from type=local,src={cache} --cache-to type=local,dest={cache},mode=max");
    first.build(&both);
    let mut damaged = 0;
    for blob in crate::shop::files_in(&std::path::Path::new(&cache).join("blobs/sha256")) {
        // The index of a layer begins otherwise, and both are zstd.
        let bytes = std::fs::read(&blob).unwrap();
        let mut text = Vec::new();
        let unpacked = layer::decompress(std::io::Cursor::new(bytes.clone())).unwrap();
        let _ = std::io::Read::read_to_end(&mut std::io::Read::take(unpacked, 1 << 16), &mut text);
        if bytes.starts_with(b"\x28\xb5\x2f\xfd")
            && text.windows(22).any(|part| part == b"plimsoll.shared-inputs")
        {
            std::fs::write(&blob, &bytes[..bytes.len() / 2]).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    let second = first.another();
    second.shop.write("late", "two");
    let (_, seen) = second.build(&format!("{both} --explain"));
    seen.says("cached in local:").says("no such step ran here before").says_not("compared with");
}

#[test]
fn values_of_variables_stay_on_their_machine() {
    let dockerfile = "FROM local/base:1\nARG TOKEN\nRUN test -n $TOKEN && echo 1 >/one\n";
    let Some(shop) = Shop::open(&[("Dockerfile", dockerfile)]) else { return };
    let first = Machines::with(shop);
    first.build(&format!("{BOTH} --build-arg TOKEN=first"));
    let second = first.another_with_base();
    let (_, seen) = second.build(&format!("{BOTH} --build-arg TOKEN=second --explain"));
    seen.says("variables changed: TOKEN (compared with registry:").says_not("first");
}

const CONFIGURATION: &str = "\
[service.app]
[defaults.cache]
read = [\"registry:{image}:cache-{branch}\", \"registry:{image}:cache-{default}\"]
write = [\"registry:{image}:cache-{branch}\"]
";

impl Machines {
    fn registry_folder(&self, name: &str) -> String {
        self._folder.path().join(name).display().to_string()
    }

    #[track_caller]
    fn run(&self, more: &str) -> (serde_json::Value, crate::seen::Seen) {
        let line = format!(
            "run --set registry={}/acme --progress plain --format json {more}",
            self.registry.address
        );
        let seen = self.shop.call(&line).exits(0);
        (seen.json()["services"]["app"].clone(), seen)
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.shop.call(&format!("digest {}/acme/app:{tag}", self.registry.address)).code == Some(0)
    }
}

#[test]
fn services_read_their_branch_then_the_default_branch() {
    let first = Machines::new(&[&files()[..], &[("plimsoll.toml", CONFIGURATION)]].concat());
    let (main, seen) = first.run("--as branch:main");
    seen.says("cache-main has");
    assert!(first.has_tag("cache-main") && !first.has_tag("cache-feature-x"));
    let second = first.another();
    let (feature, seen) = second.run("--as branch:feature/x");
    assert_eq!(feature["steps"]["cached"], feature["steps"]["total"], "{seen}");
    assert_eq!(feature["status"], "cached");
    let seen = seen.says("cached in registry:").says("cache-main");
    assert!(second.has_tag("cache-feature-x"), "{seen}");
    assert!(main["digest"].is_string());
    let third = second.another();
    third.run("--as branch:feature/x").1.says("app:cache-feature-x");
}

#[test]
fn a_pull_request_leaves_the_cache_of_the_default_branch_alone() {
    let configuration = CONFIGURATION.replace("write = [", "write = [\"registry:{image}:cache-{default}\", ");
    let machines = Machines::new(&[&files()[..], &[("plimsoll.toml", &configuration)]].concat());
    let (_, seen) = machines.run("--as pr:7");
    seen.says("is not written: builds of main read it, and this is not merged yet");
    assert!(!machines.has_tag("cache-main"));
    machines.run("--as branch:main");
    assert!(machines.has_tag("cache-main"));
}

#[test]
fn a_run_without_archives_fetches_nothing_that_its_registry_has() {
    let configuration = format!("{CONFIGURATION}[handoff]\non-run = false\n");
    let first = Machines::new(&[&files()[..], &[("plimsoll.toml", &configuration)]].concat());
    first.run("--as branch:main");
    let parents = first.layers("acme/app:main");
    let second = first.another();
    second.shop.write("late", "two");
    second.shop.git.commit("another");
    let asked = Asked::of(&second.registry);
    let (app, seen) = second.run("--as branch:main");
    assert!(app["archive"].is_null() && app["status"] == "built", "{seen}");
    assert!(parents.iter().all(|layer| !asked.blobs().contains(layer)), "{seen}");
    assert_eq!(second.layers("acme/app:main")[..2], parents[..2]);
    // Whoever wants all of it gets it from its registry.
    let name = format!("{}/acme/app:main", second.registry.address);
    second.shop.call(&format!("save {name} -o {}", second.shop.beside("app.tar").display())).exits(0);
}
