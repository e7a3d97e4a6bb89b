//! What must hold of every reader of foreign bytes, whatever the bytes: it ends, it does not panic, what it returns is
//! what it says it is. Shared by the fuzz targets here and by `crates/plimsoll/tests/readers`, which runs the same
//! functions a bounded number of times with every test run.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use builder::cache::{CacheArtifact, StepRecord};
use builder::dockerfile::{Dockerfile, Lexer, parse_trigger};
use builder::ignore::IgnoreFile;
use layer::{Entry, FollowLast, LayerIndex, Observer, TarReader, TarWriter, Tree};
use oci::{Digest, Document, ImageConfig, MediaType, Platform, Reference, Registry, Tag};
use registry::protocol::{ByteRange, Challenge, ChunkRange, Endpoint, ErrorBody, link, query, retry_after};

/// A function that checks one reader.
pub type Reader = fn(&[u8]);

/// Every reader by the name of its target.
pub const READERS: [(&str, Reader); 12] = [
    ("dockerfile", dockerfile),
    ("expansion", expansion),
    ("ignore", ignore),
    ("tar", tar),
    ("compressed_layer", compressed_layer),
    ("layer_index", layer_index),
    ("document", document),
    ("reference", reference),
    ("protocol", protocol),
    ("step_record", step_record),
    ("cache_artifact", cache_artifact),
    ("tree", tree),
];

/// A Dockerfile: read, its stages found, every trigger in it read as well.
pub fn dockerfile(bytes: &[u8]) {
    let _ = parse_trigger(&String::from_utf8_lossy(bytes), "Dockerfile");
    let Ok(dockerfile) = Dockerfile::parse(bytes, "Dockerfile") else { return };
    assert!(!dockerfile.stages.is_empty(), "a Dockerfile without a stage is none");
    let bases: Vec<String> = dockerfile.stages.iter().map(|stage| stage.base.as_str().to_owned()).collect();
    let Ok(graph) = dockerfile.graph(&bases) else { return };
    if let Ok(target) = dockerfile.target(None) {
        let _ = dockerfile.stages_needed(&graph, target);
    }
}

/// A text with variables, with either escape.
pub fn expansion(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lookup = |name: &str| (name.len() % 2 == 1).then_some("a value");
    for escape in ['\\', '`'] {
        let _ = Lexer::new(escape).expand(&text, &|name: &str| lookup(name).map(str::to_owned));
    }
}

/// A `.dockerignore` and paths asked of it; the first line is the path.
pub fn ignore(bytes: &[u8]) {
    let (path, rules) = split_line(bytes);
    let Ok(ignore) = IgnoreFile::parse(rules, ".dockerignore") else { return };
    assert_eq!(ignore.excluded_by(path).is_some(), ignore.excluded(path));
}

/// A tar: what is read of it and written again reads the same.
pub fn tar(bytes: &[u8]) {
    let Some((entries, contents)) = read_tar(bytes) else { return };
    let mut again = Vec::new();
    let mut writer = TarWriter::new(&mut again);
    for (entry, content) in entries.iter().zip(&contents) {
        // Names that a tar may hold and a layer may not are refused when they are written.
        if writer.append(entry, &mut &content[..]).is_err() {
            return;
        }
    }
    if writer.finish().is_err() {
        return;
    }
    let (second, _) = read_tar(&again).expect("what was written can be read");
    let bare = |entries: &[Entry]| -> Vec<(Vec<u8>, u32, u32, u32, i64)> {
        entries.iter().map(|one| (one.path.clone(), one.mode, one.uid, one.gid, one.mtime)).collect()
    };
    assert_eq!(bare(&entries), bare(&second));
}

fn read_tar(bytes: &[u8]) -> Option<(Vec<Entry>, Vec<Vec<u8>>)> {
    let mut reader = TarReader::new(bytes);
    let (mut entries, mut contents) = (Vec::new(), Vec::new());
    while let Some(entry) = reader.next_entry().ok()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).ok()?;
        assert!(content.len() <= bytes.len(), "a tar holds no more than it is");
        entries.push(entry);
        contents.push(content);
    }
    Some((entries, contents))
}

/// A layer in any compression, as far as sixteen MiB of it.
pub fn compressed_layer(bytes: &[u8]) {
    let Ok(tar) = layer::decompress(std::io::Cursor::new(bytes.to_vec())) else { return };
    let mut observer = Observer::new();
    if std::io::copy(&mut tar.take(16 << 20), &mut observer).is_ok() {
        let _ = observer.finish();
    }
}

