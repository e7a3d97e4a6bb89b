//! The neighbour's strings, kept as they are: what is computed in them becomes the neighbour's own
//! expressions, which the compat engine evaluates.

use super::{Naming, NotTaken, Phrase, Piece, Trial};
use crate::configuration::{Created, IdentityRules, Metadata, OneOrMany, PullRequestSha};
use crate::identity::docker::{Inputs, metadata};

/// Strings for `metadata = "docker"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The rules that hold them.
    pub rules: IdentityRules,
    /// The same as phrases in which nothing is computed.
    pub naming: Naming,
    /// Entries that depend on the event in a way that the neighbour's expressions cannot say.
    pub not_taken: Vec<NotTaken>,
}

/// The neighbour's expressions that a computed part may be, the first that fits.
const EXPRESSIONS: [&str; 8] = [
    "{{is_default_branch}}",
    "{{is_not_default_branch}}",
    "{{branch}}",
    "{{tag}}",
    "{{branch}}{{tag}}",
    "{{base_ref}}",
    "{{sha}}",
    "{{#if tag}}true{{else}}false{{/if}}",
];

pub(super) fn keep(naming: &Naming, trials: &[Trial]) -> Kept {
    let mut not_taken = Vec::new();
    let mut keep = |phrases: &[Phrase]| -> Vec<Phrase> {
        let mut kept = Vec::new();
        for phrase in phrases {
            match plain(phrase, trials) {
                Ok(text) => kept.push(Phrase::plain(phrase.line, &text)),
                Err(reason) => {
                    not_taken.push(NotTaken {
                        line: phrase.line,
                        what: format!("`{}`", phrase.source()),
                        reason,
                    });
                }
            }
        }
        kept
    };
    let (tags, flavor) = (keep(&naming.tags), keep(&naming.flavor));
    let texts = |phrases: &[Phrase]| {
        let texts: Vec<String> = phrases.iter().filter_map(|phrase| phrase.at(0).ok()).collect();
        (!texts.is_empty()).then_some(OneOrMany(texts))
    };
    let rules = IdentityRules {
        metadata: Metadata::Docker,
        tag: Vec::new(),
        tags: texts(&tags),
        flavor: texts(&flavor),
        pr_sha: if naming.head_sha { PullRequestSha::Head } else { PullRequestSha::Merge },
        short_sha: naming.short_sha.unwrap_or(7),
        created: Created::Commit,
        ..IdentityRules::default()
    };
    Kept { rules, naming: Naming { tags, flavor, ..naming.clone() }, not_taken }
}

/// Returns the phrase with nothing computed in it.
fn plain(phrase: &Phrase, trials: &[Trial]) -> Result<String, String> {
    if let Some(unknown) = phrase.unknown() {
        return Err(format!("{unknown} is only known in a run"));
    }
    if let Some(text) = phrase.constant(trials.len()) {
        return Ok(text);
    }
    let mut text = String::new();
    for piece in &phrase.pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Computed { source, values } => {
                text.push_str(expression(values, trials).ok_or_else(|| {
                    format!(
                        "what `{source}` gives cannot be said in the expressions of docker/metadata-action"
                    )
                })?)
            }
        }
    }
    Ok(text)
}

fn expression<'a>(values: &'a [Result<String, String>], trials: &[Trial]) -> Option<&'a str> {
    let first = values.first()?.as_ref().ok()?;
    if values.iter().all(|value| value.as_ref() == Ok(first)) {
        return Some(first);
    }
    EXPRESSIONS.into_iter().find(|expression| {
        trials
            .iter()
            .zip(values)
            .all(|(trial, value)| value.as_ref().ok() == rendered(expression, trial).as_ref())
    })
}

/// Returns what the neighbour makes of an expression, by way of a label.
fn rendered(expression: &str, trial: &Trial) -> Option<String> {
    let inputs = Inputs { labels: vec![format!("x={expression}")], ..Inputs::default() };
    let labels = metadata(&inputs, &trial.context).ok()?.labels;
    labels.into_iter().find(|(key, _)| key == "x").map(|(_, value)| value)
}
