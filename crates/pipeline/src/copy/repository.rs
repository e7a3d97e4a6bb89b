//! All images of a repository, under their tags or new ones: plan, apply, verify.
//!
//! What is there under the right tag is not asked for again, so a copy that was broken off goes on
//! where it was. One image that fails does not stop the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::{Descriptor, Digest, Repository, Tag};
use serde::Serialize;
use store::copy::{Company, Copied, CopyOptions, copy_image};
use store::referrer::is_list_tag;
use store::{ImageStore, OciFolder, StoreError, missing_parts};

use super::CopyObserver;
pub use super::rename::{InvalidRule, Rename, TagPattern};
use crate::place::{Place, PlaceError, Places};
use crate::side_by_side::side_by_side;

/// How many tags are looked up at the same time.
const QUESTIONS: usize = 8;
/// How many images are copied at the same time.
const COPIES: usize = 4;

/// Where a repository lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The local store, for `local/`, or a registry.
    Repository(Repository),
    /// An image layout in a folder.
    Layout(PathBuf),
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where the images are.
    pub source: Side,
    /// Where they go.
    pub destination: Side,
    /// The tags that are taken; none means all.
    pub only: Vec<TagPattern>,
    /// New names for tags; the first rule that fits decides.
    pub rename: Vec<Rename>,
    /// What comes along with each image.
    pub company: Company,
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
    #[error("{source_name} has no tag that is wanted ({count} in all)")]
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

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        Self::Place(error.into())
    }
}

impl Side {
    /// Returns the side that a place on the command line stands for.
    ///
    /// # Errors
    /// `NoRepository` where it is one image, or cannot hold several tags.
    pub fn of(place: &Place) -> Result<Self, RepositoryError> {
        let refused = |reason| RepositoryError::NoRepository { place: place.to_string(), reason };
        match place {
            Place::Name(name) if name.tag().is_some() || name.digest().is_some() => {
                Err(refused("leave out the tag or digest"))
            }
            Place::Name(name) => Ok(Self::Repository(name.repository().clone())),
            Place::Layout { folder, image: None } => Ok(Self::Layout(folder.clone())),
            Place::Layout { .. } => Err(refused("leave out the tag or digest")),
            Place::Folder(_) | Place::Archive { .. } | Place::Daemon(_) => {
                Err(refused("name a repository of a registry or of the local store, or oci:DIR"))
            }
        }
    }

    fn reader(&self, places: &Places) -> Result<Box<dyn ImageStore>, RepositoryError> {
        match self {
            Self::Repository(name) => Ok(places.repository(name)?),
            Self::Layout(folder) => Ok(Box::new(OciFolder::open(folder)?)),
        }
    }

    /// Returns what can be written to; blobs of `source` are linked where it is the same registry.
    fn writer(&self, places: &Places, source: &Self) -> Result<Box<dyn ImageStore>, RepositoryError> {
        match (self, source) {
            (Self::Layout(folder), _) => Ok(Box::new(OciFolder::create(folder)?)),
            (Self::Repository(name), Self::Repository(from)) if !name.registry().is_local() => {
                Ok(Box::new(places.remote(name)?.mount_from(from)))
            }
            (Self::Repository(name), _) => Ok(places.repository(name)?),
        }
    }

    /// Returns what is there already; nothing where a folder is not there yet.
    fn before(&self, places: &Places) -> Result<Option<Box<dyn ImageStore>>, RepositoryError> {
        match self {
            Self::Layout(folder) if !folder.exists() => Ok(None),
            side => side.reader(places).map(Some),
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Repository(name) => name.fmt(f),
            Self::Layout(folder) => write!(f, "oci:{}", folder.display()),
        }
    }
}

