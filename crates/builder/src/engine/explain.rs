//! Why a step runs although one like it ran before, in words.

use super::source::path_of_field;
use crate::cache::{Change, Inputs};

/// How many names are listed.
const MOST_NAMES: usize = 4;

/// Says what is other than when the step at this place ran last; `before` is what was kept of that.
pub(super) fn reason(now: &Inputs, before: Option<&Inputs>) -> String {
    let Some(before) = before.filter(|before| before.kind == now.kind) else {
        return "no such step ran here before".to_owned();
    };
    let changes = now.changes(before);
    if changes.is_empty() {
        return "nothing it depends on changed since it last ran here; its result was cleared away"
            .to_owned();
    }
    changes.iter().map(change).collect::<Vec<_>>().join("; ")
}

fn change(change: &Change<'_>) -> String {
    match change {
        Change::Value { name: "below", .. } => "the layers below it changed".to_owned(),
        Change::Value { name: "from", .. } => "the stage or image it copies from changed".to_owned(),
        Change::Value { name, before, now } => format!("{} changed from {before:?} to {now:?}", word(name)),
        Change::List { name: "environment", lost, got } => {
            let name = |value: &&str| value.split('=').next().unwrap_or_default().to_owned();
            listed("variables", lost.iter().chain(got).map(name))
        }
        Change::List { name: "items", lost, got } => {
            listed("files", lost.iter().chain(got).map(|item| path_of_field(item)))
        }
        Change::List { name: "words", got, .. } if got.len() == 1 => {
            format!("the command is now {:?}", got[0])
        }
        Change::List { name, .. } => format!("{} changed", word(name)),
    }
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
