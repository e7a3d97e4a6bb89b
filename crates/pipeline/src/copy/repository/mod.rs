//! All images of a repository, under their tags or new ones.
//!
//! | room | owns |
//! |---|---|
//! | here | what is wanted and the plan of it |
//! | `apply` | doing it, image by image, and finding out whether it is done |
//! | `estimate` | how much that would move |
//! | `side` | where it is and where it goes |
//!
//! Each image is copied, tagged and read again at the destination before it counts as done, so what is
//! told about a migration that was broken off is true. The next one looks first at what is there and moves
//! what is missing. One image that fails does not stop the others.

mod apply;
mod estimate;
mod side;

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, Digest, Tag};
use serde::Serialize;
use store::StoreError;
use store::copy::{Company, Copied, CopyOptions, Foreign};
use store::referrer::is_list_tag;

pub use apply::{Progress, apply};
pub use estimate::{Estimate, estimate};
pub use side::Side;

pub use super::rename::{InvalidRule, Rename, TagPattern};
use crate::place::{PlaceError, Places};
use crate::side_by_side::side_by_side;

/// How many tags are looked up at the same time.
const QUESTIONS: usize = 8;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where the images are.
    pub source: Side,
    /// Where they go.
    pub destination: Side,
    /// The tags that are taken; none means all.
    pub only: Vec<TagPattern>,
    /// The tags that are left, of those.
    pub except: Vec<TagPattern>,
    /// New names for tags; the first rule that fits decides.
    pub rename: Vec<Rename>,
    /// Images that were found at the destination in full before: their blobs are not asked for again. Tags and
    /// referrers are.
    pub known: BTreeSet<Digest>,
    /// What comes along with each image.
    pub company: Company,
    /// What becomes of non-distributable layers where the destination is a registry.
    pub foreign: Foreign,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The tags in ascending order; at least one.
    pub tags: Vec<Move>,
}

/// One tag on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Its name at the source.
    pub tag: Tag,
    /// Its name at the destination.
    pub to: Tag,
    /// What it points to.
    pub digest: Digest,
    /// What is to be done about it.
    pub action: Action,
    #[serde(skip)]
    descriptor: Descriptor,
}

/// What is to be done about a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The destination has no such tag.
    Copy,
    /// It has, and it points to something else.
    Replace,
    /// It is there already.
    Keep,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What had to be moved.
    pub copied: Copied,
    /// Tags that are at the destination now and were found there in full.
    pub verified: Vec<Tag>,
    /// Tags, as the destination would call them, that are not.
    pub failed: Vec<(Tag, StoreError)>,
    /// Tags of the source that are not what they were when it began; ascending. The destination has what they were.
    pub changed: Vec<Change>,
}

/// A tag of the source that changed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The tag at the source.
    pub tag: Tag,
    /// What it was; absent where it came only now.
    pub before: Option<Digest>,
    /// What it is; absent where it is gone.
    pub after: Option<Digest>,
}

/// Why a repository could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A place failed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A place that is one image, or none that has tags.
    #[error("{place} is no repository: {reason}")]
    NoRepository {
        /// The place.
        place: String,
        /// What to write instead.
        reason: &'static str,
    },
    /// There is nothing to copy.
    #[error("{source_name} {}", none_of(*count))]
    Nothing {
        /// The source.
        source_name: String,
        /// How many tags it has.
        count: usize,
    },
    /// A rule gives two tags one name.
    #[error("{one} and {other} would both become {to}")]
    Collision {
        /// A tag.
        one: Tag,
        /// Another one.
        other: Tag,
        /// The name.
        to: Tag,
    },
    /// A rule gives a tag a name that is none.
    #[error("{tag} would become {to:?}, which is no tag")]
    Name {
        /// The tag.
        tag: Tag,
        /// The name.
        to: String,
    },
}

fn none_of(count: usize) -> String {
    match count {
        0 => "has no tags, or does not exist".to_owned(),
        1 => "has no tag that is wanted (it has one)".to_owned(),
        count => format!("has no tag that is wanted (it has {count})"),
    }
}

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        Self::Place(error.into())
    }
}

/// Looks up what is there on both sides and returns what has to be done.
///
/// # Errors
/// `Nothing`, `Collision` and `Name` where the wish cannot be met; what the places say.
pub fn plan(places: &Places, wish: &Wish) -> Result<Plan, RepositoryError> {
    wish.destination.check_writable()?;
    let source = wish.source.reader(places)?;
    let all = source.tags()?;
    let wanted: Vec<Tag> = all.iter().filter(|tag| wish.takes(tag)).cloned().collect();
    if wanted.is_empty() {
        let source_name = wish.source.to_string();
        return Err(RepositoryError::Nothing { source_name, count: all.len() });
    }
    let names = wish.names(&wanted)?;
    let there = wish.destination.before(places)?;
    let moves = side_by_side(&names, QUESTIONS, |(tag, to)| {
        let descriptor = source.resolve(tag)?;
        let before = there.as_deref().map_or(Ok(None), |there| absent_is_none(there.resolve(to)))?;
        let action = match before {
            None => Action::Copy,
            Some(before) if before.digest == descriptor.digest => Action::Keep,
            Some(_) => Action::Replace,
        };
        Ok(Move { tag: tag.clone(), to: to.clone(), digest: descriptor.digest, action, descriptor })
    });
    let tags: Result<Vec<Move>, StoreError> = moves.into_iter().collect();
    Ok(Plan { tags: tags? })
}

impl Wish {
    /// Returns how each image is copied. A place that others do not pull from gets all of it.
    fn options(&self) -> CopyOptions {
        let foreign = if self.destination.is_registry() { self.foreign } else { Foreign::Copied };
        CopyOptions { company: self.company, foreign, ..CopyOptions::default() }
    }

    /// Lists of referrers are not copied as they are: the destination keeps one of its own.
    fn takes(&self, tag: &Tag) -> bool {
        let is_one = |patterns: &[TagPattern]| patterns.iter().any(|pattern| pattern.matches(tag));
        let wanted = (self.only.is_empty() || is_one(&self.only)) && !is_one(&self.except);
        wanted && !(self.company == Company::Referrers && is_list_tag(tag))
    }

    fn names(&self, tags: &[Tag]) -> Result<Vec<(Tag, Tag)>, RepositoryError> {
        let mut taken: BTreeMap<Tag, Tag> = BTreeMap::new();
        let mut names = Vec::new();
        for tag in tags {
            let renamed = self.rename.iter().find_map(|rule| rule.apply(tag));
            let to = match renamed {
                None => tag.clone(),
                Some(text) => {
                    text.parse().map_err(|_| RepositoryError::Name { tag: tag.clone(), to: text })?
                }
            };
            if let Some(other) = taken.insert(to.clone(), tag.clone()) {
                return Err(RepositoryError::Collision { one: other, other: tag.clone(), to });
            }
            names.push((tag.clone(), to));
        }
        Ok(names)
    }
}

fn absent_is_none<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
