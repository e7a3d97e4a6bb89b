//! Taking images away: from the local store, a registry, an image layout in a folder, containerd.
//!
//! | room | owns |
//! |---|---|
//! | here | what goes and what goes with it, before anything does |
//! | `apply` | removing it, and what a registry makes of that |
//! | `target` | where the image lies |
//!
//! A tag goes alone. A manifest takes its tags along, and an index that has it as a part is broken
//! afterwards: the plan names both. Children of an index stay, as other indexes may have them. Whether a
//! registry removes single tags is only known when it is asked to; where it does not, [`Applied::Larger`]
//! has the plan of removing the manifest instead, and the caller decides.

mod apply;
mod target;

use std::collections::BTreeSet;

use oci::{Descriptor, Digest, Tag};
use store::referrer::{COSIGN_SUFFIXES, cosign_tag, fallback_tag};
use store::{Company, StoreError};

pub use apply::Applied;
pub use target::Side;

use crate::place::{Place, PlaceError, Places};
use crate::side_by_side::side_by_side;
use target::{Selector, Target};

/// How many tags are looked up at the same time.
const QUESTIONS: usize = 8;
/// How deep indexes are followed into indexes, and referrers to what refers to them.
const MAX_DEPTH: usize = 8;
/// How many manifests may speak of one image and go with it.
const MAX_REFERRERS: usize = 10_000;

/// What is to be removed.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The image, by tag or digest.
    pub place: Place,
    /// Where names of registries are removed.
    pub side: Side,
    /// Whether what refers to the image goes with it. It then goes as a manifest, also where it is named by
    /// a tag.
    pub company: Company,
}

/// What goes.
#[derive(Debug)]
pub struct Plan {
    /// The image as it was named.
    pub image: String,
    /// What the name points to.
    pub digest: Digest,
    /// Whether the manifest goes, or the named tag alone.
    pub goes: Goes,
    /// Other tags that go because they point to the manifest; ascending.
    pub tags: Vec<Tag>,
    /// Tags of indexes that have the manifest as a part and lack it then; ascending.
    pub breaks: Vec<Tag>,
    /// Manifests that speak of this one and go before it, each before what it speaks of.
    pub referrers: Vec<Digest>,
    /// Tags made of a digest, under which tools keep what belongs to it; they go.
    pub digest_tags: Vec<Tag>,
    /// Manifests that speak of this one and stay.
    pub left: Vec<Digest>,
    target: Target,
}

/// What of an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goes {
    /// This tag.
    Tag(Tag),
    /// The manifest, which was named by this tag or by its digest.
    Manifest(Option<Tag>),
}

/// Why an image cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// A place failed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Nothing can be taken out of such a place.
    #[error("nothing can be removed from {place}: {reason}")]
    Unsupported {
        /// The place.
        place: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The registry removes neither tags nor manifests.
    #[error("the registry does not remove {image}: {words}")]
    Refused {
        /// The image.
        image: String,
        /// The registry's words.
        words: String,
    },
    /// More speaks of the image than can be right.
    #[error("over {MAX_REFERRERS} manifests refer to {image} and to each other")]
    TooMany {
        /// The image.
        image: String,
    },
}

impl From<StoreError> for RemovalError {
    fn from(error: StoreError) -> Self {
        Self::Place(error.into())
    }
}

/// Looks up what goes.
///
/// # Errors
/// `Place` with `NotFound` where there is no such image; `Unsupported` for archives and daemons.
pub fn plan(places: &Places, wish: &Wish) -> Result<Plan, RemovalError> {
    let (target, selector) = Target::of(places, wish)?;
    let image = wish.place.to_string();
    let (digest, tag) = match selector {
        Selector::Tag(tag) => (target.resolve(&tag)?.digest, Some(tag)),
        Selector::Digest(digest) => {
            match target.store().document(&digest) {
                // What cannot be read can be removed.
                Ok(_) | Err(StoreError::Corrupt { .. } | StoreError::Unsupported { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            (digest, None)
        }
    };
    match tag {
        Some(tag) if wish.company == Company::Alone => {
            Ok(Plan { goes: Goes::Tag(tag), ..Plan::new(image, digest, target) })
        }
        tag => Plan::of_manifest(image, digest, target, tag, wish.company),
    }
}

impl Plan {
    fn new(image: String, digest: Digest, target: Target) -> Self {
        let goes = Goes::Manifest(None);
        let (tags, breaks, digest_tags) = (Vec::new(), Vec::new(), Vec::new());
        let (referrers, left) = (Vec::new(), Vec::new());
        Self { image, digest, goes, tags, breaks, referrers, digest_tags, left, target }
    }

    fn of_manifest(
        image: String,
        digest: Digest,
        target: Target,
        named: Option<Tag>,
        company: Company,
    ) -> Result<Self, RemovalError> {
        let mut plan = Self::new(image, digest, target);
        let all = plan.target.store().tags()?;
        let found = side_by_side(&all, QUESTIONS, |tag| plan.target.look(tag, &digest));
        for (tag, found) in all.iter().zip(found) {
            match found? {
                target::Role::Points if Some(tag) != named.as_ref() => plan.tags.push(tag.clone()),
                target::Role::Contains => plan.breaks.push(tag.clone()),
                target::Role::Points | target::Role::Other => {}
            }
        }
        plan.goes = Goes::Manifest(named);
        match company {
            Company::Alone => {
                let referrers = plan.target.store().referrers(&digest)?;
                plan.left = referrers.into_iter().map(|referrer| referrer.digest).collect();
            }
            Company::Referrers => plan.add_company(&all)?,
        }
        Ok(plan)
    }

    /// Adds what speaks of the manifest, and what speaks of that, and the tags made of their digests.
    fn add_company(&mut self, all: &[Tag]) -> Result<(), RemovalError> {
        let mut referrers = Vec::new();
        let mut seen = BTreeSet::from([self.digest]);
        let mut level = vec![self.digest];
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for subject in &level {
                let found: Vec<Descriptor> = self.target.store().referrers(subject)?;
                next.extend(found.into_iter().map(|found| found.digest).filter(|found| seen.insert(*found)));
            }
            if seen.len() > MAX_REFERRERS {
                return Err(RemovalError::TooMany { image: self.image.clone() });
            }
            referrers.extend(next.iter().copied());
            level = next;
        }
        // What was found last speaks of what was found before.
        referrers.reverse();
        let tags_of = |subject: &Digest| {
            let cosign = COSIGN_SUFFIXES.map(|suffix| cosign_tag(subject, suffix));
            cosign.into_iter().chain([fallback_tag(subject)])
        };
        let made: BTreeSet<Tag> = seen.iter().flat_map(tags_of).collect();
        self.digest_tags = all.iter().filter(|tag| made.contains(*tag)).cloned().collect();
        self.tags.retain(|tag| !made.contains(tag));
        self.referrers = referrers;
        Ok(())
    }

    /// Returns in words what would go or break beside what was asked for; `None` where nothing does that
    /// cannot be made again from here.
    pub fn harm(&self) -> Option<String> {
        let names = |tags: &[Tag]| tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(", ");
        let mut harm = Vec::new();
        if !self.tags.is_empty() && self.target.is_elsewhere() {
            harm.push(format!("takes the tags along that point to it: {}", names(&self.tags)));
        }
        if !self.breaks.is_empty() {
            harm.push(format!("breaks the indexes that have it as a part: {}", names(&self.breaks)));
        }
        (!harm.is_empty())
            .then(|| format!("removing {} ({}) {}", self.image, self.digest, harm.join(" and ")))
    }
}
