//! What can be wrong with the inputs.

use thiserror::Error;

/// A list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// A quote is opened and not closed.
    #[error("a quote is opened and not closed in {text:?}")]
    NotClosed {
        /// The list or entry.
        text: String,
    },
    /// Something follows a closing quote.
    #[error("after a closing quote comes a comma or the end of the line, in {text:?}")]
    AfterQuote {
        /// The list or entry.
        text: String,
    },
    /// A quote stands inside a field.
    #[error("a quote stands inside a field of {text:?}; put quotes around the whole field")]
    InField {
        /// The list or entry.
        text: String,
    },
    /// There is nothing in an entry.
    #[error("an entry is empty")]
    Empty,
}

/// Why inputs give no tags and labels.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// An entry cannot be split into fields.
    #[error(transparent)]
    List(#[from] ListError),
    /// The type of a tag entry is none of the eight.
    #[error("unknown tag type attribute: {name}")]
    Type {
        /// What stands there.
        name: String,
    },
    /// An attribute that the type of tag needs is not there.
    #[error("missing {attribute} attribute for {entry}")]
    Missing {
        /// Its name.
        attribute: &'static str,
        /// The entry.
        entry: String,
    },
    /// An attribute has a value that it cannot have.
    #[error("invalid {attribute} for {entry}")]
    Attribute {
        /// Its name.
        attribute: &'static str,
        /// The entry.
        entry: String,
    },
    /// `enable` gives neither `true` nor `false`.
    #[error("invalid value for enable attribute: {value}")]
    Enable {
        /// What it gives.
        value: String,
    },
    /// An entry of `images` that is none.
    #[error("image entry {entry:?}: {reason}")]
    Image {
        /// The entry.
        entry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// An entry of `flavor` that is none.
    #[error("flavor entry {entry:?}: {reason}")]
    Flavor {
        /// The entry.
        entry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A template that cannot be read or rendered.
    #[error("expression {template:?}: {reason}")]
    Expression {
        /// The template.
        template: String,
        /// What is wrong.
        reason: String,
    },
    /// A regular expression that is none.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// A regular expression that would run for ever.
    #[error("the regular expression {pattern:?} takes too many steps; avoid repetitions in repetitions")]
    PatternTooSlow {
        /// The expression.
        pattern: String,
    },
    /// The version's `match` has no group to take the version from.
    #[error("the regular expression {pattern:?} has no group 1, which gives the version")]
    NoGroup {
        /// The expression.
        pattern: String,
    },
    /// The length of a short commit id is no number.
    #[error("the length of a short commit id is not a number; set DOCKER_METADATA_SHORT_SHA_LENGTH to one")]
    ShortSha,
    /// A tag would be one that no registry takes.
    #[error("the tag would be {tag:?}, which docker/metadata-action prints and no registry takes")]
    Tag {
        /// What was computed.
        tag: String,
        /// What is wrong.
        source: oci::InvalidTag,
    },
    /// An image's name is one that no registry takes.
    #[error("{name:?} is not the name of an image without a tag")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong.
        source: oci::InvalidReference,
    },
}