/// An index of a layer: what is read of it and written again reads the same.
pub fn layer_index(bytes: &[u8]) {
    let _ = LayerIndex::read_size(bytes);
    let Ok(index) = LayerIndex::read_from(bytes) else { return };
    let mut again = Vec::new();
    index.write_to(&mut again).expect("a vector takes everything");
    assert_eq!(LayerIndex::read_from(&again[..]).expect("what was written can be read"), index);
}

/// A manifest or index, with and without being told which; and a configuration.
pub fn document(bytes: &[u8]) {
    for media_type in [None, Some(MediaType::OciManifest), Some(MediaType::OciIndex)] {
        let Ok(document) = Document::parse(bytes.to_vec().into(), media_type.as_ref()) else { continue };
        assert_eq!(document.digest(), Digest::of(bytes), "a document is its bytes");
        assert_eq!(document.descriptor().size, bytes.len() as u64);
        assert!(document.as_image().is_none() || document.as_index().is_none());
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let again = serde_json::to_vec(&config).expect("a configuration has only string keys");
        assert_eq!(serde_json::from_slice::<ImageConfig>(&again).expect("it was one"), config);
    }
}

/// Names: what was read is printed so that it is read as the same.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    same_again::<Reference>(text);
    same_again::<Registry>(text);
    same_again::<Tag>(text);
    same_again::<Digest>(text);
    same_again::<Platform>(text);
}

fn same_again<T>(text: &str)
where
    T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug,
{
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        assert_eq!(printed.parse::<T>().ok(), Some(value), "{text:?} is printed as {printed:?}");
    }
}

/// What goes to and comes from registries: headers, addresses, errors.
pub fn protocol(bytes: &[u8]) {
    let _ = ErrorBody::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Challenge::parse(text);
    let _ = link::parse_next(text);
    let _ = query::pairs(text);
    assert_eq!(query::decode(&query::encode(text)).as_deref(), Some(text));
    let _ = retry_after::parse(text, jiff::Timestamp::UNIX_EPOCH);
    let _ = retry_after::find_in(text);
    let registry: Registry = "localhost:5000".parse().expect("a literal name");
    let _ = Endpoint::parse(text, &registry);
    if let Some(range) = ByteRange::parse(text) {
        for size in [0, 1, 1000, u64::MAX] {
            if let Some((offset, length)) = range.within(size) {
                let is_inside = length > 0 && offset.checked_add(length).is_some_and(|end| end <= size);
                assert!(is_inside, "{text:?} of {size} bytes is {length} bytes from {offset} on");
            }
        }
    }
    if let Ok(range) = text.parse::<ChunkRange>() {
        let _ = range.length();
    }
}

/// A record of a step.
pub fn step_record(bytes: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<StepRecord>(bytes) {
        let again = serde_json::to_vec(&record).expect("a record has only string keys");
        assert_eq!(serde_json::from_slice::<StepRecord>(&again).expect("it was one"), record);
    }
}

/// What a build cache elsewhere says it has.
pub fn cache_artifact(bytes: &[u8]) {
    let Ok(artifact) = CacheArtifact::parse(bytes) else { return };
    let named = artifact.steps.keys().filter(|key| artifact.record(key).is_none()).count();
    assert_eq!(named, 0, "every step has its layer");
    assert_eq!(CacheArtifact::parse(&artifact.to_bytes()).expect("it was one"), artifact);
}

/// Two layers over each other, and a path looked up in them; the first line is the path.
pub fn tree(bytes: &[u8]) {
    let (path, tars) = split_line(bytes);
    let indexes = tars.chunks(tars.len().div_ceil(2).max(512)).filter_map(|tar| {
        let mut observer = Observer::new();
        observer.write_all(tar).ok()?;
        Some(Arc::new(observer.finish().ok()?.index))
    });
    let tree = Tree::new(&indexes.collect::<Vec<_>>());
    for follow in [FollowLast::Yes, FollowLast::No] {
        if let Ok(resolved) = tree.resolve(path, follow) {
            assert!(
                !resolved.path.split(|byte| *byte == b'/').any(|name| name == b".."),
                "no path leaves the root"
            );
        }
    }
    assert!(tree.walk(b"").take(1 << 20).count() < 1 << 20);
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..at], bytes.get(at + 1..).unwrap_or_default())
}
