//! What was computed.

use std::fmt;

use oci::{Reference, Repository, Tag};

use super::documents::Documents;

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

    /// Returns the documents of the metadata.
    pub fn documents(&self) -> Documents<'_> {
        Documents::new(self)
    }
}
