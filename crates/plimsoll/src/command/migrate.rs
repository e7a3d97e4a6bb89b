//! `migrate`: all images of a repository to another one, checked afterwards.

use std::fmt;

use oci::{Digest, Tag};
use pipeline::copy::repository::{self, Action, Move, Rename, Report, Side, TagPattern, Wish};
use pipeline::place::Place;
use serde::Serialize;
use store::{Company, StoreError};

use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::transfer::Transfer;

/// Copies all tags of a repository to another one, with what refers to them, and checks every digest
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is there already is not copied again, so running it once more goes on where it was broken off.
With --dry-run it only says what it would do. In rules and patterns * stands for anything.

Examples:
  $ plimsoll migrate acme/api ghcr.io/acme/api
  $ plimsoll migrate acme/api ghcr.io/acme/api --dry-run --format json
  $ plimsoll migrate acme/api ghcr.io/acme/api --only 'v*' --retag 'release-*=v*'"
)]
pub struct Arguments {
    /// The repository: of a registry, of the local store (local/NAME), or a layout (oci:DIR)
    #[arg(value_name = "SRC")]
    source: Place,
    /// Where it goes
    #[arg(value_name = "DST")]
    destination: Place,
    /// Takes only tags of this form; may be given several times
    #[arg(long, value_name = "PATTERN")]
    only: Vec<TagPattern>,
    /// Gives tags of a form another name; the first rule that fits decides
    #[arg(long, value_name = "PATTERN=NAME")]
    retag: Vec<Rename>,
    /// Leaves signatures, SBOMs and whatever else refers to the images
    #[arg(long)]
    no_referrers: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    source: String,
    destination: String,
    tags: Vec<Line>,
    bytes_moved: u64,
    blobs_moved: u64,
    referrers: u64,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    tag: Tag,
    to: Tag,
    digest: Digest,
    action: Action,
    /// Whether it was found there in full afterwards; absent in a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Arguments {
    /// Plans, copies, verifies.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        carry_out(
            session,
            &Wish {
                source: Side::of(&self.source)?,
                destination: Side::of(&self.destination)?,
                only: self.only.clone(),
                rename: self.retag.clone(),
                company: if self.no_referrers { Company::Alone } else { Company::Referrers },
            },
        )
    }
}

/// Plans, copies, verifies and answers; with `--dry-run` it only plans.
///
/// # Errors
/// Where tags failed: partly done, or what the first of them failed with where all did.
pub fn carry_out(session: &Session, wish: &Wish) -> Result<(), Error> {
    let places = session.places()?;
    let plan = repository::plan(&places, wish)?;
    let mut answer = Answer::new(wish, &plan.tags);
    if session.global.dry_run {
        return session.ui.answer("migration", &answer);
    }
    let transfer = Transfer::new(&session.ui, wish.destination.to_string());
    let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
    let mut report = repository::apply(&places, wish, &plan, &observe)?;
    drop(transfer);
    answer.take(&report);
    session.ui.answer("migration", &answer)?;
    if report.failed.is_empty() {
        return Ok(());
    }
    let is_partly = !report.verified.is_empty();
    let (_, first) = report.failed.remove(0);
    if is_partly { Err(Error::Reported(Code::Partly)) } else { Err(first.into()) }
}

impl Answer {
    fn new(wish: &Wish, moves: &[Move]) -> Self {
        let line = |one: &Move| Line {
            tag: one.tag.clone(),
            to: one.to.clone(),
            digest: one.digest,
            action: one.action,
            verified: None,
            error: None,
        };
        Self {
            source: wish.source.to_string(),
            destination: wish.destination.to_string(),
            tags: moves.iter().map(line).collect(),
            bytes_moved: 0,
            blobs_moved: 0,
            referrers: 0,
            dry_run: true,
        }
    }

    fn take(&mut self, report: &Report) {
        self.dry_run = false;
        self.bytes_moved = report.copied.bytes_moved;
        self.blobs_moved = report.copied.blobs_moved;
        self.referrers = report.copied.referrers;
        for line in &mut self.tags {
            line.verified = Some(report.verified.contains(&line.to));
            let failed = report.failed.iter().find(|(tag, _)| *tag == line.to);
            line.error = failed.map(|(_, error)| with_causes(error));
        }
    }
}

fn with_causes(error: &StoreError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.tags {
            let what = match (&line.error, line.action, self.dry_run) {
                (Some(error), _, _) => format!("failed: {error}"),
                (None, Action::Keep, _) => "was there".to_owned(),
                (None, Action::Copy, true) => "would be copied".to_owned(),
                (None, Action::Replace, true) => "would be moved to this image".to_owned(),
                (None, _, false) => "copied".to_owned(),
            };
            let name = if line.tag == line.to {
                line.to.to_string()
            } else {
                format!("{} as {}", line.tag, line.to)
            };
            writeln!(f, "{name} {} {what}", line.digest)?;
        }
        if self.dry_run {
            return writeln!(f, "{} tags of {} for {}", self.tags.len(), self.source, self.destination);
        }
        let right = self.tags.iter().filter(|line| line.verified == Some(true)).count();
        let moved = quantity::size(self.bytes_moved);
        writeln!(
            f,
            "{right} of {} tags are in {} and complete; {} blobs copied, {moved}; {} referrers",
            self.tags.len(),
            self.destination,
            self.blobs_moved,
            self.referrers
        )
    }
}
