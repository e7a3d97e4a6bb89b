//! `migrate`: all images of a repository to another one, checked afterwards.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use oci::{Digest, Tag};
use pipeline::copy::repository::{
    self, Action, Change, Estimate, Move, Progress, Rename, Report, Side, TagPattern, Wish,
};
use pipeline::place::Place;
use serde::{Deserialize, Serialize};
use store::{Company, Foreign};

use super::copy::{ForeignLayers, LeftOut};
use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::transfer::Transfer;

/// The name and number of the document.
const SCHEMA: &str = "plimsoll.migration/1";
/// How often the report is written while images arrive.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Copies all tags of a repository to another one, with what refers to them, and checks every digest
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is there already is not copied again, so running it once more goes on where it was broken off. With the same
--report, what that says was found in full is not looked through again. With --dry-run it only says what it would do.
In rules and patterns * stands for anything; between slashes they are regular expressions.

Examples:
  $ plimsoll migrate acme/api ghcr.io/acme/api
  $ plimsoll migrate acme/api ghcr.io/acme/api --dry-run --format json
  $ plimsoll migrate acme/api ghcr.io/acme/api --report migration.json
  $ plimsoll migrate acme/api ghcr.io/acme/api --only 'v*' --except '*-rc' --retag 'release-*=v*'
  $ plimsoll migrate acme/api ghcr.io/acme/api --retag '/^release-(\\d+)\\.(\\d+)$/v$1.$2/'"
)]
pub struct Arguments {
    /// The repository: of a registry, of the local store (local/NAME), a layout (oci:DIR), of containerd
    /// (containerd:NAME) or a Docker daemon (docker-daemon:NAME), or an archive (oci-archive:FILE, docker-archive:FILE)
    #[arg(value_name = "SRC")]
    source: Place,
    /// Where it goes: a registry, the local store, a layout, or containerd
    #[arg(value_name = "DST")]
    destination: Place,
    /// Takes only tags of this form; may be given several times
    #[arg(long, value_name = "PATTERN")]
    only: Vec<TagPattern>,
    /// Leaves tags of this form; may be given several times
    #[arg(long, value_name = "PATTERN")]
    except: Vec<TagPattern>,
    /// Gives tags of a form another name; the first rule that fits decides
    #[arg(long, value_name = "PATTERN=NAME|/REGEX/NAME/")]
    retag: Vec<Rename>,
    /// Leaves signatures, SBOMs and whatever else refers to the images
    #[arg(long)]
    no_referrers: bool,
    #[command(flatten)]
    foreign: ForeignLayers,
    /// Keeps what became of each tag in this file, as --format json prints it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize)]
struct Answer {
    source: String,
    destination: String,
    with_referrers: bool,
    tags: Vec<Line>,
    /// What would be moved; of a plan alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
    bytes_moved: u64,
    blobs_moved: u64,
    referrers: u64,
    /// Blobs that were not copied: they are not to be distributed, or are only where their manifest says.
    left_out: Vec<LeftOut>,
    /// Tags of the source that changed meanwhile.
    changed: Vec<Change>,
    /// Whether every tag is there in full and the source is what it was; of a report that goes on being written, not yet.
    complete: bool,
    dry_run: bool,
}

#[derive(Clone, Debug, Serialize)]
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
        let mut wish = Wish {
            source: Side::of(&self.source)?,
            destination: Side::of(&self.destination)?,
            only: self.only.clone(),
            except: self.except.clone(),
            rename: self.retag.clone(),
            company: if self.no_referrers { Company::Alone } else { Company::Referrers },
            known: BTreeSet::new(),
            foreign: self.foreign.choice(),
        };
        let file = self.report.as_ref().map(|file| session.environment.folder.join(file));
        if let Some(file) = &file {
            wish.known = known(file, &wish)?;
        }
        carry_out(session, &wish, file.as_deref())
    }
}

/// What is read of an earlier report.
#[derive(Deserialize)]
struct Earlier {
    schema: String,
    source: String,
    destination: String,
    with_referrers: bool,
    tags: Vec<EarlierLine>,
}

#[derive(Deserialize)]
struct EarlierLine {
    digest: Digest,
    #[serde(default)]
    verified: Option<bool>,
}

/// Returns the images that an earlier report of the same migration says were found in full.
fn known(file: &Path, wish: &Wish) -> Result<BTreeSet<Digest>, Error> {
    let text = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        text => text.map_err(|source| Error::file("read", file, source))?,
    };
    let other = |what: &str| Error::Usage {
        message: format!("{} is {what}, and would be overwritten", file.display()),
        hint: Some("name another file with --report".to_owned()),
    };
    let earlier: Earlier = serde_json::from_slice(&text).map_err(|_| other("no report of a migration"))?;
    if earlier.schema != SCHEMA {
        return Err(other("no report of a migration"));
    }
    if (earlier.source, earlier.destination) != (wish.source.to_string(), wish.destination.to_string()) {
        return Err(other("the report of another migration"));
    }
    // Without referrers less was looked for, and perhaps without layers that are not to be distributed.
    let asks_more = !earlier.with_referrers && wish.company == Company::Referrers;
    if asks_more || wish.foreign == Foreign::Copied {
        return Ok(BTreeSet::new());
    }
    let whole = earlier.tags.into_iter().filter(|line| line.verified == Some(true));
    Ok(whole.map(|line| line.digest).collect())
}

