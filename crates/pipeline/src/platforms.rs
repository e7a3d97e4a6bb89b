//! One image for several platforms: its builds side by side, and the index of what they gave.

use std::collections::BTreeMap;
use std::panic::resume_unwind;

use builder::Built;
use oci::{Annotations, Descriptor, Document, ImageIndex, Platform};

/// What a build gave for one platform.
pub type Child = (Platform, Built);

/// Annotations of an index, and of its entries.
#[derive(Clone, Debug, Default)]
pub struct IndexAnnotations {
    /// Of the index itself.
    pub index: Annotations,
    /// Of the entry of each platform.
    pub entries: BTreeMap<Platform, Annotations>,
}

/// Calls `build` for each platform at the same time and returns what they gave, in the order of `platforms`. How much
/// of it works at once is the engine's to bound.
///
/// # Errors
/// That of the first platform, in their order, that failed; the others go on to their ends.
pub fn build_each<E: Send>(
    platforms: &[Platform],
    build: impl Fn(&Platform) -> Result<Built, E> + Sync,
) -> Result<Vec<Child>, E> {
    if let [only] = platforms {
        return Ok(vec![(only.clone(), build(only)?)]);
    }
    std::thread::scope(|threads| {
        let build = &build;
        let started: Vec<_> =
            platforms.iter().map(|platform| (platform, threads.spawn(move || build(platform)))).collect();
        let ended: Vec<_> = started
            .into_iter()
            .map(|(platform, thread)| (platform, thread.join().unwrap_or_else(|panic| resume_unwind(panic))))
            .collect();
        ended.into_iter().map(|(platform, built)| Ok((platform.clone(), built?))).collect()
    })
}

/// Returns the image of all platforms: an index, or the manifest where there is one platform.
pub fn assemble(children: &[Child], annotations: &IndexAnnotations) -> Document {
    if let [(_, only)] = children {
        return only.manifest.clone();
    }
    let child = |(platform, built): &Child| {
        let descriptor = built.manifest.descriptor();
        let mut child = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size)
            .for_platform(platform.clone());
        child.annotations = annotations.entries.get(platform).cloned().unwrap_or_default();
        child
    };
    let mut index = ImageIndex::new(children.iter().map(child).collect());
    index.annotations.clone_from(&annotations.index);
    Document::from_index(index)
}

/// Returns the name of a platform's folder where there are several, such as `linux_arm_v7`.
pub fn folder_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}
