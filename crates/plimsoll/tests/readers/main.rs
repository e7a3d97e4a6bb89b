//! The functions of the fuzz targets, a bounded number of times: good inputs, and the same with a few bytes changed in
//! ways that depend on nothing but their number.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../../../../fuzz/src/readers.rs"]
mod readers;

use std::io::Write as _;

use layer::{Observer, Settings};
use oci::{Compression, Descriptor, DiffId, Digest, ImageIndex, ImageManifest, MediaType};
use testkit::tar::{Header, TarBuilder};

/// How often each good input is changed.
const CHANGES: u64 = 400;

const DOCKERFILE: &str = "# syntax=docker/dockerfile:1\n# escape=\\\nARG V=1\nFROM --platform=$BUILDPLATFORM a:${V:-2} AS b\n\
    RUN --mount=type=cache,target=/x --network=none <<EOF\necho $V \\\n  more\nEOF\nCOPY --from=b --chown=1:2 --exclude=*.o a \\\n\
    # in between\n b /d/\nHEALTHCHECK --interval=5s CMD [\"a\", \"b\"]\nONBUILD ADD --checksum=sha256:00 http://a/b /c\nFROM b\nENV a=b c=\"d e\"\n";

fn good_inputs(name: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
    match name {
        "dockerfile" => {
            texts(&[DOCKERFILE, "FROM scratch\r\nCMD true\r\n", "FROM a\nRUN <<-'X'\n\techo\n\tX\n"])
        }
        "expansion" => {
            texts(&["${a:-$b} '$c' \"${d%%.*}\" ${e//x/y} \\$f ${g:?no}", "${a#${b:+*}}", "$a$", "${"])
        }
        "ignore" => texts(&["a/b/c.o\n# c\n*.o\n!a/**/c.o\n/x/\n", "x\n**/[a-z]*\n!?\n", "\n!\n../a\n"]),
        "tar" => vec![tar()],
        "compressed_layer" => compressed(),
        "layer_index" => vec![index()],
        "document" => documents(),
        "reference" => texts(&[
            "ghcr.io/acme/api:v1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "[::1]:5000/a/b__c-d.e:x",
            "linux/arm64/v8",
            "localhost:80",
        ]),
        "protocol" => texts(&[
            "bytes=0-499",
            "bytes 5-9/10",
            "Bearer realm=\"https://a/b?c=d\",service=\"s\",scope=\"repository:a/b:pull,push\"",
            "</v2/a/tags/list?last=b&n=5>; rel=\"next\"",
            "/v2/a/b/blobs/uploads/u?digest=x%20y&mount=z",
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"retry in 5s\"}]}",
        ]),
        "step_record" => vec![record()],
        "cache_artifact" => vec![cache_artifact()],
        "tree" => vec![[b"a/link/../b\n", &tar()[..]].concat()],
        other => panic!("{other} has no good input"),
    }
}

fn cache_artifact() -> Vec<u8> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let blob = serde_json::json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 3,
    });
    let step = serde_json::json!({
        "key": digest, "layer": digest, "instruction": "RUN a", "milliseconds": 1, "compression": "gzip:3",
        "usage": { "scope": "api", "unused": 0 },
    });
    let layers = [serde_json::json!({ "diff_id": digest, "blob": blob })];
    let usage = serde_json::json!({ "scope": "api", "unused": 2 });
    let typed = |kind: &str| serde_json::json!({ "mediaType": kind, "digest": digest, "size": 3 });
    let mount = serde_json::json!({
        "key": digest, "id": "/root/.cache", "content": digest, "bytes": 1024, "usage": usage,
        "pieces": [typed("application/vnd.plimsoll.cache-mount.v1.tar+zstd")],
    });
    let inputs = serde_json::json!({
        "blob": typed("application/vnd.plimsoll.step-inputs.v1+zstd"), "usage": usage,
    });
    let artifact = serde_json::json!({
        "schema": "plimsoll.cache/1", "layers": layers, "steps": [step], "mounts": [mount], "inputs": [inputs],
    });
    artifact.to_string().into_bytes()
}

fn tar() -> Vec<u8> {
    let long = "d/".repeat(40) + "name";
    let program = Header { mode: 0o4755, ..Header::file("bin/a") };
    let tar =
        TarBuilder::new().directory("bin").entry(&program, b"program").symlink("bin/b", "/bin/../bin/a");
    tar.directory("a").symlink("a/link", "../bin").file(&long, b"deep").file("bin/.wh.c", b"").finish()
}

fn compressed() -> Vec<Vec<u8>> {
    let kinds = [Compression::None, Compression::Gzip, Compression::Zstd];
    let compress = |kind| {
        let mut out = layer::compressor(Settings::new(kind), Vec::new()).unwrap();
        out.write_all(&tar()).unwrap();
        out.finish().unwrap()
    };
    kinds.into_iter().map(compress).collect()
}

fn index() -> Vec<u8> {
    let mut observer = Observer::new();
    observer.write_all(&tar()).unwrap();
    let mut bytes = Vec::new();
    observer.finish().unwrap().index.write_to(&mut bytes).unwrap();
    bytes
}

fn documents() -> Vec<Vec<u8>> {
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"],"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x","empty_layer":true}]}"#;
    let descriptor = Descriptor::of(MediaType::OciConfig, config);
    let manifest = ImageManifest::new(descriptor.clone(), vec![descriptor.clone()]);
    let index = ImageIndex::new(vec![descriptor]);
    vec![serde_json::to_vec(&manifest).unwrap(), serde_json::to_vec(&index).unwrap(), config.to_vec()]
}

fn record() -> Vec<u8> {
    let layer = Descriptor::of(MediaType::OciConfig, b"x");
    serde_json::to_vec(&builder::cache::StepRecord::new(DiffId(Digest::of(b"x")), layer, "RUN true", 7))
        .unwrap()
}

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        // Source: Marsaglia, "Xorshift RNGs".
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

fn changed(good: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const TELLING: &[u8] = b"\0\n\r\\\"'`$%{}[]<>#=,:/-.0\x7f\x80\xff";
    let mut bytes = good.to_vec();
    for _ in 0..=numbers.next(4) {
        let at = numbers.next(bytes.len());
        let end = (at + numbers.next(40)).min(bytes.len());
        match numbers.next(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes = [&bytes[..end], &bytes[at..]].concat(),
            3 => bytes.insert(at, TELLING[numbers.next(TELLING.len())]),
            _ if at < bytes.len() => bytes[at] = TELLING[numbers.next(TELLING.len())],
            _ => {}
        }
    }
    bytes
}

#[test]
fn every_reader_takes_good_and_damaged_inputs() {
    for (name, reader) in readers::READERS {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for good in good_inputs(name) {
            reader(&good);
            for _ in 0..CHANGES {
                reader(&changed(&good, &mut numbers));
            }
        }
    }
}

#[test]
fn every_reader_has_a_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut targets: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort();
    let mut names: Vec<_> = readers::READERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(targets, names);
}