/// The report that is kept in a file while images arrive.
struct Kept<'a> {
    file: &'a Path,
    state: Mutex<(Answer, Instant)>,
}

impl Kept<'_> {
    /// Notes an image that was found in full. A report that cannot be written is told at the end.
    fn note(&self, digest: &Digest) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (answer, written) = &mut *state;
        let lines = answer.tags.iter_mut().filter(|line| line.digest == *digest);
        lines.for_each(|line| line.verified = Some(true));
        if written.elapsed() >= REPORT_EVERY {
            let _ = write(self.file, answer);
            *written = Instant::now();
        }
    }
}

/// Replaces the file as a whole.
fn write(file: &Path, answer: &Answer) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'static str,
        #[serde(flatten)]
        answer: &'a Answer,
    }
    let failed = |source| Error::file("write", file, source);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut text = serde_json::to_vec_pretty(&Document { schema: SCHEMA, answer })
        .expect("a report has only string keys");
    text.push(b'\n');
    let new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::fs::write(new.path(), text).map_err(failed)?;
    new.persist(file).map(drop).map_err(|error| failed(error.error))
}

/// Plans, copies, verifies and answers; with `--dry-run` it only plans. What becomes of each tag is kept in `file`.
///
/// # Errors
/// Where tags failed: partly done, or what the first of them failed with where all did. Partly done also where the
/// source changed meanwhile.
pub fn carry_out(session: &Session, wish: &Wish, file: Option<&Path>) -> Result<(), Error> {
    let places = session.places()?;
    let plan = repository::plan(&places, wish)?;
    let mut answer = Answer::new(wish, &plan.tags);
    if session.global.dry_run {
        answer.estimate = Some(repository::estimate(&places, wish, &plan)?);
        return session.ui.answer("migration", &answer);
    }
    answer.dry_run = false;
    if let Some(file) = file {
        write(file, &answer)?;
    }
    let kept = file.map(|file| Kept { file, state: Mutex::new((answer.clone(), Instant::now())) });
    let transfer = Transfer::new(&session.ui, wish.destination.to_string());
    let copy = |event: store::CopyEvent<'_>| transfer.observe(event);
    let done = |digest: &Digest| kept.iter().for_each(|kept| kept.note(digest));
    let applied = repository::apply(&places, wish, &plan, Progress { copy: &copy, done: &done });
    drop(transfer);
    let mut report = applied?;
    answer.take(&report);
    if let Some(file) = file {
        write(file, &answer)?;
    }
    session.ui.answer("migration", &answer)?;
    if report.failed.is_empty() {
        return if report.changed.is_empty() { Ok(()) } else { Err(Error::Reported(Code::Partly)) };
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
            with_referrers: wish.company == Company::Referrers,
            tags: moves.iter().map(line).collect(),
            estimate: None,
            bytes_moved: 0,
            blobs_moved: 0,
            referrers: 0,
            left_out: Vec::new(),
            changed: Vec::new(),
            complete: false,
            dry_run: true,
        }
    }

    fn take(&mut self, report: &Report) {
        self.changed.clone_from(&report.changed);
        self.complete = report.failed.is_empty() && report.changed.is_empty();
        self.bytes_moved = report.copied.bytes_moved;
        self.blobs_moved = report.copied.blobs_moved;
        self.referrers = report.copied.referrers;
        self.left_out = LeftOut::all(&report.copied.left_out);
        for line in &mut self.tags {
            line.verified = Some(report.verified.contains(&line.to));
            let failed = report.failed.iter().find(|(tag, _)| *tag == line.to);
            line.error = failed.map(|(_, error)| store::with_causes(error));
        }
    }
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
        if let Some(estimate) = &self.estimate {
            let tags = quantity::count(self.tags.len() as u64, "tag", "tags");
            writeln!(f, "{tags} of {} for {}", self.source, self.destination)?;
            let Estimate { images, blobs, bytes, blobs_missing, bytes_missing, .. } = estimate;
            let (all, missing) = (quantity::size(*bytes), quantity::size(*bytes_missing));
            return writeln!(
                f,
                "{} of {}, {all}; {}, {missing}, not there yet",
                quantity::count(*images as u64, "image", "images"),
                quantity::count(*blobs as u64, "blob", "blobs"),
                quantity::count(*blobs_missing as u64, "blob", "blobs"),
            );
        }
        for Change { tag, before, after } in &self.changed {
            let what = match (before, after) {
                (_, None) => "is gone at the source".to_owned(),
                (None, Some(after)) => format!("came to the source meanwhile, {after}"),
                (Some(before), Some(after)) => format!("moved at the source from {before} to {after}"),
            };
            writeln!(f, "{tag} {what}")?;
        }
        if !self.changed.is_empty() {
            writeln!(f, "the source changed meanwhile; run it once more")?;
        }
        let right = self.tags.iter().filter(|line| line.verified == Some(true)).count();
        let moved = quantity::size(self.bytes_moved);
        writeln!(
            f,
            "{right} of {} in {} and complete; {} copied, {moved}; {}",
            quantity::count(self.tags.len() as u64, "tag is", "tags are"),
            self.destination,
            quantity::count(self.blobs_moved, "blob", "blobs"),
            quantity::count(self.referrers, "referrer", "referrers"),
        )?;
        LeftOut::list(&self.left_out, f)
    }
}