/// Looks up what is there on both sides and returns what has to be done.
///
/// # Errors
/// `Nothing`, `Collision` and `Name` where the wish cannot be met; what the places say.
pub fn plan(places: &Places, wish: &Wish) -> Result<Plan, RepositoryError> {
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

/// Does what the plan says and then looks whether every tag is there and nothing of it is missing.
///
/// # Errors
/// Where a side cannot be opened; images that fail are in the report.
pub fn apply(
    places: &Places,
    wish: &Wish,
    plan: &Plan,
    observe: CopyObserver<'_>,
) -> Result<Report, RepositoryError> {
    let source = wish.source.reader(places)?;
    let destination = wish.destination.writer(places, &wish.source)?;
    let _lock = places.local().lock_shared()?;
    let options = CopyOptions { company: wish.company, ..CopyOptions::default() };
    let mut report = Report::default();
    let images: Vec<Vec<&Move>> = by_digest(plan);
    let outcomes = side_by_side(&images, COPIES, |moves| {
        let is_kept = moves.iter().all(|one| one.action == Action::Keep);
        let copied = match is_kept && wish.company == Company::Alone {
            true => Ok(Copied::default()),
            false => copy_image(&*source, &*destination, &moves[0].descriptor, &options, observe),
        };
        copied.and_then(|copied| {
            let document = source.document(&moves[0].digest)?;
            let mut moving = moves.iter().filter(|one| one.action != Action::Keep);
            moving.try_for_each(|one| destination.tag(&one.to, &document))?;
            Ok(copied)
        })
    });
    let mut done: Vec<&[&Move]> = Vec::new();
    for (moves, outcome) in images.iter().zip(outcomes) {
        match outcome {
            Ok(copied) => {
                report.copied.add(&copied);
                done.push(moves);
            }
            Err(error) => report.fail(moves, error),
        }
    }
    let found = side_by_side(&done, QUESTIONS, |moves| verify(&*source, &*destination, wish, moves));
    for (moves, found) in done.iter().zip(found) {
        match found {
            Ok(()) => report.verified.extend(moves.iter().map(|one| one.to.clone())),
            Err(error) => report.fail(moves, error),
        }
    }
    report.verified.sort();
    report.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(report)
}

fn verify(
    source: &dyn ImageStore,
    destination: &dyn ImageStore,
    wish: &Wish,
    moves: &[&Move],
) -> Result<(), StoreError> {
    let digest = moves[0].digest;
    let corrupt = |what: String, reason: String| StoreError::Corrupt { what, reason };
    for one in moves {
        let found = destination.resolve(&one.to)?.digest;
        if found != digest {
            let what = format!("tag {} of {}", one.to, wish.destination);
            return Err(corrupt(what, format!("it is {found} after it was set to {digest}")));
        }
    }
    if let Some(missing) = missing_parts(destination, &moves[0].descriptor)?.first() {
        let what = format!("{digest} in {}", wish.destination);
        return Err(corrupt(what, format!("its part {} is not there", missing.digest)));
    }
    if wish.company == Company::Alone {
        return Ok(());
    }
    let there = destination.referrers(&digest)?;
    for referrer in source.referrers(&digest)? {
        if there.iter().all(|one| one.digest != referrer.digest) {
            let what = format!("the list of what refers to {digest} in {}", wish.destination);
            return Err(corrupt(what, format!("{} is not in it", referrer.digest)));
        }
    }
    Ok(())
}

impl Wish {
    /// Lists of referrers are not copied as they are: the destination keeps one of its own.
    fn takes(&self, tag: &Tag) -> bool {
        let wanted = self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(tag));
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

impl Report {
    fn fail(&mut self, moves: &[&Move], error: StoreError) {
        let text = error.to_string();
        let mut error = Some(error);
        for one in moves {
            // Several tags of one image failed together; only the first holds the causes.
            let error = error.take().unwrap_or_else(|| StoreError::Unreachable {
                action: "copy",
                what: one.to.to_string(),
                transient: false,
                source: text.clone().into(),
            });
            self.failed.push((one.to.clone(), error));
        }
    }
}

/// Returns the moves of each image together.
fn by_digest(plan: &Plan) -> Vec<Vec<&Move>> {
    let mut images: BTreeMap<Digest, Vec<&Move>> = BTreeMap::new();
    for one in &plan.tags {
        images.entry(one.digest).or_default().push(one);
    }
    images.into_values().collect()
}

fn absent_is_none<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
