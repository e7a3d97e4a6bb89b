//! How much of what an image's layers store is still there when they lie on top of each other.
//!
//! `score` and `wasted_bytes` are defined as the tool dive defines them, so that its thresholds mean
//! the same here: a path's *stored* bytes are the sum over every layer that writes it, plus the size
//! of what a whiteout removes; the score is the sum of each path's smallest occurrence over the sum
//! of stored bytes. That counts the one copy an image needs as waste too, once a path occurs twice.
//! `reclaimable_bytes` does not: it is what the layers hold and the image does not show.
//!
//! Source: dive's `efficiency` and `image` analysis, in words; image-spec v1.1, layer.md, "Whiteouts".

use std::collections::BTreeMap;
use std::ops::Bound;

use layer::{Entry, Kind, LayerPath};
use serde::Serialize;

/// What an image's layers waste.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Efficiency {
    /// From 0 to 1; 1 where every byte is stored once, and for an image without files.
    #[serde(rename = "efficiency")]
    pub score: f64,
    /// Stored bytes of every path that occurs more than once.
    pub wasted_bytes: u64,
    /// Bytes of file content in layers that the image does not show.
    pub reclaimable_bytes: u64,
    /// `wasted_bytes` over the bytes of file content above the base layers; 0 where there are none.
    pub user_wasted_ratio: f64,
    /// Every path that occurs more than once, most stored bytes first, then by path.
    pub files: Vec<RepeatedFile>,
}

/// A path that several layers write or remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepeatedFile {
    /// The path; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// How many layers write or remove it.
    pub occurrences: u32,
    /// Sum of its sizes over all layers, with what a whiteout removes.
    pub stored_bytes: u64,
    /// What of its content the image does not show.
    pub reclaimable_bytes: u64,
}

impl Efficiency {
    /// Returns the efficiency of an image from the entries of its layers, lowest first, of which the
    /// first `base_layers` came with the base image.
    pub fn of(layers: &[&[Entry]], base_layers: usize) -> Self {
        let mut history = History::default();
        let mut user_bytes = 0;
        for (number, entries) in layers.iter().enumerate() {
            history.add_layer(entries);
            if number >= base_layers {
                user_bytes += entries.iter().map(content_bytes).sum::<u64>();
            }
        }
        history.efficiency(user_bytes)
    }
}

/// Every path any layer speaks of.
#[derive(Default)]
struct History {
    paths: BTreeMap<LayerPath, PathHistory>,
}

#[derive(Default)]
struct PathHistory {
    occurrences: u32,
    stored_bytes: u64,
    smallest: Option<u64>,
    written_bytes: u64,
    /// Size in the layers so far, on top of each other; `None` where it is not there.
    shown: Option<u64>,
}

impl PathHistory {
    fn occur(&mut self, size: u64) {
        self.occurrences += 1;
        self.stored_bytes += size;
        self.smallest = Some(self.smallest.map_or(size, |smallest| smallest.min(size)));
    }

    fn reclaimable(&self) -> u64 {
        self.written_bytes - self.shown.unwrap_or(0)
    }
}

impl History {
    fn add_layer(&mut self, entries: &[Entry]) {
        // Whiteouts speak of the layers below only, wherever they stand among a layer's entries.
        for entry in entries {
            match entry.kind {
                Kind::Whiteout => self.remove(&entry.path, Removal::WithItself),
                Kind::Opaque => self.remove(&entry.path, Removal::ContentOnly),
                _ => {}
            }
        }
        for entry in entries.iter().filter(|entry| !matches!(entry.kind, Kind::Whiteout | Kind::Opaque)) {
            self.write(entry);
        }
    }

    fn write(&mut self, entry: &Entry) {
        if entry.kind != Kind::Directory {
            self.hide_content(&entry.path);
        }
        let size = content_bytes(entry);
        let path = self.paths.entry(entry.path.clone()).or_default();
        path.occur(size);
        path.written_bytes += size;
        path.shown = Some(size);
    }

    fn remove(&mut self, path: &LayerPath, removal: Removal) {
        let mut removed = self.hide_content(path);
        let entry = self.paths.entry(path.clone()).or_default();
        if removal == Removal::WithItself {
            removed += entry.shown.take().unwrap_or(0);
        }
        entry.occur(removed);
    }

    /// Hides everything below the folder `path` and returns its size in bytes.
    fn hide_content(&mut self, path: &LayerPath) -> u64 {
        self.paths.range_mut(content_range(path)).filter_map(|(_, content)| content.shown.take()).sum()
    }

    fn efficiency(self, user_bytes: u64) -> Efficiency {
        let stored: u64 = self.paths.values().map(|path| path.stored_bytes).sum();
        let smallest: u64 = self.paths.values().filter_map(|path| path.smallest).sum();
        let reclaimable_bytes = self.paths.values().map(PathHistory::reclaimable).sum();
        let files = self.repeated();
        let wasted_bytes = files.iter().map(|file| file.stored_bytes).sum();
        Efficiency {
            score: ratio(smallest, stored).unwrap_or(1.0),
            wasted_bytes,
            reclaimable_bytes,
            user_wasted_ratio: ratio(wasted_bytes, user_bytes).unwrap_or(0.0),
            files,
        }
    }

