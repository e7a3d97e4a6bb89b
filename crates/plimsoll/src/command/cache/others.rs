//! What this machine keeps besides layers, by kind: for builds, and for transfers that broke off.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use builder::cache::{Kept, KeptKind};
use serde::Serialize;

use super::day;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};

/// All of a kind together; each cache mount by itself.
#[derive(Debug, Serialize)]
pub struct Other {
    kind: &'static str,
    /// The id of a cache mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// How many there are.
    pub count: usize,
    /// When the one used last was.
    used: String,
    bytes: u64,
}

/// Returns what transfers keep under `root` for the next try, as far as nobody is at it: parts of blobs, and notes of
/// where uploads are.
pub fn of_transfers(root: &Path) -> Vec<Kept> {
    let files = |folder: &str, kind: KeptKind| {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| transfer(&entry.path(), kind)).collect::<Vec<_>>()
    };
    [files("store/partial", KeptKind::Download), files("uploads", KeptKind::Upload)].concat()
}

/// A file that somebody writes is locked by them.
fn transfer(path: &Path, kind: KeptKind) -> Option<Kept> {
    let file = File::open(path).ok()?;
    let found = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.try_lock().ok()?;
    let name = path.file_name()?.to_str()?.to_owned();
    let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Kept { kind, name, used, bytes: found.len(), paths: vec![path.to_owned()] })
}

/// Returns what is kept by kind, in the order of kinds and names.
pub fn by_kind(kept: &[Kept]) -> Vec<Other> {
    let mut groups: BTreeMap<(KeptKind, Option<&str>), (usize, SystemTime, u64)> = BTreeMap::new();
    for one in kept {
        let name = (one.kind == KeptKind::Mount).then_some(&*one.name);
        let group = groups.entry((one.kind, name)).or_insert((0, SystemTime::UNIX_EPOCH, 0));
        *group = (group.0 + 1, group.1.max(one.used), group.2 + one.bytes);
    }
    let other =
        |((kind, name), (count, used, bytes)): ((KeptKind, Option<&str>), (usize, SystemTime, u64))| Other {
            kind: word(kind),
            name: name.map(str::to_owned),
            count,
            used: day(used),
            bytes,
        };
    groups.into_iter().map(other).collect()
}

fn word(kind: KeptKind) -> &'static str {
    match kind {
        KeptKind::Mount => "cache-mount",
        KeptKind::Merged => "merged-layers",
        KeptKind::Index => "index",
        KeptKind::Variant => "variant",
        KeptKind::Inputs => "step-inputs",
        KeptKind::Digests => "context-digests",
        KeptKind::Download => "partial-download",
        KeptKind::Upload => "upload-note",
        KeptKind::Leftover => "leftover",
    }
}

/// Returns the table of what there is.
pub fn table(others: &[Other]) -> Table {
    let mut table = Table::new(&[
        ("KIND", Align::Left),
        ("USED", Align::Left),
        ("COUNT", Align::Right),
        ("SIZE", Align::Right),
        ("NAME", Align::Left),
    ]);
    for other in others {
        table.row(vec![
            other.kind.to_owned(),
            other.used.clone(),
            other.count.to_string(),
            quantity::size(other.bytes),
            other.name.clone().unwrap_or_default(),
        ]);
    }
    table
}
