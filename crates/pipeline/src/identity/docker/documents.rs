//! The documents that metadata is passed on in: the output `json`, and bake files.
//!
//! They are written straight from what was computed: many requests a second pass through here.

use oci::Tag;
use serde::ser::{SerializeMap as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use super::metadata::{Image, Metadata};

/// What a bake file says about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BakePart {
    /// Tags, and images and version as arguments.
    Tags,
    /// Labels.
    Labels,
    /// Annotations with their levels.
    Annotations,
    /// Tags, labels and arguments.
    All,
}

/// Metadata, with what several documents repeat put together once.
#[derive(Debug)]
pub struct Documents<'a> {
    metadata: &'a Metadata,
    /// The tags with the images in front.
    pub tags: Vec<String>,
    /// The annotations as `level:key=value`.
    pub annotations: Vec<String>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(metadata: &'a Metadata) -> Self {
        Self { tags: metadata.tags(), annotations: metadata.levelled_annotations(), metadata }
    }

    /// Returns the document of the output `json`.
    pub fn json(&self) -> impl Serialize {
        Json(self)
    }

    /// Returns a bake file with what `part` says.
    pub fn bake(&self, part: BakePart) -> impl Serialize {
        BakeFile { documents: self, part }
    }
}

struct Json<'a>(&'a Documents<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Documents { metadata, tags, annotations } = self.0;
        let mut document = serializer.serialize_struct("Json", 4)?;
        document.serialize_field("tags", tags)?;
        document.serialize_field("tag-names", &metadata.tag_names().collect::<Vec<&Tag>>())?;
        document.serialize_field("labels", &Labels(&metadata.labels))?;
        document.serialize_field("annotations", annotations)?;
        document.end()
    }
}

/// Labels as documents have them: a value ends at its first line end.
struct Labels<'a>(&'a [(String, String)]);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = |value: &'_ String| value.find(['\n', '\r', '\u{2028}', '\u{2029}']);
        serializer.collect_map(self.0.iter().map(|(key, value)| {
            let end = first(value).unwrap_or(value.len());
            (key, &value[..end])
        }))
    }
}

struct BakeFile<'a> {
    documents: &'a Documents<'a>,
    part: BakePart,
}

impl Serialize for BakeFile<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut file = serializer.serialize_map(Some(1))?;
        file.serialize_entry("target", &Targets(self))?;
        file.end()
    }
}

struct Targets<'a>(&'a BakeFile<'a>);

impl Serialize for Targets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut targets = serializer.serialize_map(Some(1))?;
        targets.serialize_entry(&self.0.documents.metadata.bake_target, &Target(self.0))?;
        targets.end()
    }
}

struct Target<'a>(&'a BakeFile<'a>);

impl Serialize for Target<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let BakeFile { documents, part } = self.0;
        let has_tags = matches!(part, BakePart::Tags | BakePart::All);
        let mut target = serializer.serialize_map(None)?;
        if has_tags {
            target.serialize_entry("tags", &documents.tags)?;
        }
        if matches!(part, BakePart::Labels | BakePart::All) {
            target.serialize_entry("labels", &Labels(&documents.metadata.labels))?;
        }
        if *part == BakePart::Annotations {
            target.serialize_entry("annotations", &documents.annotations)?;
        }
        if has_tags {
            target.serialize_entry("args", &BuildArguments(documents.metadata))?;
        }
        target.end()
    }
}

struct BuildArguments<'a>(&'a Metadata);

impl Serialize for BuildArguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<&str> = self.0.images.iter().map(Image::name).collect();
        let mut arguments = serializer.serialize_map(None)?;
        arguments.serialize_entry("DOCKER_META_IMAGES", &names.join(","))?;
        if let Some(main) = &self.0.version.main {
            arguments.serialize_entry("DOCKER_META_VERSION", main)?;
        }
        arguments.end()
    }
}
