//! What a daemon has already, so that it need not be sent again, and how it keeps images.
//!
//! A layer can be left out of an archive where the daemon has it on top of the very same layers:
//! it then never opens the file. Docker's API tells the layers of its images as diff ids.
//!
//! Source: Docker Engine API v1.41, "List Images", "Inspect an image"; moby, image/tarexport/load.go.

use std::collections::BTreeSet;

use oci::{DiffId, Digest, ImageManifest};
use serde::Deserialize;

/// How many images are asked for their layers; the list has the newest first.
pub(super) const MAX_IMAGES: usize = 200;

/// What `GET /info` says of how images are kept. Source: moby, daemon/containerd/service.go.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
}

/// What a daemon knows an image by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Its configuration, which names layers without their compression: Docker's own stores.
    Configurations,
    /// Its manifest: containerd's store.
    Manifests,
    /// It does not say.
    Unknown,
}

const DRIVER_TYPE: &str = "driver-type";
const CONTAINERD: &str = "io.containerd.snapshotter";

impl Info {
    /// Returns what images are known by.
    pub fn keeping(&self) -> Keeping {
        let is_containerd = |entry: &Vec<String>| matches!(&entry[..], [key, value] if key == DRIVER_TYPE && value.starts_with(CONTAINERD));
        match &self.driver_status {
            None => Keeping::Unknown,
            Some(status) if status.iter().any(is_containerd) => Keeping::Manifests,
            Some(_) => Keeping::Configurations,
        }
    }
}

/// An image as `GET /images/json` lists it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub id: String,
}

/// An image as `GET /images/NAME/json` describes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub id: String,
    #[serde(default, rename = "RootFS")]
    pub root_fs: RootFs,
    /// Only of daemons with containerd's store: what it has of each platform.
    #[serde(default)]
    pub manifests: Option<Vec<Part>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RootFs {
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

/// A manifest of an image and whether everything of it is there.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Part {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(default)]
    pub available: bool,
}

/// The layers of a daemon's images, lowest first.
pub(super) type Stacks = Vec<Vec<String>>;

/// Returns the blobs of `manifest` that a daemon with these stacks need not be sent: those of the
/// longest beginning that one of them shares. Layers that occur again further up are sent.
pub(super) fn spared(manifest: &ImageManifest, diff_ids: &[DiffId], stacks: &Stacks) -> BTreeSet<Digest> {
    if manifest.layers.len() != diff_ids.len() {
        return BTreeSet::new();
    }
    let wanted: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    let shared =
        |stack: &Vec<String>| wanted.iter().zip(stack).take_while(|(ours, theirs)| ours == theirs).count();
    let known = stacks.iter().map(shared).max().unwrap_or(0);
    let above: BTreeSet<Digest> = manifest.layers[known..].iter().map(|layer| layer.digest).collect();
    let below = manifest.layers[..known].iter().map(|layer| layer.digest);
    below.filter(|digest| !above.contains(digest)).collect()
}

#[cfg(test)]
mod tests {
    use oci::{Descriptor, MediaType};

    use super::*;

    fn layer(content: &str) -> Descriptor {
        Descriptor::of(MediaType::OciLayerGzip, content.as_bytes())
    }

    fn diff_id(content: &str) -> DiffId {
        DiffId(Digest::of(content.as_bytes()))
    }

    /// Layers by letter; a stack is a word.
    #[track_caller]
    fn check(image: &str, stacks: &[&str], expected: &str) {
        let letters = |word: &str| word.chars().map(|letter| letter.to_string()).collect::<Vec<_>>();
        let layers = letters(image).iter().map(|letter| layer(letter)).collect();
        let manifest = ImageManifest::new(layer("config"), layers);
        let diff_ids: Vec<DiffId> = letters(image).iter().map(|letter| diff_id(letter)).collect();
        let stack =
            |word: &&str| letters(word).iter().map(|letter| diff_id(letter).to_string()).collect::<Vec<_>>();
        let stacks: Stacks = stacks.iter().map(stack).collect();
        let expected: BTreeSet<Digest> =
            letters(expected).iter().map(|letter| layer(letter).digest).collect();
        assert_eq!(spared(&manifest, &diff_ids, &stacks), expected);
    }

    #[test]
    fn daemons_say_how_they_keep_images() {
        for (answer, expected) in [
            (
                r#"{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]]}"#,
                Keeping::Configurations,
            ),
            (r#"{"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}"#, Keeping::Manifests),
            (r#"{"DriverStatus":null}"#, Keeping::Unknown),
            ("{}", Keeping::Unknown),
        ] {
            let info: Info = serde_json::from_str(answer).unwrap();
            assert_eq!(info.keeping(), expected, "{answer}");
        }
    }

    #[test]
    fn only_a_shared_beginning_is_spared() {
        check("abc", &[], "");
        check("abc", &["abx", "a"], "ab");
        check("abc", &["abc"], "abc");
        check("abc", &["abcd"], "abc");
        check("abc", &["xbc", "bc"], "");
        check("aba", &["ab"], "b");
    }
}
