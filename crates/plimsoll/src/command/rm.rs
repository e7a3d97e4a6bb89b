//! `rm`: takes tags and manifests out of the local store, registries, layouts and containerd.

use std::fmt;

use oci::{Digest, Tag};
use pipeline::place::{Place, Places};
use pipeline::removal::{self, Applied, Goes, Plan, RemovalError, Side, Wish};
use serde::Serialize;
use store::{Company, ImageStore};

use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::prompt;

/// Removes images: tags or whole manifests, from the local store, a registry, a layout or containerd
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME:TAG removes the tag and leaves the manifest to the registry's collection; NAME@DIGEST removes the
manifest with all its tags. Where that takes other tags along or breaks an index, it asks first. Registries
that remove no single tags lose the manifest instead, under the same condition.
Names of registries are removed there; --local removes what the local store has under them.

Examples:
  $ plimsoll rm local/api:old
  $ plimsoll rm ghcr.io/acme/api:pr-17
  $ plimsoll rm --dry-run localhost:5000/api@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  $ plimsoll rm --referrers --yes registry.example.com/api:old
  $ plimsoll rm oci:images:old
  $ plimsoll rm containerd:k8s.io//api:old"
)]
pub struct Arguments {
    /// The images
    #[arg(value_name = "REF", required = true)]
    images: Vec<Place>,
    /// Removes names of registries from the local store alone
    #[arg(long)]
    local: bool,
    /// Removes the manifest and what refers to it: signatures, SBOMs, provenance, and what refers to those
    #[arg(long)]
    referrers: bool,
    /// Does not ask where other tags go along or an index breaks
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    removed: Vec<String>,
    images: Vec<Line>,
    dry_run: bool,
}

/// What became of one image.
#[derive(Debug, Serialize)]
struct Line {
    image: String,
    digest: Option<Digest>,
    /// Whether the manifest went, not a tag alone.
    manifest: bool,
    /// Tags that went beside the one that was named.
    tags: Vec<Tag>,
    /// Tags of indexes that lack the manifest now.
    broken: Vec<Tag>,
    /// Manifests that referred to it and went, and tags made of digests.
    referrers: Vec<Digest>,
    digest_tags: Vec<Tag>,
    /// Manifests that refer to it and stayed.
    left: Vec<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Arguments {
    /// Removes the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        // All are looked up and all is asked before anything goes.
        let plans = self.images.iter().map(|image| removal::plan(&places, &self.wish(image)));
        let plans: Result<Vec<Plan>, RemovalError> = plans.collect();
        if plans.is_err() {
            self.name_local(session, &places);
        }
        let plans = plans?;
        let mut answer = Answer { removed: Vec::new(), images: Vec::new(), dry_run: session.global.dry_run };
        if session.global.dry_run {
            plans.iter().for_each(|plan| answer.take(plan));
            return session.ui.answer("rm", &answer);
        }
        plans.iter().try_for_each(|plan| self.consent(session, plan, None))?;
        let mut failed = None;
        for plan in plans {
            let image = plan.image.clone();
            match self.carry_out(session, plan) {
                Ok(done) => answer.take(&done),
                Err(error) => {
                    answer.images.push(Line::failed(image, &error));
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) if answer.removed.is_empty() => Err(error),
            failed => {
                session.ui.answer("rm", &answer)?;
                failed.map_or(Ok(()), |_| Err(Error::Reported(Code::Partly)))
            }
        }
    }

    fn wish(&self, image: &Place) -> Wish {
        Wish {
            place: image.clone(),
            side: if self.local { Side::Local } else { Side::Registry },
            company: if self.referrers { Company::Referrers } else { Company::Alone },
        }
    }

    fn carry_out(&self, session: &Session, plan: Plan) -> Result<Plan, Error> {
        match plan.apply()? {
            Applied::Done(plan) => Ok(plan),
            Applied::Larger { plan, words } => {
                self.consent(session, &plan, Some(&words))?;
                match plan.apply()? {
                    Applied::Done(plan) | Applied::Larger { plan, .. } => Ok(plan),
                }
            }
        }
    }

    /// Asks where a plan does more than its image says.
    fn consent(&self, session: &Session, plan: &Plan, words: Option<&str>) -> Result<(), Error> {
        let Some(harm) = plan.harm() else { return Ok(()) };
        let harm = match words {
            Some(words) => format!("the registry removes no single tags ({words}), and {harm}"),
            None => harm,
        };
        if self.yes {
            return Ok(());
        }
        if !session.environment.stdin_is_terminal {
            let hint =
                "add --yes where that is meant, or move the tag elsewhere with plimsoll tag".to_owned();
            return Err(Error::Usage { message: harm, hint: Some(hint) });
        }
        match prompt::line(&session.environment, &format!("{harm}; go on? [y/N]"))?.as_str() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Error::Usage { message: format!("{} was left alone", plan.image), hint: None }),
        }
    }

    /// Where a registry cannot do what is asked for, what the local store has may have been meant.
    fn name_local(&self, session: &Session, places: &Places) {
        for image in self.images.iter().filter(|_| !self.local) {
            let Place::Name(name) = image else { continue };
            let local = places.local().repository(name.repository());
            let by_tag = name.tag_or_latest().is_some_and(|tag| local.resolve(&tag).is_ok());
            let is_here = by_tag || name.digest().is_some_and(|digest| local.document(&digest).is_ok());
            if is_here && !name.repository().registry().is_local() {
                session.ui.note(format_args!("the local store has {image}; --local removes it from there"));
            }
        }
    }
}

impl Answer {
    fn take(&mut self, plan: &Plan) {
        self.removed.push(plan.image.clone());
        self.images.push(Line {
            image: plan.image.clone(),
            digest: Some(plan.digest),
            manifest: matches!(plan.goes, Goes::Manifest(_)),
            tags: plan.tags.clone(),
            broken: plan.breaks.clone(),
            referrers: plan.referrers.clone(),
            digest_tags: plan.digest_tags.clone(),
            left: plan.left.clone(),
            error: None,
        });
    }
}

impl Line {
    fn failed(image: String, error: &Error) -> Self {
        let error = store::with_causes(error);
        Self {
            image,
            digest: None,
            manifest: false,
            tags: Vec::new(),
            broken: Vec::new(),
            referrers: Vec::new(),
            digest_tags: Vec::new(),
            left: Vec::new(),
            error: Some(error),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for line in &self.images {
            if let Some(error) = &line.error {
                writeln!(f, "cannot remove {}: {error}", line.image)?;
                continue;
            }
            writeln!(f, "{verb} {}", line.image)?;
            let also = line.tags.iter().chain(&line.digest_tags).map(ToString::to_string);
            let also = also.map(|tag| format!("tag {tag}"));
            let also = also.chain(line.referrers.iter().map(|digest| format!("referrer {digest}")));
            also.into_iter().try_for_each(|what| writeln!(f, "  with {what}"))?;
            line.broken.iter().try_for_each(|tag| writeln!(f, "  tag {tag} lacks it now"))?;
            if !line.left.is_empty() {
                let count = line.left.len();
                writeln!(f, "  {count} that refer to it stay; --referrers removes them too")?;
            }
        }
        Ok(())
    }
}
