//! `build --reproducible=check`: the same build once more with every step run again, and the first thing in which
//! the two differ.

use builder::{BuildError, Built, EmbeddedEngine};
use layer::{Entry, Kind, LayerIndex};
use store::LayoutRepository;

/// What to do about reproducibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reproducible {
    /// Builds twice and compares.
    Check,
}

/// Returns the first difference between two builds of one request; `None` where they are the same image.
///
/// # Errors
/// A layer cannot be read.
pub fn difference(
    engine: &EmbeddedEngine,
    repository: &LayoutRepository,
    first: &Built,
    second: &Built,
) -> Result<Option<String>, BuildError> {
    if first.manifest.digest() == second.manifest.digest() {
        return Ok(None);
    }
    let indexes = |built: &Built| engine.layer_indexes(repository, &built.manifest);
    let (one, other) = (indexes(first)?, indexes(second)?);
    let steps: Vec<String> = layer_steps(first);
    for (number, (one, other)) in one.iter().zip(&other).enumerate() {
        if one.diff_id != other.diff_id {
            let step = steps.get(number).map_or("a step", String::as_str);
            return Ok(Some(format!("layer {} of {step}: {}", number + 1, in_layer(one, other))));
        }
    }
    if one.len() != other.len() {
        return Ok(Some(format!("there are {} layers and then {}", one.len(), other.len())));
    }
    Ok(Some(in_config(first, second)))
}

/// The instructions that made the layers, in their order.
fn layer_steps(built: &Built) -> Vec<String> {
    let steps = built.config.history.iter().filter(|step| !step.empty_layer);
    steps.map(|step| step.created_by.clone().unwrap_or_default()).collect()
}

fn in_layer(one: &LayerIndex, other: &LayerIndex) -> String {
    for (left, right) in one.entries.iter().zip(&other.entries) {
        if left.path != right.path {
            let (left, right) = (shown(left), shown(right));
            return format!("{left} stands where {right} stands the second time");
        }
        if let Some(what) = in_entry(left, right) {
            return format!("{} has {what}", shown(left));
        }
    }
    match one.entries.len().cmp(&other.entries.len()) {
        std::cmp::Ordering::Less => {
            format!("{} is there the second time only", shown(&other.entries[one.entries.len()]))
        }
        std::cmp::Ordering::Greater => {
            format!("{} is there the first time only", shown(&one.entries[other.entries.len()]))
        }
        std::cmp::Ordering::Equal => "its tars differ in form and not in content".to_owned(),
    }
}

fn in_entry(left: &Entry, right: &Entry) -> Option<String> {
    let content = |kind: &Kind| match kind {
        Kind::File { size, digest, .. } => Some((*size, *digest)),
        _ => None,
    };
    match (content(&left.kind), content(&right.kind)) {
        (Some(one), Some(other)) if one != other => return Some("another content".to_owned()),
        (Some(_), Some(_)) => {}
        _ if left.kind != right.kind => {
            return Some(format!("another kind: {:?} and {:?}", left.kind, right.kind));
        }
        _ => {}
    }
    if left.mtime != right.mtime {
        return Some(format!("another time: {} and {}", left.mtime, right.mtime));
    }
    if (left.mode, left.uid, left.gid) != (right.mode, right.uid, right.gid) {
        return Some("another owner or mode".to_owned());
    }
    (left.xattrs != right.xattrs).then(|| "other extended attributes".to_owned())
}

fn in_config(first: &Built, second: &Built) -> String {
    let value = |built: &Built| serde_json::to_value(&built.config).unwrap_or_default();
    let (one, other) = (value(first), value(second));
    let keys = one.as_object().into_iter().flatten().map(|(key, _)| key);
    match keys.into_iter().find(|key| one.get(key.as_str()) != other.get(key.as_str())) {
        Some(key) => format!("{key} in the configuration"),
        None => "the manifest".to_owned(),
    }
}

fn shown(entry: &Entry) -> String {
    format!("/{}", String::from_utf8_lossy(&entry.path))
}

#[cfg(test)]
mod tests {
    use oci::{DiffId, Digest};

    use super::*;

    fn entry(path: &str, content: &str, mtime: i64) -> Entry {
        let kind = Kind::File { size: 1, digest: Some(Digest::of(content.as_bytes())), offset: 512 };
        let path = path.as_bytes().to_vec();
        Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() }
    }

    fn index(entries: Vec<Entry>) -> LayerIndex {
        LayerIndex { diff_id: DiffId(Digest::of(b"tar")), size: 0, entries }
    }

    #[track_caller]
    fn check(one: Vec<Entry>, other: Vec<Entry>, expected: &str) {
        assert_eq!(in_layer(&index(one), &index(other)), expected);
    }

    #[test]
    fn the_first_file_that_differs_is_named() {
        let a = || entry("a", "x", 1);
        check(vec![a(), entry("b", "x", 1)], vec![a(), entry("b", "y", 1)], "/b has another content");
        check(vec![a()], vec![entry("a", "x", 2)], "/a has another time: 1 and 2");
        check(vec![a()], vec![a(), entry("b", "y", 1)], "/b is there the second time only");
        check(vec![a(), entry("c", "y", 1)], vec![a()], "/c is there the first time only");
        check(vec![a()], vec![entry("b", "x", 1)], "/a stands where /b stands the second time");
        check(vec![a()], vec![a()], "its tars differ in form and not in content");
    }
}
