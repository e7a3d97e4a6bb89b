//! Carrying out a plan: image by image, each read again at the destination, and both sides once more at the end.

use std::collections::BTreeMap;

use oci::{Digest, Document, Tag};
use store::copy::{Company, Copied, copy_image};
use store::{ImageStore, StoreError, missing_parts};

use super::{Action, Change, Move, Plan, QUESTIONS, Report, RepositoryError, Wish, absent_is_none};
use crate::copy::CopyObserver;
use crate::place::Places;
use crate::side_by_side::side_by_side;

/// How many images are copied at the same time.
const COPIES: usize = 4;

/// Who is told how it goes, from several threads.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// How single copies go.
    pub copy: CopyObserver<'a>,
    /// An image that was found at the destination in full, under its tags there.
    pub done: &'a (dyn Fn(&Digest) + Sync),
}

/// Does what the plan says and looks whether every tag is there and nothing of it is missing, and whether the
/// source is what it was.
///
/// # Errors
/// Where a side cannot be opened; images that fail are in the report.
pub fn apply(
    places: &Places,
    wish: &Wish,
    plan: &Plan,
    progress: Progress<'_>,
) -> Result<Report, RepositoryError> {
    let (source, destination) = (wish.source.reader(places)?, wish.destination.writer(places, &wish.source)?);
    let sides = Sides { source: &*source, destination: &*destination, wish };
    let _lock = places.local().lock_shared()?;
    let images: Vec<Vec<&Move>> = by_digest(plan);
    let outcomes = side_by_side(&images, COPIES, |moves| sides.bring(moves, progress));
    let mut report = Report::default();
    let mut done: Vec<&Move> = Vec::new();
    for (moves, outcome) in images.iter().zip(outcomes) {
        match outcome {
            Ok(copied) => {
                report.copied.add(&copied);
                done.extend(moves);
            }
            Err(error) => report.fail(moves, error),
        }
    }
    // Somebody else may have moved what was right when it was looked at.
    let found = side_by_side(&done, QUESTIONS, |one| sides.check_tag(one));
    for (one, found) in done.iter().zip(found) {
        match found {
            Ok(()) => report.verified.push(one.to.clone()),
            Err(error) => report.fail(&[one], error),
        }
    }
    report.changed = sides.changes(plan)?;
    report.verified.sort();
    report.failed.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(report)
}

/// Both sides of a migration.
struct Sides<'a> {
    source: &'a dyn ImageStore,
    destination: &'a dyn ImageStore,
    wish: &'a Wish,
}

impl Sides<'_> {
    /// Brings one image and all its tags. What is there already is looked at, and copied only where something of it
    /// is missing.
    fn bring(&self, moves: &[&Move], progress: Progress<'_>) -> Result<Copied, StoreError> {
        let Some(first) = moves.first() else { return Ok(Copied::default()) };
        let is_kept = moves.iter().all(|one| one.action == Action::Keep);
        let is_there = is_kept && self.check_image(first, self.is_known(first)).is_ok();
        let mut copied = Copied::default();
        if !is_there {
            copied = copy_image(
                self.source,
                self.destination,
                &first.descriptor,
                &self.wish.options(),
                progress.copy,
            )?;
            let document = self.source.document(&first.digest)?;
            // All of them where nothing was to be done: it was not there in full under any.
            let mut moving = moves.iter().filter(|one| is_kept || one.action != Action::Keep);
            moving.try_for_each(|one| self.destination.tag(&one.to, &document))?;
            moves.iter().try_for_each(|one| self.check_tag(one))?;
            self.check_image(first, false)?;
        }
        (progress.done)(&first.digest);
        Ok(copied)
    }

    fn is_known(&self, one: &Move) -> bool {
        self.wish.known.contains(&one.digest)
    }

    fn check_tag(&self, one: &Move) -> Result<(), StoreError> {
        let found = self.destination.resolve(&one.to)?.digest;
        if found == one.digest {
            return Ok(());
        }
        let what = format!("tag {} of {}", one.to, self.wish.destination);
        Err(StoreError::Corrupt { what, reason: format!("it is {found} and should be {}", one.digest) })
    }

    /// Finds out whether everything of an image is at the destination; of one that is known, whether what refers to
    /// it is.
    fn check_image(&self, one: &Move, is_known: bool) -> Result<(), StoreError> {
        let corrupt = |what: String, reason: String| StoreError::Corrupt { what, reason };
        let missing = match is_known {
            true => Vec::new(),
            false => missing_parts(self.destination, &one.descriptor, self.wish.options().foreign)?,
        };
        if let Some(missing) = missing.first() {
            let what = format!("{} in {}", one.digest, self.wish.destination);
            return Err(corrupt(what, format!("its part {} is not there", missing.digest)));
        }
        if self.wish.company == Company::Alone {
            return Ok(());
        }
        for subject in subjects(&self.destination.document(&one.digest)?) {
            let there = self.destination.referrers(&subject)?;
            for referrer in self.source.referrers(&subject)? {
                if there.iter().all(|one| one.digest != referrer.digest) {
                    let what = format!("the list of what refers to {subject} in {}", self.wish.destination);
                    return Err(corrupt(what, format!("{} is not in it", referrer.digest)));
                }
            }
        }
        Ok(())
    }

    /// Returns the wanted tags of the source that are not what they were.
    fn changes(&self, plan: &Plan) -> Result<Vec<Change>, StoreError> {
        let mut before: BTreeMap<Tag, Option<Digest>> =
            plan.tags.iter().map(|one| (one.tag.clone(), Some(one.digest))).collect();
        for tag in self.source.tags()? {
            if self.wish.takes(&tag) {
                before.entry(tag).or_default();
            }
        }
        let before: Vec<(Tag, Option<Digest>)> = before.into_iter().collect();
        let changes = side_by_side(&before, QUESTIONS, |(tag, before)| {
            let after = absent_is_none(self.source.resolve(tag))?.map(|found| found.digest);
            Ok((after != *before).then(|| Change { tag: tag.clone(), before: *before, after }))
        });
        changes.into_iter().filter_map(Result::transpose).collect()
    }
}

/// Returns the image and the images in it, about each of which something may be said.
fn subjects(document: &Document) -> Vec<Digest> {
    let children = document.as_index().map(|index| index.manifests.as_slice()).unwrap_or_default();
    let manifests = children.iter().filter(|child| child.media_type.is_manifest());
    std::iter::once(document.digest()).chain(manifests.map(|child| child.digest)).collect()
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
