//! `cache`: what builds and broken transfers keep for the next ones, and how much of it may stay.

mod elsewhere;
mod others;

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use builder::Workspace;
use builder::cache::{Budget, CachedLayer, GRACE, Kept, PrunePlan};
use oci::Digest;
use pipeline::caches::CacheName;
use pipeline::configuration::Timespan;
use serde::Serialize;

use self::others::Other;
use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};
use crate::workbench;

/// Shows and clears what builds keep for the next ones
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll cache ls
  $ plimsoll cache ls registry:ghcr.io/acme/api:cache
  $ plimsoll cache prune --max-age 14d --max-size 20GiB
  $ plimsoll cache prune --all --dry-run")]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Ls(List),
    Prune(Prune),
    Rm(Remove),
}

/// Lists the layers that steps gave, the one used last first, and what else is kept
#[derive(Debug, clap::Args)]
#[command(
    after_help = "SIZE is what only the cache needs; layers of images count with their unpacked form alone. Kinds of what is no
layer: cache-mount (RUN --mount=type=cache), merged-layers (without overlayfs), index, variant (another compression),
step-inputs (for --explain), context-digests, partial-download and upload-note (of pulls and pushes that broke off),
leftover (of killed processes).

Examples:
  $ plimsoll cache ls
  $ plimsoll cache ls registry:ghcr.io/acme/api:cache
  $ plimsoll cache ls --format json | jq '.total_bytes'"
)]
struct List {
    /// A cache outside this machine: registry:REF, image:REF or local:FOLDER [default: the local store's]
    #[arg(value_name = "CACHE")]
    cache: Option<CacheName>,
}

/// Removes a cache outside this machine by its name
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The name goes at once; the bytes are the registry's to collect, as far as no image needs them.

Examples:
  $ plimsoll cache rm registry:ghcr.io/acme/api:cache
  $ plimsoll cache rm local:/var/cache/api --dry-run"
)]
struct Remove {
    /// The cache: registry:REF, image:REF or local:FOLDER
    #[arg(value_name = "CACHE")]
    cache: CacheName,
}

/// Removes what is too old or too much, and content that nothing names
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Never removes what an image of the store needs. Cache mounts and all else that cache ls lists count and go like
layers, the oldest first; what killed processes left always goes. Waits until builds on this store have ended.

Examples:
  $ plimsoll cache prune
  $ plimsoll cache prune --max-age 14d
  $ plimsoll cache prune --max-size 20GiB --dry-run"
)]
struct Prune {
    /// What was of no use for longer goes, such as 14d
    #[arg(long, value_name = "TIME")]
    max_age: Option<Timespan>,
    /// The oldest go until no more than this is left, such as 20GiB
    #[arg(long, value_name = "SIZE")]
    max_size: Option<Size>,
    /// Everything goes
    #[arg(long, conflicts_with_all = ["max_age", "max_size"])]
    all: bool,
}

/// A number of bytes as people write it: `512MiB`, `20GB`, `1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

#[derive(Debug, Serialize)]
struct Listing {
    layers: Vec<Layer>,
    others: Vec<Other>,
    total_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Layer {
    diff_id: Digest,
    /// `None` for the unpacked layer of a base image.
    instruction: Option<String>,
    used: String,
    seconds: f64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Pruned {
    layers: Vec<Layer>,
    others: Vec<Other>,
    blobs: usize,
    freed_bytes: u64,
    kept_bytes: u64,
    dry_run: bool,
}

impl Arguments {
    /// Lists or prunes.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        match &self.action {
            Action::Ls(List { cache: Some(cache) }) => elsewhere::list(session, cache),
            Action::Ls(List { cache: None }) => list(session),
            Action::Rm(Remove { cache }) => elsewhere::remove(session, cache),
            Action::Prune(prune) => prune.run(session),
        }
    }
}

fn list(session: &Session) -> Result<(), Error> {
    let store = session.store()?;
    let _lock = store.lock_shared()?;
    let now = SystemTime::from(session.environment.now);
    let needed = store.needed_by_images(now - GRACE)?;
    let workspace = workbench::workspace(session, &store)?;
    let mut layers = workspace.cached_layers()?;
    layers.sort_by_key(|layer| std::cmp::Reverse((layer.used, layer.diff_id)));
    let kept = kept(session, &workspace, &layers, now)?;
    let in_layers: u64 = layers.iter().map(|layer| layer.bytes(&needed)).sum();
    let total_bytes = in_layers + kept.iter().map(|one| one.bytes).sum::<u64>();
    let layers = layers.iter().map(|layer| Layer::of(layer, layer.bytes(&needed))).collect();
    session.ui.answer("cache", &Listing { layers, others: others::by_kind(&kept), total_bytes })
}

/// Returns all that is kept besides layers.
fn kept(
    session: &Session,
    workspace: &Workspace,
    layers: &[CachedLayer],
    now: SystemTime,
) -> Result<Vec<Kept>, Error> {
    let mut kept = workspace.kept_besides(layers, &session.scratch()?, now);
    kept.extend(others::of_transfers(&session.root()?));
    Ok(kept)
}

