//! Why a step runs although one like it ran before, in words.

use std::io::{self, Read as _};

use super::build::Build;
use super::source::path_of_field;
use super::stage::{StageRun, Step};
use crate::BuildEvent;
use crate::cache::{CacheKey, Change, Found, Inputs, MAX_INPUTS_BYTES, SharedInputs, Tier, is_hidden};

/// How many names are listed.
const MOST_NAMES: usize = 4;
/// How many scopes of a cache are compared with.
const MOST_SCOPES: usize = 64;

/// What caches elsewhere say that steps were made of, each with the name of the cache.
pub(super) type InputsElsewhere = Vec<(String, SharedInputs)>;

impl StageRun<'_> {
    /// Says why the step runs, where that was asked for, and keeps what it depends on for the next time.
    pub(super) fn explain(&self, step: &Step, key: &CacheKey) {
        let request = self.build.request;
        let [context, dockerfile] =
            [&request.context, &request.dockerfile].map(|path| path.to_string_lossy());
        let stage = self.build.dockerfile.stage_label(self.stage.index);
        let number = step.number.saturating_sub(self.build.first_steps[self.stage.index]).to_string();
        let platform = request.platform.to_string();
        let place = [&*context, &*dockerfile, &platform, &stage, &number];
        let places = &self.build.workspace.places;
        if request.explain {
            let reason = match request.no_cache {
                true => "the cache is not to be used".to_owned(),
                false => self.reason(&place, &stage, step, key),
            };
            (self.build.observer)(BuildEvent::StepExplained { number: step.number, reason });
        }
        // Nothing but the next explanation depends on it.
        let _ = places.put(&place, key.inputs());
    }

    /// Says what is other than when the step ran last: here, else on the machine that wrote to a cache elsewhere.
    fn reason(&self, place: &[&str], stage: &str, step: &Step, key: &CacheKey) -> String {
        let before = self.build.workspace.places.get(place);
        let elsewhere = || self.build.reason_elsewhere(&self.shared_place(stage, step.number), key);
        let told = if before.is_none() { elsewhere() } else { None };
        told.unwrap_or_else(|| reason(key.inputs(), before.as_ref()))
    }

    pub(super) fn shared_place(&self, stage: &str, number: u32) -> String {
        self.build.shared_place(stage, number.saturating_sub(self.build.first_steps[self.stage.index]))
    }
}

impl Build<'_> {
    /// Says what is other than when a step at this place ran last on another machine, as far as a cache knows; of several
    /// that know one, the one that is most like this is taken.
    pub fn reason_elsewhere(&self, place: &str, key: &CacheKey) -> Option<String> {
        let now = key.inputs();
        let compare = |(label, shared): &(String, SharedInputs)| {
            let before = shared.places.get(place).filter(|before| before.kind == now.kind)?;
            let now = shared.comparable(place, now);
            let changes = now.changes(before);
            let weight: usize = changes.iter().map(weight).sum();
            let reason = match changes.is_empty() {
                true => format!("nothing it depends on changed; {label} does not have its result"),
                false => format!("{} (compared with {label})", told(&changes, &now, before)),
            };
            Some((weight, reason))
        };
        let found = self.inputs_elsewhere().iter().filter_map(compare);
        found.min_by_key(|(weight, _)| *weight).map(|(_, reason)| reason)
    }

    /// Fetches what all caches say; what cannot be had or read is left out, since nothing else depends on it.
    pub(super) fn fetch_inputs(&self) -> InputsElsewhere {
        let mut all = InputsElsewhere::new();
        let _ = self.ask_tiers::<()>(|tier, found| {
            let label = &tier.label;
            all.extend(inputs_of(tier, found).into_iter().map(|shared| (label.clone(), shared)));
            Ok(None)
        });
        all
    }
}

fn inputs_of(tier: &Tier, found: &Found) -> Vec<SharedInputs> {
    let read = |blob: &oci::Descriptor| {
        let mut bytes = Vec::new();
        let opened = tier.store.open_blob(&blob.digest).map_err(io::Error::other)?;
        opened.take(MAX_INPUTS_BYTES + 1).read_to_end(&mut bytes)?;
        SharedInputs::parse(&bytes)
    };
    let told =
        |error: &io::Error| tracing::warn!(cache = tier.label, %error, "inputs of steps cannot be read");
    let entries = found.artifact.inputs.values().take(MOST_SCOPES);
    entries.filter_map(|entry| read(&entry.blob).inspect_err(told).ok()).collect()
}