    fn repeated(self) -> Vec<RepeatedFile> {
        let repeated =
            self.paths.into_iter().filter(|(_, path)| path.occurrences > 1 && path.stored_bytes > 0);
        let mut files: Vec<_> = repeated
            .map(|(name, path)| RepeatedFile {
                path: String::from_utf8_lossy(&name).into_owned(),
                occurrences: path.occurrences,
                stored_bytes: path.stored_bytes,
                reclaimable_bytes: path.reclaimable(),
            })
            .collect();
        files.sort_by(|one, other| {
            other.stored_bytes.cmp(&one.stored_bytes).then_with(|| one.path.cmp(&other.path))
        });
        files
    }
}

#[derive(PartialEq, Eq)]
enum Removal {
    WithItself,
    ContentOnly,
}

/// Returns the range of paths below the folder `path`: `0` follows `/` in ASCII.
fn content_range(path: &LayerPath) -> (Bound<LayerPath>, Bound<LayerPath>) {
    if path.is_empty() {
        return (Bound::Excluded(LayerPath::new()), Bound::Unbounded);
    }
    let bound = |last: &[u8]| Bound::Excluded([path.as_slice(), last].concat());
    (bound(b"/"), bound(b"0"))
}

fn content_bytes(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio of sizes needs no more than 53 bits")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        let (mode, uid, gid, mtime) = (0o644, 0, 0, 0);
        Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs: BTreeMap::new() }
    }

    fn file(path: &str, size: u64) -> Entry {
        entry(path, Kind::File { size, digest: None, offset: 0 })
    }

    fn folder(path: &str) -> Entry {
        entry(path, Kind::Directory)
    }

    fn whiteout(path: &str) -> Entry {
        entry(path, Kind::Whiteout)
    }

    #[track_caller]
    fn check(layers: &[&[Entry]], score: f64, wasted_bytes: u64, reclaimable_bytes: u64) -> Efficiency {
        let efficiency = Efficiency::of(layers, 1);
        assert!((efficiency.score - score).abs() < 1e-9, "score {}", efficiency.score);
        assert_eq!(efficiency.wasted_bytes, wasted_bytes, "wasted");
        assert_eq!(efficiency.reclaimable_bytes, reclaimable_bytes, "reclaimable");
        efficiency
    }

    #[test]
    fn nothing_wastes_nothing() {
        check(&[], 1.0, 0, 0);
        check(&[&[]], 1.0, 0, 0);
        check(&[&[file("a", 10)], &[file("b", 10)]], 1.0, 0, 0);
        check(&[&[folder("a")], &[folder("a")]], 1.0, 0, 0);
    }

    #[test]
    fn a_file_written_twice() {
        let efficiency = check(&[&[file("a", 30)], &[file("a", 10)]], 0.25, 40, 30);
        let expected =
            RepeatedFile { path: "a".into(), occurrences: 2, stored_bytes: 40, reclaimable_bytes: 30 };
        assert_eq!(efficiency.files, [expected]);
        assert!((efficiency.user_wasted_ratio - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_file_removed_later_counts_at_both_ends() {
        check(&[&[file("a", 30), file("b", 10)], &[whiteout("a")]], 40.0 / 70.0, 60, 30);
    }

    #[test]
    fn a_folder_removed_later_counts_its_content() {
        let below: &[Entry] = &[folder("d"), file("d/a", 30), file("d/e/b", 20), file("d0", 5)];
        let efficiency = check(&[below, &[whiteout("d")]], 55.0 / 105.0, 50, 50);
        assert_eq!(efficiency.files.len(), 1);
        assert_eq!(efficiency.files[0].path, "d");
    }

    #[test]
    fn an_opaque_folder_hides_what_is_below_and_not_what_comes_with_it() {
        let below: &[Entry] = &[folder("d"), file("d/a", 30)];
        let above: &[Entry] = &[file("d/b", 7), folder("d"), entry("d", Kind::Opaque)];
        check(&[below, above], 37.0 / 67.0, 30, 30);
    }

    #[test]
    fn a_file_in_place_of_a_folder_hides_its_content() {
        check(&[&[folder("d"), file("d/a", 30)], &[file("d", 1)]], 30.0 / 31.0, 1, 30);
    }

    #[test]
    fn an_opaque_root_hides_everything() {
        check(&[&[file("a", 30)], &[entry("", Kind::Opaque), file("b", 1)]], 61.0 / 61.0, 0, 30);
    }

    #[test]
    fn what_comes_back_is_shown_again() {
        check(&[&[file("a", 30)], &[whiteout("a")], &[file("a", 30)]], 30.0 / 90.0, 90, 30);
    }

    #[test]
    fn base_layers_are_not_the_users() {
        let layers: &[&[Entry]] = &[&[file("a", 30)], &[file("b", 10)], &[file("b", 10)]];
        assert!((Efficiency::of(layers, 1).user_wasted_ratio - 1.0).abs() < 1e-9);
        assert!((Efficiency::of(layers, 3).user_wasted_ratio).abs() < 1e-9);
    }
}