impl Prune {
    fn run(&self, session: &Session) -> Result<(), Error> {
        let store = session.store()?;
        let workspace = workbench::workspace(session, &store)?;
        let lock = match store.try_lock_exclusive()? {
            Some(lock) => lock,
            None => {
                session.ui.note("waiting for the builds that use this store");
                store.lock_exclusive()?
            }
        };
        let now = SystemTime::from(session.environment.now);
        let needed = store.needed_by_images(now - GRACE)?;
        let layers = workspace.cached_layers()?;
        let kept = kept(session, &workspace, &layers, now)?;
        let plan = PrunePlan::new(layers, kept, &store.blobs()?, &needed, self.budget(), now);
        if !session.global.dry_run {
            workspace.prune(&plan, &lock)?;
        }
        let layers = plan.layers.iter().map(|layer| Layer::of(layer, layer.bytes(&needed))).collect();
        session.ui.answer(
            "cache-prune",
            &Pruned {
                layers,
                others: others::by_kind(&plan.others),
                blobs: plan.blobs.len(),
                freed_bytes: plan.bytes,
                kept_bytes: plan.kept_bytes,
                dry_run: session.global.dry_run,
            },
        )
    }

    fn budget(&self) -> Budget {
        let max_bytes = if self.all { Some(0) } else { self.max_size.map(|size| size.0) };
        // Not even an empty layer stays where all goes.
        let max_age = if self.all { Some(std::time::Duration::ZERO) } else { self.max_age.map(|age| age.0) };
        Budget { max_age, max_bytes }
    }
}

impl Layer {
    fn of(layer: &CachedLayer, bytes: u64) -> Self {
        Self {
            diff_id: layer.diff_id.0,
            instruction: layer.instruction.clone(),
            used: day(layer.used),
            seconds: std::time::Duration::from_millis(layer.milliseconds).as_secs_f64(),
            bytes,
        }
    }
}

fn day(time: SystemTime) -> String {
    let day = jiff::Timestamp::try_from(time).map(|time| time.strftime("%Y-%m-%d").to_string());
    day.unwrap_or_default()
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 9] = [
            ("KIB", 1 << 10),
            ("MIB", 1 << 20),
            ("GIB", 1 << 30),
            ("TIB", 1 << 40),
            ("KB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("B", 1),
        ];
        let upper = text.trim().to_ascii_uppercase();
        let unit = UNITS.iter().find_map(|(name, bytes)| Some((upper.strip_suffix(name)?, *bytes)));
        let (number, unit) = unit.unwrap_or((upper.as_str(), 1));
        let number: Option<u64> = number.trim().parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(unit)).map(Size);
        bytes.ok_or_else(|| format!("{text:?} is no size; write one such as 500MB or 20GiB"))
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layers.is_empty() && self.others.is_empty() {
            return writeln!(f, "the cache is empty");
        }
        tables(f, &self.layers, &self.others)?;
        writeln!(f, "{} in all", quantity::size(self.total_bytes))
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tables(f, &self.layers, &self.others)?;
        let verb = if self.dry_run { "would free" } else { "freed" };
        let (freed, kept) = (quantity::size(self.freed_bytes), quantity::size(self.kept_bytes));
        let others: usize = self.others.iter().map(|other| other.count).sum();
        let layers = self.layers.len();
        writeln!(f, "{verb} {freed} ({layers} layers, {} blobs, {others} others); {kept} stay", self.blobs)
    }
}

fn tables(f: &mut fmt::Formatter<'_>, layers: &[Layer], others: &[Other]) -> fmt::Result {
    if !layers.is_empty() {
        write!(f, "{}", table(layers))?;
    }
    if !others.is_empty() {
        write!(f, "{}", others::table(others))?;
    }
    Ok(())
}

fn table(layers: &[Layer]) -> Table {
    const LONGEST: usize = 60;
    let mut table = Table::new(&[
        ("LAYER", Align::Left),
        ("USED", Align::Left),
        ("TOOK", Align::Right),
        ("SIZE", Align::Right),
        ("STEP", Align::Left),
    ]);
    for layer in layers {
        let step = layer.instruction.as_deref().unwrap_or("(a base image, unpacked)");
        let step = match step.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}...", &step[..at]),
            None => step.to_owned(),
        };
        table.row(vec![
            layer.diff_id.short(12),
            layer.used.clone(),
            quantity::duration(std::time::Duration::from_secs_f64(layer.seconds)),
            quantity::size(layer.bytes),
            step,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("12b", 12),
            ("2KiB", 2048),
            ("500MB", 500_000_000),
            ("20 GiB", 20 << 30),
            ("1tb", 1_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "99999999999TiB", "3 parsecs"] {
            assert!(text.parse::<Size>().unwrap_err().contains("is no size"), "{text}");
        }
    }
}
