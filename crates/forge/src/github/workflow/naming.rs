//! docker/metadata-action's inputs, and tags that a build names itself.

use pipeline::moving_in::{Naming, NotTaken, Phrase, Piece};

use super::WorkflowError;
use super::document::{Step, Text};
use super::steps::Reader;

/// How tags are computed, and where images go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Named {
    pub(super) naming: Naming,
    pub(super) images: Vec<String>,
    pub(super) line: usize,
}

/// What the action does without entries.
const DEFAULT_TAGS: [&str; 4] =
    ["type=schedule", "type=ref,event=branch", "type=ref,event=tag", "type=ref,event=pr"];

const TAKEN: [&str; 5] = ["images", "tags", "flavor", "labels", "annotations"];

/// Inputs that change nothing here.
const WITHOUT_EFFECT: [&str; 5] =
    ["github-token", "sep-tags", "sep-labels", "sep-annotations", "bake-target"];

/// Reads a step with docker/metadata-action.
pub(super) fn take(
    step: &Step,
    reader: &Reader<'_>,
    not_taken: &mut Vec<NotTaken>,
) -> Result<Named, WorkflowError> {
    for (name, text) in &step.with {
        if !TAKEN.contains(&name.as_str()) && !WITHOUT_EFFECT.contains(&name.as_str()) {
            let reason = if name == "context" {
                "the commit and the branch are the event's, or those of the clone outside of CI"
            } else {
                "docker/metadata-action has no such input that is known here"
            };
            not_taken.push(NotTaken {
                line: text.line,
                what: format!("`{name}`"),
                reason: reason.to_owned(),
            });
        }
    }
    let mut tags = reader.phrases(step.input("tags"))?;
    if tags.is_empty() {
        tags = DEFAULT_TAGS.iter().map(|entry| Phrase::plain(step.line, entry)).collect();
    }
    let naming = Naming {
        tags,
        flavor: reader.phrases(step.input("flavor"))?,
        labels: reader.phrases(step.input("labels"))?,
        annotations: reader.phrases(step.input("annotations"))?,
        head_sha: reader
            .variable("DOCKER_METADATA_PR_HEAD_SHA")
            .is_some_and(|value| value.to_lowercase().contains("true")),
        short_sha: reader
            .variable("DOCKER_METADATA_SHORT_SHA_LENGTH")
            .and_then(|value| value.trim().parse().ok()),
    };
    Ok(Named { naming, images: images(step.input("images"), reader, not_taken)?, line: step.line })
}

fn images(
    text: Option<&Text>,
    reader: &Reader<'_>,
    not_taken: &mut Vec<NotTaken>,
) -> Result<Vec<String>, WorkflowError> {
    let mut images = Vec::new();
    for entry in text.map(Text::entries).unwrap_or_default() {
        let known = match reader.constant(&entry)? {
            Ok(known) => known,
            Err(reason) => {
                let what = format!("the image `{}`", entry.text);
                not_taken.push(NotTaken { line: entry.line, what, reason });
                continue;
            }
        };
        let is_named = known.split(',').any(|field| field.trim_start().starts_with("name="));
        let fields = known.split(',').map(str::trim);
        if is_named {
            let is_off = fields.clone().any(|field| field == "enable=false");
            images.extend(
                fields
                    .filter_map(|field| field.strip_prefix("name="))
                    .filter(|_| !is_off)
                    .map(str::to_lowercase),
            );
        } else {
            images.extend(fields.filter(|name| !name.is_empty()).map(str::to_lowercase));
        }
    }
    images.dedup();
    Ok(images)
}

/// Reads the tags that a build names itself, `ghcr.io/acme/api:${{ github.sha }}`, an entry a line or
/// between commas.
pub(super) fn of_references(text: &Text, reader: &Reader<'_>) -> Result<Named, WorkflowError> {
    let mut named = Named { line: text.line, ..Named::default() };
    named.naming.flavor.push(Phrase::plain(text.line, "latest=false"));
    for line in text.entries() {
        for reference in outside_braces(&line.text, ',') {
            let reference = reference.trim();
            let parts = outside_braces(reference, ':');
            // A port stands before a slash.
            let (image, tag) = match parts.as_slice() {
                [_] => (reference, "latest"),
                [.., last] if last.contains('/') && !last.contains("${{") => (reference, "latest"),
                [.., last] => (&reference[..reference.len() - last.len() - 1], *last),
                [] => continue,
            };
            let part = |text: &str| Text { text: text.to_owned(), line: line.line };
            if let Ok(image) = reader.constant(&part(image))? {
                let image = image.to_lowercase();
                if !named.images.contains(&image) {
                    named.images.push(image);
                }
            }
            let mut phrase = reader.phrase(&part(tag))?;
            phrase.pieces.insert(0, Piece::Text("type=raw,value=".to_owned()));
            if !named.naming.tags.iter().any(|known| known.pieces == phrase.pieces) {
                named.naming.tags.push(phrase);
            }
        }
    }
    Ok(named)
}

/// Splits a text at a sign that stands in no expression.
fn outside_braces(text: &str, sign: char) -> Vec<&str> {
    let (mut parts, mut begin, mut is_inside) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        if text[at..].starts_with("${{") {
            is_inside = true;
        } else if text[at..].starts_with("}}") {
            is_inside = false;
        } else if character == sign && !is_inside {
            parts.push(&text[begin..at]);
            begin = at + character.len_utf8();
        }
    }
    parts.push(&text[begin..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_in_expressions_separate_nothing() {
        assert_eq!(outside_braces("a:${{ format('{0}:x', b) }}", ':'), ["a", "${{ format('{0}:x', b) }}"]);
        assert_eq!(outside_braces("a,b, ${{ f(a, b) }}", ','), ["a", "b", " ${{ f(a, b) }}"]);
    }
}