fn weight(change: &Change<'_>) -> usize {
    match change {
        Change::Value { .. } => 1,
        Change::List { lost, got, .. } => lost.len() + got.len(),
    }
}

/// Says what is other than when the step at this place ran last; `before` is what was kept of that.
fn reason(now: &Inputs, before: Option<&Inputs>) -> String {
    let Some(before) = before.filter(|before| before.kind == now.kind) else {
        return "no such step ran here before".to_owned();
    };
    let changes = now.changes(before);
    if changes.is_empty() {
        return "nothing it depends on changed since it last ran here; its result was cleared away"
            .to_owned();
    }
    told(&changes, now, before)
}

fn told(changes: &[Change<'_>], now: &Inputs, before: &Inputs) -> String {
    changes.iter().map(|one| change(one, now, before)).collect::<Vec<_>>().join("; ")
}

fn change(change: &Change<'_>, now: &Inputs, before: &Inputs) -> String {
    match change {
        Change::Value { name: "below", .. } => "the layers below it changed".to_owned(),
        Change::Value { name: "from", .. } => "the stage or image it copies from changed".to_owned(),
        Change::Value { name, before, .. } if is_hidden(before) => format!("{} changed", word(name)),
        Change::Value { name, before, now } => format!("{} changed from {before:?} to {now:?}", word(name)),
        Change::List { name: "environment", lost, got } => {
            let name = |value: &&str| value.split('=').next().unwrap_or_default().to_owned();
            listed("variables", lost.iter().chain(got).map(name))
        }
        Change::List { name: "items", lost, got } => {
            let mut paths = names_of(&before.list("items"), lost);
            paths.extend(names_of(&now.list("items"), got));
            listed("files", paths.into_iter())
        }
        Change::List { name: "words", got, .. } if got.len() == 1 => {
            format!("the command is now {:?}", got[0])
        }
        Change::List { name, .. } => format!("{} changed", word(name)),
    }
}

/// Returns the paths of some of all items. A file that is named itself has none of its own, but a head in front.
fn names_of(all: &[&str], some: &[&str]) -> Vec<String> {
    let (mut head, mut names) = ("", Vec::new());
    for item in all {
        head = item.strip_prefix("single ").or_else(|| item.strip_prefix("folder ")).unwrap_or(head);
        if some.contains(item) {
            let head = if head.is_empty() { "the folder itself" } else { head };
            names.push(path_of_field(item).unwrap_or_else(|| head.to_owned()));
        }
    }
    names
}

fn listed(what: &str, names: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = names.collect();
    all.sort();
    all.dedup();
    let shown = all.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST_NAMES) {
        _ if all.is_empty() => format!("the order of {what} changed"),
        0 => format!("{what} changed: {shown}"),
        more => format!("{what} changed: {shown} and {more} more"),
    }
}

fn word(name: &str) -> &str {
    match name {
        "words" => "the command",
        "folder" => "the working folder",
        "epoch" => "SOURCE_DATE_EPOCH",
        "sources" => "the sources",
        "documents" => "the here-documents",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheKey, KeyBuilder};

    fn run(words: &[&str], environment: &[&str], below: &str) -> CacheKey {
        let key = KeyBuilder::new("run").field("below", below);
        key.list("words", words).list("environment", environment).finish()
    }

    #[track_caller]
    fn check(now: &CacheKey, before: &CacheKey, expected: &str) {
        assert_eq!(reason(now.inputs(), Some(before.inputs())), expected);
    }

    #[test]
    fn the_changed_input_is_named() {
        let before = run(&["sh", "-c", "make"], &["A=1", "B=2"], "x");
        check(
            &run(&["sh", "-c", "make all"], &["A=1", "B=2"], "x"),
            &before,
            "the command is now \"make all\"",
        );
        check(&run(&["sh", "-c", "make"], &["A=1", "B=3", "C=1"], "x"), &before, "variables changed: B, C");
        check(&run(&["sh", "-c", "make"], &["A=1", "B=2"], "y"), &before, "the layers below it changed");
        let cleared = "nothing it depends on changed since it last ran here; its result was cleared away";
        check(&before, &before, cleared);
        assert_eq!(reason(before.inputs(), None), "no such step ran here before");
        let copy = KeyBuilder::new("copy").finish();
        check(&before, &copy, "no such step ran here before");
    }
}
