//! `serve collect`: removing from the store, or from a bucket, what no image needs; also while a server runs.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oci::Digest;
use pipeline::configuration::Timespan;
use registry::server::Collection;
use serde::Serialize;
use store::{CollectOptions, Collected, S3Place, StoreError};

use super::storage;
use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;

/// How long is waited for a moment in which nobody else holds the store.
const PATIENCE: Duration = Duration::from_secs(30);
/// Records of steps larger than this are not ours.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// Removes content that no image and no known build step needs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Manifests stay until they are removed by name; this removes what belongs to none. It can run
while images are built, pushed and pulled: what is put meanwhile stays. A bucket has no locks, so what others
put there meanwhile is safe by the time of --after alone: it should be longer than a push takes.

Examples:
  $ plimsoll serve collect --dry-run
  $ plimsoll serve collect --after 1h
  $ plimsoll serve collect --storage 's3://acme-images/prod?region=eu-central-1' --dry-run"
)]
pub struct Collect {
    /// How long content stays that no image needs yet
    #[arg(long, value_name = "TIME", default_value = "24h")]
    after: Timespan,
    /// Collects in this bucket, s3://BUCKET/PREFIX[?region=NAME&endpoint=ADDRESS], instead of in the store
    #[arg(long, value_name = "PLACE")]
    storage: Option<S3Place>,
}

/// What was, or would be, removed.
#[derive(Debug, Serialize)]
struct Report {
    blobs: u64,
    bytes: u64,
    unreadable: Vec<String>,
    interrupted: bool,
    dry_run: bool,
}

impl Collect {
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let options = CollectOptions { grace: self.after.0, patience: PATIENCE };
        let report = match &self.storage {
            None => in_folder(session, &options)?,
            Some(place) => in_bucket(session, place, &options)?,
        };
        session.ui.answer("collection", &report)?;
        Ok(())
    }
}

fn in_folder(session: &Session, options: &CollectOptions) -> Result<Report, Error> {
    let store = session.store()?;
    let kept = kept(&steps(session)?);
    let plan = store.plan_collection(options, &|digest| kept.contains(digest))?;
    let unreadable = plan.unreadable.clone();
    let planned = Collected { blobs: plan.blobs.len() as u64, bytes: plan.bytes(), interrupted: false };
    let dry_run = session.global.dry_run;
    let collected = if dry_run { planned } else { store.apply_collection(plan, options)? };
    Ok(Report::new(collected, unreadable, dry_run))
}

/// Layers that builds of this machine want are in its store and not in the bucket.
fn in_bucket(session: &Session, place: &S3Place, options: &CollectOptions) -> Result<Report, Error> {
    let store = storage::open(session, place)?;
    let plan = store.plan_collection(options, &|_| false)?;
    let unreadable = plan.unreadable.clone();
    let planned = Collected { blobs: plan.blobs.len() as u64, bytes: plan.bytes(), interrupted: false };
    let dry_run = session.global.dry_run;
    let collected = if dry_run { planned } else { store.apply_collection(plan, options)? };
    Ok(Report::new(collected, unreadable, dry_run))
}

impl Report {
    fn new(collected: Collected, unreadable: Vec<String>, dry_run: bool) -> Self {
        let Collected { blobs, bytes, interrupted } = collected;
        Self { blobs, bytes, unreadable, interrupted, dry_run }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        writeln!(f, "{} blobs {verb}, {}", self.blobs, quantity::size(self.bytes))?;
        for digest in &self.unreadable {
            writeln!(f, "manifest {digest} is not there; what it needs is not known")?;
        }
        if self.interrupted {
            writeln!(f, "the store was in use all the time, so not everything was removed; try again later")?;
        }
        Ok(())
    }
}

/// Returns when a server collects.
pub fn collection(session: &Session, every: Duration, grace: Duration) -> Result<Collection, Error> {
    let (ui, folder) = (session.ui.clone(), steps(session)?);
    let report = move |result: &Result<Collected, StoreError>| match result {
        Ok(Collected { blobs: 0, interrupted: false, .. }) => {}
        Ok(Collected { blobs, bytes, .. }) => {
            ui.note(format!("collected {blobs} blobs, {}", quantity::size(*bytes)));
        }
        Err(error) => ui.warn(format!("nothing was collected: {error}")),
    };
    let keep = move || -> Box<dyn Fn(&Digest) -> bool + Send> {
        let kept = kept(&folder);
        Box::new(move |digest| kept.contains(digest))
    };
    Ok(Collection { every, grace, keep: Arc::new(keep), report: Arc::new(report) })
}

fn steps(session: &Session) -> Result<PathBuf, Error> {
    Ok(session.root()?.join("build/steps"))
}

/// Returns the digests that records of build steps name: layers that the next build will want.
fn kept(folder: &Path) -> HashSet<Digest> {
    let mut kept = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What cannot be read names nothing; a layer that is missed is made again.
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.len() <= MAX_RECORD_BYTES {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                kept.extend(text.split('"').filter_map(|word| word.parse::<Digest>().ok()));
            }
        }
    }
    kept
}
