//! What was computed, and the documents it is passed on in.

use std::fmt;

use oci::{Reference, Repository, Tag};
use serde_json::{Map, Value, json};

/// Tags, labels and annotations of an image.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Its versions.
    pub version: Version,
    /// The tag for the newest of all, where it gets one.
    pub latest: Option<Tag>,
    /// The images that are enabled, in order. None means that tags stand alone.
    pub images: Vec<Image>,
    /// Keys and values, in order.
    pub labels: Vec<(String, String)>,
    /// Keys and values, in order, without levels.
    pub annotations: Vec<(String, String)>,
    /// Where annotations go, such as `manifest` and `index`.
    pub levels: Vec<String>,
    /// The target that bake files are for.
    pub bake_target: String,
    /// What did not fit and gave no tag, in the neighbour's words.
    pub warnings: Vec<String>,
}

/// The versions of an image, which are its tags too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The first, which the label names.
    pub main: Option<Tag>,
    /// The others, none twice.
    pub partial: Vec<Tag>,
    /// Whether it is the newest of all.
    pub is_latest: bool,
}

/// An image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(super) name: String,
    pub(super) repository: Option<Repository>,
}

impl Image {
    /// Returns the name as it was given, in lower case: `user/app` stays that.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the repository that the name means; `None` for a name that got no tags and is none.
    pub fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }
}

impl From<Repository> for Image {
    fn from(repository: Repository) -> Self {
        Self { name: repository.to_string(), repository: Some(repository) }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Metadata {
    /// Returns the tags alone, in order. `latest` may be there twice, as the neighbour has it.
    pub fn tag_names(&self) -> impl Iterator<Item = &Tag> {
        self.version.main.iter().chain(&self.version.partial).chain(&self.latest)
    }

    /// Returns the tags with the images in front, as they are printed; bare where there is no image.
    pub fn tags(&self) -> Vec<String> {
        if self.images.is_empty() {
            return self.tag_names().map(Tag::to_string).collect();
        }
        let of = |image: &Image| -> Vec<String> {
            self.tag_names().map(|tag| format!("{}:{tag}", image.name)).collect()
        };
        self.images.iter().flat_map(of).collect()
    }

    /// Returns the references of all images with all tags.
    pub fn references(&self) -> Vec<Reference> {
        let repositories = self.images.iter().filter_map(Image::repository);
        repositories
            .flat_map(|repository| self.tag_names().map(|tag| repository.clone().tagged(tag.clone())))
            .collect()
    }

    /// Returns the annotations as `level:key=value`.
    pub fn levelled_annotations(&self) -> Vec<String> {
        let at = |level: &String| -> Vec<String> {
            self.annotations.iter().map(|(key, value)| format!("{level}:{key}={value}")).collect()
        };
        self.levels.iter().flat_map(at).collect()
    }

    /// Returns the document of the output `json`.
    pub fn json(&self) -> Value {
        json!({
            "tags": self.tags(),
            "tag-names": self.tag_names().collect::<Vec<_>>(),
            "labels": self.label_map(),
            "annotations": self.levelled_annotations(),
        })
    }

    /// Returns a bake file with what `part` says.
    pub fn bake(&self, part: BakePart) -> Value {
        let mut target = Map::new();
        if matches!(part, BakePart::Tags | BakePart::All) {
            target.insert("tags".to_owned(), json!(self.tags()));
        }
        if matches!(part, BakePart::Labels | BakePart::All) {
            target.insert("labels".to_owned(), Value::Object(self.label_map()));
        }
        if part == BakePart::Annotations {
            target.insert("annotations".to_owned(), json!(self.levelled_annotations()));
        }
        if matches!(part, BakePart::Tags | BakePart::All) {
            let names: Vec<&str> = self.images.iter().map(Image::name).collect();
            let mut arguments = Map::new();
            arguments.insert("DOCKER_META_IMAGES".to_owned(), json!(names.join(",")));
            if let Some(main) = &self.version.main {
                arguments.insert("DOCKER_META_VERSION".to_owned(), json!(main));
            }
            target.insert("args".to_owned(), Value::Object(arguments));
        }
        let mut targets = Map::new();
        targets.insert(self.bake_target.clone(), Value::Object(target));
        json!({ "target": targets })
    }

    /// Returns labels as documents have them: a value ends at its first line end.
    fn label_map(&self) -> Map<String, Value> {
        let first = |value: &str| value.split(['\n', '\r', '\u{2028}', '\u{2029}']).next().map(str::to_owned);
        let pair = |(key, value): &(String, String)| (key.clone(), json!(first(value)));
        self.labels.iter().map(pair).collect()
    }
}

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
