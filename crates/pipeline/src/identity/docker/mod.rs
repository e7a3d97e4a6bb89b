//! docker/metadata-action's inputs, answered as it answers them.
//!
//! The room is pure: an event comes in as a [`Context`], inputs as lists of entries, and
//! [`metadata`] gives tags, labels and annotations, or says what is wrong. Where the neighbour
//! prints a tag or a name that the distribution grammar forbids, this is an error: no value of
//! `oci` can hold it. Everything else is answered alike, also where it surprises; the native rules
//! of [`crate::identity`] are the place for what is better. `docs/metadata-action.md` lists both.
//!
//! | about | file |
//! |---|---|
//! | lists and their entries | `list.rs`, `entry.rs`, `order.rs` |
//! | expressions, and what they can name | `expression/`, `global.rs`, `moment.rs`, `zone.rs` |
//! | versions and regular expressions | `semantic.rs`, `pattern/`, `number.rs` |
//! | from entries to tags | `version.rs`, `engine.rs` |
//! | labels, documents | `labels.rs`, `metadata.rs`, `documents.rs` |
//! | what a checkout is at | `git_reference.rs` |
//! | other hosts, and `metadata = "docker"` | `event.rs`, `rules.rs` |
//!
//! Source: docker/metadata-action v5 and v6: README, action.yml, and its behaviour over some
//! thousands of inputs.

mod documents;
mod engine;
mod entry;
mod error;
mod event;
mod expression;
mod git_reference;
mod global;
mod labels;
mod list;
mod metadata;
mod moment;
mod number;
mod order;
mod pattern;
mod rules;
mod semantic;
mod version;
mod zone;

use jiff::Timestamp;

pub use documents::{BakePart, Documents};
pub use engine::Engine;
pub use error::{ListError, MetadataError};
pub use event::Around;
pub use git_reference::{NoReference, Question, git_reference};
pub use list::entries;
pub use metadata::{Image, Metadata, Version};
pub use rules::{identify, inputs};

/// What happened, as the neighbour sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The host's name of the event, such as `push`.
    pub event_name: String,
    /// The full reference, such as `refs/heads/main`; may be empty.
    pub reference: String,
    /// The commit; may be empty.
    pub sha: String,
    /// `base_ref` of the event: the branch that a pushed tag came from.
    pub base_ref: Option<String>,
    /// The branch that a pull request is for.
    pub pull_request_base: Option<String>,
    /// The default branch as the event says it, which `is_default_branch` goes by.
    pub default_branch: Option<String>,
    /// What is known of the repository.
    pub repository: RepositoryFacts,
    /// When the commit was made; unknown is now.
    pub commit_date: Option<Timestamp>,
    /// Now, as it is frozen for the run.
    pub now: Timestamp,
    /// The label `created`, where it is not now.
    pub created: Option<Timestamp>,
    /// How many digits of the commit `sha` gives.
    pub short_sha: ShortSha,
    /// Where annotations go, such as `manifest` and `index`.
    pub annotation_levels: Vec<String>,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryFacts {
    /// Its name, without the owner.
    pub name: Option<String>,
    /// What it says about itself.
    pub description: Option<String>,
    /// Its page.
    pub html_url: Option<String>,
    /// Its default branch, which `type=edge` goes by.
    pub default_branch: Option<String>,
    /// Its licence, as an SPDX identifier.
    pub license: Option<String>,
}

/// How many digits a short commit id has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortSha {
    /// So many.
    Digits(usize),
    /// What was configured is no number: an error where it is asked for.
    Invalid,
}

impl Default for ShortSha {
    fn default() -> Self {
        Self::Digits(7)
    }
}

impl ShortSha {
    /// Reads a length as JavaScript reads a number: `0x10` is 16, nothing is 7, `-1` is none.
    pub fn from_text(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let number = number::parse(text);
        if number.is_nan() { Self::Invalid } else { Self::Digits(number.max(0.0) as usize) }
    }
}

/// What was asked for: lists of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Names of images, with attributes.
    pub images: Vec<String>,
    /// What tags are made of.
    pub tags: Vec<String>,
    /// What holds for all tags.
    pub flavor: Vec<String>,
    /// Labels, `key=value`.
    pub labels: Vec<String>,
    /// Annotations, `key=value`.
    pub annotations: Vec<String>,
    /// The target that bake files are for.
    pub bake_target: String,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            tags: Vec::new(),
            flavor: Vec::new(),
            labels: Vec::new(),
            annotations: Vec::new(),
            bake_target: "docker-metadata-action".to_owned(),
        }
    }
}

impl Context {
    /// Returns the branch, where the reference is one.
    pub fn branch(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/heads/")
    }

    /// Returns the git tag, where the reference is one.
    pub fn tag(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/tags/")
    }
}

/// Computes what docker/metadata-action would for `inputs` in `context`; [`Engine`] is for many.
///
/// # Errors
/// Inputs that the neighbour refuses, and names that it would print and no registry takes.
pub fn metadata(inputs: &Inputs, context: &Context) -> Result<Metadata, MetadataError> {
    Engine::default().metadata(inputs, context)
}

#[cfg(test)]
mod tests;
