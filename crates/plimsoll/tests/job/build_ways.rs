//! Ways to ask for a build: compression, explanations, timings, and the check that it can be repeated.

use serde_json::Value;
use store::ImageStore as _;

use crate::shop::Shop;

const DOCKERFILE: &str = "\
FROM local/base:1
COPY source /source
RUN cat /source >/made
";

fn shop(dockerfile: &str) -> Option<Shop> {
    Shop::open(&[("plimsoll.toml", "[service.app]\n"), ("Dockerfile", dockerfile), ("source", "one")])
}

/// The media types of an image's layers, lowest first.
fn media_types(shop: &Shop, image: &str) -> Vec<String> {
    let name: oci::Reference = image.parse().unwrap();
    let store = store::LayoutStore::open(&shop.root("store")).unwrap();
    let repository = store.repository(name.repository());
    let found = repository.resolve(name.tag().unwrap()).unwrap();
    let document = repository.document(&found.digest).unwrap();
    document.as_image().unwrap().layers.iter().map(|layer| layer.media_type.to_string()).collect()
}

#[test]
fn another_compression_compresses_and_runs_nothing_again() {
    let Some(shop) = shop(DOCKERFILE) else { return };
    let build =
        |flags: &str| shop.call(&format!("build -t local/app:1 {flags} . --format json")).exits(0).json();
    let digest = |answer: &Value| answer["services"]["app"]["digest"].as_str().unwrap().to_owned();
    let gzip = build("");
    let zstd = build("--compression zstd:5");
    assert_eq!(zstd["services"]["app"]["cached"], 2, "{zstd}");
    let types = media_types(&shop, "local/app:1");
    assert!(types[1].ends_with("tar+zstd") && types[2].ends_with("tar+zstd"), "{types:?}");
    assert_ne!(digest(&gzip), digest(&zstd));
    assert_eq!(digest(&zstd), digest(&build("--compression zstd:5")));
    assert_eq!(digest(&zstd), digest(&build("--compression zstd:5 --no-cache")));
    assert_eq!(digest(&gzip), digest(&build("")));
    shop.call("build -t local/app:1 --compression lzma .").exits(2).says("is no compression");
    let types = media_types(&shop, "local/app:1");
    assert!(types[1].ends_with("tar+gzip"), "{types:?}");
    shop.check_root();
}

#[test]
fn why_a_step_runs_is_explained() {
    let Some(shop) = shop(DOCKERFILE) else { return };
    let build = || shop.call("build -t local/app:1 --explain .").exits(0);
    build().says("COPY source /source: no such step ran here before");
    shop.write("source", "two");
    build().says("files changed").says("RUN cat /source >/made: the layers below it changed");
    shop.write("Dockerfile", DOCKERFILE.replace("/made", "/other"));
    build().says("the command is now \"cat /source >/other\"").says_not("COPY source /source:");
}

#[test]
fn a_trace_says_what_took_how_long() {
    let Some(shop) = shop(DOCKERFILE) else { return };
    shop.call("build -t local/app:1 --timings trace.json .").exits(0);
    let trace: Value = serde_json::from_slice(&std::fs::read(shop.path("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let steps: Vec<_> =
        events.iter().filter(|event| event["cat"] == "step").map(|event| &event["name"]).collect();
    assert_eq!(steps, ["COPY source /source", "RUN cat /source >/made"]);
}

#[test]
fn a_build_that_cannot_be_repeated_is_told() {
    let Some(shop) = shop(DOCKERFILE) else { return };
    shop.call("build -t local/app:1 --reproducible=check .").exits(0);
    let random = "FROM local/base:1\nRUN head -c 8 /dev/urandom >/etc/noise\n";
    shop.write("Dockerfile", random);
    shop.call("build -t local/app:1 --reproducible=check .")
        .exits(1)
        .says("/etc/noise has another content")
        .says("RUN");
    shop.call("build --reproducible=check").exits(2).says("is about one Dockerfile");
}
